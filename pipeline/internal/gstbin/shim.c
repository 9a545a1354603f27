#include "shim.h"

#include <gst/app/gstappsrc.h>
#include <gst/audio/audio.h>
#include <gst/video/video.h>
#include <linux/futex.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* wake tells whoever sleeps on an eventcount that something changed. The fence
 * pairs with the waiter's: it announces itself, then looks again, then sleeps.
 * SYNC POINT eventcount. */
static void
wake (uintptr_t waiters_addr, uintptr_t seq_addr)
{
  if (!waiters_addr || !seq_addr)
    return;
  __atomic_thread_fence (__ATOMIC_SEQ_CST);
  if (__atomic_load_n ((uint32_t *) waiters_addr, __ATOMIC_SEQ_CST) == 0)
    return;
  __atomic_add_fetch ((uint32_t *) seq_addr, 1, __ATOMIC_SEQ_CST);
  syscall (SYS_futex, (void *) seq_addr, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* The destroy-notify of borrowed memory. Once held is 0 the lender may reuse
 * the cell, so its words are read before. */
static void
release_cell (gpointer data)
{
  MpipeCell *c = data;
  uintptr_t waiters = c->waiters_addr, seq = c->seq_addr;
  __atomic_store_n (&c->held, 0, __ATOMIC_RELEASE);
  wake (waiters, seq);
}

/* ---- taps ---------------------------------------------------------------- */

/* Codecs of sound send their headers as buffers of the stream, which muxers put
 * elsewhere. In H.264 the same flag marks key frames that carry theirs along. */
static void
note_caps (MpipeTap *t, GstCaps *caps)
{
  t->headers_apart = g_str_has_prefix (gst_structure_get_name (gst_caps_get_structure (caps, 0)), "audio/");
}

static void
count_buffer (MpipeTap *t, GstBuffer *b)
{
  if (t->headers_apart && GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_HEADER))
    return;
  __atomic_fetch_add (&t->frames, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add (&t->bytes, (int64_t) gst_buffer_get_size (b), __ATOMIC_RELAXED);
  if (!GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_DELTA_UNIT))
    __atomic_fetch_add (&t->keys, 1, __ATOMIC_RELAXED);
  if (!GST_BUFFER_PTS_IS_VALID (b))
    return;
  /* Encoders move their stamps by 1000 h so that none is negative, and MP4 has
   * edit lists: running time is what both mean. */
  int64_t pts = (int64_t) GST_BUFFER_PTS (b);
  guint64 running;
  if (t->segment.format == GST_FORMAT_TIME) {
    int sign = gst_segment_to_running_time_full (&t->segment, GST_FORMAT_TIME, GST_BUFFER_PTS (b), &running);
    if (sign == 0)
      return;
    pts = sign > 0 ? (int64_t) running : -(int64_t) running;
  }
  int64_t end = pts + (GST_BUFFER_DURATION_IS_VALID (b) ? (int64_t) GST_BUFFER_DURATION (b) : 0);
  if (t->first_pts == -1 || pts < t->first_pts)
    __atomic_store_n (&t->first_pts, pts, __ATOMIC_RELAXED);
  if (pts > t->last_pts)
    __atomic_store_n (&t->last_pts, pts, __ATOMIC_RELAXED);
  if (end > t->last_end)
    __atomic_store_n (&t->last_end, end, __ATOMIC_RELAXED);
}

static GstPadProbeReturn
tap_probe (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  MpipeTap *t = data;
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    count_buffer (t, GST_PAD_PROBE_INFO_BUFFER (info));
  } else if (info->type & GST_PAD_PROBE_TYPE_BUFFER_LIST) {
    GstBufferList *l = GST_PAD_PROBE_INFO_BUFFER_LIST (info);
    for (guint i = 0; i < gst_buffer_list_length (l); i++)
      count_buffer (t, gst_buffer_list_get (l, i));
  } else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_CAPS) {
    GstCaps *caps;
    gst_event_parse_caps (GST_PAD_PROBE_INFO_EVENT (info), &caps);
    note_caps (t, caps);
  } else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_SEGMENT) {
    gst_event_copy_segment (GST_PAD_PROBE_INFO_EVENT (info), &t->segment);
  } else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_EOS) {
    __atomic_store_n (&t->eos, 1, __ATOMIC_RELEASE);
  }
  return GST_PAD_PROBE_OK;
}

