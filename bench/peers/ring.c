/* ring.c: a producer in C for mpipe's ring, drawing in place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mpipe_ring.h"
#include "peer.h"

static mpr_writer writer;
static mpr_slot slot;
static uint32_t format;

static uint8_t *frame_buffer(void)
{
	if (mpr_claim(&writer, 0, format, job.size, -1, &slot) != MPR_OK) fail("claim");
	return slot.data;
}

static void frame_send(void) { mpr_commit(&slot, 1, 0, 0); }

int main(int argc, char **argv)
{
	mpr_producer p;
	mpr_stream stream = {"bench", MPR_VIDEO, 0};
	mpr_audio audio = {"S16LE", 48000, 1, 0};
	mpr_video video;
	int code;
	peer_begin(argc, argv);
	stream.max_frame = job.size;
	if (job.size < 4096) stream.kind = MPR_AUDIO;
	/* A picture of one plane: its layout is of no concern here. */
	mpr_video_layout(&video, "NV12", 2, 2, 0, 1);
	strcpy(video.fourcc, "GRAY8");
	video.planes = 1;
	video.width = video.strides[0] = 640;
	video.height = (uint32_t)(job.size / 640);
	video.size = job.size;
	code = mpr_attach(&p, job.addr, &stream, 1, "mpipe bench", 10000);
	if (code == MPR_OK) code = stream.kind == MPR_AUDIO ? mpr_set_audio(&p, 0, &audio, &format) : mpr_set_video(&p, 0, &video, &format);
	if (code == MPR_OK) code = mpr_writer_open(&p, &writer);
	if (code != MPR_OK) {
		fprintf(stderr, "%s: %s\n", mpr_error(code), p.reason);
		return 1;
	}
	produce();
	mpr_writer_close(&writer);
	mpr_close(&p);
	return 0;
}
