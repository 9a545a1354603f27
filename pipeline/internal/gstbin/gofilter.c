/* An element whose work is done by a function of Go, called for each frame on the
 * streaming thread. It is a GstBaseTransform in C because one written in Go over
 * the bindings gets no self and allocates for each frame.
 *
 * A filter writes into the buffer. One that is lent by a producer or held by
 * others is copied first, here, so that it can be counted; a viewer is always
 * passed through. */
#include "gofilter.h"

#include <gst/audio/audio.h>
#include <gst/base/gstbasetransform.h>
#include <gst/video/video.h>

/* In Go. */
extern int mpipeGoFrame (uintptr_t handle, MpipeGoFrame *f);
extern int mpipeGoFormat (uintptr_t handle, MpipeGoFormat *f);

typedef struct {
  GstBaseTransform parent;
  uintptr_t handle;
  gboolean viewer, video;
  GstVideoInfo info;
  int64_t frames, copied, dropped;
} MpipeGoFilter;

typedef struct { GstBaseTransformClass parent; } MpipeGoFilterClass;

GType mpipe_go_filter_get_type (void);
G_DEFINE_TYPE (MpipeGoFilter, mpipe_go_filter, GST_TYPE_BASE_TRANSFORM)

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS_ANY);
static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS_ANY);

static gboolean
set_caps (GstBaseTransform *bt, GstCaps *in, GstCaps *out)
{
  MpipeGoFilter *self = (MpipeGoFilter *) bt;
  MpipeGoFormat f = { 0 };
  GstAudioInfo audio;
  const GstStructure *s = gst_caps_get_structure (in, 0);
  self->video = gst_structure_has_name (s, "video/x-raw");
  if (self->video) {
    if (!gst_video_info_from_caps (&self->info, in))
      return FALSE;
    f = (MpipeGoFormat) { .format = GST_VIDEO_INFO_NAME (&self->info), .width = GST_VIDEO_INFO_WIDTH (&self->info),
      .height = GST_VIDEO_INFO_HEIGHT (&self->info), .fps_num = GST_VIDEO_INFO_FPS_N (&self->info), .fps_den = GST_VIDEO_INFO_FPS_D (&self->info) };
  } else if (gst_structure_has_name (s, "audio/x-raw")) {
    if (!gst_audio_info_from_caps (&audio, in))
      return FALSE;
    f = (MpipeGoFormat) { .format = GST_AUDIO_INFO_NAME (&audio), .rate = GST_AUDIO_INFO_RATE (&audio), .channels = GST_AUDIO_INFO_CHANNELS (&audio) };
    guint64 mask = 0;
    if (gst_structure_get (s, "channel-mask", GST_TYPE_BITMASK, &mask, NULL))
      f.mask = mask;
  }
  gst_base_transform_set_passthrough (bt, self->viewer);
  return mpipeGoFormat (self->handle, &f) == MPIPE_GO_OK;
}

/* Whether the buffer may be written into as it is. GStreamer's own test does not
 * see that memory was lent read-only. */
static gboolean
is_ours (GstBuffer *b)
{
  for (guint i = 0; i < gst_buffer_n_memory (b); i++)
    if (GST_MEMORY_IS_READONLY (gst_buffer_peek_memory (b, i)))
      return FALSE;
  return gst_buffer_is_writable (b) && gst_buffer_is_all_memory_writable (b);
}

static GstFlowReturn
prepare_output (GstBaseTransform *bt, GstBuffer *in, GstBuffer **out)
{
  MpipeGoFilter *self = (MpipeGoFilter *) bt;
  if (self->viewer || is_ours (in)) {
    *out = in;
    return GST_FLOW_OK;
  }
  __atomic_fetch_add (&self->copied, 1, __ATOMIC_RELAXED);
  *out = gst_buffer_copy_deep (in);
  return GST_FLOW_OK;
}

static int
call (MpipeGoFilter *self, GstBuffer *b, MpipeGoFrame *f)
{
  GstSegment *seg = &((GstBaseTransform *) self)->segment;
  f->pts = -1;
  if (GST_BUFFER_PTS_IS_VALID (b)) {
    guint64 running = 0;
    int sign = gst_segment_to_running_time_full (seg, GST_FORMAT_TIME, GST_BUFFER_PTS (b), &running);
    f->pts = sign < 0 ? -(int64_t) running : (int64_t) running;
  }
  f->duration = GST_BUFFER_DURATION_IS_VALID (b) ? (int64_t) GST_BUFFER_DURATION (b) : -1;
  f->discont = GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_DISCONT);
  f->corrupt = GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_CORRUPTED);
  f->key = !GST_BUFFER_FLAG_IS_SET (b, GST_BUFFER_FLAG_DELTA_UNIT);
  __atomic_fetch_add (&self->frames, 1, __ATOMIC_RELAXED);
  return mpipeGoFrame (self->handle, f);
}

