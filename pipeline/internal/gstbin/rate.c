/* Has videorate end with its input.
 *
 * At the end of a stream it gives out one picture, whatever time the last one was
 * to be seen: 45 pictures at 15 a second become 88 at 30, 90 at 30 become 46 at
 * 15. With the last picture once more at its end it fills up to there, and what
 * lies behind the end is left out. */
#include "shim.h"

typedef struct {
  GstBuffer *last;
  GstClockTime end; /* of the stream; NONE before it is known */
} Rate;

static GstPadProbeReturn
on_input (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Rate *r = data;
  if (GST_CLOCK_TIME_IS_VALID (r->end))
    return GST_PAD_PROBE_OK;
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    gst_buffer_replace (&r->last, GST_PAD_PROBE_INFO_BUFFER (info));
    return GST_PAD_PROBE_OK;
  }
  GstBuffer *b = r->last;
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) != GST_EVENT_EOS || !b)
    return GST_PAD_PROBE_OK;
  r->last = NULL;
  if (GST_BUFFER_PTS_IS_VALID (b) && GST_BUFFER_DURATION_IS_VALID (b)) {
    r->end = GST_BUFFER_PTS (b) + GST_BUFFER_DURATION (b);
    GstBuffer *again = gst_buffer_copy (b); /* the same memory */
    GST_BUFFER_PTS (again) = r->end;
    gst_pad_chain (pad, again);
  }
  gst_buffer_unref (b);
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
on_output (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Rate *r = data;
  GstBuffer *b = GST_PAD_PROBE_INFO_BUFFER (info);
  /* Stamps are rounded: what begins within a microsecond of the end is behind it. */
  if (GST_CLOCK_TIME_IS_VALID (r->end) && GST_BUFFER_PTS_IS_VALID (b) && GST_BUFFER_PTS (b) + GST_USECOND >= r->end)
    return GST_PAD_PROBE_DROP;
  return GST_PAD_PROBE_OK;
}

static void
rate_free (gpointer data)
{
  Rate *r = data;
  gst_buffer_replace (&r->last, NULL);
  g_free (r);
}

void
mpipe_end_rate (GstElement *videorate)
{
  Rate *r = g_new0 (Rate, 1);
  r->end = GST_CLOCK_TIME_NONE;
  GstPad *sink = gst_element_get_static_pad (videorate, "sink"), *src = gst_element_get_static_pad (videorate, "src");
  gst_pad_add_probe (src, GST_PAD_PROBE_TYPE_BUFFER, on_output, r, NULL);
  gst_pad_add_probe (sink, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_input, r, rate_free);
  gst_object_unref (sink);
  gst_object_unref (src);
}