static MpipeTap *
tap_alloc (void)
{
  MpipeTap *t = g_new0 (MpipeTap, 1);
  t->first_pts = -1;
  t->last_pts = -1;
  t->refs = 1;
  gst_segment_init (&t->segment, GST_FORMAT_UNDEFINED);
  return t;
}

MpipeTap *
mpipe_tap_new (GstPad *pad)
{
  MpipeTap *t = tap_alloc ();
  GstCaps *caps = gst_pad_get_current_caps (pad);
  if (caps) {
    note_caps (t, caps);
    gst_caps_unref (caps);
  }
  mpipe_tap_join (t, pad);
  return t;
}

void
mpipe_tap_join (MpipeTap *t, GstPad *pad)
{
  __atomic_add_fetch (&t->refs, 1, __ATOMIC_ACQ_REL);
  t->probe = gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      tap_probe, t, (GDestroyNotify) mpipe_tap_unref);
}

void
mpipe_tap_leave (MpipeTap *t, GstPad *pad)
{
  gst_pad_remove_probe (pad, t->probe);
}

void
mpipe_tap_unref (MpipeTap *tap)
{
  if (__atomic_sub_fetch (&tap->refs, 1, __ATOMIC_ACQ_REL) == 0)
    g_free (tap);
}

/* ---- feeds --------------------------------------------------------------- */

struct MpipeFeed {
  GstAppSrc *src;
  MpipeTap *tap;
  uintptr_t waiters_addr, seq_addr;
  gboolean is_video;
  GstVideoInfo info;
  GstAudioInfo audio;
  GstBuffer *last; /* the latest picture, kept to be repeated; NULL for sound */
  gboolean meta; /* frames need a GstVideoMeta */
  gsize offset[GST_VIDEO_MAX_PLANES];
  gint stride[GST_VIDEO_MAX_PLANES];
  guint planes;
};

static void
feed_wake (MpipeFeed *f)
{
  wake (__atomic_load_n (&f->waiters_addr, __ATOMIC_ACQUIRE), __atomic_load_n (&f->seq_addr, __ATOMIC_ACQUIRE));
}

/* The appsrc is empty and its thread waits. */
static void
on_need_data (GstAppSrc *src, guint length, gpointer data)
{
  MpipeFeed *f = data;
  __atomic_store_n (&f->tap->hungry, 1, __ATOMIC_SEQ_CST);
  feed_wake (f);
}

static GstPadProbeReturn
on_leave (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  MpipeFeed *f = data;
  tap_probe (pad, info, f->tap);
  feed_wake (f);
  return GST_PAD_PROBE_OK;
}

MpipeFeed *
mpipe_feed_new (GstElement *appsrc)
{
  MpipeFeed *f = g_new0 (MpipeFeed, 1);
  f->src = GST_APP_SRC (gst_object_ref (appsrc));
  f->tap = tap_alloc ();
  g_object_set (appsrc, "format", GST_FORMAT_TIME, "is-live", FALSE, "block", FALSE, "emit-signals", FALSE,
      "max-bytes", (guint64) 0, "max-buffers", (guint64) 0, "max-time", (guint64) 0, NULL);
  GstAppSrcCallbacks cb = { .need_data = on_need_data };
  gst_app_src_set_callbacks (f->src, &cb, f, NULL);
  GstPad *pad = gst_element_get_static_pad (appsrc, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_leave, f, NULL);
  gst_object_unref (pad);
  return f;
}

void
mpipe_feed_free (MpipeFeed *f)
{
  GstAppSrcCallbacks none = { 0 };
  gst_app_src_set_callbacks (f->src, &none, NULL, NULL);
  mpipe_feed_forget (f);
  gst_object_unref (f->src);
  mpipe_tap_unref (f->tap);
  g_free (f);
}

MpipeTap *
mpipe_feed_tap (MpipeFeed *f)
{
  return f->tap;
}

void
mpipe_feed_notify (MpipeFeed *f, uintptr_t waiters_addr, uintptr_t seq_addr)
{
  __atomic_store_n (&f->seq_addr, seq_addr, __ATOMIC_RELEASE);
  __atomic_store_n (&f->waiters_addr, waiters_addr, __ATOMIC_RELEASE);
}

