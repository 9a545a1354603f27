/* Mends what mp4mux 1.22 writes.
 *
 * Its fragments with fragment-mode=first-moov-then-finalise, so that a killed
 * recording plays. The muxer first writes sample sizes and durations as defaults of the track
 * fragment (tfhd) and withdraws a default when a sample differs. A run (trun)
 * that is begun after that and holds one sample equal to the withdrawn default
 * is then written without the value: players refuse the whole file. Constant
 * bit rate Opus does it in every fragment. (atoms.c, atom_traf_add_samples.)
 *
 * The mend keeps every size: in the tfhd the 8 bytes of base-data-offset make
 * room for the missing defaults, with default-base-is-moof (ISO/IEC 14496-12,
 * 8.8.7) and the runs' offsets counted from there instead.
 *
 * And the description of Opus: the muxer writes the numbers of the dOps box with
 * the wrong end first (they are big-endian: "Encapsulation of Opus in ISO Base
 * Media File Format", 4.3.2). Players then skip the first 0.3 s of sound and
 * shift the rest.
 *
 * And the end: the muxer hides the first moov and the fragments before it writes
 * the last moov. A file cut in between has none. The hiding is held back until the
 * last moov has been passed on. docs/decisions/0002 has the account of all. */
#include "shim.h"

#include <string.h>

enum {
  TFHD_BASE_OFFSET = 0x1, TFHD_DESCRIPTION = 0x2, TFHD_DURATION = 0x8, TFHD_SIZE = 0x10, TFHD_FLAGS = 0x20,
  TFHD_BASE_IS_MOOF = 0x20000,
  TRUN_OFFSET = 0x1, TRUN_FIRST_FLAGS = 0x4, TRUN_DURATION = 0x100, TRUN_SIZE = 0x200
};

#define MAX_RUNS 4096

typedef struct {
  guint8 *at; /* of the box */
  guint32 size;
} Box;

/* The box at p, if it is whole. */
static gboolean
box_at (guint8 *p, const guint8 *end, const char *type, Box *b)
{
  if (end - p < 8)
    return FALSE;
  b->at = p;
  b->size = GST_READ_UINT32_BE (p);
  return b->size >= 8 && b->size <= (gsize) (end - p) && (!type || memcmp (p + 4, type, 4) == 0);
}

static guint32
full_flags (Box b)
{
  return GST_READ_UINT32_BE (b.at + 8) & 0xffffff;
}

static void
mend_traf (guint8 *p, const guint8 *end, gint64 moof)
{
  static __thread Box runs[MAX_RUNS];
  int n = 0;
  Box head = { 0 }, b;
  for (; box_at (p, end, NULL, &b); p += b.size) {
    if (memcmp (p + 4, "tfhd", 4) == 0 && b.size >= 24)
      head = b;
    else if (memcmp (p + 4, "trun", 4) == 0 && b.size >= 20 && n < MAX_RUNS)
      runs[n++] = b;
  }
  if (!head.at || n == 0)
    return;
  guint32 flags = full_flags (head), all = TRUN_SIZE | TRUN_DURATION;
  for (int i = 0; i < n; i++)
    all &= full_flags (runs[i]);
  gboolean broken = !(flags & TFHD_SIZE) && !(all & TRUN_SIZE);
  /* What follows is laid out as the muxer does it, or left alone. */
  if (!broken || (flags & ~TFHD_DURATION) != (TFHD_BASE_OFFSET | TFHD_FLAGS))
    return;
  guint32 first = full_flags (runs[0]);
  guint32 before = 20 + ((first & TRUN_FIRST_FLAGS) ? 4 : 0); /* the first sample's entry */
  guint32 need = before + ((first & TRUN_DURATION) ? 4 : 0) + 4;
  if (!(first & TRUN_OFFSET) || !(first & TRUN_SIZE) || runs[0].size < need)
    return;

  gint64 base = (gint64) GST_READ_UINT64_BE (head.at + 16);
  guint8 *q = head.at + 24; /* what is present, in the order of the standard */
  guint32 duration = 0;
  gboolean had_duration = (flags & TFHD_DURATION) != 0;
  if (had_duration) {
    duration = GST_READ_UINT32_BE (q);
    q += 4;
  }
  guint32 sample_flags = GST_READ_UINT32_BE (q);
  guint8 *entry = runs[0].at + before;
  if (first & TRUN_DURATION) {
    duration = GST_READ_UINT32_BE (entry);
    entry += 4;
  }
  guint32 size = GST_READ_UINT32_BE (entry);

  guint32 mended = TFHD_BASE_IS_MOOF | TFHD_DURATION | TFHD_SIZE | TFHD_FLAGS;
  q = head.at + 16;
  if (had_duration) { /* four bytes more than needed: say the description, which is the first */
    mended |= TFHD_DESCRIPTION;
    GST_WRITE_UINT32_BE (q, 1);
    q += 4;
  }
  GST_WRITE_UINT32_BE (head.at + 8, mended);
  GST_WRITE_UINT32_BE (q, duration);
  GST_WRITE_UINT32_BE (q + 4, size);
  GST_WRITE_UINT32_BE (q + 8, sample_flags);
  for (int i = 0; i < n; i++) {
    gint32 offset = (gint32) GST_READ_UINT32_BE (runs[i].at + 16);
    GST_WRITE_UINT32_BE (runs[i].at + 16, (guint32) (offset + (gint32) (base - moof)));
  }
}

