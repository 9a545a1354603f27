/* goeson.c: a producer that finds the next consumer, or the next ring, by itself.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   goeson ADDRESS [STUCK]
 *
 * Two threads write numbered frames of a stream each, drawn as killed_test.go
 * says, until standard input ends. With STUCK the first thread stops in the middle
 * of that frame, says so, and goes on at the next line of standard input. At the
 * end it prints how many frames it wrote, lost, and in how many attachments.
 */
#define _GNU_SOURCE
#include "mpipe_ring.h"

#include <pthread.h>

static mpr_producer p;
static uint32_t formats[2], stop, wake;
static long stuck = -1, written[2];

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void *write_frames(void *arg)
{
	int stream = (int)(intptr_t)arg, code;
	mpr_writer w;
	mpr_slot s;
	if (mpr_writer_open(&p, &w) != MPR_OK) exit(3);
	for (long n = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
		uint64_t key = mix((uint64_t)stream ^ (uint64_t)stream << 32 ^ (uint64_t)n), word;
		size_t size = 1024 + 8 * (key % ((8192 - 1024) / 8));
		code = mpr_claim(&w, stream, formats[stream], size, INT64_C(20000000000), &s);
		if (code != MPR_OK) {
			printf("stream %d, frame %ld: %s: %s\n", stream, n, mpr_error(code), p.reason);
			exit(3);
		}
		if (stream == 0 && n == stuck) {
			puts("stuck");
			fflush(stdout);
			while (!__atomic_load_n(&wake, __ATOMIC_RELAXED)) mpr_nap();
		}
		for (uint64_t k = 0; k < size / 8; k++) {
			word = mix(key + k);
			memcpy(s.data + 8 * k, &word, 8);
		}
		mpr_commit(&s, n, 0, 0);
		written[stream]++;
		struct timespec ts = {0, 100000};
		nanosleep(&ts, NULL);
	}
	if (mpr_end(&p, stream) != MPR_OK) exit(3);
	mpr_writer_close(&w);
	return NULL;
}

int main(int argc, char **argv)
{
	mpr_stream streams[2] = {{"v", MPR_VIDEO, 8192}, {"w", MPR_VIDEO, 8192}};
	pthread_t threads[2];
	mpr_video v;
	char line[16];
	if (argc > 2) stuck = atol(argv[2]);
	memset(&v, 0, sizeof v);
	strcpy(v.fourcc, "GRAY8");
	v.width = v.strides[0] = 64;
	v.height = 16;
	v.planes = v.fps_den = 1;
	v.size = 1024;
	if (argc < 2 || mpr_attach(&p, argv[1], streams, 2, "goes on", 20000) != MPR_OK) {
		puts(p.reason);
		return 2;
	}
	mpr_set_reattach(&p, 1);
	for (int i = 0; i < 2; i++)
		if (mpr_set_video(&p, i, &v, &formats[i]) != MPR_OK) return 2;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, write_frames, (void *)(intptr_t)i) != 0) return 2;
	if (stuck >= 0 && fgets(line, sizeof line, stdin)) wake = 1;
	while (fgets(line, sizeof line, stdin)) {
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
	printf("%ld %llu %llu\n", written[0] + written[1], (unsigned long long)p.lost, (unsigned long long)p.epochs);
	mpr_close(&p);
	return 0;
}
