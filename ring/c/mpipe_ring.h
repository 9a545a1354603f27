/* mpipe_ring.h: the producer's side of mpipe's shared-memory ring.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * One header for C11 and C++17, Linux, little-endian 64-bit, pages of 4 KiB; it
 * needs the operating system and nothing else. Include it before other headers,
 * or compile with -D_GNU_SOURCE. Every function is static inline: vendor the
 * file and include it. The full contract is ring/FORMAT.md.
 *
 * THE PROTOCOL
 *
 * A producer process hands frames to one consumer through memory that the
 * consumer made. It maps two files: the segment, read-write, with a header,
 * shared words, a writer table, counters, a format table and, for video and for
 * audio, a table of 128-byte slots and a payload arena; and the consumer page,
 * read-only, with the consumer's cursors, counters and state.
 *
 * Attaching. Over a unix SEQPACKET socket the producer sends HELLO (version,
 * feature bits, streams) and receives WELCOME with the two fds. By name, it
 * opens /dev/shm/NAME and /dev/shm/NAME.consumer, takes the mailbox word by a
 * compare-and-swap from 0 to its pid, writes the HELLO there, posts it, and
 * waits until the consumer page's state says "live" or "refused".
 *
 * Claiming. A cursor is one 64-bit word: sequence number in the upper 24 bits,
 * position in granules of 64 bytes in the lower 40. A writer thread
 *   1. loads the write cursor W and the consumer's read cursor R and checks that
 *      a slot and the bytes are free;
 *   2. stores W as its intent in its entry of the writer table, seq_cst, fence;
 *   3. compare-and-swaps W to W plus one slot and the extent; on failure, 1;
 *   4. fills the slot's first line and stores its state CLAIMED, release;
 *   5. clears the intent.
 * A frame never wraps: one that does not fit before the arena's end takes the
 * skipped tail into its extent and starts at byte 0.
 *
 * Committing. The thread writes the payload in place, then stamps and flags in
 * the slot's second line, and stores the state COMMITTED, seq_cst. It fences and
 * looks at data_waiters; only if that is set does it clear it, add 1 to data_seq
 * and wake that futex. While the consumer is busy no system call is made.
 *
 * Waiting for space. A thread adds 1 to its class's space_waiters, reads
 * space_seq, tries once more, and sleeps on space_seq, at most 100 ms at a time.
 * Before it gives up or sleeps it wakes a consumer that asked for that
 * (full_waiters).
 *
 * Formats are published in the format table before the first frame that carries
 * their id, and never change.
 *
 * Another ring. When one thread stops in the middle of a frame and others wait
 * for it, the consumer replaces the ring: its state says "replaced", claims end,
 * and the producer says HELLO again, over the same socket if there is one. The
 * old memory stays mapped while a writer is bound to it, so that a thread that
 * wakes there hurts nobody. A consumer that starts again is found at the address.
 * Either way the program calls mpr_reattach, or has the library do so within
 * mpr_claim: mpr_set_reattach.
 *
 * Every atomic names its partner on the other side by the same phrase, "SYNC
 * POINT x", as in the Go sources and FORMAT.md.
 */
#ifndef MPIPE_RING_H
#define MPIPE_RING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || UINTPTR_MAX != UINT64_MAX
#error "mpipe_ring.h needs little-endian 64-bit Linux"
#endif

