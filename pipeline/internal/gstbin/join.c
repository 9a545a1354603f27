/* Keeps an element with several inputs from waiting for ever.
 *
 * A GstAggregator that is not live waits until each pad has a buffer. Where one
 * says nothing the others pile up, up to their producers. So a thread looks at the
 * pads: one that has been empty for longer than the patience, while another has
 * something, is silent. A silent pad gets a gap whenever it is waited for, until it has
 * something again. What comes late by then is counted: a picture, which may be the last
 * for long, is shown as soon as it can be, a sound is left out. Nothing of this follows
 * a clock: a gap reaches as far as the nearest of what the others have.
 *
 * A gap event is taken as a whole by the first output that it overlaps, and then the
 * pad is waited for again. So one for pictures, of which the latest stays, is only the
 * last nanosecond of the gap, which keeps the pad satisfied up to then; and sound gets
 * no event but silence.
 *
 * A pad of pictures may ask to be shown on after its end (repeat-after-eos). When
 * all pads ask for that, the aggregator goes on for ever. So the end of such a pad
 * is held back, it is passed like one that says nothing, and when all have ended and
 * are covered up to the last end, all ends are let go. */
#include "join.h"

#include <gst/audio/audio.h>
#include <gst/base/gstaggregator.h>

#define TICK (20 * G_TIME_SPAN_MILLISECOND)
#define MOST_SILENCE GST_SECOND /* in one buffer */

typedef struct {
  MpipeJoin *join;
  GstPad *pad;
  gboolean pictures;   /* else sound */
  /* Under the join's lock. */
  GstSegment segment;
  gboolean streaming;  /* a segment came */
  gboolean eos;        /* the end came */
  gboolean held;       /* and was kept from the aggregator */
  gboolean silent;     /* it was empty for longer than the patience */
  gboolean ours;       /* what comes now is silence from here */
  gboolean resumes;    /* what comes next is the first behind a gap */
  GstClockTime end;    /* running time up to which it has something */
  GstClockTime passed; /* up to which gaps were put in */
  gint64 empty;        /* monotonic us since which it is waited for; 0 when it is not */
  MpipeJoinStats stats;
} Input;

struct MpipeJoin {
  GMutex lock;
  GCond cond;
  GThread *thread;
  gint64 patience; /* us; 0 waits for ever */
  gboolean ends;
  gboolean passing; /* some input is passed: what comes to another is acted on at once */
  int n;
  Input *inputs;
};

static GstClockTime
running_end (Input *in, GstBuffer *b)
{
  if (in->segment.format != GST_FORMAT_TIME || !GST_BUFFER_PTS_IS_VALID (b))
    return in->end;
  GstClockTime end = GST_BUFFER_PTS (b);
  if (GST_BUFFER_DURATION_IS_VALID (b))
    end += GST_BUFFER_DURATION (b);
  end = gst_segment_to_running_time (&in->segment, GST_FORMAT_TIME, end);
  return GST_CLOCK_TIME_IS_VALID (end) ? end : in->end;
}

/* Moves a picture to the last nanosecond before a running time. */
static GstBuffer *
stamp_at (Input *in, GstBuffer *b, GstClockTime end)
{
  b = gst_buffer_make_writable (b); /* the same memory */
  GST_BUFFER_PTS (b) = gst_segment_position_from_running_time (&in->segment, GST_FORMAT_TIME, end - 1);
  GST_BUFFER_DURATION (b) = 1;
  return b;
}

static gboolean
shown_on (Input *in)
{
  gboolean yes = FALSE;
  if (in->pictures)
    g_object_get (in->pad, "repeat-after-eos", &yes, NULL);
  return yes;
}

