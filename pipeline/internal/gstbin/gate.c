/* A gate is where an output begins. The encoders run in one pipeline, each
 * output in a pipeline of its own; the gate takes frames out of the first
 * (appsink), holds them in one bounded queue a stream, and puts them into the
 * second (appsrc), by reference. So an output can fail, hang, be torn down and
 * be made anew, and all that the encoders notice is what its policy says: they
 * wait, or frames are left out and counted.
 *
 * While no output is attached a gate that may drop keeps what an output that
 * comes now would want: everything from the latest key frame on. A new output
 * begins there. The first output is waited for with all there is, as long as it
 * fits: to take a while is no failure.
 *
 * Lock order: the gate's lock before an appsrc's. Callbacks of GStreamer come
 * without locks held. */
#include "gate.h"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>

#define MAX_LANES 16

/* How many frames wait in an appsrc: one to work on and one to follow. The rest
 * stays here, where it survives the output. */
#define IN_SRC 2

typedef struct {
  MpipeGate *gate;
  GstAppSink *sink;
  GstAppSrc *src; /* NULL while detached */
  gboolean video;
  int when_full;
  gint64 max_time, max_bytes;
  guint max_frames;
  GQueue queue;         /* of GstSample */
  gint64 bytes;         /* in queue */
  gboolean waiting_key; /* dropping up to the next key frame */
  gboolean eos_in, eos_out;
  gint64 frames, dropped, gops;
} Lane;

struct MpipeGate {
  GMutex lock;
  GCond room;
  Lane lanes[MAX_LANES];
  int n;
  gboolean attached, rebase, ended, shut;
  gboolean used; /* an output was attached before */
  gboolean begun; /* the attached output has its first frame */
  gint64 began;   /* running time of that; -1 before */
  gint64 span;    /* how long the output may be; -1 for ever */
  gint64 cut;     /* running time at which the next output's first frame of the lead is decoded; -1 unknown */
  gint64 cut_shown; /* and is shown: there the other lanes are cut */
  gboolean by_format; /* it is also cut where the lead's caps change */
  GstCaps *form;      /* of the lead in the attached output; NULL before its first frame */
  gint64 arrived;     /* running time of the latest frame of the lead that came */
};

static GstBuffer *
buffer_of (gpointer sample)
{
  return gst_sample_get_buffer (sample);
}

static gboolean
is_key (gpointer sample)
{
  return !GST_BUFFER_FLAG_IS_SET (buffer_of (sample), GST_BUFFER_FLAG_DELTA_UNIT);
}

static gint64
running (gpointer sample, GstClockTime t)
{
  guint64 at = 0;
  if (!GST_CLOCK_TIME_IS_VALID (t))
    return 0;
  int sign = gst_segment_to_running_time_full (gst_sample_get_segment (sample), GST_FORMAT_TIME, t, &at);
  return sign < 0 ? -(gint64) at : (gint64) at;
}

/* Running time at which a frame is decoded, in ns; negative before zero. */
static gint64
time_of (gpointer sample)
{
  return running (sample, GST_BUFFER_DTS_OR_PTS (buffer_of (sample)));
}

/* The same of when it is shown; with B frames that is later. */
static gint64
shown_at (gpointer sample)
{
  GstBuffer *b = buffer_of (sample);
  return running (sample, GST_BUFFER_PTS_IS_VALID (b) ? GST_BUFFER_PTS (b) : GST_BUFFER_DTS (b));
}

static gint64
waiting_time (Lane *l)
{
  if (g_queue_is_empty (&l->queue))
    return 0;
  return MAX (0, time_of (g_queue_peek_tail (&l->queue)) - time_of (g_queue_peek_head (&l->queue)));
}

static gboolean
is_full (Lane *l)
{
  if (g_queue_is_empty (&l->queue))
    return FALSE;
  return (l->max_bytes > 0 && l->bytes >= l->max_bytes) || (l->max_time > 0 && waiting_time (l) >= l->max_time) ||
      (l->max_frames > 0 && g_queue_get_length (&l->queue) >= l->max_frames);
}

static GstSample *
take (Lane *l)
{
  GstSample *s = g_queue_pop_head (&l->queue);
  if (s)
    l->bytes -= (gint64) gst_buffer_get_size (buffer_of (s));
  return s;
}

static void
drop_head (Lane *l)
{
  GstSample *s = take (l);
  if (!s)
    return;
  l->dropped++;
  gst_sample_unref (s);
}

static void
clear (Lane *l)
{
  while (!g_queue_is_empty (&l->queue))
    drop_head (l);
}

static Lane *
first_video (MpipeGate *g)
{
  for (int i = 0; i < g->n; i++)
    if (g->lanes[i].video)
      return &g->lanes[i];
  return NULL;
}