#ifdef __cplusplus
#define MPR_ASSERT(cond) static_assert(cond, #cond)
extern "C" {
#else
#define MPR_ASSERT(cond) _Static_assert(cond, #cond)
#endif

/* ---- layout -------------------------------------------------------------- */

enum {
	MPR_MAJOR = 1,
	MPR_MINOR = 1,
	MPR_GRANULE = 64,
	MPR_PAGE = 4096,
	MPR_CLASSES = 2,
	MPR_STREAMS = 32,
	MPR_WRITERS = 64,
	MPR_FORMATS = 256,
	MPR_SLOTS_MOST = 65536,

	MPR_VIDEO = 1,
	MPR_AUDIO = 2,

	MPR_KEY = 1,     /* understood without the frames before it */
	MPR_DISCONT = 2, /* something before this frame is missing */
	MPR_CORRUPT = 4, /* known to be damaged */
	MPR_EOS = 8,     /* end of the stream; mpr_end sends it */

	MPR_CLAIMED = 1,
	MPR_COMMITTED = 2,
	MPR_ABORTED = 3,

	MPR_PRODUCER_ATTACHED = 1,
	MPR_PRODUCER_ENDED = 2,

	MPR_WAITING = 0,
	MPR_LIVE = 1,
	MPR_STOPPING = 2,
	MPR_CLOSED = 3,
	MPR_REFUSED_STATE = 4,
	MPR_INVALID_STATE = 5,
	MPR_REPLACED_STATE = 6
};

/* Steps at which a process can die and leave something half done, numbered as in
 * faults.go, where each is explained. Tests define MPR_FAULT(point) before they
 * include the header; otherwise a point is no code at all. */
enum {
	MPR_AT_FOUND = 1, MPR_AT_MAILBOX, MPR_AT_HELLO, MPR_AT_POSTED, MPR_AT_WELCOME, MPR_AT_MAPPED, MPR_AT_ATTACHED,
	MPR_AT_WRITER_ENTRY, MPR_AT_FORMAT, MPR_AT_PUBLISHED,
	MPR_AT_ROOM, MPR_AT_INTENT, MPR_AT_MOVED, MPR_AT_FILLED, MPR_AT_TAGGED, MPR_AT_CLAIMED,
	MPR_AT_STAMPED, MPR_AT_COMMITTED, MPR_AT_ABORTING, MPR_AT_ABORTED, MPR_AT_TOOK_WAIT, MPR_AT_MOVED_SEQ,
	MPR_AT_WAITING, MPR_AT_WOKEN, MPR_AT_ENDED, MPR_AT_UNSAID
};
#ifndef MPR_FAULT
#define MPR_FAULT(point) ((void)0)
#endif

#define MPR_SEG_MAGIC UINT64_C(0x474e495245504950)     /* "PIPERING" */
#define MPR_CONS_MAGIC UINT64_C(0x534e4f4345504950)    /* "PIPECONS" */
#define MPR_HELLO_MAGIC UINT64_C(0x4c4c454845504950)   /* "PIPEHELL" */
#define MPR_WELCOME_MAGIC UINT64_C(0x434c455745504950) /* "PIPEWELC" */
#define MPR_MAILBOX_POSTED UINT32_C(0x40000000)
#define MPR_POS_BITS 40
#define MPR_POS_MASK ((UINT64_C(1) << MPR_POS_BITS) - 1)
#define MPR_SEQ_MASK UINT32_C(0xffffff)
#define MPR_NO_INTENT UINT64_MAX

typedef struct {
	uint32_t kind; /* 0: not in use */
	uint32_t slots;
	uint64_t slots_off;
	uint64_t data_off;
	uint64_t capacity; /* granules */
	uint64_t modulus;  /* granules */
	uint32_t align;    /* granules */
	uint32_t reserved0;
	uint64_t start;
	uint8_t reserved1[0x48];
} mpr_class_desc;

typedef struct {
	uint64_t magic;
	uint16_t major, minor;
	uint32_t header_size;
	uint64_t required, optional;
	uint64_t ring_id, epoch, size;
	uint64_t words_off, mailbox_off;
	uint64_t writers_off;
	uint32_t writer_count, writer_size;
	uint64_t streams_off;
	uint32_t stream_count, stream_size;
	uint64_t formats_off;
	uint32_t format_count, format_size;
	uint32_t slot_size, granule;
	uint32_t consumer_pid, class_count;
	uint64_t consumer_boot;
	uint8_t reserved[0x70];
	mpr_class_desc classes[MPR_CLASSES];
} mpr_header;

typedef struct {
	uint64_t write; /* cursor */
	uint8_t pad0[56];
	uint32_t space_waiters;
	uint8_t pad1[188];
} mpr_class_words;

typedef struct {
	uint32_t data_seq; /* futex */
	uint8_t pad0[60];
	uint32_t data_waiters;
	uint8_t pad1[60];
	uint32_t full_waiters;
	uint8_t pad2[60];
	uint32_t producer_state;
	uint8_t pad3[60];
	uint32_t mailbox; /* futex */
	uint8_t pad4[252];
	mpr_class_words classes[MPR_CLASSES];
} mpr_words;

typedef struct {
	uint32_t state, pid, tid, reserved0;
	uint8_t reserved1[48];
	uint64_t intent[MPR_CLASSES];
	uint8_t reserved2[48];
	uint64_t frames, bytes, dropped_full, dropped_policy, blocked_ns, retries, aborted;
	uint8_t reserved3[72];
} mpr_writer_entry;

typedef struct {
	uint64_t dropped_full, dropped_policy, blocked_ns;
	uint8_t reserved[104];
} mpr_stream_counters;

typedef struct {
	uint32_t state; /* 1: published */
	uint8_t kind, planes;
	uint16_t stream;
	uint32_t width, height; /* audio: rate, channels */
	uint32_t fps_num, fps_den;
	uint64_t mask; /* audio */
	uint32_t strides[4];
	uint64_t offsets[4];
	char name[32]; /* fourcc or sample format */
	char colorimetry[32];
	char chroma_site[32];
	uint8_t reserved[80];
} mpr_format_entry;

typedef struct {
	uint64_t state; /* seq<<40 | writer<<8 | state */
	uint64_t claim; /* cursor */
	uint64_t extent;
	uint64_t offset;
	uint64_t length;
	uint16_t stream;
	uint8_t kind, reserved0;
	uint32_t format;
	uint8_t reserved1[16];
	int64_t pts, duration;
	uint32_t flags, reserved2;
	uint64_t index;
	uint8_t reserved3[32];
} mpr_slot_entry;

typedef struct {
	uint64_t read; /* cursor */
	uint8_t pad0[56];
	uint32_t space_seq; /* futex */
	uint8_t pad1[60];
	uint64_t peek, held, held_most, held_bytes, held_bytes_most, evicted, evicted_bytes;
	uint8_t reserved[72];
} mpr_class_page;

typedef struct {
	uint64_t magic;
	uint16_t major, minor;
	uint32_t size;
	uint64_t ring_id, epoch;
	uint32_t state, state_seq; /* futex */
	uint32_t pid, uid;
	uint64_t boot;
	uint32_t producer_pid, producer_uid;
	uint64_t producer_boot;
	uint32_t stream_count, reader_state;
	uint32_t advice_num, advice_den; /* advised frame rate; 0: none */
	uint8_t reserved0[40];
	char name[64];
	char producer_name[64];
	char reason[256];
	uint64_t copy_limit, copies, abandoned, waits, wake_ups;
	uint64_t held_since; /* ns: since when the oldest frame that is out is out; 0: none */
	char holder[64];     /* the edge of the graph that holds frames up; "": none */
	uint8_t reserved1[144];
	mpr_class_page classes[MPR_CLASSES];
} mpr_consumer_page;

typedef struct {
	uint32_t kind, reserved0;
	uint64_t max_frame;
	char name[48];
} mpr_hello_stream;

typedef struct {
	uint64_t magic;
	uint16_t major, minor;
	uint32_t length;
	uint64_t required, optional;
	uint32_t role, count, pid, reserved0;
	uint64_t boot;
	char name[64];
	uint8_t reserved1[8];
	mpr_hello_stream streams[MPR_STREAMS];
} mpr_hello;

typedef struct {
	uint64_t magic;
	uint16_t major, minor;
	uint32_t length, status, pairs, pid, reserved0;
	uint64_t epoch, boot;
	uint8_t reserved1[16];
	char name[64];
	char reason[256];
} mpr_welcome;

MPR_ASSERT(sizeof(mpr_class_desc) == 0x80 && sizeof(mpr_header) == 0x200);
MPR_ASSERT(offsetof(mpr_header, classes) == 0x100);
MPR_ASSERT(sizeof(mpr_class_words) == 0x100 && offsetof(mpr_words, classes) == 0x200);
MPR_ASSERT(sizeof(mpr_writer_entry) == 256 && sizeof(mpr_stream_counters) == 128);
MPR_ASSERT(sizeof(mpr_format_entry) == 256 && sizeof(mpr_slot_entry) == 128);
MPR_ASSERT(sizeof(mpr_class_page) == 0x100 && offsetof(mpr_consumer_page, classes) == 0x300);
MPR_ASSERT(sizeof(mpr_hello_stream) == 64 && offsetof(mpr_hello, streams) == 0x80 && sizeof(mpr_hello) <= MPR_PAGE);
MPR_ASSERT(sizeof(mpr_welcome) == 0x180);

#define MPR_CONS_SIZE (2 * MPR_PAGE)
#define MPR_WORDS_OFF (1 * MPR_PAGE)
#define MPR_MAILBOX_OFF (2 * MPR_PAGE)
#define MPR_WRITERS_OFF (3 * MPR_PAGE)
#define MPR_STREAMS_OFF (MPR_WRITERS_OFF + MPR_WRITERS * (int)sizeof(mpr_writer_entry))
#define MPR_FORMATS_OFF (MPR_STREAMS_OFF + MPR_STREAMS * (int)sizeof(mpr_stream_counters))
#define MPR_CONTROL_END (MPR_FORMATS_OFF + MPR_FORMATS * (int)sizeof(mpr_format_entry))

/* ---- what a program uses ------------------------------------------------- */

/* Results: 0, or one of these. mpr_error turns one into a sentence. */
enum {
	MPR_OK = 0,
	MPR_FULL = -1,    /* no room, or none before the deadline; counted as dropped */
	MPR_STOPPED = -2, /* the consumer takes nothing new */
	MPR_GONE = -3,    /* the consumer closed or replaced the ring, or died: see mpr_producer.reason */
	MPR_ENDED = -4,   /* mpr_end was called for the stream */
	MPR_REFUSED = -5, /* the consumer said no: see mpr_producer.reason */
	MPR_TIMEOUT = -6, /* nobody took the producer in time */
	MPR_WRONG = -7,   /* an argument is out of range: see mpr_producer.reason */
	MPR_SYSTEM = -8   /* a system call failed: see errno and mpr_producer.reason */
};

typedef struct {
	const char *name; /* letters, digits, '.', '_', '-'; at most 47 */
	int kind;         /* MPR_VIDEO or MPR_AUDIO */
	uint64_t max_frame; /* bytes of the largest frame it will ever carry */
} mpr_stream;

typedef struct {
	char fourcc[32]; /* GStreamer's name: "I420", "NV12", "BGRA", ... */
	uint32_t width, height;
	uint32_t planes, strides[4];
	uint64_t offsets[4];
	uint64_t size; /* bytes of a frame */
	uint32_t fps_num, fps_den; /* 0/1 when it varies */
	char colorimetry[32], chroma_site[32]; /* "" leaves them to the default */
} mpr_video;

typedef struct {
	char sample[32]; /* GStreamer's name: "S16LE", "F32LE", ... */
	uint32_t rate, channels;
	uint64_t mask; /* GStreamer's channel-mask; 0 leaves it to the default */
} mpr_audio;

typedef struct {
	uint32_t slots;
	uint64_t capacity, modulus, align;
	mpr_slot_entry *table;
	uint8_t *arena;
	mpr_class_words *words;
	const mpr_class_page *page;
} mpr_class;

/* One attachment: the memory that one consumer made, and how it is watched. */
typedef struct {
	uint8_t *seg;
	uint64_t seg_size;
	const mpr_consumer_page *cons;
	mpr_words *words;
	mpr_class classes[MPR_CLASSES];
	int sock;         /* -1 in named mode, and once it is closed */
	int asked;        /* another HELLO went over sock */
	int left;         /* the consumer was told that nothing more comes */
	int consumer_pid; /* named mode */
	uint64_t consumer_boot;
	int64_t looked;   /* when the consumer was last looked at, ns */
	uint32_t gone;
	uint32_t users;   /* 1 for being current, 1 for each writer: mapped while there are any */
	uint64_t lost;    /* claims that were counted as lost, once another one is current */
} mpr_epoch;

/* One writer thread. Use it from one thread at a time. */
typedef struct mpr_producer mpr_producer;
typedef struct {
	mpr_producer *p;
	mpr_epoch *at; /* where it has its entry, and its slots */
	mpr_writer_entry *entry;
	uint32_t index;
	uint32_t open; /* slots that are not finished */
	uint64_t frames;
} mpr_writer;

/* A process's end of a ring: of one attachment after the other. Any thread may
 * call what takes it. */
struct mpr_producer {
	mpr_epoch *at;   /* the current one; NULL when closed */
	mpr_epoch *next; /* an attempt under way, by who has searching */
	mpr_stream streams[MPR_STREAMS];
	int count;
	int reattach;         /* see mpr_set_reattach */
	int final;            /* why there will be no next attachment, by itself */
	int64_t tried;        /* when the last attempt began, ns */
	uint32_t searching;
	uint32_t lock;        /* formats, ends, writer table, changing at */
	uint32_t ended, said; /* bit sets of streams: mpr_end was called; the end stands in the current attachment */
	uint32_t fresh;       /* bit set of streams: their next frame is the first of its attachment */
	uint64_t lost;        /* frames that consumers before did not use up, or that found none */
	uint64_t epochs;      /* attachments so far */
	char name[64];
	char address[4000];
	char reason[256];     /* why the last call of this process failed */
};

/* Claimed space: write size bytes to data, then mpr_commit or mpr_abort. */
typedef struct {
	uint8_t *data;
	size_t size;
	mpr_writer *w;
	mpr_slot_entry *entry;
	uint64_t word; /* of the state, without the state */
} mpr_slot;

static inline const char *mpr_error(int code)
{
	switch (code) {
	case MPR_OK: return "ok";
	case MPR_FULL: return "the ring is full";
	case MPR_STOPPED: return "the consumer has stopped taking frames";
	case MPR_GONE: return "the consumer is gone";
	case MPR_ENDED: return "the stream has ended";
	case MPR_REFUSED: return "the consumer refused the producer";
	case MPR_TIMEOUT: return "no consumer took the producer in time";
	case MPR_WRONG: return "wrong argument";
	default: return "a system call failed";
	}
}

/* CLOCK_MONOTONIC in ns: the clock of all stamps. */
static inline int64_t mpr_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- inside -------------------------------------------------------------- */

static inline int mpr_fail(mpr_producer *p, int code, const char *reason)
{
	if (p && reason) snprintf(p->reason, sizeof p->reason, "%s", reason);
	return code;
}

static inline void mpr_put_text(char *to, size_t size, const char *from)
{
	memset(to, 0, size);
	if (from) memcpy(to, from, strnlen(from, size - 1));
}

/* Sleeps while *word is val, at most ms. The word may be read-only. */
static inline void mpr_futex_wait(const uint32_t *word, uint32_t val, int64_t ns)
{
	struct timespec ts;
	if (ns > 100000000) ns = 100000000;
	if (ns < 0) ns = 0;
	ts.tv_sec = (time_t)(ns / 1000000000);
	ts.tv_nsec = (long)(ns % 1000000000);
	syscall(SYS_futex, word, FUTEX_WAIT, val, &ts, NULL, 0);
}

static inline void mpr_futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline void mpr_nap(void)
{
	struct timespec ts;
	ts.tv_sec = 0;
	ts.tv_nsec = 1000000;
	nanosleep(&ts, NULL);
}

/* Rare operations of one process; held for microseconds, so it may nap. */
static inline void mpr_lock(mpr_producer *p)
{
	while (__atomic_exchange_n(&p->lock, 1, __ATOMIC_ACQUIRE)) mpr_nap();
}

static inline void mpr_unlock(mpr_producer *p) { __atomic_store_n(&p->lock, 0, __ATOMIC_RELEASE); }

/* Start of a process in clock ticks since boot, field 22 of /proc/pid/stat; 0
 * when it cannot be read, as in a sandbox. dead is set for a zombie. */
static inline uint64_t mpr_start_ticks(int pid, int *dead)
{
	char path[64], text[1024], *at;
	int fd, field;
	ssize_t n;
	*dead = 0;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0) return 0;
	text[n] = 0;
	at = strrchr(text, ')'); /* the command may hold spaces */
	if (at && (at[2] == 'Z' || at[2] == 'X')) *dead = 1;
	for (field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

static inline int mpr_process_is(int pid, uint64_t ticks)
{
	uint64_t now;
	int dead;
	if (kill(pid, 0) < 0 && errno == ESRCH) return 0;
	now = mpr_start_ticks(pid, &dead);
	return !dead && (now == 0 || ticks == 0 || now == ticks);
}

/* Has the consumer died? A system call: only while waiting or full, and then at
 * most every 50 ms. */
static inline int mpr_consumer_dead(mpr_epoch *p)
{
	int64_t now = mpr_now();
	int dead = 0;
	if (__atomic_load_n(&p->gone, __ATOMIC_RELAXED)) return 1;
	if (now - __atomic_load_n(&p->looked, __ATOMIC_RELAXED) < 50000000) return 0;
	__atomic_store_n(&p->looked, now, __ATOMIC_RELAXED);
	if (p->sock >= 0) {
		struct pollfd fd;
		fd.fd = p->sock;
		fd.events = POLLRDHUP;
		fd.revents = 0;
		dead = poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
	} else {
		dead = !mpr_process_is(p->consumer_pid, p->consumer_boot);
	}
	if (dead) __atomic_store_n(&p->gone, 1, __ATOMIC_RELAXED);
	return dead;
}

static inline int mpr_replaced(const mpr_epoch *at)
{
	return __atomic_load_n(&at->cons->state, __ATOMIC_ACQUIRE) == MPR_REPLACED_STATE && !__atomic_load_n(&at->gone, __ATOMIC_RELAXED);
}

static inline int mpr_fail_with_reason(mpr_producer *p, const mpr_epoch *at, int code)
{
	char reason[256];
	memcpy(reason, at->cons->reason, sizeof reason);
	reason[sizeof reason - 1] = 0;
	return mpr_fail(p, code, reason);
}

/* MPR_OK while the consumer takes frames. */
static inline int mpr_takes(mpr_producer *p, const mpr_epoch *at)
{
	switch (__atomic_load_n(&at->cons->state, __ATOMIC_ACQUIRE)) { /* SYNC POINT state */
	case MPR_LIVE:
		if (!__atomic_load_n(&at->gone, __ATOMIC_RELAXED)) return MPR_OK;
		break;
	case MPR_STOPPING:
		if (!__atomic_load_n(&at->gone, __ATOMIC_RELAXED)) return MPR_STOPPED;
		break;
	case MPR_REFUSED_STATE:
	case MPR_INVALID_STATE:
	case MPR_REPLACED_STATE: return mpr_fail_with_reason(p, at, MPR_GONE);
	default: break;
	}
	return mpr_fail(p, MPR_GONE, "it closed the ring or died");
}

static inline uint64_t mpr_dist(const mpr_class *c, uint64_t from, uint64_t to)
{
	return to >= from ? to - from : to + c->modulus - from;
}

/* Extent and offset of n bytes claimed at a position. */
static inline uint64_t mpr_place(const mpr_class *c, uint64_t pos, uint64_t n, uint64_t *offset)
{
	uint64_t need = (n + MPR_GRANULE - 1) / MPR_GRANULE;
	uint64_t at = pos % c->capacity;
	need = (need + c->align - 1) / c->align * c->align;
	if (at + need > c->capacity) {
		*offset = 0;
		return c->capacity - at + need;
	}
	*offset = at * MPR_GRANULE;
	return need;
}

static inline void mpr_count(uint64_t *word, uint64_t n) /* one thread's own counter */
{
	__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline mpr_stream_counters *mpr_counters(mpr_epoch *p, int stream)
{
	return (mpr_stream_counters *)(void *)(p->seg + MPR_STREAMS_OFF) + stream;
}

/* Wakes the consumer if the word says that it wants that. The store of the event
 * came before, seq_cst. */
static inline void mpr_wake_consumer(mpr_epoch *p, uint32_t *waiters)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* SYNC POINT wake */
	if (__atomic_load_n(waiters, __ATOMIC_SEQ_CST) != 0 && __atomic_exchange_n(waiters, 0, __ATOMIC_SEQ_CST) != 0) {
		MPR_FAULT(MPR_AT_TOOK_WAIT);
		__atomic_fetch_add(&p->words->data_seq, 1, __ATOMIC_SEQ_CST);
		MPR_FAULT(MPR_AT_MOVED_SEQ);
		mpr_futex_wake(&p->words->data_seq);
	}
}

/* Moves the write cursor over n bytes if they fit; 1 when it did. */
static inline int mpr_advance(mpr_writer *w, int class_index, uint64_t n, uint64_t *at, uint64_t *extent, uint64_t *offset)
{
	mpr_class *c = &w->at->classes[class_index];
	uint64_t *intent = &w->entry->intent[class_index];
	for (;;) {
		uint64_t write = __atomic_load_n(&c->words->write, __ATOMIC_ACQUIRE);
		uint64_t read = __atomic_load_n(&c->page->read, __ATOMIC_SEQ_CST); /* SYNC POINT space */
		uint64_t pos = write & MPR_POS_MASK, next;
		uint32_t slots = (uint32_t)((write >> MPR_POS_BITS) - (read >> MPR_POS_BITS)) & MPR_SEQ_MASK;
		*extent = mpr_place(c, pos, n, offset);
		if (slots >= c->slots || mpr_dist(c, read & MPR_POS_MASK, pos) + *extent > c->capacity) {
			if (__atomic_load_n(&c->words->write, __ATOMIC_ACQUIRE) != write) continue; /* read had passed it */
			__atomic_store_n(intent, MPR_NO_INTENT, __ATOMIC_RELEASE);
			return 0;
		}
		next = pos + *extent;
		if (next >= c->modulus) next -= c->modulus;
		next |= (((write >> MPR_POS_BITS) + 1) & MPR_SEQ_MASK) << MPR_POS_BITS;
		MPR_FAULT(MPR_AT_ROOM);
		__atomic_store_n(intent, write, __ATOMIC_SEQ_CST); /* SYNC POINT intent */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		MPR_FAULT(MPR_AT_INTENT);
		*at = write;
		if (__atomic_compare_exchange_n(&c->words->write, &write, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
			MPR_FAULT(MPR_AT_MOVED);
			return 1;
		}
		mpr_count(&w->entry->retries, 1);
	}
}

/* Waits for room: wait_ns < 0 for ever. */
static inline int mpr_wait_space(mpr_writer *w, int stream, int class_index, uint64_t n, int64_t wait_ns, int ending,
                                 uint64_t *at, uint64_t *extent, uint64_t *offset)
{
	mpr_epoch *epoch = w->at;
	mpr_class *c = &epoch->classes[class_index];
	int64_t start = mpr_now(), spent;
	int code = MPR_FULL;
	for (;;) {
		uint32_t key;
		int got;
		__atomic_fetch_add(&c->words->space_waiters, 1, __ATOMIC_SEQ_CST); /* SYNC POINT space */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		MPR_FAULT(MPR_AT_WAITING);
		key = __atomic_load_n(&c->page->space_seq, __ATOMIC_SEQ_CST);
		got = mpr_advance(w, class_index, n, at, extent, offset);
		spent = mpr_now() - start;
		if (!got && (wait_ns < 0 || spent < wait_ns)) {
			int64_t left = wait_ns < 0 ? 100000000 : wait_ns - spent;
			mpr_wake_consumer(epoch, &epoch->words->full_waiters);
			if (mpr_takes(w->p, epoch) == MPR_OK || ending) mpr_futex_wait(&c->page->space_seq, key, left);
			MPR_FAULT(MPR_AT_WOKEN);
		}
		__atomic_fetch_sub(&c->words->space_waiters, 1, __ATOMIC_SEQ_CST);
		if (got || mpr_advance(w, class_index, n, at, extent, offset)) {
			code = MPR_OK;
			break;
		}
		mpr_consumer_dead(epoch);
		code = mpr_takes(w->p, epoch);
		if (code != MPR_OK && !(ending && code == MPR_STOPPED)) break;
		code = MPR_FULL;
		if (wait_ns >= 0 && mpr_now() - start >= wait_ns) break;
	}
	spent = mpr_now() - start;
	mpr_count(&w->entry->blocked_ns, (uint64_t)spent);
	__atomic_fetch_add(&mpr_counters(epoch, stream)->blocked_ns, (uint64_t)spent, __ATOMIC_RELAXED);
	return code;
}

/* Claims in the attachment the writer is bound to. */
static inline int mpr_claim_in(mpr_writer *w, int stream, uint32_t format, uint64_t n, int64_t wait_ns, int ending, mpr_slot *slot)
{
	mpr_producer *p = w->p;
	int ci = p->streams[stream].kind - 1;
	mpr_epoch *epoch = w->at;
	mpr_class *c = &epoch->classes[ci];
	uint64_t at = 0, extent = 0, offset = 0;
	mpr_slot_entry *e;
	int code = mpr_takes(p, epoch);
	if (code != MPR_OK && !(ending && code == MPR_STOPPED)) return code;
	if (!mpr_advance(w, ci, n, &at, &extent, &offset)) {
		mpr_wake_consumer(epoch, &epoch->words->full_waiters);
		if (wait_ns == 0)
			code = mpr_consumer_dead(epoch) ? MPR_GONE : MPR_FULL;
		else
			code = mpr_wait_space(w, stream, ci, n, wait_ns, ending, &at, &extent, &offset);
		if (code == MPR_FULL && !ending) {
			mpr_count(&w->entry->dropped_full, 1);
			__atomic_fetch_add(&mpr_counters(epoch, stream)->dropped_full, 1, __ATOMIC_RELAXED);
		}
		if (code != MPR_OK) return code;
	}
	e = &c->table[(at >> MPR_POS_BITS) & (c->slots - 1)];
	e->claim = at;
	e->extent = extent;
	e->offset = offset;
	e->length = n;
	e->stream = (uint16_t)stream;
	e->kind = (uint8_t)p->streams[stream].kind;
	e->format = format;
	slot->word = (at >> MPR_POS_BITS) << MPR_POS_BITS | (uint64_t)w->index << 8;
	MPR_FAULT(MPR_AT_FILLED);
	__atomic_store_n(&e->state, slot->word | MPR_CLAIMED, __ATOMIC_RELEASE); /* SYNC POINT tag */
	MPR_FAULT(MPR_AT_TAGGED);
	__atomic_store_n(&w->entry->intent[ci], MPR_NO_INTENT, __ATOMIC_RELEASE);
	MPR_FAULT(MPR_AT_CLAIMED);
	e->index = w->frames++;
	slot->data = c->arena + offset;
	slot->size = (size_t)n;
	slot->w = w;
	slot->entry = e;
	w->open++;
	return MPR_OK;
}

/* Maps and checks both files; the fds may be closed afterwards. */
static inline int mpr_map(mpr_producer *p, mpr_epoch *e, int seg_fd, int cons_fd)
{
	struct stat st;
	void *m;
	const mpr_header *h;
	int i;
	if (fstat(seg_fd, &st) < 0) return mpr_fail(p, MPR_SYSTEM, "fstat of the segment failed");
	if (st.st_size < MPR_CONTROL_END) return mpr_fail(p, MPR_REFUSED, "not a ring: the segment is too small");
	e->seg_size = (uint64_t)st.st_size;
	m = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, seg_fd, 0);
	if (m == MAP_FAILED) return mpr_fail(p, MPR_SYSTEM, "mmap of the segment failed");
	e->seg = (uint8_t *)m;
	if (fstat(cons_fd, &st) < 0 || st.st_size < MPR_CONS_SIZE) return mpr_fail(p, MPR_REFUSED, "not a ring: no consumer page");
	m = mmap(NULL, MPR_CONS_SIZE, PROT_READ, MAP_SHARED, cons_fd, 0);
	if (m == MAP_FAILED) return mpr_fail(p, MPR_SYSTEM, "mmap of the consumer page failed");
	e->cons = (const mpr_consumer_page *)m;
	h = (const mpr_header *)(const void *)e->seg;
	if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) != MPR_SEG_MAGIC || __atomic_load_n(&e->cons->magic, __ATOMIC_ACQUIRE) != MPR_CONS_MAGIC)
		return mpr_fail(p, MPR_REFUSED, "not a ring");
	if (h->major != MPR_MAJOR || e->cons->major != MPR_MAJOR || h->required != 0)
		return mpr_fail(p, MPR_REFUSED, "the consumer speaks another version of the ring");
	if (h->ring_id != e->cons->ring_id || h->epoch != e->cons->epoch)
		return mpr_fail(p, MPR_TIMEOUT, "the consumer is replacing the ring");
	if (h->size != e->seg_size || h->words_off != MPR_WORDS_OFF || h->mailbox_off != MPR_MAILBOX_OFF ||
	    h->writers_off != MPR_WRITERS_OFF || h->writer_count != MPR_WRITERS || h->writer_size != sizeof(mpr_writer_entry) ||
	    h->streams_off != (uint64_t)MPR_STREAMS_OFF || h->stream_count != MPR_STREAMS || h->stream_size != sizeof(mpr_stream_counters) ||
	    h->formats_off != (uint64_t)MPR_FORMATS_OFF || h->format_count != MPR_FORMATS || h->format_size != sizeof(mpr_format_entry) ||
	    h->slot_size != sizeof(mpr_slot_entry) || h->granule != MPR_GRANULE || h->class_count != MPR_CLASSES)
		return mpr_fail(p, MPR_REFUSED, "the ring has another layout");
	e->words = (mpr_words *)(void *)(e->seg + MPR_WORDS_OFF);
	for (i = 0; i < MPR_CLASSES; i++) {
		const mpr_class_desc *d = &h->classes[i];
		mpr_class *c = &e->classes[i];
		if (d->kind == 0) continue;
		if (d->kind != (uint32_t)i + 1 || d->slots == 0 || d->slots > MPR_SLOTS_MOST || (d->slots & (d->slots - 1)) != 0 ||
		    d->capacity == 0 || d->align == 0 || d->modulus == 0 || d->modulus % d->capacity != 0 ||
		    d->slots_off > e->seg_size || (uint64_t)d->slots * sizeof(mpr_slot_entry) > e->seg_size - d->slots_off ||
		    d->data_off > e->seg_size || d->capacity > (e->seg_size - d->data_off) / MPR_GRANULE)
			return mpr_fail(p, MPR_REFUSED, "the ring has another layout");
		c->slots = d->slots;
		c->capacity = d->capacity;
		c->modulus = d->modulus;
		c->align = d->align;
		c->table = (mpr_slot_entry *)(void *)(e->seg + d->slots_off);
		c->arena = e->seg + d->data_off;
		c->words = &e->words->classes[i];
		c->page = &e->cons->classes[i];
	}
	return MPR_OK;
}