static GstPadProbeReturn
on_data (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Input *in = data;
  MpipeJoin *j = in->join;
  GstPadProbeReturn ret = GST_PAD_PROBE_OK;
  g_mutex_lock (&j->lock);
  if (in->ours) {
    /* neither a frame nor an end of being silent */
  } else if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    GstClockTime end = running_end (in, GST_PAD_PROBE_INFO_BUFFER (info));
    if (end <= in->passed && GST_BUFFER_FLAG_IS_SET (GST_PAD_PROBE_INFO_BUFFER (info), GST_BUFFER_FLAG_GAP)) {
      /* A source's own filling, seconds late: the input still says nothing. */
      g_mutex_unlock (&j->lock);
      return GST_PAD_PROBE_DROP;
    }
    in->stats.frames++;
    if (in->passed > 0 && end <= in->passed) { /* without a duration the very first may end at 0 */
      in->stats.late++;
      if (in->pictures)
        info->data = stamp_at (in, GST_PAD_PROBE_INFO_BUFFER (info), in->passed);
      else
        ret = GST_PAD_PROBE_DROP;
    } else if (in->resumes) {
      /* An aggregator of sound puts what is nearly there right behind what was. */
      GstBuffer *b = gst_buffer_make_writable (GST_PAD_PROBE_INFO_BUFFER (info));
      GST_BUFFER_FLAG_SET (b, GST_BUFFER_FLAG_DISCONT);
      info->data = b;
      in->resumes = FALSE;
    }
    in->end = MAX (in->end, end);
    in->empty = 0;
    in->silent = FALSE; /* one that is late is waited for, or it would be for ever */
    if (j->passing)
      g_cond_signal (&j->cond);
  } else {
    GstEvent *e = GST_PAD_PROBE_INFO_EVENT (info);
    if (GST_EVENT_TYPE (e) == GST_EVENT_SEGMENT) {
      gst_event_copy_segment (e, &in->segment);
      in->streaming = TRUE;
    } else if (GST_EVENT_TYPE (e) == GST_EVENT_EOS && !in->eos) { /* else it is ours */
      in->eos = TRUE;
      in->held = shown_on (in);
      g_cond_signal (&j->cond);
      if (in->held)
        ret = GST_PAD_PROBE_DROP;
    }
  }
  g_mutex_unlock (&j->lock);
  return ret;
}

static gboolean
has_buffer (Input *in)
{
  return gst_aggregator_pad_has_buffer (GST_AGGREGATOR_PAD (in->pad));
}

/* What the other pads are doing while one has nothing. */
typedef struct {
  gboolean wait;    /* some have something */
  gboolean all;     /* and so has each that is not silent itself */
  GstClockTime end; /* the nearest beyond what the pad itself has; that, when none reaches further */
} Others;

static Others
others_of (Input *in)
{
  GstClockTime own = MAX (in->end, in->passed);
  Others o = { .all = TRUE, .end = GST_CLOCK_TIME_NONE };
  for (int i = 0; i < in->join->n; i++) {
    Input *other = &in->join->inputs[i];
    if (other == in)
      continue;
    if (!has_buffer (other)) {
      o.all = o.all && (other->eos || other->silent);
      continue;
    }
    o.wait = TRUE;
    if (other->end > own)
      o.end = MIN (o.end, other->end);
  }
  if (!GST_CLOCK_TIME_IS_VALID (o.end))
    o.end = own;
  return o;
}

/* A pad that nothing came to yet has not been told of a stream. What comes later
 * replaces this. Sound needs its format for silence, and only one is possible; of
 * pictures any will do, since there is none. */
static void
begin (Input *in)
{
  gchar *id = g_strdup_printf ("mpipe-%s", GST_OBJECT_NAME (in->pad));
  gst_pad_send_event (in->pad, gst_event_new_stream_start (id));
  g_free (id);
  if (!gst_pad_has_current_caps (in->pad)) {
    GstCaps *caps = in->pictures ? gst_caps_from_string ("video/x-raw,format=I420,width=16,height=16,framerate=0/1") :
        gst_pad_peer_query_caps (in->pad, NULL);
    if (gst_caps_is_fixed (caps))
      gst_pad_send_event (in->pad, gst_event_new_caps (caps));
    gst_caps_unref (caps);
  }
  GstSegment s;
  gst_segment_init (&s, GST_FORMAT_TIME);
  gst_pad_send_event (in->pad, gst_event_new_segment (&s));
}

