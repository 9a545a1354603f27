/* Another element in the place of one that runs: see swap.c. */
#ifndef MPIPE_SWAP_H
#define MPIPE_SWAP_H

#include "shim.h"

typedef struct MpipeSwap MpipeSwap;

/* tap counts at the old element's input, or NULL. filtered: a filter without a
 * name of its own lies behind the old element. */
MpipeSwap *mpipe_swap_new (GstElement *old, MpipeTap *tap, int filtered);
/* Holds the next frame back. 1: it waits; 0: none came within ns, call again;
 * -1: the stream has ended. */
int mpipe_swap_hold (MpipeSwap *s, int64_t ns);
/* Drains the old element and puts the new one in. 0, or the step that failed. */
int mpipe_swap_replace (MpipeSwap *s, GstElement *next, const char *caps);
/* Lets frames on again. */
void mpipe_swap_free (MpipeSwap *s);

/* Has the element behind the pad see the first caps for good, where later ones
 * differ in what a stream's own headers say. */
void mpipe_hold_caps (GstPad *src);

#endif
