/* The part of mpipe that runs once a frame inside GStreamer. See doc.go. */
#ifndef MPIPE_SHIM_H
#define MPIPE_SHIM_H

#include <gst/gst.h>
#include <stdint.h>

/* How a borrowed frame is given back: pipeline.Cell in Go, ring.Cell in the
 * ring. The three must agree; cell_test.go compares them. */
typedef struct {
  uint32_t held;          /* 1 while GStreamer has the memory, then 0 */
  uint32_t pad;
  uintptr_t waiters_addr; /* uint32_t: how many wait; 0 for "wake nobody" */
  uintptr_t seq_addr;     /* uint32_t: the futex they wait on */
} MpipeCell;

/* What passed a pad. Written by its streaming thread only; readers load each
 * word on its own. */
typedef struct {
  int64_t frames;
  int64_t bytes;
  int64_t keys;      /* buffers without DELTA_UNIT */
  int64_t first_pts; /* ns of running time, -1 before the first */
  int64_t last_end;  /* ns, end of the latest buffer: its PTS + duration */
  int64_t last_pts;  /* ns, the greatest PTS */
  GstSegment segment;     /* streaming thread only */
  gboolean headers_apart; /* streaming thread only: header buffers do not count */
  uint32_t eos;      /* an EOS event passed */
  uint32_t hungry;   /* feeds only: the element waits for data */
  uint32_t refs;     /* the pad's probe and the reader, in either order */
  gulong probe;      /* that counts */
} MpipeTap;

/* Counts the pad's traffic. The caller owns a reference. */
MpipeTap *mpipe_tap_new (GstPad *pad);
void mpipe_tap_unref (MpipeTap *tap);
/* A tap that goes on counting at another pad: it leaves the one, with nothing
 * flowing, and joins the other. */
void mpipe_tap_leave (MpipeTap *tap, GstPad *pad);
void mpipe_tap_join (MpipeTap *tap, GstPad *pad);

/* A feed is an appsrc with room for a few buffers. */
typedef struct MpipeFeed MpipeFeed;
MpipeFeed *mpipe_feed_new (GstElement *appsrc);
void mpipe_feed_free (MpipeFeed *f);
MpipeTap *mpipe_feed_tap (MpipeFeed *f);
void mpipe_feed_notify (MpipeFeed *f, uintptr_t waiters_addr, uintptr_t seq_addr);
/* How many buffers wait in the appsrc. */
int mpipe_feed_level (MpipeFeed *f);
/* caps: text; NULL strides: the frames need no GstVideoMeta. 0 on success. */
int mpipe_feed_caps (MpipeFeed *f, const char *caps, const int *strides, const uint64_t *offsets, int planes);
/* Returns a GstFlowReturn; the memory is lent only on GST_FLOW_OK. */
int mpipe_feed_push (MpipeFeed *f, void *data, uint64_t size, int64_t pts, int64_t duration, uint32_t discont, uint32_t corrupt, MpipeCell *cell);
/* Fills a hole in the stream: the latest picture once more, or silence. */
int mpipe_feed_fill (MpipeFeed *f, int64_t pts, int64_t duration);
/* Gives back the latest picture. */
void mpipe_feed_forget (MpipeFeed *f);
int mpipe_feed_eos (MpipeFeed *f);

/* Asks the encoder for a key frame every interval ns of running time. */
void mpipe_key_requests (GstElement *encoder, int64_t interval);

/* Mends what mp4mux writes; see mp4.c. */
void mpipe_mend_mp4 (GstElement *mux);
/* Has a videorate end where its input ends; see rate.c. */
void mpipe_end_rate (GstElement *videorate);
/* Writes what FLAC and WAV say at their beginning and know at their end; see header.c. */
void mpipe_mend_header (GstElement *filesink);

/* 1 and the value is set; 0 and nothing is. */
int mpipe_set_property (GObject *o, const char *name, const char *value);
int mpipe_link (GstElement *src, GstElement *sink, const char *sinkpad, const char *caps);

typedef struct { char *domain; int code; char *text; char *debug; char *element; } MpipeError;
MpipeError mpipe_parse_error (GstMessage *m);
void mpipe_error_clear (MpipeError *e);

/* Fields end with 0x1f, records with 0x1e. NULL for an unknown factory. Free
 * with g_free. See catalog.go for the columns. */
char *mpipe_factory_info (const char *name);
char *mpipe_factory_names (void);

/* Connects every pad of a demuxer to a fakesink and taps it. */
typedef struct { char *caps; MpipeTap *tap; } MpipeStream;
typedef struct { GMutex lock; int n; MpipeStream streams[16]; GstPad *only; } MpipeProbe;
MpipeProbe *mpipe_probe_new (GstElement *pipeline, GstElement *demuxer);
/* Call it at the end of the stream, before the streams are read. */
void mpipe_probe_settle (MpipeProbe *p);
void mpipe_probe_free (MpipeProbe *p);
int64_t mpipe_query_duration (GstElement *pipeline);
int mpipe_query_seekable (GstElement *pipeline);

#endif