/* data is a whole moof box that begins at file offset pos. */
static void
mend_moof (guint8 *data, gsize size, gint64 pos)
{
  const guint8 *end = data + size;
  Box b;
  for (guint8 *p = data + 8; box_at (p, end, NULL, &b); p += b.size)
    if (memcmp (p + 4, "traf", 4) == 0)
      mend_traf (p + 8, p + b.size, pos);
}

static gboolean
opus_rate (guint32 rate)
{
  return rate == 8000 || rate == 12000 || rate == 16000 || rate == 24000 || rate == 44100 || rate == 48000;
}

static void
swap16 (guint8 *p)
{
  GST_WRITE_UINT16_BE (p, GST_READ_UINT16_LE (p));
}

/* A dOps box: size, type, version 0, channels, pre-skip (16 bits), rate (32),
 * gain (16), mapping family. Its rate tells which end is first; a muxer that has
 * been corrected is left alone. */
static void
mend_dops (Box b)
{
  if (b.size < 19 || b.at[8] != 0 || opus_rate (GST_READ_UINT32_BE (b.at + 12)) || !opus_rate (GST_READ_UINT32_LE (b.at + 12)))
    return;
  swap16 (b.at + 10);
  GST_WRITE_UINT32_BE (b.at + 12, GST_READ_UINT32_LE (b.at + 12));
  swap16 (b.at + 16);
}

/* Descends to the sample descriptions of a moov. An Opus entry has 36 bytes
 * before its boxes: an audio sample entry's. */
static void
mend_descriptions (guint8 *p, const guint8 *end)
{
  static const char *inner[] = { "trak", "mdia", "minf", "stbl" };
  Box b;
  for (; box_at (p, end, NULL, &b); p += b.size) {
    for (gsize i = 0; i < G_N_ELEMENTS (inner); i++)
      if (memcmp (p + 4, inner[i], 4) == 0)
        mend_descriptions (p + 8, p + b.size);
    if (memcmp (p + 4, "stsd", 4) == 0 && b.size > 16)
      mend_descriptions (p + 16, p + b.size);
    else if (memcmp (p + 4, "Opus", 4) == 0 && b.size > 36)
      mend_descriptions (p + 36, p + b.size);
    else if (memcmp (p + 4, "dOps", 4) == 0)
      mend_dops (b);
  }
}

/* Whether the buffer is one whole box of the type, beginning with the other. */
static gboolean
is_box (GstBuffer *b, const char *type, const char *first)
{
  guint8 head[16];
  return gst_buffer_extract (b, 0, head, 16) == 16 && memcmp (head + 4, type, 4) == 0 && memcmp (head + 12, first, 4) == 0 &&
      GST_READ_UINT32_BE (head) == gst_buffer_get_size (b);
}

typedef struct {
  GstBuffer *buffer;
  gint64 at; /* its file offset */
} Held;