int
mpipe_feed_level (MpipeFeed *f)
{
  return (int) gst_app_src_get_current_level_buffers (f->src);
}

int
mpipe_feed_caps (MpipeFeed *f, const char *text, const int *strides, const uint64_t *offsets, int planes)
{
  GstCaps *caps = gst_caps_from_string (text);
  if (!caps)
    return -1;
  f->is_video = gst_structure_has_name (gst_caps_get_structure (caps, 0), "video/x-raw");
  f->meta = FALSE;
  if (!f->is_video && !gst_audio_info_from_caps (&f->audio, caps)) {
    gst_caps_unref (caps);
    return -1;
  }
  if (f->is_video) {
    if (!gst_video_info_from_caps (&f->info, caps)) {
      gst_caps_unref (caps);
      return -1;
    }
    if (strides) {
      f->meta = TRUE;
      f->planes = (guint) planes;
      for (int i = 0; i < planes && i < GST_VIDEO_MAX_PLANES; i++) {
        f->stride[i] = strides[i];
        f->offset[i] = (gsize) offsets[i];
      }
    }
  }
  gst_app_src_set_caps (f->src, caps);
  gst_caps_unref (caps);
  return 0;
}

int
mpipe_feed_push (MpipeFeed *f, void *data, uint64_t size, int64_t pts, int64_t duration, uint32_t discont, uint32_t corrupt, MpipeCell *cell)
{
  GstBuffer *b = gst_buffer_new_wrapped_full (GST_MEMORY_FLAG_READONLY, data, size, 0, size, cell, release_cell);
  GST_BUFFER_PTS (b) = (GstClockTime) pts;
  if (duration > 0)
    GST_BUFFER_DURATION (b) = (GstClockTime) duration;
  if (discont)
    GST_BUFFER_FLAG_SET (b, GST_BUFFER_FLAG_DISCONT);
  if (corrupt)
    GST_BUFFER_FLAG_SET (b, GST_BUFFER_FLAG_CORRUPTED);
  if (f->meta)
    gst_buffer_add_video_meta_full (b, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT (&f->info),
        GST_VIDEO_INFO_WIDTH (&f->info), GST_VIDEO_INFO_HEIGHT (&f->info), f->planes, f->offset, f->stride);
  if (f->is_video) {
    GstBuffer *before = f->last;
    f->last = gst_buffer_ref (b);
    if (before)
      gst_buffer_unref (before);
  }
  /* Before the push: the streaming thread may be hungry again right after. */
  __atomic_store_n (&f->tap->hungry, 0, __ATOMIC_SEQ_CST);
  /* push_buffer takes the buffer whatever it returns: on failure it drops it
   * and so releases the cell, which is what a failed push wants as well. */
  return gst_app_src_push_buffer (f->src, b);
}

int
mpipe_feed_fill (MpipeFeed *f, int64_t pts, int64_t duration)
{
  GstBuffer *b;
  if (f->is_video) {
    if (!f->last)
      return GST_FLOW_OK;
    b = gst_buffer_copy (f->last); /* the same memory */
    GST_BUFFER_FLAG_UNSET (b, GST_BUFFER_FLAG_DISCONT);
  } else {
    gsize size = gst_util_uint64_scale (duration, GST_AUDIO_INFO_RATE (&f->audio), GST_SECOND) * GST_AUDIO_INFO_BPF (&f->audio);
    b = gst_buffer_new_allocate (NULL, size, NULL);
    GstMapInfo map;
    gst_buffer_map (b, &map, GST_MAP_WRITE);
    gst_audio_format_info_fill_silence (f->audio.finfo, map.data, map.size);
    gst_buffer_unmap (b, &map);
  }
  GST_BUFFER_PTS (b) = (GstClockTime) pts;
  GST_BUFFER_DURATION (b) = (GstClockTime) duration;
  GST_BUFFER_FLAG_SET (b, GST_BUFFER_FLAG_GAP); /* join.c asks */
  __atomic_store_n (&f->tap->hungry, 0, __ATOMIC_SEQ_CST);
  return gst_app_src_push_buffer (f->src, b);
}

void
mpipe_feed_forget (MpipeFeed *f)
{
  g_clear_pointer (&f->last, gst_buffer_unref);
}

