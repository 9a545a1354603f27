/* Where an output begins: see gate.c. */
#ifndef MPIPE_GATE_H
#define MPIPE_GATE_H

#include <gst/gst.h>
#include <stdint.h>

enum { MPIPE_GATE_BLOCK, MPIPE_GATE_DROP_GOP, MPIPE_GATE_DROP_NEWEST, MPIPE_GATE_DROP_OLDEST };

typedef struct {
  int64_t frames;  /* that came in */
  int64_t dropped; /* of these, that never went on */
  int64_t gops;    /* how often dropping began */
  int64_t bytes;   /* waiting now */
  int64_t time;    /* waiting now, ns */
  uint32_t eos;    /* the stream's end came in */
} MpipeLaneStats;

typedef struct MpipeGate MpipeGate;
MpipeGate *mpipe_gate_new (void);
/* Both pipelines must be stopped. */
void mpipe_gate_free (MpipeGate *g);
/* Adds a lane that begins at an appsink; 0 bounds nothing. Before anything
 * plays. Returns its number, -1 when there are too many. */
int mpipe_gate_lane (MpipeGate *g, GstElement *appsink, int video, int when_full, int64_t max_time, int64_t max_bytes, int max_frames);
/* From now on lane i goes on into srcs[i], an appsrc. With rebase the first
 * frame of the output gets running time 0. */
void mpipe_gate_attach (MpipeGate *g, GstElement **srcs, int rebase);
/* Ends the output before the first key frame that lies span behind its first
 * frame; what follows is for the next attach. A span of 0 takes the next key
 * frame there is. */
void mpipe_gate_cut (MpipeGate *g, int64_t span);
/* Ends each output, too, before the first frame of the lead in another form. */
void mpipe_gate_cut_at_formats (MpipeGate *g);
/* Whether the output was ended by a cut; began is the running time of its first
 * frame, -1 when it had none. */
int mpipe_gate_was_cut (MpipeGate *g, int64_t *began);
/* Nothing goes on until the next attach. */
void mpipe_gate_detach (MpipeGate *g);
/* Ends all lanes behind what waits; what comes later is dropped. */
void mpipe_gate_end (MpipeGate *g);
/* Drops what waits and all that comes; nobody is held up any more. */
void mpipe_gate_shut (MpipeGate *g);
void mpipe_gate_stats (MpipeGate *g, int lane, MpipeLaneStats *out);

/* One buffer of an appsink, mapped. */
typedef struct { GstSample *sample; GstMapInfo map; } MpipePull;
/* 1: a buffer, to be given back with mpipe_pull_done; 0: none in time; -1: the
 * end of the stream; -2: the element has stopped. */
int mpipe_pull (GstElement *appsink, int64_t timeout, MpipePull *out);
void mpipe_pull_done (MpipePull *p);

#endif