static gboolean
may_drop (Lane *l)
{
  return l->when_full != MPIPE_GATE_BLOCK;
}

/* Forgets what lies before t in all lanes: no output will begin earlier. */
static void
forget_before (MpipeGate *g, gint64 t)
{
  for (int i = 0; i < g->n; i++) {
    Lane *l = &g->lanes[i];
    while (!g_queue_is_empty (&l->queue) && time_of (g_queue_peek_head (&l->queue)) < t)
      drop_head (l);
  }
}

static Lane *
lead (MpipeGate *g)
{
  Lane *v = first_video (g);
  return v ? v : &g->lanes[0];
}

/* Whether a frame of the lead has another form than the output's: in anything
 * but its rate, which every container can follow. */
static gboolean
is_other_form (MpipeGate *g, gpointer sample)
{
  GstCaps *caps = gst_sample_get_caps (sample);
  if (!g->by_format || !g->form || !caps || caps == g->form)
    return FALSE;
  GstCaps *a = gst_caps_copy (caps), *b = gst_caps_copy (g->form);
  gst_structure_remove_field (gst_caps_get_structure (a, 0), "framerate");
  gst_structure_remove_field (gst_caps_get_structure (b, 0), "framerate");
  gboolean other = !gst_caps_is_equal (a, b);
  gst_caps_unref (a);
  gst_caps_unref (b);
  if (!other) /* the next comparison is one of pointers */
    gst_caps_replace (&g->form, caps);
  return other;
}

/* Finds where the next output begins: at a key frame of the lead that is late
 * enough, or at one of another form. It may wait in the queue behind others. */
static void
find_cut (MpipeGate *g)
{
  if ((g->span < 0 && !g->by_format) || g->cut >= 0 || g->began < 0)
    return;
  for (GList *i = lead (g)->queue.head; i; i = i->next) {
    gint64 at = shown_at (i->data);
    gboolean late = g->span >= 0 && is_key (i->data) && at > g->began && at >= g->began + g->span;
    if (late || is_other_form (g, i->data)) {
      g->cut = MAX (time_of (i->data), 0);
      g->cut_shown = at;
      return;
    }
  }
}

/* Whether the head of a lane is not for the present output: it lies behind the
 * cut, or it may once the cut is known. The last is not waited for when the lead's
 * queue is full: then its key frames are too far apart. */
static gboolean
is_behind (MpipeGate *g, Lane *l, gboolean *over)
{
  gint64 t = time_of (g_queue_peek_head (&l->queue));
  *over = g->cut >= 0 && t >= (l == lead (g) ? g->cut : g->cut_shown);
  if (*over || g->cut >= 0 || l == lead (g) || g->began < 0)
    return *over;
  /* Nobody knows when a form changes: nothing goes ahead of the lead. */
  gboolean ahead = (g->span >= 0 && t >= g->began + g->span) || (g->by_format && t >= g->arrived);
  return ahead && !is_full (lead (g)) && !lead (g)->eos_in;
}

/* Whether a frame that came may be queued, by the policy of a lane that drops. */
static gboolean
admit (Lane *l, GstSample *s)
{
  if (l->when_full == MPIPE_GATE_DROP_OLDEST) {
    while (is_full (l))
      drop_head (l);
    return TRUE;
  }
  if (l->when_full == MPIPE_GATE_DROP_NEWEST || !l->video) {
    gboolean full = is_full (l);
    l->gops += full && !l->waiting_key;
    l->waiting_key = full; /* only to count each beginning once */
    return !full;
  }
  if (is_full (l)) {
    l->gops += !l->waiting_key;
    l->waiting_key = TRUE;
  } else if (is_key (s)) {
    l->waiting_key = FALSE;
  }
  return !l->waiting_key;
}

/* Finds where a new output begins. The first output begins with the stream,
 * every later one at a key frame of its video. */
static gboolean
begin (MpipeGate *g)
{
  Lane *v = first_video (g), *first = lead (g);
  if (v && g->rebase)
    while (!g_queue_is_empty (&v->queue) && !is_key (g_queue_peek_head (&v->queue)))
      drop_head (v);
  if (!g->rebase && g->span < 0 && !g->by_format) {
    g->begun = TRUE;
    return TRUE;
  }
  if (g_queue_is_empty (&first->queue)) {
    g->begun = first->eos_in; /* nothing will begin it */
    return g->begun;
  }
  gint64 t = shown_at (g_queue_peek_head (&first->queue));
  g->began = t;
  g->begun = TRUE;
  gst_caps_replace (&g->form, gst_sample_get_caps (g_queue_peek_head (&first->queue)));
  if (!g->rebase)
    return TRUE;
  for (int i = 0; i < g->n; i++) {
    Lane *l = &g->lanes[i];
    while (l != first && !g_queue_is_empty (&l->queue) && shown_at (g_queue_peek_head (&l->queue)) < t)
      drop_head (l);
    GstPad *pad = gst_element_get_static_pad (GST_ELEMENT (g->lanes[i].src), "src");
    gst_pad_set_offset (pad, -t);
    gst_object_unref (pad);
  }
  return TRUE;
}

