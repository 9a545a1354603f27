/* shmsink.c: frames through GStreamer's own shared memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The producer pushes straight into shmsink's pad and allocates from shmsink's
 * own allocator, so that a frame is drawn where the other side will read it; the
 * consumer takes buffers from shmsrc's pad, in its streaming thread. No appsrc,
 * appsink, queue or conversion is in between: what is measured are the two
 * elements. shmsink allocates elsewhere and copies when its area is full; the
 * producer waits instead.
 */
#define _GNU_SOURCE
#include "peer.h"

#include <gst/gst.h>

/* ---- producer ---- */

static GstPad *out;
static GstAllocator *shared;
static GstBuffer *buffer;
static GstMapInfo map;
static uint8_t *private_frame;

static void claim(void)
{
	for (;;) {
		buffer = gst_buffer_new_allocate(shared, job.size, NULL);
		if (buffer && gst_buffer_peek_memory(buffer, 0)->allocator == shared) break;
		if (buffer) gst_buffer_unref(buffer);
		g_usleep(50);
	}
	if (!gst_buffer_map(buffer, &map, GST_MAP_WRITE)) fail("gst_buffer_map");
}

static uint8_t *frame_buffer(void)
{
	if (private_frame) return private_frame;
	claim();
	return map.data;
}

static void frame_send(void)
{
	if (private_frame) {
		claim();
		memcpy(map.data, private_frame, job.size);
	}
	gst_buffer_unmap(buffer, &map);
	if (gst_pad_push(out, buffer) != GST_FLOW_OK) fail("shmsink took no more");
}

static void run_producer(void)
{
	GstElement *sink = gst_element_factory_make("shmsink", NULL);
	GstPad *in = gst_element_get_static_pad(sink, "sink");
	GstCaps *caps = gst_caps_new_empty_simple("application/x-frames");
	GstQuery *query = gst_query_new_allocation(caps, FALSE);
	GstSegment segment;
	char path[4096];
	/* Room for as many pictures as the ring has, and for what the allocator rounds
	 * up; it goes through all blocks one by one, so that many packets would cost more
	 * than waiting for room. */
	guint area = (guint)(job.size < 4096 ? 32 * job.size : 4 * (job.size + 4096));
	snprintf(path, sizeof path, "%s/shmsink", job.addr);
	g_object_set(sink, "socket-path", path, "shm-size", area, "sync", FALSE, "async", FALSE, "wait-for-connection", TRUE, NULL);
	out = gst_pad_new("src", GST_PAD_SRC);
	gst_pad_set_active(out, TRUE);
	if (gst_pad_link(out, in) != GST_PAD_LINK_OK) fail("link");
	if (gst_element_set_state(sink, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE) fail("shmsink does not start");
	gst_pad_push_event(out, gst_event_new_stream_start("frames"));
	gst_pad_push_event(out, gst_event_new_caps(caps));
	gst_segment_init(&segment, GST_FORMAT_TIME);
	gst_pad_push_event(out, gst_event_new_segment(&segment));
	if (!gst_pad_query(in, query) || gst_query_get_n_allocation_params(query) == 0) fail("shmsink offers no allocator");
	gst_query_parse_nth_allocation_param(query, 0, &shared, NULL);
	if (!shared) fail("shmsink offers no allocator");
	if (job.copied) private_frame = (uint8_t *)malloc(job.size);
	printf("at %s\n", path);
	fflush(stdout);
	produce();
	/* The sink's area goes with it, and the consumer may not have taken the last
	 * frame: standard input is closed when it has. */
	getchar();
	gst_element_set_state(sink, GST_STATE_NULL);
}

/* ---- consumer ---- */

static GMutex lock;
static GCond changed;
static int over;

static GstFlowReturn chain(GstPad *pad, GstObject *parent, GstBuffer *b)
{
	int64_t now = job.paced ? now_ns() : 0;
	uint64_t marks;
	(void)pad;
	(void)parent;
	if (!gst_buffer_map(b, &map, GST_MAP_READ) || map.size != job.size) fail("a buffer of another size");
	marks = consume_frame(map.data, now);
	gst_buffer_unmap(b, &map);
	gst_buffer_unref(b);
	if (!consumed(marks)) return GST_FLOW_OK;
	g_mutex_lock(&lock);
	over = 1;
	g_cond_signal(&changed);
	g_mutex_unlock(&lock);
	return GST_FLOW_EOS;
}

static void run_consumer(void)
{
	GstElement *src = gst_element_factory_make("shmsrc", NULL);
	GstPad *in = gst_pad_new("sink", GST_PAD_SINK), *from = gst_element_get_static_pad(src, "src");
	g_object_set(src, "socket-path", job.addr, NULL);
	gst_pad_set_chain_function(in, chain);
	gst_pad_set_active(in, TRUE);
	if (gst_pad_link(from, in) != GST_PAD_LINK_OK) fail("link");
	if (gst_element_set_state(src, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE) fail("shmsrc does not start");
	g_mutex_lock(&lock);
	while (!over) g_cond_wait(&changed, &lock);
	g_mutex_unlock(&lock);
	gst_element_set_state(src, GST_STATE_NULL);
}

int main(int argc, char **argv)
{
	int producer = peer_begin(argc, argv);
	gst_init(NULL, NULL);
	if (producer)
		run_producer();
	else
		run_consumer();
	return 0;
}
