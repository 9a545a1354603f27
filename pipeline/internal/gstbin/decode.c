#include "decode.h"

#include <gst/app/gstappsink.h>
#include <gst/audio/audio.h>
#include <gst/video/video.h>
#include <string.h>

typedef struct {
  gboolean wanted;
  GstElement *sink; /* NULL until the file turns out to have the stream */
  GstSample *sample;
  GstCaps *caps;
  GstVideoInfo packed; /* what a frame looks like once it is copied */
  int bytes_per_frame; /* audio: of one sample of all channels */
} Stream;

struct MpipeDecode {
  GstElement *pipeline;
  const char *format;
  GMutex lock; /* guards error, and sink while the pipeline prerolls */
  char *error;
  Stream streams[2];
};

/* ---- building ------------------------------------------------------------ */

/* chain makes the elements of a stream, links them and gives the first one's
 * sink pad. */
static GstPad *
chain (MpipeDecode *d, int stream)
{
  static const char *factories[2][4] = {
    { "queue", "videoconvertscale", "appsink", NULL },
    { "queue", "audioconvert", "appsink", NULL },
  };
  GstElement *e[4] = { NULL };
  int n = 0;
  for (; factories[stream][n]; n++) {
    e[n] = gst_element_factory_make (factories[stream][n], NULL);
    gst_bin_add (GST_BIN (d->pipeline), e[n]);
    if (n > 0)
      gst_element_link (e[n - 1], e[n]);
  }
  /* Sound is small and may run ahead of pictures in the file; pictures are not. */
  if (stream == MPIPE_DECODE_VIDEO)
    g_object_set (e[0], "max-size-buffers", 2, "max-size-bytes", 0, "max-size-time", (guint64) 0, NULL);
  else
    g_object_set (e[0], "max-size-buffers", 0, "max-size-bytes", 0, "max-size-time", GST_SECOND, NULL);
  char *text = stream == MPIPE_DECODE_VIDEO
      ? g_strdup_printf ("video/x-raw,format=%s,pixel-aspect-ratio=1/1", d->format)
      : g_strdup ("audio/x-raw,format=S16LE,layout=interleaved");
  GstCaps *caps = gst_caps_from_string (text);
  g_object_set (e[n - 1], "caps", caps, "sync", FALSE, "max-buffers", 2, "enable-last-sample", FALSE, "wait-on-eos", FALSE, NULL);
  gst_caps_unref (caps);
  g_free (text);
  g_mutex_lock (&d->lock);
  d->streams[stream].sink = e[n - 1];
  g_mutex_unlock (&d->lock);

  for (int i = n - 1; i >= 0; i--)
    gst_element_sync_state_with_parent (e[i]);
  return gst_element_get_static_pad (e[0], "sink");
}

/* The first stream of each kind is taken, the others stay unlinked. */
static void
on_pad (GstElement *bin, GstPad *pad, gpointer data)
{
  MpipeDecode *d = data;
  GstCaps *caps = gst_pad_get_current_caps (pad);
  if (!caps)
    caps = gst_pad_query_caps (pad, NULL);
  const char *name = gst_structure_get_name (gst_caps_get_structure (caps, 0));
  int stream = g_str_equal (name, "video/x-raw") ? MPIPE_DECODE_VIDEO : g_str_equal (name, "audio/x-raw") ? MPIPE_DECODE_AUDIO : -1;
  gst_caps_unref (caps);
  if (stream < 0 || !d->streams[stream].wanted || d->streams[stream].sink)
    return;
  GstPad *in = chain (d, stream);
  gst_pad_link (pad, in);
  gst_object_unref (in);
}

MpipeDecode *
mpipe_decode_new (const char *uri, int video, int audio, const char *format, const char **missing)
{
  static const char *needed[] = { "uridecodebin", "queue", "videoconvertscale", "audioconvert", "appsink" };
  for (guint i = 0; i < G_N_ELEMENTS (needed); i++) {
    GstElementFactory *f = gst_element_factory_find (needed[i]);
    if (!f) {
      *missing = needed[i];
      return NULL;
    }
    gst_object_unref (f);
  }
  MpipeDecode *d = g_new0 (MpipeDecode, 1);
  g_mutex_init (&d->lock);
  d->format = g_intern_string (format);
  d->streams[MPIPE_DECODE_VIDEO].wanted = video;
  d->streams[MPIPE_DECODE_AUDIO].wanted = audio;
  d->pipeline = gst_object_ref_sink (gst_pipeline_new (NULL));
  GstElement *src = gst_element_factory_make ("uridecodebin", NULL);
  g_object_set (src, "uri", uri, NULL);
  g_signal_connect (src, "pad-added", G_CALLBACK (on_pad), d);
  gst_bin_add (GST_BIN (d->pipeline), src);
  return d;
}