typedef struct {
  gint64 pos, end; /* file offsets of the next byte, of the byte after the last */
  Held held[2];    /* what hides the first moov: its new type's letter, the mdat's new header */
  guint n;
  gboolean releasing;
} Output;

static void
output_free (gpointer data)
{
  Output *o = data;
  for (guint i = 0; i < o->n; i++)
    gst_buffer_unref (o->held[i].buffer);
  g_free (o);
}

static GstBuffer *
mend (GstBuffer *b, gint64 at)
{
  gboolean moof = is_box (b, "moof", "mfhd");
  if (!moof && !is_box (b, "moov", "mvhd"))
    return b;
  b = gst_buffer_make_writable (b);
  GstMapInfo map;
  if (gst_buffer_map (b, &map, GST_MAP_READWRITE)) {
    if (moof)
      mend_moof (map.data, map.size, at);
    else
      mend_descriptions (map.data + 8, map.data + map.size);
    gst_buffer_unmap (b, &map);
  }
  return b;
}

static GstBuffer *
pass (GstBuffer *b, Output *o)
{
  gint64 at = o->pos;
  o->pos += (gint64) gst_buffer_get_size (b);
  o->end = MAX (o->end, o->pos);
  return mend (b, at);
}

static gboolean
pass_listed (GstBuffer **b, guint i, gpointer output)
{
  *b = pass (*b, output);
  return TRUE;
}

/* Whether the buffer belongs to the hiding, which begins with one byte that goes
 * back into the file and ends before the last moov. */
static gboolean
hides (GstBuffer *b, Output *o)
{
  return o->pos < o->end && o->n < G_N_ELEMENTS (o->held) && (o->n > 0 || gst_buffer_get_size (b) == 1);
}

static gboolean
seek (GstPad *pad, gint64 to)
{
  GstSegment s;
  gst_segment_init (&s, GST_FORMAT_BYTES);
  s.start = (guint64) to;
  return gst_pad_push_event (pad, gst_event_new_segment (&s));
}

/* Pushes the last moov, then what was held, and leaves the position at the end. The
 * mdat's header goes first: it covers all that is hidden in one write. */
static GstFlowReturn
release (GstPad *pad, GstBuffer *moov, Output *o)
{
  o->releasing = TRUE;
  GstFlowReturn ret = gst_pad_push (pad, moov);
  while (o->n > 0) {
    Held h = o->held[--o->n];
    if (ret == GST_FLOW_OK && seek (pad, h.at))
      ret = gst_pad_push (pad, h.buffer);
    else
      gst_buffer_unref (h.buffer);
  }
  if (ret == GST_FLOW_OK)
    seek (pad, o->end);
  o->releasing = FALSE;
  return ret;
}

static GstPadProbeReturn
on_output (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Output *o = data;
  if (o->releasing)
    return GST_PAD_PROBE_OK;
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    GstBuffer *b = GST_PAD_PROBE_INFO_BUFFER (info);
    if (hides (b, o)) {
      o->held[o->n++] = (Held) { b, o->pos };
      o->pos += (gint64) gst_buffer_get_size (b);
      return GST_PAD_PROBE_HANDLED;
    }
    info->data = b = pass (b, o);
    if (o->n > 0) {
      GST_PAD_PROBE_INFO_FLOW_RETURN (info) = release (pad, b, o);
      return GST_PAD_PROBE_HANDLED;
    }
  } else if (info->type & GST_PAD_PROBE_TYPE_BUFFER_LIST) {
    GstBufferList *l = gst_buffer_list_make_writable (GST_PAD_PROBE_INFO_BUFFER_LIST (info));
    gst_buffer_list_foreach (l, pass_listed, o);
    info->data = l;
  } else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_SEGMENT) {
    const GstSegment *s;
    gst_event_parse_segment (GST_PAD_PROBE_INFO_EVENT (info), &s);
    if (s->format == GST_FORMAT_BYTES)
      o->pos = (gint64) s->start;
  }
  return GST_PAD_PROBE_OK;
}

void
mpipe_mend_mp4 (GstElement *mux)
{
  GstPad *src = gst_element_get_static_pad (mux, "src");
  gst_pad_add_probe (src, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      on_output, g_new0 (Output, 1), output_free);
  gst_object_unref (src);
}
