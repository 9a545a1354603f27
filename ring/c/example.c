/* example.c: a producer that draws a moving picture and plays a tone.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   cc -std=c11 -O2 -pthread -o example example.c
 *   ./example --ring demo --size 1280x720 --fps 30 --frames 300
 *
 * One thread draws each picture straight into the ring, another plays 20 ms
 * packets of sound. With --second another thread adds a picture of another size.
 * --hash prints the FNV-1a hash of every frame's bytes as it was committed. With
 * --adapt it draws no more pictures than the consumer says it can take; with
 * --reattach it goes on when the consumer starts again.
 */
#define _GNU_SOURCE
#include "mpipe_ring.h"

#include <pthread.h>

enum { RATE = 48000, PACKET = RATE / 50, CHANNELS = 2 };

struct options {
	const char *ring;
	long frames;
	uint32_t width, height, width2, height2;
	int fps;         /* 0: as fast as the consumer takes them */
	int64_t wait_ns; /* policy: 0 drop, negative block */
	int hash, silent, adapt, reattach;
};

struct job {
	const struct options *o;
	mpr_producer *p;
	int stream;
	uint32_t width, height;
	int code;
};

static uint64_t fnv1a(const uint8_t *b, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	return h;
}

static void tell_hash(const struct job *j, long n, const mpr_slot *s)
{
	if (j->o->hash) printf("%s %ld %016llx\n", j->p->streams[j->stream].name, n, (unsigned long long)fnv1a(s->data, s->size));
}

static void sleep_until(int64_t ns)
{
	struct timespec ts = {ns / 1000000000, ns % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR) {
	}
}

/* A gradient that drifts, and a white box that runs across it. Every byte of
 * the frame is written, row padding included: a ring does not zero anything. */
static void draw(uint8_t *at, const mpr_video *v, long n)
{
	uint32_t box = v->height / 4, x0 = (uint32_t)(n * 8) % v->width, y0 = (v->height - box) / 2;
	for (uint32_t p = 0; p < v->planes; p++) {
		uint32_t rows = p == 0 ? v->height : (v->height + 1) / 2;
		uint8_t *plane = at + v->offsets[p];
		for (uint32_t y = 0; y < rows; y++) {
			uint8_t *row = plane + (size_t)y * v->strides[p];
			if (p > 0) {
				memset(row, (int)(64 + (y + (uint32_t)n * p) % 128), v->strides[p]);
				continue;
			}
			memset(row, (int)(32 + (y + (uint32_t)n) % 160), v->strides[p]);
			if (y >= y0 && y < y0 + box && x0 < v->width) {
				uint32_t wide = box < v->width - x0 ? box : v->width - x0;
				memset(row + x0, 235, wide);
			}
		}
		/* An odd height leaves the luma plane's last row to nobody. */
		uint8_t *end = plane + (size_t)rows * v->strides[p];
		uint8_t *stop = p + 1 < v->planes ? at + v->offsets[p + 1] : at + v->size;
		memset(end, 0, (size_t)(stop - end));
	}
}

static void *pictures(void *arg)
{
	struct job *j = arg;
	const struct options *o = j->o;
	mpr_writer w;
	mpr_video v;
	mpr_slot s;
	uint32_t format;
	int64_t start = mpr_now(), step = o->fps > 0 ? 1000000000 / o->fps : 0;

	if (mpr_video_layout(&v, "I420", j->width, j->height, (uint32_t)o->fps, 1) != MPR_OK) return NULL;
	if ((j->code = mpr_writer_open(j->p, &w)) != MPR_OK) return NULL;
	j->code = mpr_set_video(j->p, j->stream, &v, &format);
	for (long n = 0; j->code == MPR_OK && n < o->frames; n++) {
		mpr_advice advice;
		if (step) sleep_until(start + n * step);
		mpr_get_advice(j->p, &advice);
		if (o->adapt && !mpr_keep(&advice, (uint64_t)n, (uint32_t)o->fps)) {
			mpr_drop_by_policy(&w, j->stream);
			continue;
		}
		j->code = mpr_claim(&w, j->stream, format, v.size, o->wait_ns, &s);
		if (j->code == MPR_FULL) { /* counted as dropped: on with the next one */
			j->code = MPR_OK;
			continue;
		}
		if (j->code != MPR_OK) break;
		draw(s.data, &v, n);
		tell_hash(j, n, &s);
		mpr_commit(&s, step ? start + n * step : mpr_now(), step, MPR_KEY);
	}
	if (j->code == MPR_OK) j->code = mpr_end(j->p, j->stream);
	mpr_writer_close(&w);
	return NULL;
}

/* A 440 Hz tone by a parabola for each half wave: no libm needed. */
static int16_t tone(long sample)
{
	long phase = sample * 440 % RATE * 65536 / RATE, half = phase & 32767;
	long v = half * (32768 - half) / 32768; /* 0..8192 */
	return (int16_t)(phase < 32768 ? v : -v);
}

