/* Another element in the place of one that runs.
 *
 * The next frame is held back in front of the old element, which then gets an
 * end of the stream for itself: what it holds goes on, the end does not. The new
 * one begins with the frame that waited, so none is lost and none comes twice,
 * and as it is new, its first output is a key frame. */
#include "swap.h"

#include <string.h>

struct MpipeSwap {
  GstElement *old;
  MpipeTap *tap;
  int filtered;
  GstPad *up, *sink, *src; /* what leads to the old element, and its pads */
  gulong probe;
  GMutex lock;
  GCond changed;
  gboolean held, ended;
};

static GstPadProbeReturn
on_held (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  MpipeSwap *s = data;
  gboolean frame = !(info->type & GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM);
  g_mutex_lock (&s->lock);
  if (frame)
    s->held = TRUE;
  else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_EOS)
    s->ended = TRUE;
  g_cond_signal (&s->changed);
  g_mutex_unlock (&s->lock);
  return frame ? GST_PAD_PROBE_OK : GST_PAD_PROBE_PASS;
}

MpipeSwap *
mpipe_swap_new (GstElement *old, MpipeTap *tap, int filtered)
{
  MpipeSwap *s = g_new0 (MpipeSwap, 1);
  g_mutex_init (&s->lock);
  g_cond_init (&s->changed);
  s->old = gst_object_ref (old);
  s->tap = tap;
  s->filtered = filtered;
  s->sink = gst_element_get_static_pad (old, "sink");
  s->src = gst_element_get_static_pad (old, "src");
  s->up = gst_pad_get_peer (s->sink);
  s->ended = GST_PAD_IS_EOS (s->sink);
  s->probe = gst_pad_add_probe (s->up, GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST |
      GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_held, s, NULL);
  return s;
}

int
mpipe_swap_hold (MpipeSwap *s, int64_t ns)
{
  gint64 until = g_get_monotonic_time () + ns / 1000;
  g_mutex_lock (&s->lock);
  while (!s->held && !s->ended && g_cond_wait_until (&s->changed, &s->lock, until)) {
  }
  int state = s->held ? 1 : s->ended ? -1 : 0;
  g_mutex_unlock (&s->lock);
  return state;
}

static GstPadProbeReturn
on_drained (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  MpipeSwap *s = data;
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) != GST_EVENT_EOS)
    return GST_PAD_PROBE_PASS;
  g_mutex_lock (&s->lock);
  s->ended = TRUE;
  g_cond_signal (&s->changed);
  g_mutex_unlock (&s->lock);
  return GST_PAD_PROBE_DROP;
}

/* An encoder that reorders stamps its first frames earlier than the last of the
 * one before it. DTS may not go back: they are squeezed in behind the first PTS,
 * which no frame of the new encoder is shown before. */
typedef struct { GstClockTime least; } Squeeze;

static GstPadProbeReturn
on_first_output (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Squeeze *q = data;
  GstBuffer *b = GST_PAD_PROBE_INFO_BUFFER (info);
  if (GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_HEADER) && !GST_BUFFER_PTS_IS_VALID (b))
    return GST_PAD_PROBE_OK;
  if (!GST_BUFFER_DTS_IS_VALID (b) || !GST_BUFFER_PTS_IS_VALID (b))
    return GST_PAD_PROBE_REMOVE;
  if (!GST_CLOCK_TIME_IS_VALID (q->least))
    q->least = GST_BUFFER_PTS (b);
  if (GST_BUFFER_DTS (b) >= q->least)
    return GST_PAD_PROBE_REMOVE;
  b = gst_buffer_make_writable (b);
  GST_BUFFER_DTS (b) = q->least;
  q->least += GST_USECOND;
  info->data = b;
  return GST_PAD_PROBE_OK;
}

/* The end that goes into the old element is none of the stream. */
static int
drain (MpipeSwap *s)
{
  if (s->tap)
    mpipe_tap_leave (s->tap, s->sink);
  gst_pad_add_probe (s->src, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_drained, s, NULL);
  if (!gst_pad_send_event (s->sink, gst_event_new_eos ()))
    return 0;
  g_mutex_lock (&s->lock);
  gint64 until = g_get_monotonic_time () + 10 * G_TIME_SPAN_SECOND; /* one that drains in a thread of its own */
  while (!s->ended && g_cond_wait_until (&s->changed, &s->lock, until)) {
  }
  int done = s->ended;
  g_mutex_unlock (&s->lock);
  return done;
}