/* The latest picture stays up to a running time. */
static void
stay (Input *in, GstClockTime to)
{
  GstEvent *gap = gst_event_new_gap (gst_segment_position_from_running_time (&in->segment, GST_FORMAT_TIME, to - 1), 1);
  gst_event_set_gap_flags (gap, GST_GAP_FLAG_MISSING_DATA);
  gst_pad_send_event (in->pad, gap);
}

static void
be_silent (Input *in, GstClockTime from, GstClockTime to)
{
  GstAudioInfo info;
  GstCaps *caps = gst_pad_get_current_caps (in->pad);
  gboolean known = caps && gst_audio_info_from_caps (&info, caps);
  gst_clear_caps (&caps);
  guint64 n = known ? gst_util_uint64_scale_round (to - from, GST_AUDIO_INFO_RATE (&info), GST_SECOND) : 0;
  if (n == 0)
    return;
  GstBuffer *b = gst_buffer_new_allocate (NULL, n * GST_AUDIO_INFO_BPF (&info), NULL);
  GstMapInfo map;
  gst_buffer_map (b, &map, GST_MAP_WRITE);
  gst_audio_format_info_fill_silence (info.finfo, map.data, map.size);
  gst_buffer_unmap (b, &map);
  GST_BUFFER_PTS (b) = gst_segment_position_from_running_time (&in->segment, GST_FORMAT_TIME, from);
  GST_BUFFER_DURATION (b) = to - from;
  in->ours = TRUE; /* the stream's lock is held: nothing else comes */
  gst_pad_chain (in->pad, b);
  in->ours = FALSE;
}

/* Passes the time up to to without a frame. The stream's lock is only tried: its
 * thread may wait in the aggregator for another pad, which waits for this one. The
 * pad is empty, so that nothing here waits either. */
static void
pass (Input *in, GstClockTime to)
{
  MpipeJoin *j = in->join;
  g_mutex_unlock (&j->lock);
  if (!GST_PAD_STREAM_TRYLOCK (in->pad)) {
    g_mutex_lock (&j->lock);
    return;
  }
  g_mutex_lock (&j->lock);
  GstClockTime from = MAX (in->end, in->passed);
  if (!in->pictures)
    to = MIN (to, from + MOST_SILENCE);
  if (!j->ends && (!in->eos || in->held) && to > 0 && (in->pictures || to > from) && !has_buffer (in)) {
    gboolean fresh = !in->streaming;
    if (to > from && !in->eos)
      in->stats.missing += (int64_t) (to - from);
    in->passed = MAX (in->passed, to);
    in->resumes = TRUE;
    g_mutex_unlock (&j->lock);
    if (fresh)
      begin (in); /* the probe sees the segment */
    if (in->pictures)
      stay (in, to);
    else
      be_silent (in, from, to);
    g_mutex_lock (&j->lock);
  }
  g_mutex_unlock (&j->lock);
  GST_PAD_STREAM_UNLOCK (in->pad);
  g_mutex_lock (&j->lock);
}

/* Whether others wait for the pad and have done so for long enough. */
static gboolean
is_missed (Input *in, gboolean waited_for)
{
  if (!waited_for || has_buffer (in) || (in->eos && !in->held)) {
    in->empty = 0;
    return FALSE;
  }
  if (in->held || in->silent)
    return TRUE;
  gint64 now = g_get_monotonic_time ();
  if (in->empty == 0)
    in->empty = now;
  in->silent = in->join->patience > 0 && now - in->empty >= in->join->patience;
  return in->silent;
}

