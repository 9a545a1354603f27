/* The element that calls a stage written in Go: see gofilter.c. */
#ifndef MPIPE_GOFILTER_H
#define MPIPE_GOFILTER_H

#include <gst/gst.h>
#include <stdint.h>

/* One frame, mapped. Unused planes are zero. */
typedef struct {
  void *data[4];
  int64_t size[4]; /* bytes at data */
  int stride[4];   /* bytes from row to row; 0 for what has no rows */
  int row[4];      /* bytes of a row that are picture */
  int rows[4];
  int planes;
  int64_t pts, duration; /* ns of running time; -1 unknown */
  int discont, corrupt, key;
} MpipeGoFrame;

/* What the frames that follow are; exactly one of width and rate is not 0 for raw
 * frames, both are for encoded ones. */
typedef struct {
  const char *format; /* "I420", "S16LE" */
  int width, height, fps_num, fps_den;
  int rate, channels;
  uint64_t mask;
} MpipeGoFormat;

enum { MPIPE_GO_OK, MPIPE_GO_DROP, MPIPE_GO_ERROR };

typedef struct { int64_t frames, copied, dropped; } MpipeGoStats;

/* Makes the element known, once a process. */
void mpipe_gofilter_register (void);
/* Ties an element to a handle of Go; a viewer changes nothing. */
void mpipe_gofilter_tie (GstElement *e, uintptr_t handle, int viewer);
void mpipe_gofilter_stats (GstElement *e, MpipeGoStats *out);

#endif