static int
call_video (MpipeGoFilter *self, GstBuffer *b, GstMapFlags how)
{
  GstVideoFrame v;
  if (!gst_video_frame_map (&v, &self->info, b, how | GST_VIDEO_FRAME_MAP_FLAG_NO_REF))
    return MPIPE_GO_ERROR;
  MpipeGoFrame f = { 0 };
  f.planes = (int) GST_VIDEO_FRAME_N_PLANES (&v);
  for (int p = 0; p < f.planes; p++) {
    gint comp[GST_VIDEO_MAX_COMPONENTS];
    gst_video_format_info_component (v.info.finfo, (guint) p, comp);
    f.data[p] = GST_VIDEO_FRAME_PLANE_DATA (&v, p);
    f.stride[p] = GST_VIDEO_FRAME_PLANE_STRIDE (&v, p);
    f.rows[p] = GST_VIDEO_FRAME_COMP_HEIGHT (&v, comp[0]);
    f.row[p] = GST_VIDEO_FRAME_COMP_WIDTH (&v, comp[0]) * GST_VIDEO_FRAME_COMP_PSTRIDE (&v, comp[0]);
    f.size[p] = (int64_t) f.stride[p] * (f.rows[p] - 1) + f.row[p];
  }
  int ret = call (self, b, &f);
  gst_video_frame_unmap (&v);
  return ret;
}

static int
call_bytes (MpipeGoFilter *self, GstBuffer *b, GstMapFlags how)
{
  GstMapInfo map;
  if (!gst_buffer_map (b, &map, how))
    return MPIPE_GO_ERROR;
  MpipeGoFrame f = { .planes = 1, .rows = { 1 } };
  f.data[0] = map.data;
  f.size[0] = (int64_t) map.size;
  f.row[0] = f.stride[0] = (int) map.size;
  int ret = call (self, b, &f);
  gst_buffer_unmap (b, &map);
  return ret;
}

static GstFlowReturn
transform_ip (GstBaseTransform *bt, GstBuffer *b)
{
  MpipeGoFilter *self = (MpipeGoFilter *) bt;
  GstMapFlags how = self->viewer ? GST_MAP_READ : GST_MAP_READWRITE;
  switch (self->video ? call_video (self, b, how) : call_bytes (self, b, how)) {
    case MPIPE_GO_OK:
      return GST_FLOW_OK;
    case MPIPE_GO_DROP:
      __atomic_fetch_add (&self->dropped, 1, __ATOMIC_RELAXED);
      return GST_BASE_TRANSFORM_FLOW_DROPPED;
    default:
      GST_ELEMENT_ERROR (self, STREAM, FAILED, ("the stage failed"), (NULL));
      return GST_FLOW_ERROR;
  }
}

static void
mpipe_go_filter_class_init (MpipeGoFilterClass *c)
{
  GstElementClass *e = GST_ELEMENT_CLASS (c);
  gst_element_class_add_static_pad_template (e, &sink_template);
  gst_element_class_add_static_pad_template (e, &src_template);
  gst_element_class_set_static_metadata (e, "Stage in Go", "Filter", "Calls a function of Go for each frame", "mpipe");
  GstBaseTransformClass *b = GST_BASE_TRANSFORM_CLASS (c);
  b->set_caps = set_caps;
  b->prepare_output_buffer = prepare_output;
  b->transform_ip = transform_ip;
  b->transform_ip_on_passthrough = TRUE;
}

static void
mpipe_go_filter_init (MpipeGoFilter *self)
{
  gst_base_transform_set_in_place ((GstBaseTransform *) self, TRUE);
}

void
mpipe_gofilter_register (void)
{
  gst_element_register (NULL, "mpipego", GST_RANK_NONE, mpipe_go_filter_get_type ());
}

void
mpipe_gofilter_tie (GstElement *e, uintptr_t handle, int viewer)
{
  MpipeGoFilter *self = (MpipeGoFilter *) e;
  self->handle = handle;
  self->viewer = viewer != 0;
}

void
mpipe_gofilter_stats (GstElement *e, MpipeGoStats *out)
{
  MpipeGoFilter *self = (MpipeGoFilter *) e;
  out->frames = __atomic_load_n (&self->frames, __ATOMIC_RELAXED);
  out->copied = __atomic_load_n (&self->copied, __ATOMIC_RELAXED);
  out->dropped = __atomic_load_n (&self->dropped, __ATOMIC_RELAXED);
}