/* The pad that the old element's frames went to. */
static GstPad *
behind (MpipeSwap *s, GstBin *bin)
{
  GstPad *to = gst_pad_get_peer (s->src);
  if (!to || !s->filtered)
    return to;
  GstElement *filter = gst_pad_get_parent_element (to);
  gst_object_unref (to);
  GstPad *out = gst_element_get_static_pad (filter, "src");
  to = gst_pad_get_peer (out);
  gst_pad_unlink (out, to);
  gst_object_unref (out);
  gst_element_set_state (filter, GST_STATE_NULL);
  gst_bin_remove (bin, filter);
  gst_object_unref (filter);
  return to;
}

static int
put_in (MpipeSwap *s, GstBin *bin, GstPad *to, GstElement *next, const char *text)
{
  if (!gst_bin_add (bin, next))
    return 0;
  GstPad *sink = gst_element_get_static_pad (next, "sink"), *src = gst_element_get_static_pad (next, "src");
  GstElement *after = gst_pad_get_parent_element (to);
  GstCaps *caps = text && *text ? gst_caps_from_string (text) : NULL;
  gchar *name = gst_pad_get_name (to);
  int ok = sink && src && gst_element_link_pads_filtered (next, "src", after, name, caps);
  if (ok) {
    Squeeze *q = g_new0 (Squeeze, 1);
    q->least = GST_CLOCK_TIME_NONE;
    gst_pad_add_probe (src, GST_PAD_PROBE_TYPE_BUFFER, on_first_output, q, g_free);
    if (s->tap)
      mpipe_tap_join (s->tap, sink);
    ok = gst_element_sync_state_with_parent (next) && gst_pad_link (s->up, sink) == GST_PAD_LINK_OK;
  }
  g_free (name);
  g_clear_pointer (&caps, gst_caps_unref);
  gst_object_unref (after);
  g_clear_object (&sink);
  g_clear_object (&src);
  return ok;
}

int
mpipe_swap_replace (MpipeSwap *s, GstElement *next, const char *caps)
{
  if (!drain (s))
    return 1;
  GstBin *bin = GST_BIN (gst_element_get_parent (s->old));
  GstPad *to = behind (s, bin);
  gst_pad_unlink (s->up, s->sink);
  gst_element_set_state (s->old, GST_STATE_NULL);
  gst_bin_remove (bin, s->old); /* and with that its links */
  int ok = to && put_in (s, bin, to, next, caps);
  g_clear_object (&to);
  gst_object_unref (bin);
  return ok ? 0 : 2;
}

void
mpipe_swap_free (MpipeSwap *s)
{
  gst_pad_remove_probe (s->up, s->probe);
  gst_object_unref (s->up);
  gst_object_unref (s->sink);
  gst_object_unref (s->src);
  gst_object_unref (s->old);
  g_mutex_clear (&s->lock);
  g_cond_clear (&s->changed);
  g_free (s);
}

/* ---- held caps ----------------------------------------------------------- */

static gboolean
of_stream (GQuark field, const GValue *value, gpointer data)
{
  return field == g_quark_from_static_string ("width") || field == g_quark_from_static_string ("height") ||
      field == g_quark_from_static_string ("stream-format") || field == g_quark_from_static_string ("alignment");
}

/* What a container must know of a stream that its own headers do not say. */
static GstCaps *
essence (const GstCaps *caps)
{
  GstStructure *st = gst_structure_copy (gst_caps_get_structure (caps, 0));
  gst_structure_filter_and_map_in_place (st, (GstStructureFilterMapFunc) of_stream, NULL);
  return gst_caps_new_full (st, NULL);
}

static GstPadProbeReturn
on_caps (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstCaps **first = data, *caps;
  GstEvent *e = GST_PAD_PROBE_INFO_EVENT (info);
  if (GST_EVENT_TYPE (e) != GST_EVENT_CAPS)
    return GST_PAD_PROBE_OK;
  gst_event_parse_caps (e, &caps);
  if (!*first) {
    *first = gst_caps_ref (caps);
    return GST_PAD_PROBE_OK;
  }
  GstCaps *a = essence (*first), *b = essence (caps);
  if (gst_caps_is_equal (a, b)) { /* else the container says what it thinks of it */
    info->data = gst_event_new_caps (*first);
    gst_event_unref (e);
  }
  gst_caps_unref (a);
  gst_caps_unref (b);
  return GST_PAD_PROBE_OK;
}

static void
free_first (gpointer data)
{
  GstCaps **first = data;
  g_clear_pointer (first, gst_caps_unref);
  g_free (first);
}

void
mpipe_hold_caps (GstPad *src)
{
  gst_pad_add_probe (src, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_caps, g_new0 (GstCaps *, 1), free_first);
}
