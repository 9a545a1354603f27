/* drawing.c: what drawing alone costs, for the producers in C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "peer.h"

static uint8_t *frame;

static uint8_t *frame_buffer(void) { return frame; }

static void frame_send(void)
{
	if (job.read) sink += sum(frame, job.size);
}

int main(int argc, char **argv)
{
	peer_begin(argc, argv);
	frame = (uint8_t *)malloc(job.size);
	produce();
	return 0;
}
