/* peer.h: the same producer and consumer loops as peer.go, in C.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   program producer|consumer ADDRESS SIZE RATE SECONDS PACED READ COPIED
 *
 * The including file gives the transport: frame_buffer and frame_send, and calls
 * consume_frame and consumed.
 */
#ifndef PEER_H
#define PEER_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MARK_FIRST = 1, MARK_LAST = 2, WARM_UP_PACED = 6, WARM_UP_NS = 60000000, TILE = 8192, MOST_LATENCIES = 1 << 20 };

static struct {
	const char *addr;
	size_t size;
	int64_t rate;
	double seconds;
	int paced, read, copied;
} job;

/* Memory to draw the next frame into; waits for it. */
static uint8_t *frame_buffer(void);
/* Hands over what was drawn there. */
static void frame_send(void);

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static int64_t cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

static uint8_t tile[TILE + 64 * 64];

static void draw(uint8_t *b, size_t size, uint64_t number)
{
	const uint8_t *part = tile + number % 64 * 64;
	size_t n;
	for (; size > 0; b += n, size -= n) {
		n = size < TILE ? size : TILE;
		memcpy(b, part, n);
	}
}

static void print_outcome(uint64_t frames, int64_t cpu, int64_t wall, const int64_t *latency, size_t count)
{
	size_t i;
	printf("{\"frames\":%llu,\"cpu_ns\":%lld,\"wall_ns\":%lld", (unsigned long long)frames, (long long)cpu, (long long)wall);
	if (count > 0) {
		printf(",\"latency_ns\":[");
		for (i = 0; i < count; i++) printf("%s%lld", i ? "," : "", (long long)latency[i]);
		printf("]");
	}
	printf("}\n");
	fflush(stdout);
}

static void produce(void)
{
	int64_t begin = now_ns(), period = job.paced ? 1000000000 / job.rate : 0, length = (int64_t)(job.seconds * 1e9), cpu = 0, wall = 0, since;
	uint64_t n, first = WARM_UP_PACED, frames = (uint64_t)(job.seconds * (double)job.rate), last = first + (frames > 2 ? frames : 2);
	uint64_t marks, every = !job.paced && job.size < 4096 ? 64 : 1;
	int measuring = 0;
	struct timespec ts;
	for (n = 0;; n++) {
		uint8_t *b;
		int64_t stamp = 0;
		marks = 0;
		if (job.paced) {
			since = begin + (int64_t)n * period;
			ts.tv_sec = since / 1000000000;
			ts.tv_nsec = since % 1000000000;
			while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR) {}
			marks = (n == first ? MARK_FIRST : 0) | (n == last ? MARK_LAST : 0);
		} else if (n % every == 0) {
			since = now_ns() - begin;
			if (!measuring && since >= WARM_UP_NS) {
				measuring = 1;
				first = n;
				marks = MARK_FIRST;
			} else if (measuring && since >= WARM_UP_NS + length && n > first + 1)
				marks = MARK_LAST;
		}
		b = frame_buffer();
		draw(b, job.size, n);
		if (job.paced) stamp = now_ns();
		memcpy(b, &n, 8);
		memcpy(b + 8, &stamp, 8);
		memcpy(b + 16, &marks, 8);
		frame_send();
		if (n == 0) begin = now_ns(); /* it may have waited for the other side to connect */
		if (marks & MARK_FIRST) {
			cpu = cpu_ns();
			wall = now_ns();
		}
		if (marks & MARK_LAST) {
			print_outcome(n - first, cpu_ns() - cpu, now_ns() - wall, NULL, 0);
			return;
		}
	}
}

static uint64_t sum(const uint8_t *b, size_t size)
{
	uint64_t s = 0, word;
	for (; size >= 64; b += 64, size -= 64) {
		memcpy(&word, b, 8);
		s += word;
	}
	return s;
}

static volatile uint64_t sink; /* so that reading is not optimised away */

static struct {
	int64_t cpu, wall, *latency;
	uint64_t next, first;
	size_t count;
	int measuring;
} seen;

/* Checks and counts one frame, which came at now; gives its marks. */
static uint64_t consume_frame(const uint8_t *b, int64_t now)
{
	int64_t stamp;
	uint64_t number, marks;
	memcpy(&number, b, 8);
	memcpy(&stamp, b + 8, 8);
	memcpy(&marks, b + 16, 8);
	if (number != seen.next || b[job.size - 1] != tile[number % 64 * 64 + (job.size - 1) % TILE]) {
		fprintf(stderr, "frame %llu came as %llu\n", (unsigned long long)seen.next, (unsigned long long)number);
		exit(1);
	}
	seen.next++;
	if (job.read) sink += sum(b, job.size);
	if (seen.measuring && job.paced && seen.count < MOST_LATENCIES) seen.latency[seen.count++] = now - stamp;
	return marks;
}

/* Follows the marks, once the frame was given back. Returns 1 after the last. */
static int consumed(uint64_t marks)
{
	if (marks & MARK_FIRST) {
		seen.latency = (int64_t *)malloc(MOST_LATENCIES * sizeof *seen.latency);
		seen.measuring = 1;
		seen.first = seen.next;
		seen.cpu = cpu_ns();
		seen.wall = now_ns();
	}
	if (!(marks & MARK_LAST)) return 0;
	print_outcome(seen.next - seen.first, cpu_ns() - seen.cpu, now_ns() - seen.wall, seen.latency, seen.count);
	return 1;
}

/* Returns whether this is the producer. */
static int peer_begin(int argc, char **argv)
{
	size_t i;
	if (argc != 9) {
		fprintf(stderr, "want ROLE ADDRESS SIZE RATE SECONDS PACED READ COPIED\n");
		exit(2);
	}
	job.addr = argv[2];
	job.size = (size_t)atoll(argv[3]);
	job.rate = atoll(argv[4]);
	job.seconds = atof(argv[5]);
	job.paced = atoi(argv[6]);
	job.read = atoi(argv[7]);
	job.copied = atoi(argv[8]);
	for (i = 0; i < sizeof tile; i++) tile[i] = (uint8_t)(i >> 6 ^ i);
	return strcmp(argv[1], "producer") == 0;
}

#endif
