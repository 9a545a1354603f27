/* counted.c: writes packets of one stream as fast as it can, stamped, for
 * TestNoSyscallsWhileBusy.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   counted ADDRESS FRAMES SIZE
 */
#include "mpipe_ring.h"

int main(int argc, char **argv)
{
	mpr_producer p;
	mpr_writer w;
	mpr_slot s;
	mpr_audio format = {"S16LE", 48000, 2, 0};
	mpr_stream stream = {"a", MPR_AUDIO, 0};
	uint32_t id;
	int i, frames, code;
	if (argc != 4) return 2;
	frames = atoi(argv[2]);
	stream.max_frame = strtoull(argv[3], NULL, 10);
	code = mpr_attach(&p, argv[1], &stream, 1, "counted.c", 20000);
	if (code == MPR_OK) code = mpr_set_audio(&p, 0, &format, &id);
	if (code == MPR_OK) code = mpr_writer_open(&p, &w);
	for (i = 0; i < frames && code == MPR_OK; i++) {
		size_t k;
		code = mpr_claim(&w, 0, id, stream.max_frame, -1, &s);
		if (code != MPR_OK) break;
		for (k = 0; k < s.size; k++) s.data[k] = (uint8_t)(i * 131 + (int)k * 7); /* something to draw */
		mpr_commit(&s, mpr_now(), 0, 0);
	}
	if (code != MPR_OK) {
		fprintf(stderr, "counted.c: %s: %s\n", mpr_error(code), p.reason);
		return 1;
	}
	mpr_writer_close(&w);
	mpr_close(&p);
	return 0;
}