static void
let_go (Input *in)
{
  if (!in->held)
    return;
  in->held = FALSE;
  g_object_set (in->pad, "repeat-after-eos", FALSE, NULL);
  g_mutex_unlock (&in->join->lock);
  gst_pad_send_event (in->pad, gst_event_new_eos ());
  g_mutex_lock (&in->join->lock);
}

/* When all pads have ended: covers those that are held up to the last end, and lets
 * all go. FALSE: some have not ended. */
static gboolean
finish (MpipeJoin *j)
{
  GstClockTime to = 0;
  gboolean covered = TRUE;
  for (int i = 0; i < j->n; i++) {
    if (!j->inputs[i].eos)
      return FALSE;
    to = MAX (to, j->inputs[i].end);
  }
  for (int i = 0; i < j->n; i++) {
    Input *in = &j->inputs[i];
    if (in->held && MAX (in->end, in->passed) < to && !has_buffer (in))
      pass (in, to);
    covered = covered && (!in->held || MAX (in->end, in->passed) >= to);
  }
  for (int i = 0; i < j->n; i++) {
    Input *in = &j->inputs[i];
    if (covered)
      let_go (in);
    else if (in->held && MAX (in->end, in->passed) >= to && !has_buffer (in))
      pass (in, to); /* once more: what another has is taken only beside something from this */
  }
  return TRUE;
}

static gpointer
watch (gpointer data)
{
  MpipeJoin *j = data;
  g_mutex_lock (&j->lock);
  while (!j->ends) {
    g_cond_wait_until (&j->cond, &j->lock, g_get_monotonic_time () + TICK);
    if (finish (j))
      continue;
    j->passing = FALSE;
    for (int i = 0; i < j->n && !j->ends; i++) {
      Input *in = &j->inputs[i];
      Others o = others_of (in);
      if (is_missed (in, o.wait) && o.all)
        pass (in, o.end);
      j->passing = j->passing || in->silent || in->held;
    }
  }
  g_mutex_unlock (&j->lock);
  return NULL;
}

MpipeJoin *
mpipe_join_new (GstElement *agg, int64_t patience)
{
  if (!GST_IS_AGGREGATOR (agg))
    return NULL;
  MpipeJoin *j = g_new0 (MpipeJoin, 1);
  g_mutex_init (&j->lock);
  g_cond_init (&j->cond);
  j->patience = patience / 1000;
  j->inputs = g_new0 (Input, agg->numsinkpads);
  for (GList *l = agg->sinkpads; l; l = l->next) {
    Input *in = &j->inputs[j->n++];
    in->join = j;
    in->pad = gst_object_ref (l->data);
    in->pictures = g_object_class_find_property (G_OBJECT_GET_CLASS (in->pad), "repeat-after-eos") != NULL;
    gst_segment_init (&in->segment, GST_FORMAT_UNDEFINED);
    gst_pad_add_probe (in->pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_data, in, NULL);
  }
  j->thread = g_thread_new ("join", watch, j);
  return j;
}

void
mpipe_join_free (MpipeJoin *j)
{
  g_mutex_lock (&j->lock);
  j->ends = TRUE;
  g_cond_signal (&j->cond);
  g_mutex_unlock (&j->lock);
  g_thread_join (j->thread);
  for (int i = 0; i < j->n; i++)
    gst_object_unref (j->inputs[i].pad);
  g_free (j->inputs);
  g_mutex_clear (&j->lock);
  g_cond_clear (&j->cond);
  g_free (j);
}

int
mpipe_join_stats (MpipeJoin *j, const char *pad, MpipeJoinStats *out)
{
  for (int i = 0; i < j->n; i++) {
    if (g_strcmp0 (GST_OBJECT_NAME (j->inputs[i].pad), pad) != 0)
      continue;
    g_mutex_lock (&j->lock);
    *out = j->inputs[i].stats;
    g_mutex_unlock (&j->lock);
    return 1;
  }
  return 0;
}