static void *sound(void *arg)
{
	struct job *j = arg;
	const struct options *o = j->o;
	mpr_audio a = {"S16LE", RATE, CHANNELS, 0};
	mpr_writer w;
	mpr_slot s;
	uint32_t format;
	int64_t start = mpr_now(), step = 20000000;
	long packets = o->fps > 0 ? o->frames * 50 / o->fps : o->frames;

	if ((j->code = mpr_writer_open(j->p, &w)) != MPR_OK) return NULL;
	j->code = mpr_set_audio(j->p, j->stream, &a, &format);
	for (long n = 0; j->code == MPR_OK && n < packets; n++) {
		if (o->fps > 0) sleep_until(start + n * step);
		j->code = mpr_claim(&w, j->stream, format, PACKET * CHANNELS * 2, o->wait_ns, &s);
		if (j->code == MPR_FULL) {
			j->code = MPR_OK;
			continue;
		}
		if (j->code != MPR_OK) break;
		for (long i = 0; i < PACKET; i++) {
			int16_t v = tone(n * PACKET + i);
			memcpy(s.data + i * 4, &v, 2);
			memcpy(s.data + i * 4 + 2, &v, 2);
		}
		tell_hash(j, n, &s);
		mpr_commit(&s, start + n * step, step, 0);
	}
	if (j->code == MPR_OK) j->code = mpr_end(j->p, j->stream);
	mpr_writer_close(&w);
	return NULL;
}

static int usage(void)
{
	fputs("usage: example --ring ADDRESS [--frames N] [--size WxH] [--second WxH] [--fps N]\n"
	      "               [--policy drop|block|MILLISECONDS] [--adapt] [--reattach] [--hash] [--silent]\n"
	      "  ADDRESS is NAME for /dev/shm/NAME, a path, unix:/path.sock or fd:N\n"
	      "  --fps 0 goes as fast as the consumer takes the frames\n", stderr);
	return 2;
}

static int size_of(const char *text, uint32_t *w, uint32_t *h)
{
	return sscanf(text, "%ux%u", w, h) == 2 && *w > 0 && *h > 0 && *w <= 16384 && *h <= 16384;
}

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value;
		if (strcmp(name, "--hash") == 0) {
			o->hash = 1;
			continue;
		}
		if (strcmp(name, "--silent") == 0) {
			o->silent = 1;
			continue;
		}
		if (strcmp(name, "--adapt") == 0) {
			o->adapt = 1;
			continue;
		}
		if (strcmp(name, "--reattach") == 0) {
			o->reattach = 1;
			continue;
		}
		if (++i == argc) return 0;
		value = argv[i];
		if (strcmp(name, "--ring") == 0)
			o->ring = value;
		else if (strcmp(name, "--frames") == 0)
			o->frames = atol(value);
		else if (strcmp(name, "--fps") == 0)
			o->fps = atoi(value);
		else if (strcmp(name, "--policy") == 0)
			o->wait_ns = strcmp(value, "drop") == 0 ? 0 : strcmp(value, "block") == 0 ? -1 : atol(value) * 1000000;
		else if (strcmp(name, "--size") == 0 ? !size_of(value, &o->width, &o->height)
		         : strcmp(name, "--second") != 0 || !size_of(value, &o->width2, &o->height2))
			return 0;
	}
	return o->ring != NULL && o->frames >= 0 && o->fps >= 0;
}

int main(int argc, char **argv)
{
	struct options o = {NULL, 300, 640, 360, 0, 0, 30, -1, 0, 0, 0, 0};
	struct job jobs[3];
	mpr_stream streams[3];
	pthread_t threads[3];
	mpr_producer p;
	mpr_video v;
	int count = 0, code;

	if (!parse(argc, argv, &o)) return usage();
	memset(jobs, 0, sizeof jobs);
	for (int i = 0; i < 2; i++) {
		uint32_t w = i ? o.width2 : o.width, h = i ? o.height2 : o.height;
		if (w == 0) continue;
		mpr_video_layout(&v, "I420", w, h, (uint32_t)o.fps, 1);
		jobs[count].width = w;
		jobs[count].height = h;
		streams[count++] = (mpr_stream){i ? "second" : "video", MPR_VIDEO, v.size};
	}
	if (!o.silent) streams[count++] = (mpr_stream){"audio", MPR_AUDIO, PACKET * CHANNELS * 2};

	code = mpr_attach(&p, o.ring, streams, count, "example.c", 10000);
	if (code != MPR_OK) {
		fprintf(stderr, "example: %s: %s: %s\n", o.ring, mpr_error(code), p.reason);
		return 1;
	}
	mpr_set_reattach(&p, o.reattach);
	for (int i = 0; i < count; i++) {
		jobs[i].o = &o;
		jobs[i].p = &p;
		jobs[i].stream = i;
		if (pthread_create(&threads[i], NULL, streams[i].kind == MPR_VIDEO ? pictures : sound, &jobs[i]) != 0) {
			fputs("example: cannot start a thread\n", stderr);
			return 1;
		}
	}
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		/* A consumer that stops is no failure of ours. */
		if (jobs[i].code != MPR_OK && jobs[i].code != MPR_STOPPED) {
			fprintf(stderr, "example: stream %s: %s: %s\n", streams[i].name, mpr_error(jobs[i].code), p.reason);
			code = 1;
		}
	}
	if (p.lost) fprintf(stderr, "example: %llu frames lost, %llu consumers\n", (unsigned long long)p.lost, (unsigned long long)p.epochs);
	mpr_close(&p);
	return code;
}
