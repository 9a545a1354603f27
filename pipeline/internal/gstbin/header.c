/* What a file says at its beginning and nobody knows before its end.
 *
 * FLAC: flacparse writes no number of samples, so that players show no duration.
 * STREAMINFO (RFC 9639, 8.2) is written again when the stream has ended.
 *
 * WAV: wavenc makes up a size, 2 GiB, and corrects it at the end; readers stop
 * there. The size becomes 0 in the first header, and in the last one where 32
 * bits do not hold it: readers then take all there is. (With 0xffffffff, which
 * other recorders write, wavparse 1.22 never ends beyond 4 GiB.) */
#include "shim.h"

#include <string.h>

#define INFO_END 42 /* "fLaC", a block header, STREAMINFO */

typedef struct {
  gint64 pos, end; /* file offset of the next byte; of the end so far */
  gboolean is_flac, is_wav, done;
  guint8 head[INFO_END];
  guint64 samples;
  gsize smallest, widest; /* bytes of a frame */
} Header;

/* The samples of a FLAC frame, by its header: RFC 9639, 9.1. */
static guint
frame_samples (const guint8 *p, gsize n)
{
  if (n < 8 || p[0] != 0xff || (p[1] & 0xfe) != 0xf8)
    return 0;
  guint code = p[2] >> 4;
  gsize at = 5; /* behind the number, which is coded as UTF-8 is */
  for (guint8 mask = 0x40; (p[4] & 0x80) && (p[4] & mask); mask >>= 1)
    at++;
  if (at + 2 > n)
    return 0;
  switch (code) {
    case 0: return 0;
    case 1: return 192;
    case 6: return p[at] + 1u;
    case 7: return GST_READ_UINT16_BE (p + at) + 1u;
    default: return code < 6 ? 576u << (code - 2) : 256u << (code - 8);
  }
}

static void
note_flac (Header *h, GstBuffer *b)
{
  gsize size = gst_buffer_get_size (b);
  if (h->pos < INFO_END)
    gst_buffer_extract (b, 0, h->head + h->pos, MIN (size, (gsize) (INFO_END - h->pos)));
  if (GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_HEADER))
    return;
  guint8 start[16];
  h->samples += frame_samples (start, gst_buffer_extract (b, 0, start, sizeof start));
  h->smallest = h->smallest == 0 ? size : MIN (h->smallest, size);
  h->widest = MAX (h->widest, size);
}

static GstBuffer *
mend_wav (Header *h, GstBuffer *b)
{
  guint8 id[4];
  gsize size = gst_buffer_get_size (b);
  gboolean first = h->end == 0;
  if (h->pos != 0 || size < 44 || gst_buffer_extract (b, 0, id, 4) != 4 || memcmp (id, "RIFF", 4) != 0 ||
      (!first && h->end <= (gint64) G_MAXUINT32))
    return b;
  b = gst_buffer_make_writable (b);
  GstMapInfo map;
  if (gst_buffer_map (b, &map, GST_MAP_READWRITE)) {
    GST_WRITE_UINT32_LE (map.data + 4, G_MAXUINT32);
    GST_WRITE_UINT32_LE (map.data + map.size - 4, 0);
    gst_buffer_unmap (b, &map);
  }
  return b;
}

static GstBuffer *
pass (Header *h, GstBuffer *b)
{
  if (h->is_flac)
    note_flac (h, b);
  else if (h->is_wav)
    b = mend_wav (h, b);
  h->pos += (gint64) gst_buffer_get_size (b);
  h->end = MAX (h->end, h->pos);
  return b;
}

static gboolean
pass_listed (GstBuffer **b, guint i, gpointer data)
{
  *b = pass (data, *b);
  return TRUE;
}

static gboolean
can_seek (GstPad *pad)
{
  GstQuery *q = gst_query_new_seeking (GST_FORMAT_BYTES);
  gboolean yes = FALSE;
  if (gst_pad_query (pad, q))
    gst_query_parse_seeking (q, NULL, &yes, NULL, NULL);
  gst_query_unref (q);
  return yes;
}

/* Runs in the streaming thread, before the sink sees the end of the stream. */
static void
finish_flac (Header *h, GstPad *pad)
{
  if (h->samples == 0 || memcmp (h->head, "fLaC", 4) != 0 || (h->head[4] & 0x7f) != 0 || !can_seek (pad))
    return;
  GST_WRITE_UINT24_BE (h->head + 12, h->smallest);
  GST_WRITE_UINT24_BE (h->head + 15, h->widest);
  const guint64 mask = (G_GUINT64_CONSTANT (1) << 36) - 1;
  GST_WRITE_UINT64_BE (h->head + 18, (GST_READ_UINT64_BE (h->head + 18) & ~mask) | (h->samples & mask));
  GstSegment s;
  gst_segment_init (&s, GST_FORMAT_BYTES);
  gst_pad_send_event (pad, gst_event_new_segment (&s));
  GstBuffer *b = gst_buffer_new_memdup (h->head, INFO_END);
  GST_BUFFER_FLAG_SET (b, GST_BUFFER_FLAG_HEADER); /* no frame: counters leave it out */
  gst_pad_chain (pad, b);
}

static void
on_event (Header *h, GstPad *pad, GstEvent *e)
{
  if (GST_EVENT_TYPE (e) == GST_EVENT_CAPS) {
    GstCaps *caps;
    gst_event_parse_caps (e, &caps);
    const gchar *name = gst_structure_get_name (gst_caps_get_structure (caps, 0));
    h->is_flac = g_str_equal (name, "audio/x-flac");
    h->is_wav = g_str_equal (name, "audio/x-wav");
  } else if (GST_EVENT_TYPE (e) == GST_EVENT_SEGMENT) {
    const GstSegment *s;
    gst_event_parse_segment (e, &s);
    if (s->format == GST_FORMAT_BYTES)
      h->pos = (gint64) s->start;
  } else if (GST_EVENT_TYPE (e) == GST_EVENT_EOS && h->is_flac && !h->done) {
    h->done = TRUE;
    h->is_flac = FALSE; /* what is sent from here comes by again */
    finish_flac (h, pad);
  }
}

static GstPadProbeReturn
on_input (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Header *h = data;
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    info->data = pass (h, GST_PAD_PROBE_INFO_BUFFER (info));
  } else if (info->type & GST_PAD_PROBE_TYPE_BUFFER_LIST) {
    GstBufferList *l = gst_buffer_list_make_writable (GST_PAD_PROBE_INFO_BUFFER_LIST (info));
    gst_buffer_list_foreach (l, pass_listed, h);
    info->data = l;
  } else {
    on_event (h, pad, GST_PAD_PROBE_INFO_EVENT (info));
  }
  return GST_PAD_PROBE_OK;
}

void
mpipe_mend_header (GstElement *filesink)
{
  GstPad *sink = gst_element_get_static_pad (filesink, "sink");
  gst_pad_add_probe (sink, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      on_input, g_new0 (Header, 1), g_free);
  gst_object_unref (sink);
}
