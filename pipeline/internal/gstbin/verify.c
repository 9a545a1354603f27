/* Reading a finished file back: every stream of a demuxer into a tap. */
#include "shim.h"

/* A file of one stream has a parser in the demuxer's place, whose only pad is
 * there from the start and gets its caps later. */
static gboolean
note_stream_caps (GstPad *pad, GstEvent **event, gpointer data)
{
  MpipeStream *s = data;
  if (GST_EVENT_TYPE (*event) == GST_EVENT_CAPS) {
    GstCaps *caps;
    gst_event_parse_caps (*event, &caps);
    g_free (s->caps);
    s->caps = gst_caps_to_string (caps);
  }
  return TRUE;
}

static void
on_pad (GstElement *demuxer, GstPad *pad, gpointer data)
{
  MpipeProbe *p = data;
  GstElement *sink = gst_element_factory_make ("fakesink", NULL);
  g_object_set (sink, "sync", FALSE, "async", FALSE, NULL);
  GstObject *pipeline = gst_object_get_parent (GST_OBJECT (demuxer));
  gst_bin_add (GST_BIN (pipeline), sink);
  gst_object_unref (pipeline);
  gst_element_sync_state_with_parent (sink);
  GstPad *in = gst_element_get_static_pad (sink, "sink");
  gst_pad_link (pad, in);
  gst_object_unref (in);

  GstCaps *caps = gst_pad_get_current_caps (pad);
  if (!caps)
    caps = gst_pad_query_caps (pad, NULL);
  g_mutex_lock (&p->lock);
  if (p->n < (int) G_N_ELEMENTS (p->streams)) {
    p->streams[p->n].caps = gst_caps_to_string (caps);
    p->streams[p->n].tap = mpipe_tap_new (pad);
    p->n++;
  }
  g_mutex_unlock (&p->lock);
  gst_caps_unref (caps);
}

MpipeProbe *
mpipe_probe_new (GstElement *pipeline, GstElement *demuxer)
{
  MpipeProbe *p = g_new0 (MpipeProbe, 1);
  g_mutex_init (&p->lock);
  g_signal_connect (demuxer, "pad-added", G_CALLBACK (on_pad), p);
  p->only = gst_element_get_static_pad (demuxer, "src");
  if (p->only)
    on_pad (demuxer, p->only, p);
  return p;
}

void
mpipe_probe_settle (MpipeProbe *p)
{
  if (p->only)
    gst_pad_sticky_events_foreach (p->only, note_stream_caps, &p->streams[0]);
}

void
mpipe_probe_free (MpipeProbe *p)
{
  for (int i = 0; i < p->n; i++) {
    g_free (p->streams[i].caps);
    mpipe_tap_unref (p->streams[i].tap);
  }
  g_clear_object (&p->only);
  g_mutex_clear (&p->lock);
  g_free (p);
}

int64_t
mpipe_query_duration (GstElement *pipeline)
{
  gint64 d = -1;
  return gst_element_query_duration (pipeline, GST_FORMAT_TIME, &d) ? d : -1;
}

int
mpipe_query_seekable (GstElement *pipeline)
{
  GstQuery *q = gst_query_new_seeking (GST_FORMAT_TIME);
  gboolean seekable = FALSE;
  if (gst_element_query (pipeline, q))
    gst_query_parse_seeking (q, NULL, &seekable, NULL, NULL);
  gst_query_unref (q);
  return seekable;
}
