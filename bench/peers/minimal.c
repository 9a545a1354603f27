/* minimal.c: the least that a ring in shared memory can be, as a yardstick.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * One writer, one reader, frames of one size, no checks of what the other side
 * says, nothing survives a death. An eventcount in each direction, so that there
 * is no system call while the other side is busy.
 */
#define _GNU_SOURCE
#include "peer.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct word {
	uint32_t seq __attribute__((aligned(64)));
	uint32_t waits __attribute__((aligned(64)));
};

struct ring {
	uint64_t write __attribute__((aligned(64)));
	uint64_t read __attribute__((aligned(64)));
	struct word data, space;
};

static struct ring *ring;
static uint8_t *slots, *private_frame;
static uint64_t count, stride;

static void wake(struct word *w)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&w->waits, __ATOMIC_RELAXED) && __atomic_exchange_n(&w->waits, 0, __ATOMIC_SEQ_CST)) {
		__atomic_fetch_add(&w->seq, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &w->seq, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

/* Sleeps until cursor is no longer at. */
static void wait_for(struct word *w, uint64_t *cursor, uint64_t at)
{
	while (__atomic_load_n(cursor, __ATOMIC_ACQUIRE) == at) {
		uint32_t seq = __atomic_load_n(&w->seq, __ATOMIC_SEQ_CST);
		__atomic_store_n(&w->waits, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(cursor, __ATOMIC_SEQ_CST) != at) break;
		syscall(SYS_futex, &w->seq, FUTEX_WAIT, seq, NULL, NULL, 0);
	}
}

static uint8_t *claim(void)
{
	wait_for(&ring->space, &ring->read, ring->write - count);
	return slots + ring->write % count * stride;
}

static uint8_t *frame_buffer(void) { return private_frame ? private_frame : claim(); }

static void frame_send(void)
{
	if (private_frame) memcpy(claim(), private_frame, job.size);
	__atomic_store_n(&ring->write, ring->write + 1, __ATOMIC_SEQ_CST);
	wake(&ring->data);
}

static void consume(void)
{
	uint64_t marks;
	do {
		wait_for(&ring->data, &ring->write, ring->read);
		marks = consume_frame(slots + ring->read % count * stride, job.paced ? now_ns() : 0);
		__atomic_store_n(&ring->read, ring->read + 1, __ATOMIC_SEQ_CST);
		wake(&ring->space);
	} while (!consumed(marks));
}

int main(int argc, char **argv)
{
	int producer = peer_begin(argc, argv), fd;
	size_t total;
	count = job.size < 4096 ? 1024 : 4;
	stride = job.size < 4096 ? (job.size + 63) / 64 * 64 : (job.size + 4095) / 4096 * 4096;
	total = 4096 + count * stride;
	fd = producer ? open(job.addr, O_RDWR) : memfd_create("minimal", 0);
	if (fd < 0 || (!producer && ftruncate(fd, (off_t)total) != 0)) fail("the ring's memory");
	ring = (struct ring *)mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (ring == MAP_FAILED) fail("mmap");
	slots = (uint8_t *)ring + 4096;
	if (!producer) {
		printf("at /proc/%d/fd/%d\n", (int)getpid(), fd);
		fflush(stdout);
		consume();
		return 0;
	}
	if (job.copied) private_frame = (uint8_t *)malloc(job.size);
	produce();
	return 0;
}
