/* Any media file as raw frames. See decode.go. */
#ifndef MPIPE_DECODE_H
#define MPIPE_DECODE_H

#include <gst/gst.h>
#include <stdint.h>

typedef struct MpipeDecode MpipeDecode;

/* What the next frame of a stream is. Video is laid out in GStreamer's default
 * strides for its format and size; audio is interleaved. */
typedef struct {
  int changed;           /* the format is not that of the frame before */
  uint64_t size;         /* bytes */
  int64_t pts, duration; /* ns of running time; -1 when unknown */
  int discont;
  char format[16];
  int width, height, fps_n, fps_d;
  char colorimetry[64], chroma_site[64];
  int stride[4];
  uint64_t offset[4];
  int planes;
  int rate, channels;
  uint64_t mask;
} MpipeDecodeFrame;

enum { MPIPE_DECODE_VIDEO = 0, MPIPE_DECODE_AUDIO = 1 };
enum { MPIPE_DECODE_FRAME = 0, MPIPE_DECODE_EMPTY = 1, MPIPE_DECODE_EOS = 2, MPIPE_DECODE_ERROR = 3 };

/* formats: a raw video format, "I420". NULL when GStreamer lacks an element;
 * then *missing names it. */
MpipeDecode *mpipe_decode_new (const char *uri, int video, int audio, const char *format, const char **missing);
/* Waits up to timeout ns for all streams to have their first frame: FRAME,
 * EMPTY (not yet) or ERROR. */
int mpipe_decode_preroll (MpipeDecode *d, int64_t timeout);
int mpipe_decode_has (MpipeDecode *d, int stream);
/* Lets frames flow beyond the first. */
int mpipe_decode_play (MpipeDecode *d);
/* Waits up to timeout ns for the next frame of a stream, which stays current
 * until the next call. One thread a stream. */
int mpipe_decode_next (MpipeDecode *d, int stream, int64_t timeout, MpipeDecodeFrame *out);
/* Copies n bytes of the current frame, from byte `from` on; video is copied
 * whole: from is 0 and n its size. 0 on success. */
int mpipe_decode_copy (MpipeDecode *d, int stream, void *dst, uint64_t from, uint64_t n);
/* What was posted with ERROR; g_free it. */
char *mpipe_decode_error (MpipeDecode *d);
void mpipe_decode_free (MpipeDecode *d);

#endif