int
mpipe_feed_eos (MpipeFeed *f)
{
  mpipe_feed_forget (f);
  return gst_app_src_end_of_stream (f->src);
}

/* ---- key frames ---------------------------------------------------------- */

typedef struct {
  GstPad *src;
  int64_t interval, next;
} KeyClock;

static GstPadProbeReturn
on_encoder_input (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  KeyClock *k = data;
  GstBuffer *b = GST_PAD_PROBE_INFO_BUFFER (info);
  if (!GST_BUFFER_PTS_IS_VALID (b))
    return GST_PAD_PROBE_OK;
  int64_t pts = (int64_t) GST_BUFFER_PTS (b);
  if (pts < k->next)
    return GST_PAD_PROBE_OK;
  if (k->next > 0) /* the first frame is a key frame anyway */
    gst_pad_send_event (k->src, gst_video_event_new_upstream_force_key_unit ((GstClockTime) pts, TRUE, 0));
  k->next = pts - pts % k->interval + k->interval;
  return GST_PAD_PROBE_OK;
}

static void
key_clock_free (gpointer data)
{
  KeyClock *k = data;
  gst_object_unref (k->src);
  g_free (k);
}

void
mpipe_key_requests (GstElement *encoder, int64_t interval)
{
  GstPad *sink = gst_element_get_static_pad (encoder, "sink");
  GstPad *src = gst_element_get_static_pad (encoder, "src");
  if (sink && src) {
    KeyClock *k = g_new0 (KeyClock, 1);
    k->src = gst_object_ref (src);
    k->interval = interval;
    gst_pad_add_probe (sink, GST_PAD_PROBE_TYPE_BUFFER, on_encoder_input, k, key_clock_free);
  }
  g_clear_object (&sink);
  g_clear_object (&src);
}

/* ---- building ------------------------------------------------------------ */

int
mpipe_set_property (GObject *o, const char *name, const char *value)
{
  GParamSpec *spec = g_object_class_find_property (G_OBJECT_GET_CLASS (o), name);
  if (!spec || !(spec->flags & G_PARAM_WRITABLE))
    return 0;
  GValue v = G_VALUE_INIT;
  g_value_init (&v, G_PARAM_SPEC_VALUE_TYPE (spec));
  /* Caps are not a type gst_value_deserialize reads from every text. */
  gboolean ok;
  if (G_PARAM_SPEC_VALUE_TYPE (spec) == GST_TYPE_CAPS) {
    GstCaps *caps = gst_caps_from_string (value);
    ok = caps != NULL;
    if (ok)
      g_value_take_boxed (&v, caps);
  } else if (G_PARAM_SPEC_VALUE_TYPE (spec) == G_TYPE_STRING) {
    g_value_set_string (&v, value);
    ok = TRUE;
  } else {
    ok = gst_value_deserialize_with_pspec (&v, value, spec);
  }
  if (ok)
    g_object_set_property (o, name, &v);
  g_value_unset (&v);
  return ok ? 1 : 0;
}

int
mpipe_link (GstElement *src, GstElement *sink, const char *sinkpad, const char *text)
{
  GstCaps *caps = NULL;
  if (text && *text) {
    caps = gst_caps_from_string (text);
    if (!caps)
      return 0;
  }
  /* A tee has request pads only; every other element links from "src". */
  gboolean ok = gst_element_link_pads_filtered (src, NULL, sink, sinkpad, caps);
  if (caps)
    gst_caps_unref (caps);
  return ok;
}

MpipeError
mpipe_parse_error (GstMessage *m)
{
  MpipeError out = { 0 };
  GError *err = NULL;
  gchar *debug = NULL;
  if (GST_MESSAGE_TYPE (m) == GST_MESSAGE_ERROR)
    gst_message_parse_error (m, &err, &debug);
  else
    gst_message_parse_warning (m, &err, &debug);
  if (err) {
    out.domain = g_strdup (g_quark_to_string (err->domain));
    out.code = err->code;
    out.text = g_strdup (err->message);
    g_error_free (err);
  }
  out.debug = debug ? debug : g_strdup ("");
  out.element = g_strdup (GST_MESSAGE_SRC_NAME (m));
  return out;
}

void
mpipe_error_clear (MpipeError *e)
{
  g_free (e->domain);
  g_free (e->text);
  g_free (e->debug);
  g_free (e->element);
}