/* What both modes do once the memory is theirs. */
static inline int mpr_begin(mpr_producer *p, mpr_epoch *e)
{
	int i;
	for (i = 0; i < p->count; i++) {
		mpr_class *c = &e->classes[p->streams[i].kind - 1];
		uint64_t offset, extent;
		if (c->slots == 0) return mpr_fail(p, MPR_REFUSED, "the consumer made no ring for the kind of a stream");
		extent = mpr_place(c, 0, p->streams[i].max_frame, &offset);
		if (2 * extent > c->capacity) {
			snprintf(p->reason, sizeof p->reason, "frames of stream %s take up to %llu bytes, but the arena has %llu: it must hold two",
			         p->streams[i].name, (unsigned long long)p->streams[i].max_frame, (unsigned long long)(c->capacity * MPR_GRANULE));
			return MPR_REFUSED;
		}
#ifdef MADV_POPULATE_WRITE
		/* The first touch of a page costs; better now. Denied in some sandboxes. */
		madvise(c->arena, c->capacity * MPR_GRANULE, MADV_POPULATE_WRITE);
#endif
	}
	MPR_FAULT(MPR_AT_MAPPED);
	__atomic_store_n(&e->words->producer_state, MPR_PRODUCER_ATTACHED, __ATOMIC_RELEASE);
	MPR_FAULT(MPR_AT_ATTACHED);
	return MPR_OK;
}