static void
end_lane (Lane *l)
{
  if (l->eos_out)
    return;
  l->eos_out = TRUE;
  gst_app_src_end_of_stream (l->src);
}

static void
pump_lane (Lane *l)
{
  gboolean over = FALSE;
  while (!l->eos_out && !g_queue_is_empty (&l->queue) && gst_app_src_get_current_level_buffers (l->src) < IN_SRC) {
    if (is_behind (l->gate, l, &over)) {
      if (over)
        end_lane (l);
      return;
    }
    GstSample *s = take (l);
    gst_app_src_push_sample (l->src, s); /* one that is stopping says so on its bus */
    gst_sample_unref (s);
    g_cond_broadcast (&l->gate->room);
  }
  if (g_queue_is_empty (&l->queue) && l->eos_in)
    end_lane (l);
}

static void
pump (MpipeGate *g)
{
  if (!g->attached || (!g->begun && !begin (g)))
    return;
  find_cut (g);
  for (int i = 0; i < g->n; i++)
    pump_lane (&g->lanes[i]);
}

static GstFlowReturn
on_new_sample (GstAppSink *sink, gpointer data)
{
  Lane *l = data;
  MpipeGate *g = l->gate;
  GstSample *s = gst_app_sink_try_pull_sample (sink, 0);
  if (!s)
    return GST_FLOW_OK;
  g_mutex_lock (&g->lock);
  /* Codecs of sound send their headers in the stream; muxers take them from the
   * caps. They are passed on but are no frames. */
  l->frames++;
  if (l == lead (g))
    g->arrived = time_of (s);
  if (!g->attached && may_drop (l) && (l->video ? is_key (s) && (g->used || is_full (l)) : !first_video (g) && is_full (l)))
    forget_before (g, l->video ? time_of (s) : time_of (g_queue_peek_head (&l->queue)) + 1);
  while (!g->shut && !g->ended && !may_drop (l) && is_full (l))
    g_cond_wait (&g->room, &g->lock);
  if (g->shut || g->ended || (may_drop (l) && !admit (l, s))) {
    l->dropped++;
    gst_sample_unref (s);
  } else {
    g_queue_push_tail (&l->queue, s);
    l->bytes += (gint64) gst_buffer_get_size (buffer_of (s));
  }
  pump (g);
  g_mutex_unlock (&g->lock);
  return GST_FLOW_OK;
}

static void
on_eos (GstAppSink *sink, gpointer data)
{
  Lane *l = data;
  g_mutex_lock (&l->gate->lock);
  l->eos_in = TRUE;
  pump (l->gate);
  g_mutex_unlock (&l->gate->lock);
}

static void
on_need_data (GstAppSrc *src, guint length, gpointer data)
{
  Lane *l = data;
  g_mutex_lock (&l->gate->lock);
  if (l->src == src)
    pump (l->gate);
  g_mutex_unlock (&l->gate->lock);
}

MpipeGate *
mpipe_gate_new (void)
{
  MpipeGate *g = g_new0 (MpipeGate, 1);
  g_mutex_init (&g->lock);
  g_cond_init (&g->room);
  g->span = g->cut = g->began = g->arrived = -1;
  return g;
}

int
mpipe_gate_lane (MpipeGate *g, GstElement *appsink, int video, int when_full, int64_t max_time, int64_t max_bytes, int max_frames)
{
  if (g->n == MAX_LANES)
    return -1;
  Lane *l = &g->lanes[g->n];
  l->gate = g;
  l->sink = GST_APP_SINK (gst_object_ref (appsink));
  l->video = video != 0;
  l->when_full = when_full;
  l->max_time = max_time;
  l->max_bytes = max_bytes;
  l->max_frames = (guint) max_frames;
  g_queue_init (&l->queue);
  g_object_set (appsink, "sync", FALSE, "async", FALSE, "enable-last-sample", FALSE, "emit-signals", FALSE,
      "wait-on-eos", FALSE, "max-buffers", 1u, NULL);
  GstAppSinkCallbacks cb = { .new_sample = on_new_sample, .eos = on_eos };
  gst_app_sink_set_callbacks (l->sink, &cb, l, NULL);
  return g->n++;
}

