/* Reading a finished file back: every stream of a demuxer into a tap. */
#include "shim.h"

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
  return p;
}

void
mpipe_probe_free (MpipeProbe *p)
{
  for (int i = 0; i < p->n; i++) {
    g_free (p->streams[i].caps);
    mpipe_tap_unref (p->streams[i].tap);
  }
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