static inline size_t mpr_make_hello(const mpr_producer *p, mpr_hello *h)
{
	int i, dead;
	memset(h, 0, sizeof *h);
	h->magic = MPR_HELLO_MAGIC;
	h->major = MPR_MAJOR;
	h->minor = MPR_MINOR;
	h->role = 1;
	h->count = (uint32_t)p->count;
	h->length = (uint32_t)(offsetof(mpr_hello, streams) + (size_t)p->count * sizeof(mpr_hello_stream));
	h->pid = (uint32_t)getpid();
	h->boot = mpr_start_ticks((int)h->pid, &dead);
	mpr_put_text(h->name, sizeof h->name, p->name);
	for (i = 0; i < p->count; i++) {
		h->streams[i].kind = (uint32_t)p->streams[i].kind;
		h->streams[i].max_frame = p->streams[i].max_frame;
		mpr_put_text(h->streams[i].name, sizeof h->streams[i].name, p->streams[i].name);
	}
	return h->length;
}

static inline mpr_epoch *mpr_new_epoch(mpr_producer *p)
{
	mpr_epoch *e = (mpr_epoch *)calloc(1, sizeof *e);
	if (!e) mpr_fail(p, MPR_SYSTEM, "no memory for an attachment");
	if (e) e->sock = -1, e->users = 1;
	return e;
}