void
mpipe_gate_attach (MpipeGate *g, GstElement **srcs, int rebase)
{
  g_mutex_lock (&g->lock);
  for (int i = 0; i < g->n; i++) {
    Lane *l = &g->lanes[i];
    l->src = GST_APP_SRC (gst_object_ref (srcs[i]));
    l->eos_out = FALSE;
    GstAppSrcCallbacks cb = { .need_data = on_need_data };
    gst_app_src_set_callbacks (l->src, &cb, l, NULL);
  }
  g->attached = g->used = TRUE;
  g->rebase = rebase != 0;
  g->begun = FALSE;
  g->cut = g->began = -1;
  pump (g);
  gboolean waits = !g->begun;
  g_mutex_unlock (&g->lock);
  if (rebase && waits) /* no key frame waits here: an encoder may heed this */
    for (int i = 0; i < g->n; i++)
      if (g->lanes[i].video) {
        GstPad *pad = gst_element_get_static_pad (GST_ELEMENT (g->lanes[i].sink), "sink");
        gst_pad_push_event (pad, gst_video_event_new_upstream_force_key_unit (GST_CLOCK_TIME_NONE, TRUE, 0));
        gst_object_unref (pad);
      }
}

void
mpipe_gate_detach (MpipeGate *g)
{
  GstAppSrc *srcs[MAX_LANES] = { 0 };
  g_mutex_lock (&g->lock);
  g->attached = FALSE;
  for (int i = 0; i < g->n; i++) {
    srcs[i] = g->lanes[i].src;
    g->lanes[i].src = NULL;
  }
  g_mutex_unlock (&g->lock);
  for (int i = 0; i < g->n; i++)
    if (srcs[i]) {
      GstAppSrcCallbacks none = { 0 };
      gst_app_src_set_callbacks (srcs[i], &none, NULL, NULL);
      gst_object_unref (srcs[i]);
    }
}

void
mpipe_gate_cut (MpipeGate *g, int64_t span)
{
  g_mutex_lock (&g->lock);
  g->span = span;
  pump (g);
  g_mutex_unlock (&g->lock);
}

void
mpipe_gate_cut_at_formats (MpipeGate *g)
{
  g->by_format = TRUE;
}

int
mpipe_gate_was_cut (MpipeGate *g, int64_t *began)
{
  g_mutex_lock (&g->lock);
  *began = g->began;
  int cut = g->cut >= 0;
  g_mutex_unlock (&g->lock);
  return cut;
}

void
mpipe_gate_end (MpipeGate *g)
{
  g_mutex_lock (&g->lock);
  g->ended = TRUE;
  for (int i = 0; i < g->n; i++)
    g->lanes[i].eos_in = TRUE;
  g_cond_broadcast (&g->room);
  pump (g);
  g_mutex_unlock (&g->lock);
}

void
mpipe_gate_shut (MpipeGate *g)
{
  g_mutex_lock (&g->lock);
  g->shut = TRUE;
  for (int i = 0; i < g->n; i++)
    clear (&g->lanes[i]);
  g_cond_broadcast (&g->room);
  g_mutex_unlock (&g->lock);
}

void
mpipe_gate_stats (MpipeGate *g, int lane, MpipeLaneStats *out)
{
  g_mutex_lock (&g->lock);
  Lane *l = &g->lanes[lane];
  *out = (MpipeLaneStats) { l->frames, l->dropped, l->gops, l->bytes, waiting_time (l), l->eos_in ? 1 : 0 };
  g_mutex_unlock (&g->lock);
}

void
mpipe_gate_free (MpipeGate *g)
{
  mpipe_gate_detach (g);
  for (int i = 0; i < g->n; i++) {
    GstAppSinkCallbacks none = { 0 };
    gst_app_sink_set_callbacks (g->lanes[i].sink, &none, NULL, NULL);
    clear (&g->lanes[i]);
    gst_object_unref (g->lanes[i].sink);
  }
  gst_caps_replace (&g->form, NULL);
  g_mutex_clear (&g->lock);
  g_cond_clear (&g->room);
  g_free (g);
}

int
mpipe_pull (GstElement *appsink, int64_t timeout, MpipePull *out)
{
  GstAppSink *sink = GST_APP_SINK (appsink);
  out->sample = gst_app_sink_try_pull_sample (sink, (GstClockTime) timeout);
  if (!out->sample) {
    if (!gst_app_sink_is_eos (sink))
      return 0;
    /* "eos" is also what a stopped element says. */
    return GST_STATE (appsink) < GST_STATE_PAUSED ? -2 : -1;
  }
  if (!gst_buffer_map (gst_sample_get_buffer (out->sample), &out->map, GST_MAP_READ)) {
    gst_sample_unref (out->sample);
    return -2;
  }
  return 1;
}

void
mpipe_pull_done (MpipePull *p)
{
  gst_buffer_unmap (gst_sample_get_buffer (p->sample), &p->map);
  gst_sample_unref (p->sample);
}
