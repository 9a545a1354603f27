/* Where several streams meet: see join.c. */
#ifndef MPIPE_JOIN_H
#define MPIPE_JOIN_H

#include <gst/gst.h>
#include <stdint.h>

typedef struct {
  int64_t frames;  /* that came */
  int64_t late;    /* of these, from a time that had been passed: pictures shown later, sound left out */
  int64_t missing; /* ns that were passed without a frame */
} MpipeJoinStats;

typedef struct MpipeJoin MpipeJoin;
/* agg has all its pads. Before anything plays. NULL: it is no GstAggregator. */
MpipeJoin *mpipe_join_new (GstElement *agg, int64_t patience);
/* The pipeline must be stopped. */
void mpipe_join_free (MpipeJoin *j);
/* 0: there is no such pad. */
int mpipe_join_stats (MpipeJoin *j, const char *pad, MpipeJoinStats *out);

#endif