/* Claims that the consumer did not use up: those it never came to, and those it
 * gave up. One that is gone may have lost what it still held; one that replaced
 * its ring delivers what it had taken. */
static inline uint64_t mpr_unused(const mpr_epoch *e)
{
	uint64_t n = __atomic_load_n(&e->cons->abandoned, __ATOMIC_ACQUIRE);
	int i;
	for (i = 0; i < MPR_CLASSES; i++) {
		const mpr_class *c = &e->classes[i];
		uint64_t from;
		if (c->slots == 0) continue;
		from = __atomic_load_n(__atomic_load_n(&e->cons->state, __ATOMIC_ACQUIRE) == MPR_REPLACED_STATE ? &c->page->peek : &c->page->read, __ATOMIC_ACQUIRE);
		n += (uint32_t)((__atomic_load_n(&c->words->write, __ATOMIC_ACQUIRE) >> MPR_POS_BITS) - (from >> MPR_POS_BITS)) & MPR_SEQ_MASK;
	}
	return n;
}

/* Takes one user away; the memory goes with the last. Under the lock. */
static inline void mpr_release(mpr_producer *p, mpr_epoch *e)
{
	if (p->at && p->at != e && e != p->next) { /* over; a writer that was stuck may have claimed since the last count */
		uint64_t n = mpr_unused(e);
		__atomic_fetch_add(&p->lost, n - e->lost, __ATOMIC_RELAXED);
		e->lost = n;
	}
	if (--e->users > 0) return;
	if (e->seg) munmap(e->seg, e->seg_size);
	if (e->cons) munmap((void *)(uintptr_t)e->cons, MPR_CONS_SIZE);
	if (e->sock >= 0) close(e->sock);
	free(e);
}

/* Tells the consumer that nothing more comes, and hangs up. Not when it replaced
 * the ring: other threads may still finish frames there. */
static inline void mpr_leave(mpr_epoch *e)
{
	if (e->left) return;
	e->left = 1;
	if (!mpr_replaced(e)) {
		__atomic_store_n(&e->words->producer_state, MPR_PRODUCER_ENDED, __ATOMIC_SEQ_CST); /* SYNC POINT end */
		MPR_FAULT(MPR_AT_ENDED);
		__atomic_fetch_add(&e->words->data_seq, 1, __ATOMIC_SEQ_CST);
		mpr_futex_wake(&e->words->data_seq);
		MPR_FAULT(MPR_AT_UNSAID);
	}
	__atomic_store_n(&e->gone, 1, __ATOMIC_RELAXED);
	if (e->sock >= 0) close(e->sock);
	e->sock = -1;
}

/* ---- attaching ----------------------------------------------------------- */

/* An attempt has two steps: asking the consumer, and its answer, which comes when
 * it accepts. Both give MPR_TIMEOUT when it failed in a way that time may mend. */

static inline int mpr_ask_socket(mpr_producer *p, mpr_epoch *e)
{
	mpr_hello hello;
	size_t size = mpr_make_hello(p, &hello);
	MPR_FAULT(MPR_AT_FOUND);
	if (send(e->sock, &hello, size, MSG_NOSIGNAL) != (ssize_t)size) return mpr_fail(p, MPR_TIMEOUT, "the consumer hung up");
	MPR_FAULT(MPR_AT_POSTED);
	return MPR_OK;
}

static inline int mpr_connect(mpr_producer *p, mpr_epoch *e, const char *path)
{
	struct sockaddr_un sa;
	memset(&sa, 0, sizeof sa);
	sa.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof sa.sun_path) return mpr_fail(p, MPR_WRONG, "the socket's path is too long");
	memcpy(sa.sun_path, path, strlen(path));
	e->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (e->sock < 0) return mpr_fail(p, MPR_SYSTEM, "socket failed");
	if (connect(e->sock, (struct sockaddr *)&sa, sizeof sa) == 0) return mpr_ask_socket(p, e);
	return errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN || errno == EINTR
	           ? mpr_fail(p, MPR_TIMEOUT, "nobody listens")
	           : mpr_fail(p, MPR_SYSTEM, "connect failed");
}

/* The WELCOME, if it comes within wait_ns; MPR_FULL: not yet. */
static inline int mpr_welcomed(mpr_producer *p, mpr_epoch *e, int64_t wait_ns)
{
	mpr_welcome w;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr msg;
	struct cmsghdr *c;
	struct pollfd fd;
	ssize_t n;
	int fds[2] = {-1, -1}, code;
	fd.fd = e->sock;
	fd.events = POLLIN;
	fd.revents = 0;
	if (poll(&fd, 1, (int)((wait_ns + 999999) / 1000000)) <= 0) return MPR_FULL;
	memset(&msg, 0, sizeof msg);
	iov.iov_base = &w;
	iov.iov_len = sizeof w;
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	msg.msg_control = control.bytes;
	msg.msg_controllen = sizeof control.bytes;
	n = recvmsg(e->sock, &msg, MSG_CMSG_CLOEXEC);
	if (n <= 0) return mpr_fail(p, MPR_TIMEOUT, "the consumer hung up");
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fds))
			memcpy(fds, CMSG_DATA(c), sizeof fds);
	if (n != (ssize_t)sizeof w || w.magic != MPR_WELCOME_MAGIC || w.major != MPR_MAJOR) {
		code = mpr_fail(p, MPR_REFUSED, "the consumer speaks another version of the ring");
	} else if (w.status != 0) {
		w.reason[sizeof w.reason - 1] = 0;
		code = mpr_fail(p, MPR_REFUSED, w.reason);
	} else if (fds[0] < 0) {
		code = mpr_fail(p, MPR_REFUSED, "the WELCOME came without fds");
	} else {
		MPR_FAULT(MPR_AT_WELCOME);
		code = mpr_map(p, e, fds[0], fds[1]);
	}
	if (fds[0] >= 0) close(fds[0]);
	if (fds[1] >= 0) close(fds[1]);
	return code == MPR_OK ? mpr_begin(p, e) : code;
}