/* ---- running ------------------------------------------------------------- */

static int
fail (MpipeDecode *d, GstMessage *m)
{
  GError *err = NULL;
  gchar *debug = NULL;
  gst_message_parse_error (m, &err, &debug);
  g_mutex_lock (&d->lock);
  if (!d->error)
    d->error = g_strdup (err ? err->message : "unknown error");
  g_mutex_unlock (&d->lock);
  if (err)
    g_error_free (err);
  g_free (debug);
  gst_message_unref (m);
  return MPIPE_DECODE_ERROR;
}

int
mpipe_decode_preroll (MpipeDecode *d, int64_t timeout)
{
  if (GST_STATE_TARGET (d->pipeline) != GST_STATE_PAUSED)
    gst_element_set_state (d->pipeline, GST_STATE_PAUSED); /* a failure is on the bus */
  GstBus *bus = gst_element_get_bus (d->pipeline);
  /* A file without any wanted stream prerolls with no sink and posts no
   * ASYNC_DONE of its own accord in every case, but then it posts EOS. */
  GstMessage *m = gst_bus_timed_pop_filtered (bus, (GstClockTime) timeout,
      GST_MESSAGE_ERROR | GST_MESSAGE_ASYNC_DONE | GST_MESSAGE_EOS);
  gst_object_unref (bus);
  if (!m)
    return MPIPE_DECODE_EMPTY;
  if (GST_MESSAGE_TYPE (m) == GST_MESSAGE_ERROR)
    return fail (d, m);
  gst_message_unref (m);
  return MPIPE_DECODE_FRAME;
}

int
mpipe_decode_has (MpipeDecode *d, int stream)
{
  g_mutex_lock (&d->lock);
  int has = d->streams[stream].sink != NULL;
  g_mutex_unlock (&d->lock);
  return has;
}