/* The mailbox of a named ring. */
static inline int mpr_post(mpr_producer *p, mpr_epoch *e)
{
	const mpr_header *h = (const mpr_header *)(const void *)e->seg;
	uint32_t *box = &e->words->mailbox, pid = (uint32_t)getpid(), open_word = 0;
	mpr_hello hello;
	e->consumer_pid = (int)h->consumer_pid;
	e->consumer_boot = h->consumer_boot;
	if (!mpr_process_is(e->consumer_pid, e->consumer_boot)) return mpr_fail(p, MPR_TIMEOUT, "its consumer is dead");
	MPR_FAULT(MPR_AT_FOUND);
	if (__atomic_load_n(&e->cons->state, __ATOMIC_ACQUIRE) != MPR_WAITING ||
	    !__atomic_compare_exchange_n(box, &open_word, pid, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		return mpr_fail(p, MPR_TIMEOUT, "the ring has a producer already");
	MPR_FAULT(MPR_AT_MAILBOX);
	mpr_make_hello(p, &hello);
	memcpy(e->seg + MPR_MAILBOX_OFF, &hello, sizeof hello);
	MPR_FAULT(MPR_AT_HELLO);
	__atomic_store_n(box, pid | MPR_MAILBOX_POSTED, __ATOMIC_SEQ_CST); /* SYNC POINT hello */
	MPR_FAULT(MPR_AT_POSTED);
	mpr_futex_wake(box);
	return MPR_OK;
}

static inline int mpr_ask_named(mpr_producer *p, mpr_epoch *e, const char *path)
{
	char cons_path[4200];
	int seg_fd, cons_fd, code;
	snprintf(cons_path, sizeof cons_path, "%s.consumer", path);
	seg_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	cons_fd = seg_fd < 0 ? -1 : open(cons_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (cons_fd < 0) {
		code = errno == ENOENT ? mpr_fail(p, MPR_TIMEOUT, "the ring does not exist") : mpr_fail(p, MPR_SYSTEM, "open of the ring failed");
	} else {
		code = mpr_map(p, e, seg_fd, cons_fd);
		if (code == MPR_OK) code = mpr_post(p, e);
	}
	if (seg_fd >= 0) close(seg_fd);
	if (cons_fd >= 0) close(cons_fd);
	return code;
}

/* The state of a named ring, after wait_ns at the latest; MPR_FULL: not yet. */
static inline int mpr_answered(mpr_producer *p, mpr_epoch *e, int64_t wait_ns)
{
	uint32_t key = __atomic_load_n(&e->cons->state_seq, __ATOMIC_SEQ_CST);
	switch (__atomic_load_n(&e->cons->state, __ATOMIC_SEQ_CST)) {
	case MPR_WAITING: break;
	case MPR_REFUSED_STATE: return mpr_fail_with_reason(p, e, MPR_REFUSED);
	case MPR_CLOSED: return mpr_fail(p, MPR_TIMEOUT, "the consumer left");
	default: MPR_FAULT(MPR_AT_WELCOME); return mpr_begin(p, e);
	}
	if (!mpr_process_is(e->consumer_pid, e->consumer_boot)) return mpr_fail(p, MPR_TIMEOUT, "the consumer died");
	if (wait_ns > 0) mpr_futex_wait(&e->cons->state_seq, key, wait_ns);
	return MPR_FULL;
}

/* Gives an attempt up; where it was accepted this very moment, that ends before it
 * began. */
static inline void mpr_withdraw(mpr_producer *p)
{
	mpr_epoch *e = p->next;
	uint32_t posted = (uint32_t)getpid() | MPR_MAILBOX_POSTED;
	if (!e) return;
	if (e->sock < 0 && e->words && !__atomic_compare_exchange_n(&e->words->mailbox, &posted, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
		__atomic_store_n(&e->words->producer_state, MPR_PRODUCER_ENDED, __ATOMIC_SEQ_CST); /* SYNC POINT end */
		__atomic_fetch_add(&e->words->data_seq, 1, __ATOMIC_SEQ_CST);
		mpr_futex_wake(&e->words->data_seq);
	}
	mpr_release(p, e);
	p->next = NULL;
}

/* Begins an attempt. */
static inline int mpr_ask(mpr_producer *p)
{
	const char *a = p->address;
	char path[4096];
	mpr_epoch *e;
	int code;
	if (!(e = mpr_new_epoch(p))) return MPR_SYSTEM;
	p->next = e;
	if (p->at && p->at->sock >= 0 && mpr_replaced(p->at)) { /* the same connection is good for another ring */
		e->sock = p->at->sock;
		p->at->sock = -1;
		code = mpr_ask_socket(p, e);
	} else {
		if (p->at) mpr_leave(p->at);
		if (strncmp(a, "fd:", 3) == 0 && p->at) {
			code = mpr_fail(p, MPR_GONE, "a socket that was handed in is good for one consumer");
		} else if (strncmp(a, "fd:", 3) == 0) {
			e->sock = atoi(a + 3);
			code = mpr_ask_socket(p, e);
		} else if (strncmp(a, "unix:", 5) == 0) {
			code = mpr_connect(p, e, a + 5);
		} else {
			snprintf(path, sizeof path, "%s%s", a[0] == '/' || a[0] == '.' ? "" : "/dev/shm/", a);
			code = mpr_ask_named(p, e, path);
		}
	}
	if (code != MPR_OK) {
		mpr_release(p, e);
		p->next = NULL;
	}
	return code;
}

/* One step towards an attachment, of wait_ns at most: MPR_OK once p->next is one,
 * MPR_FULL while it is not. Anything else is final. */
static inline int mpr_step(mpr_producer *p, int64_t wait_ns)
{
	int code, once = strncmp(p->address, "fd:", 3) == 0; /* then there is no other try */
	if (wait_ns < 0 || wait_ns > 100000000) wait_ns = 100000000;
	if (!p->next) {
		if (mpr_now() - p->tried < 20000000) {
			if (wait_ns > 0) mpr_nap();
			return MPR_FULL;
		}
		p->tried = mpr_now();
		code = mpr_ask(p);
		if (code != MPR_OK) return code == MPR_TIMEOUT && !once ? MPR_FULL : code;
	}
	code = p->next->sock >= 0 ? mpr_welcomed(p, p->next, wait_ns) : mpr_answered(p, p->next, wait_ns);
	if (code == MPR_OK || code == MPR_FULL) return code;
	mpr_release(p, p->next);
	p->next = NULL;
	return code == MPR_TIMEOUT && !once ? MPR_FULL : code;
}

static inline int mpr_steps(mpr_producer *p, int64_t deadline)
{
	int code;
	for (;;) {
		code = mpr_step(p, deadline < 0 ? -1 : deadline - mpr_now() < 0 ? 0 : deadline - mpr_now());
		if (code != MPR_FULL) return code;
		if (deadline >= 0 && mpr_now() >= deadline) break;
	}
	if (p->next) mpr_fail(p, MPR_TIMEOUT, "the consumer did not accept in time");
	return MPR_TIMEOUT;
}

static inline int mpr_set_streams(mpr_producer *p, const mpr_stream *streams, int count)
{
	int i;
	memset(p, 0, sizeof *p);
	if (count < 1 || count > MPR_STREAMS) return mpr_fail(p, MPR_WRONG, "an attachment has 1 to 32 streams");
	for (i = 0; i < count; i++) {
		if (!streams[i].name || (streams[i].kind != MPR_VIDEO && streams[i].kind != MPR_AUDIO) || streams[i].max_frame == 0)
			return mpr_fail(p, MPR_WRONG, "a stream needs a name, a kind and the bytes of its largest frame");
		p->streams[i] = streams[i];
	}
	p->count = count;
	return MPR_OK;
}

/* Attaches at an address: NAME for /dev/shm/NAME, a path that begins with '/'
 * or '.', unix:PATH, or fd:N for a connected SEQPACKET socket, which the producer
 * then owns: for sandboxes that are handed one. Waits until a consumer is there
 * and accepts, at most timeout_ms, for ever when that is negative. The names in
 * streams are kept by reference. */
static inline int mpr_attach(mpr_producer *p, const char *address, const mpr_stream *streams, int count, const char *name, int timeout_ms)
{
	int code = mpr_set_streams(p, streams, count);
	if (code != MPR_OK) return code;
	if (strlen(address) >= sizeof p->address) return mpr_fail(p, MPR_WRONG, "the address is too long");
	mpr_put_text(p->address, sizeof p->address, address);
	mpr_put_text(p->name, sizeof p->name, name);
	code = mpr_steps(p, timeout_ms < 0 ? -1 : mpr_now() + (int64_t)timeout_ms * 1000000);
	if (code == MPR_OK) {
		p->at = p->next;
		p->next = NULL;
		p->epochs = 1;
	}
	mpr_withdraw(p);
	return code;
}

static inline int mpr_attach_fd(mpr_producer *p, int sock, const mpr_stream *streams, int count, const char *name, int timeout_ms)
{
	char address[16];
	snprintf(address, sizeof address, "fd:%d", sock);
	return mpr_attach(p, address, streams, count, name, timeout_ms);
}

/* ---- writers and formats ------------------------------------------------- */

static inline int mpr_bind(mpr_writer *w, mpr_epoch *e) /* under the lock */
{
	mpr_writer_entry *table = (mpr_writer_entry *)(void *)(e->seg + MPR_WRITERS_OFF);
	uint32_t i;
	for (i = 0; i < MPR_WRITERS; i++) {
		uint32_t free_word = 0;
		if (!__atomic_compare_exchange_n(&table[i].state, &free_word, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) continue;
		MPR_FAULT(MPR_AT_WRITER_ENTRY);
		__atomic_store_n(&table[i].pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
		__atomic_store_n(&table[i].tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELAXED);
		w->at = e;
		w->entry = &table[i];
		w->index = i;
		w->frames = __atomic_load_n(&table[i].frames, __ATOMIC_RELAXED);
		e->users++;
		return MPR_OK;
	}
	return mpr_fail(w->p, MPR_WRONG, "64 writers are in use; close one");
}

/* Takes an entry of the writer table: one for each thread that claims. */
static inline int mpr_writer_open(mpr_producer *p, mpr_writer *w)
{
	int code;
	memset(w, 0, sizeof *w);
	if (!p->at) return MPR_GONE;
	w->p = p;
	mpr_lock(p);
	code = mpr_bind(w, p->at);
	mpr_unlock(p);
	return code;
}

static inline void mpr_writer_close(mpr_writer *w)
{
	if (!w->entry) return;
	mpr_lock(w->p);
	__atomic_store_n(&w->entry->state, 0, __ATOMIC_SEQ_CST);
	mpr_release(w->p, w->at);
	mpr_unlock(w->p);
	w->entry = NULL;
}

static inline void mpr_put_format(mpr_epoch *e, uint32_t i, const mpr_format_entry *f)
{
	mpr_format_entry *to = (mpr_format_entry *)(void *)(e->seg + MPR_FORMATS_OFF) + i;
	memcpy((uint8_t *)to + sizeof to->state, (const uint8_t *)f + sizeof f->state, sizeof *f - sizeof f->state);
	MPR_FAULT(MPR_AT_FORMAT);
	__atomic_store_n(&to->state, 1, __ATOMIC_RELEASE); /* SYNC POINT format */
	MPR_FAULT(MPR_AT_PUBLISHED);
}

static inline int mpr_publish(mpr_producer *p, mpr_format_entry *f, uint32_t *id)
{
	mpr_format_entry *table;
	uint32_t i;
	if (!p->at) return MPR_GONE;
	mpr_lock(p);
	table = (mpr_format_entry *)(void *)(p->at->seg + MPR_FORMATS_OFF);
	for (i = 0; i < MPR_FORMATS; i++) {
		f->state = __atomic_load_n(&table[i].state, __ATOMIC_ACQUIRE);
		if (f->state == 0) mpr_put_format(p->at, i, f);
		if (f->state == 0 || memcmp(&table[i], f, sizeof *f) == 0) break;
	}
	mpr_unlock(p);
	*id = i + 1;
	return i < MPR_FORMATS ? MPR_OK : mpr_fail(p, MPR_WRONG, "an attachment holds 256 formats; attach again");
}

/* Publishes a format and gives the id that its frames carry. The same format
 * gives the same id. Call it before the first frame, and whenever it changes. */
static inline int mpr_set_video(mpr_producer *p, int stream, const mpr_video *v, uint32_t *id)
{
	mpr_format_entry f;
	int i;
	if (stream < 0 || stream >= p->count || p->streams[stream].kind != MPR_VIDEO) return mpr_fail(p, MPR_WRONG, "no such video stream");
	if (v->size > p->streams[stream].max_frame) return mpr_fail(p, MPR_WRONG, "the picture is larger than the stream declared");
	if (v->planes < 1 || v->planes > 4 || v->fps_den == 0) return mpr_fail(p, MPR_WRONG, "the format has no planes or a frame rate over 0");
	memset(&f, 0, sizeof f);
	f.kind = MPR_VIDEO;
	f.planes = (uint8_t)v->planes;
	f.stream = (uint16_t)stream;
	f.width = v->width;
	f.height = v->height;
	f.fps_num = v->fps_num;
	f.fps_den = v->fps_den;
	for (i = 0; i < 4; i++) {
		f.strides[i] = v->strides[i];
		f.offsets[i] = v->offsets[i];
	}
	mpr_put_text(f.name, sizeof f.name, v->fourcc);
	mpr_put_text(f.colorimetry, sizeof f.colorimetry, v->colorimetry);
	mpr_put_text(f.chroma_site, sizeof f.chroma_site, v->chroma_site);
	return mpr_publish(p, &f, id);
}

static inline int mpr_set_audio(mpr_producer *p, int stream, const mpr_audio *a, uint32_t *id)
{
	mpr_format_entry f;
	if (stream < 0 || stream >= p->count || p->streams[stream].kind != MPR_AUDIO) return mpr_fail(p, MPR_WRONG, "no such audio stream");
	if (a->rate == 0 || a->channels == 0) return mpr_fail(p, MPR_WRONG, "audio needs a rate and channels");
	memset(&f, 0, sizeof f);
	f.kind = MPR_AUDIO;
	f.stream = (uint16_t)stream;
	f.width = a->rate;
	f.height = a->channels;
	f.mask = a->mask;
	mpr_put_text(f.name, sizeof f.name, a->sample);
	return mpr_publish(p, &f, id);
}

/* GStreamer's own layout for the usual fourccs: I420, NV12, and the packed
 * ones with 4 bytes a pixel (BGRA, RGBA, BGRx, RGBx, ARGB, ABGR, xRGB, xBGR).
 * For others fill in mpr_video yourself. */
static inline int mpr_video_layout(mpr_video *v, const char *fourcc, uint32_t width, uint32_t height, uint32_t fps_num, uint32_t fps_den)
{
	uint32_t even = (height + 1) / 2 * 2;
	memset(v, 0, sizeof *v);
	mpr_put_text(v->fourcc, sizeof v->fourcc, fourcc);
	v->width = width;
	v->height = height;
	v->fps_num = fps_num;
	v->fps_den = fps_den;
	if (strcmp(fourcc, "I420") == 0) {
		v->planes = 3;
		v->strides[0] = (width + 3) / 4 * 4;
		v->strides[1] = v->strides[2] = ((width + 1) / 2 + 3) / 4 * 4;
		v->offsets[1] = (uint64_t)v->strides[0] * even;
		v->offsets[2] = v->offsets[1] + (uint64_t)v->strides[1] * (even / 2);
		v->size = v->offsets[2] + (uint64_t)v->strides[2] * (even / 2);
		return MPR_OK;
	}
	if (strcmp(fourcc, "NV12") == 0) {
		v->planes = 2;
		v->strides[0] = v->strides[1] = (width + 3) / 4 * 4;
		v->offsets[1] = (uint64_t)v->strides[0] * even;
		v->size = v->offsets[1] + (uint64_t)v->strides[1] * (even / 2);
		return MPR_OK;
	}
	if (strlen(fourcc) == 4 && (strpbrk(fourcc, "Ax") != NULL) && strspn(fourcc, "RGBAx") == 4) {
		v->planes = 1;
		v->strides[0] = width * 4;
		v->size = (uint64_t)v->strides[0] * height;
		return MPR_OK;
	}
	return MPR_WRONG;
}

/* ---- the next attachment --------------------------------------------------- */

/* Says the ends of streams in an attachment that nobody uses yet. */
static inline void mpr_end_again(mpr_producer *p, mpr_epoch *e);

/* Makes p->next the current attachment. Formats go into an empty table, in order:
 * their ids stay. keep: streams that were ended stay so. */
static inline void mpr_adopt(mpr_producer *p, int keep)
{
	mpr_epoch *old = p->at, *e = p->next;
	const mpr_format_entry *table;
	uint32_t i;
	mpr_lock(p);
	table = (const mpr_format_entry *)(const void *)(old->seg + MPR_FORMATS_OFF);
	for (i = 0; i < MPR_FORMATS && __atomic_load_n(&table[i].state, __ATOMIC_ACQUIRE) == 1; i++) mpr_put_format(e, i, &table[i]);
	if (keep) {
		mpr_end_again(p, e);
	} else {
		p->said = 0;
		__atomic_store_n(&p->ended, 0, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&p->fresh, (uint32_t)((UINT64_C(1) << p->count) - 1), __ATOMIC_SEQ_CST);
	p->epochs++;
	p->next = NULL;
	__atomic_store_n(&p->at, e, __ATOMIC_SEQ_CST);
	mpr_release(p, old);
	mpr_unlock(p);
}

static inline int mpr_try_search(mpr_producer *p) { return !__atomic_exchange_n(&p->searching, 1, __ATOMIC_ACQUIRE); }

static inline void mpr_end_search(mpr_producer *p) { __atomic_store_n(&p->searching, 0, __ATOMIC_RELEASE); }

/* Leaves a consumer that is gone, has stopped, or has replaced its ring, for the
 * next one at the address; waits at most timeout_ms for it, for ever when that is
 * negative. Writers and format ids stay valid, streams that were ended are open
 * again. *lost, unless NULL, is how many claims the last one did not use up. When
 * it fails, call it again. */
static inline int mpr_reattach(mpr_producer *p, int timeout_ms, uint64_t *lost)
{
	int64_t deadline = timeout_ms < 0 ? -1 : mpr_now() + (int64_t)timeout_ms * 1000000;
	uint64_t before = __atomic_load_n(&p->lost, __ATOMIC_RELAXED);
	int code;
	if (lost) *lost = 0;
	if (!p->at) return MPR_GONE;
	while (!mpr_try_search(p)) {
		if (deadline >= 0 && mpr_now() >= deadline) return MPR_TIMEOUT;
		mpr_nap();
	}
	p->final = 0;
	code = mpr_steps(p, deadline);
	if (code == MPR_OK) mpr_adopt(p, 0);
	mpr_end_search(p);
	if (lost) *lost = __atomic_load_n(&p->lost, __ATOMIC_RELAXED) - before;
	return code;
}

/* With on, mpr_claim and mpr_end look for the next consumer, or the next ring of
 * the same one, by themselves, as long as they may wait, and go on there: streams
 * that were ended are ended there too, the first frame of each stream carries
 * MPR_DISCONT, and mpr_producer.lost counts what was lost. A frame that finds no
 * consumer in time gets MPR_FULL. Without it they return MPR_GONE or MPR_STOPPED. */
static inline void mpr_set_reattach(mpr_producer *p, int on) { p->reattach = on; }

/* Waits for the attachment after e; MPR_OK: try again. */
static inline int mpr_await(mpr_producer *p, mpr_epoch *e, int64_t wait_ns, int ending)
{
	int64_t start = mpr_now();
	int code = MPR_FULL;
	for (;;) {
		int64_t left = wait_ns < 0 ? 100000000 : wait_ns - (mpr_now() - start);
		if (__atomic_load_n(&p->at, __ATOMIC_SEQ_CST) != e) return MPR_OK;
		if (mpr_try_search(p)) {
			if (p->at != e) {
				mpr_end_search(p);
				return MPR_OK;
			}
			code = p->final ? p->final : mpr_step(p, left < 0 ? 0 : left);
			if (code == MPR_OK) mpr_adopt(p, 1);
			if (code != MPR_OK && code != MPR_FULL) p->final = code;
			mpr_end_search(p);
			if (code != MPR_FULL) return code;
		}
		left = wait_ns < 0 ? 1 : wait_ns - (mpr_now() - start);
		if (left <= 0) break;
		mpr_nap();
	}
	if (!ending) __atomic_fetch_add(&p->lost, 1, __ATOMIC_RELAXED);
	return mpr_fail(p, MPR_FULL, "no consumer is attached");
}

/* Moves a writer to the current attachment. A slot that is open keeps it where it
 * is: the memory stays while the writer has an entry there. */
static inline int mpr_follow(mpr_writer *w)
{
	mpr_epoch *old = w->at;
	mpr_writer_entry *entry = w->entry;
	int code;
	if (w->open > 0) return mpr_fail(w->p, MPR_GONE, "there is another ring; commit or abort this writer's slots of the last one first");
	mpr_lock(w->p);
	code = w->p->at ? mpr_bind(w, w->p->at) : MPR_GONE;
	if (code == MPR_OK) {
		__atomic_store_n(&entry->state, 0, __ATOMIC_SEQ_CST);
		mpr_release(w->p, old);
	}
	mpr_unlock(w->p);
	return code;
}

static inline int mpr_reserve(mpr_writer *w, int stream, uint32_t format, uint64_t n, int64_t wait_ns, int ending, mpr_slot *slot)
{
	mpr_producer *p = w->p;
	int64_t start = p->reattach && wait_ns > 0 ? mpr_now() : 0, left = wait_ns;
	for (;;) {
		int code = MPR_OK;
		if (__atomic_load_n(&p->at, __ATOMIC_ACQUIRE) != w->at) code = mpr_follow(w);
		if (code == MPR_OK) code = mpr_claim_in(w, stream, format, n, left, ending, slot);
		if (!p->reattach || w->open > 0 || !p->at || (code != MPR_GONE && code != MPR_STOPPED)) return code;
		code = mpr_await(p, w->at, left, ending);
		if (code != MPR_OK) return code;
		if (wait_ns > 0) {
			left = wait_ns - (mpr_now() - start);
			if (left < 1) left = 1;
		}
	}
}

static inline void mpr_commit(mpr_slot *s, int64_t pts, int64_t duration, uint32_t flags);

static inline void mpr_end_again(mpr_producer *p, mpr_epoch *e)
{
	mpr_writer w;
	mpr_slot s;
	int i;
	memset(&w, 0, sizeof w);
	w.p = p;
	if (p->said == 0 || mpr_bind(&w, e) != MPR_OK) return;
	for (i = 0; i < p->count; i++)
		if ((p->said >> i & 1) && mpr_claim_in(&w, i, 0, 0, 0, 1, &s) == MPR_OK) mpr_commit(&s, mpr_now(), 0, MPR_EOS);
	__atomic_store_n(&w.entry->state, 0, __ATOMIC_SEQ_CST);
	e->users--;
}

/* ---- frames -------------------------------------------------------------- */

/* Claims n bytes for a frame. wait_ns 0: drop at once when the ring is full;
 * negative: wait for ever; else a deadline. A frame without room is counted as
 * dropped and MPR_FULL returned. */
static inline int mpr_claim(mpr_writer *w, int stream, uint32_t format, size_t n, int64_t wait_ns, mpr_slot *slot)
{
	mpr_producer *p = w->p;
	memset(slot, 0, sizeof *slot);
	if (stream < 0 || stream >= p->count) return mpr_fail(p, MPR_WRONG, "no such stream");
	if (n == 0 || n > p->streams[stream].max_frame) return mpr_fail(p, MPR_WRONG, "the frame is empty or larger than the stream declared");
	if (format == 0 || format > MPR_FORMATS) return mpr_fail(p, MPR_WRONG, "the format was not published");
	if (__atomic_load_n(&p->ended, __ATOMIC_ACQUIRE) & (UINT32_C(1) << stream)) return MPR_ENDED;
	return mpr_reserve(w, stream, format, n, wait_ns, 0, slot);
}

/* Is this the first frame of its stream in an attachment after the first? */
static inline int mpr_is_fresh(mpr_writer *w, const mpr_slot *s, uint32_t flags)
{
	uint32_t bit = UINT32_C(1) << s->entry->stream, *fresh = &w->p->fresh;
	return (__atomic_load_n(fresh, __ATOMIC_RELAXED) & bit) && !(flags & MPR_EOS) && __atomic_load_n(&w->p->at, __ATOMIC_RELAXED) == w->at &&
	       (__atomic_fetch_and(fresh, ~bit, __ATOMIC_SEQ_CST) & bit);
}

/* Publishes the frame with all that was written to data. Stamps are ns of
 * CLOCK_MONOTONIC; duration 0 when unknown. */
static inline void mpr_commit(mpr_slot *s, int64_t pts, int64_t duration, uint32_t flags)
{
	mpr_writer *w = s->w;
	if (!w) return;
	s->w = NULL;
	w->open--;
	if (mpr_is_fresh(w, s, flags)) flags |= MPR_DISCONT;
	s->entry->pts = pts;
	s->entry->duration = duration;
	s->entry->flags = flags;
	MPR_FAULT(MPR_AT_STAMPED);
	__atomic_store_n(&s->entry->state, s->word | MPR_COMMITTED, __ATOMIC_SEQ_CST); /* SYNC POINT commit */
	MPR_FAULT(MPR_AT_COMMITTED);
	mpr_count(&w->entry->frames, 1);
	mpr_count(&w->entry->bytes, s->size);
	mpr_wake_consumer(w->at, &w->at->words->data_waiters);
}

/* Gives the space back; the consumer never sees the frame. */
static inline void mpr_abort(mpr_slot *s)
{
	mpr_writer *w = s->w;
	if (!w) return;
	s->w = NULL;
	w->open--;
	MPR_FAULT(MPR_AT_ABORTING);
	__atomic_store_n(&s->entry->state, s->word | MPR_ABORTED, __ATOMIC_SEQ_CST); /* SYNC POINT commit */
	MPR_FAULT(MPR_AT_ABORTED);
	mpr_count(&w->entry->aborted, 1);
	mpr_wake_consumer(w->at, &w->at->words->data_waiters);
}

/* Counts a frame that the program left out of its own will. */
static inline void mpr_drop_by_policy(mpr_writer *w, int stream)
{
	if (stream < 0 || stream >= w->p->count) return;
	mpr_count(&w->entry->dropped_policy, 1);
	__atomic_fetch_add(&mpr_counters(w->at, stream)->dropped_policy, 1, __ATOMIC_RELAXED);
}

/* MPR_OK while the consumer takes frames. */
static inline int mpr_alive(mpr_producer *p)
{
	int code = MPR_GONE;
	mpr_lock(p);
	if (p->at) code = mpr_takes(p, p->at);
	mpr_unlock(p);
	return code;
}

/* How full a kind's ring is, in bytes, and how many frames the consumer holds. */
static inline void mpr_fill(mpr_producer *p, int kind, uint64_t *used, uint64_t *capacity, uint64_t *held)
{
	const mpr_class *c;
	*used = *capacity = *held = 0;
	mpr_lock(p);
	c = p->at ? &p->at->classes[kind - 1] : NULL;
	if (c && c->slots != 0) {
		*capacity = c->capacity * MPR_GRANULE;
		*used = mpr_dist(c, __atomic_load_n(&c->page->read, __ATOMIC_ACQUIRE) & MPR_POS_MASK,
		                 __atomic_load_n(&c->words->write, __ATOMIC_ACQUIRE) & MPR_POS_MASK) * MPR_GRANULE;
		if (*used > *capacity) *used = *capacity;
		*held = __atomic_load_n(&c->page->held, __ATOMIC_RELAXED);
	}
	mpr_unlock(p);
}

/* What the consumer has to say to a producer that could do with less. */
typedef struct {
	uint32_t fps_num, fps_den; /* the frame rate it can take; 0/0: any */
	int64_t held_ns;           /* how long it has held its oldest frame; 0: it holds none */
	char holder[64];           /* the edge of the graph that holds frames up; "": none */
} mpr_advice;

static inline void mpr_get_advice(mpr_producer *p, mpr_advice *a)
{
	memset(a, 0, sizeof *a);
	mpr_lock(p);
	if (p->at) {
		const mpr_consumer_page *c = p->at->cons;
		int64_t since = (int64_t)__atomic_load_n(&c->held_since, __ATOMIC_RELAXED);
		a->fps_num = __atomic_load_n(&c->advice_num, __ATOMIC_RELAXED);
		a->fps_den = __atomic_load_n(&c->advice_den, __ATOMIC_RELAXED);
		if (a->fps_num == 0 || a->fps_den == 0) a->fps_num = a->fps_den = 0;
		if (since > 0) a->held_ns = mpr_now() - since;
		memcpy(a->holder, c->holder, sizeof a->holder - 1);
	}
	mpr_unlock(p);
}

/* Is frame n of a stream of so many frames a second one to draw, if no more than
 * the advised rate are? Those that are not, count by mpr_drop_by_policy. */
static inline int mpr_keep(const mpr_advice *a, uint64_t n, uint32_t fps)
{
	uint64_t num = a->fps_num, den = (uint64_t)a->fps_den * fps;
	return num == 0 || den == 0 || num >= den || n * num / den != (n + 1) * num / den;
}

/* ---- ending -------------------------------------------------------------- */

static inline int mpr_end_within(mpr_producer *p, int stream, int64_t wait_ns)
{
	mpr_writer w;
	mpr_slot s;
	int code;
	uint32_t bit;
	if (stream < 0 || stream >= p->count) return mpr_fail(p, MPR_WRONG, "no such stream");
	bit = UINT32_C(1) << stream;
	if (__atomic_fetch_or(&p->ended, bit, __ATOMIC_SEQ_CST) & bit) return MPR_OK;
	code = mpr_writer_open(p, &w);
	if (code == MPR_OK) {
		int stands = 0;
		while (!stands && (code = mpr_reserve(&w, stream, 0, 0, wait_ns, 1, &s)) == MPR_OK) {
			mpr_commit(&s, mpr_now(), 0, MPR_EOS);
			mpr_lock(p);
			stands = w.at == p->at; /* else the next attachment is to have it */
			if (stands) p->said |= bit;
			mpr_unlock(p);
		}
		mpr_writer_close(&w);
	}
	if (code != MPR_OK) __atomic_fetch_and(&p->ended, ~bit, __ATOMIC_SEQ_CST);
	return code;
}

/* Ends a stream behind what was committed of it; waits for a free slot. Claims
 * of the stream return MPR_ENDED from then on. */
static inline int mpr_end(mpr_producer *p, int stream) { return mpr_end_within(p, stream, -1); }

/* Ends all streams, as far as there are free slots, and detaches; the consumer
 * sees the end either way, behind what was committed. No thread may use the
 * producer any more; the memory goes when the last writer is closed. */
static inline void mpr_close(mpr_producer *p)
{
	mpr_epoch *e = p->at;
	int i;
	if (!e) return;
	p->reattach = 0;
	for (i = 0; i < p->count; i++) mpr_end_within(p, i, 0);
	mpr_withdraw(p);
	mpr_leave(e);
	mpr_lock(p);
	p->at = NULL;
	mpr_release(p, e);
	mpr_unlock(p);
}

#ifdef __cplusplus
}
#endif

#endif /* MPIPE_RING_H */