int
mpipe_decode_play (MpipeDecode *d)
{
  return gst_element_set_state (d->pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE;
}

static void
describe_video (Stream *s, GstVideoInfo *info, MpipeDecodeFrame *out)
{
  gst_video_info_set_format (&s->packed, GST_VIDEO_INFO_FORMAT (info), GST_VIDEO_INFO_WIDTH (info), GST_VIDEO_INFO_HEIGHT (info));
  g_strlcpy (out->format, GST_VIDEO_INFO_NAME (info), sizeof out->format);
  out->width = GST_VIDEO_INFO_WIDTH (info);
  out->height = GST_VIDEO_INFO_HEIGHT (info);
  out->fps_n = GST_VIDEO_INFO_FPS_N (info);
  out->fps_d = GST_VIDEO_INFO_FPS_D (info);
  gchar *color = gst_video_colorimetry_to_string (&GST_VIDEO_INFO_COLORIMETRY (info));
  if (color)
    g_strlcpy (out->colorimetry, color, sizeof out->colorimetry);
  g_free (color);
  if (GST_VIDEO_INFO_CHROMA_SITE (info) != GST_VIDEO_CHROMA_SITE_UNKNOWN) {
    gchar *site = gst_video_chroma_site_to_string (GST_VIDEO_INFO_CHROMA_SITE (info));
    if (site)
      g_strlcpy (out->chroma_site, site, sizeof out->chroma_site);
    g_free (site);
  }
  out->planes = GST_VIDEO_INFO_N_PLANES (info);
  for (int i = 0; i < out->planes && i < 4; i++) {
    out->stride[i] = GST_VIDEO_INFO_PLANE_STRIDE (&s->packed, i);
    out->offset[i] = GST_VIDEO_INFO_PLANE_OFFSET (&s->packed, i);
  }
}

/* describe fills in the format when the caps are new. 0 on success. */
static int
describe (Stream *s, int stream, GstCaps *caps, MpipeDecodeFrame *out)
{
  if (!caps)
    return -1;
  if (s->caps && (s->caps == caps || gst_caps_is_equal (s->caps, caps)))
    return 0;
  if (stream == MPIPE_DECODE_VIDEO) {
    GstVideoInfo info;
    if (!gst_video_info_from_caps (&info, caps))
      return -1;
    describe_video (s, &info, out);
  } else {
    GstAudioInfo info;
    if (!gst_audio_info_from_caps (&info, caps))
      return -1;
    s->bytes_per_frame = GST_AUDIO_INFO_BPF (&info);
    g_strlcpy (out->format, GST_AUDIO_INFO_NAME (&info), sizeof out->format);
    out->rate = GST_AUDIO_INFO_RATE (&info);
    out->channels = GST_AUDIO_INFO_CHANNELS (&info);
    if (!gst_audio_channel_positions_to_mask (info.position, info.channels, FALSE, &out->mask))
      out->mask = 0;
  }
  out->changed = 1;
  gst_caps_replace (&s->caps, caps);
  return 0;
}

int
mpipe_decode_next (MpipeDecode *d, int stream, int64_t timeout, MpipeDecodeFrame *out)
{
  Stream *s = &d->streams[stream];
  memset (out, 0, sizeof *out);
  g_clear_pointer (&s->sample, gst_sample_unref);
  s->sample = gst_app_sink_try_pull_sample (GST_APP_SINK (s->sink), (GstClockTime) timeout);
  if (!s->sample) {
    if (gst_app_sink_is_eos (GST_APP_SINK (s->sink)))
      return MPIPE_DECODE_EOS;
    GstBus *bus = gst_element_get_bus (d->pipeline);
    GstMessage *m = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
    gst_object_unref (bus);
    if (m)
      return fail (d, m);
    g_mutex_lock (&d->lock);
    int failed = d->error != NULL; /* the other stream's thread saw it */
    g_mutex_unlock (&d->lock);
    return failed ? MPIPE_DECODE_ERROR : MPIPE_DECODE_EMPTY;
  }
  if (describe (s, stream, gst_sample_get_caps (s->sample), out) != 0)
    return MPIPE_DECODE_EMPTY; /* a frame nobody can read */
  GstBuffer *b = gst_sample_get_buffer (s->sample);
  out->size = stream == MPIPE_DECODE_VIDEO ? GST_VIDEO_INFO_SIZE (&s->packed) : gst_buffer_get_size (b);
  GstClockTime pts = gst_segment_to_running_time (gst_sample_get_segment (s->sample), GST_FORMAT_TIME, GST_BUFFER_PTS (b));
  out->pts = GST_CLOCK_TIME_IS_VALID (pts) ? (int64_t) pts : -1;
  out->duration = GST_BUFFER_DURATION_IS_VALID (b) ? (int64_t) GST_BUFFER_DURATION (b) : -1;
  out->discont = GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_DISCONT);
  return MPIPE_DECODE_FRAME;
}

static int
copy_video (Stream *s, GstBuffer *b, guint8 *dst)
{
  GstVideoInfo info;
  GstVideoFrame in, out = { 0 };
  if (!gst_video_info_from_caps (&info, s->caps) || !gst_video_frame_map (&in, &info, b, GST_MAP_READ))
    return -1;
  /* The destination needs no mapping: its planes are laid out by hand. */
  out.info = s->packed;
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES (&s->packed); i++)
    out.data[i] = dst + GST_VIDEO_INFO_PLANE_OFFSET (&s->packed, i);
  gboolean ok = gst_video_frame_copy (&out, &in);
  gst_video_frame_unmap (&in);
  return ok ? 0 : -1;
}

int
mpipe_decode_copy (MpipeDecode *d, int stream, void *dst, uint64_t from, uint64_t n)
{
  Stream *s = &d->streams[stream];
  GstBuffer *b = s->sample ? gst_sample_get_buffer (s->sample) : NULL;
  if (!b)
    return -1;
  if (stream == MPIPE_DECODE_AUDIO)
    return gst_buffer_extract (b, from, dst, n) == n ? 0 : -1;
  if (from != 0 || n != GST_VIDEO_INFO_SIZE (&s->packed))
    return -1;
  return copy_video (s, b, dst);
}

char *
mpipe_decode_error (MpipeDecode *d)
{
  g_mutex_lock (&d->lock);
  char *text = g_strdup (d->error ? d->error : "");
  g_mutex_unlock (&d->lock);
  return text;
}

void
mpipe_decode_free (MpipeDecode *d)
{
  gst_element_set_state (d->pipeline, GST_STATE_NULL);
  for (int i = 0; i < 2; i++) {
    g_clear_pointer (&d->streams[i].sample, gst_sample_unref);
    gst_caps_replace (&d->streams[i].caps, NULL);
  }
  gst_object_unref (d->pipeline);
  g_free (d->error);
  g_mutex_clear (&d->lock);
  g_free (d);
}
