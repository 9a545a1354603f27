/* hostile.c: producers that lie, for TestHostile.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   hostile SOCKET-PATH SECONDS SEED
 *
 * For the given time: attaches as it should and then writes random values over
 * what it maps, from one thread, while another goes on producing; again and
 * again, because every attachment of its ends soon. In between it floods the
 * listener with handshakes that are wrong in every way it knows. Prints how
 * often it did which.
 */
#define _GNU_SOURCE
#include "mpipe_ring.h"

#include <pthread.h>
#include <sys/resource.h>

static uint64_t state;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static mpr_producer p;
static uint32_t stop;

/* What a part of the segment is worth: most of it is payload, where lies are
 * harmless. */
static uint8_t *anywhere(int where)
{
	const mpr_class *c = &p.at->classes[rnd() % 2];
	switch (where) {
	case 0: return (uint8_t *)p.at->words + rnd() % MPR_PAGE;
	case 1: return (uint8_t *)c->table + rnd() % (c->slots * sizeof(mpr_slot_entry));
	case 2: return p.at->seg + MPR_FORMATS_OFF + rnd() % (4 * sizeof(mpr_format_entry));
	case 3: return p.at->seg + rnd() % MPR_CONTROL_END;
	default: return p.at->seg + rnd() % p.at->seg_size;
	}
}

/* A random value, or one that is nearly right. */
static uint64_t value(const uint8_t *at)
{
	uint64_t old;
	memcpy(&old, at, 8);
	switch (rnd() % 4) {
	case 0: return rnd();
	case 1: return old + 1 - rnd() % 3;
	case 2: return old ^ UINT64_C(1) << rnd() % 64;
	default: return rnd() & 0xff;
	}
}

static void *scribble(void *arg)
{
	int where = (int)(intptr_t)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint8_t *at = anywhere(where >= 5 ? (int)(rnd() % 5) : where);
		at = (uint8_t *)((uintptr_t)at & ~(uintptr_t)7);
		uint64_t v = value(at);
		memcpy(at, &v, 1 + rnd() % 8);
		if (where >= 6) { /* slowly, so that the lie meets an attachment that works */
			struct timespec ts = {0, (long)(rnd() % 300000)};
			nanosleep(&ts, NULL);
		}
	}
	return NULL;
}

static int dial(const char *path)
{
	struct sockaddr_un sa;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	memset(&sa, 0, sizeof sa);
	sa.sun_family = AF_UNIX;
	strncpy(sa.sun_path, path, sizeof sa.sun_path - 1);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static const mpr_stream streams[2] = {{"v", MPR_VIDEO, 8192}, {"a", MPR_AUDIO, 1920}};

/* A proper attachment, and then none. */
static void attached(const char *path, int where)
{
	pthread_t thread;
	mpr_audio a = {"S16LE", 48000, 2, 0};
	mpr_video v;
	mpr_writer w;
	mpr_slot s;
	uint32_t vf, af;
	char address[200];
	int64_t until;
	snprintf(address, sizeof address, "unix:%s", path);
	if (mpr_attach(&p, address, streams, 2, "hostile\n\x1b[31m", 3000) != MPR_OK) return;
	mpr_video_layout(&v, "I420", 64, 64, 30, 1);
	if (mpr_writer_open(&p, &w) != MPR_OK || mpr_set_video(&p, 0, &v, &vf) != MPR_OK || mpr_set_audio(&p, 1, &a, &af) != MPR_OK) exit(2);
	if (rnd() % 4 == 0) madvise(p.at->seg + rnd() % (p.at->seg_size / MPR_PAGE) * MPR_PAGE, 8 * MPR_PAGE, MADV_REMOVE); /* a hole in the file */
	stop = 0;
	if (pthread_create(&thread, NULL, scribble, (void *)(intptr_t)where) != 0) exit(2);
	until = mpr_now() + 60000000;
	while (mpr_now() < until && mpr_alive(&p) == MPR_OK) {
		if (mpr_claim(&w, 0, vf, v.size, 0, &s) == MPR_OK) mpr_commit(&s, mpr_now(), 0, 0);
		if (mpr_claim(&w, 1, af, 960, 0, &s) == MPR_OK) mpr_commit(&s, mpr_now(), 0, 0);
	}
	stop = 1;
	pthread_join(thread, NULL);
	if (rnd() % 2) __atomic_store_n(&p.at->words->producer_state, (uint32_t)(rnd() % 3), __ATOMIC_SEQ_CST);
	mpr_writer_close(&w);
	mpr_release(&p, p.at); /* hangs up */
}

/* Sends n bytes with fds that nobody asked for. */
static void send_with(int sock, const void *b, size_t n, int fds)
{
	char control[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = {(void *)(uintptr_t)b, n};
	struct msghdr msg;
	memset(&msg, 0, sizeof msg);
	memset(control, 0, sizeof control);
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	if (fds > 0) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE((size_t)fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)fds * sizeof(int));
		for (int i = 0; i < fds; i++) memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &sock, sizeof sock);
	}
	sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One handshake that is wrong; gives a connection that stays open, or -1. */
static int shake(const char *path)
{
	mpr_hello h;
	uint8_t *bytes = (uint8_t *)&h;
	int sock = dial(path), keep = 0, i;
	if (sock < 0) return -1;
	memset(&p, 0, sizeof p);
	p.count = 2;
	strcpy(p.name, "hostile");
	memcpy(p.streams, streams, sizeof streams);
	size_t n = mpr_make_hello(&p, &h);
	switch (rnd() % 9) {
	case 0: keep = 1; break; /* says nothing, stays */
	case 1: send_with(sock, &h, rnd() % (n + 1), 0); break;
	case 2:
		for (i = 0; i < 8; i++) bytes[rnd() % n] = (uint8_t)rnd();
		send_with(sock, &h, n, 0);
		break;
	case 3: send_with(sock, &h, n, (int)(1 + rnd() % 8)); break; /* proper, but with fds of its own; then gone */
	case 4:
		h.count = (uint32_t)rnd();
		h.streams[0].max_frame = rnd();
		send_with(sock, &h, n, 0);
		break;
	case 5: /* an observer that never reads */
		h.role = 2;
		h.count = 0;
		h.length = offsetof(mpr_hello, streams);
		send_with(sock, &h, h.length, 0);
		keep = 1;
		break;
	case 6: /* proper, and then talks without end */
		send_with(sock, &h, n, 0);
		for (i = 0; i < 200; i++) send_with(sock, &h, n, 4);
		keep = 1;
		break;
	case 7: {
		static uint8_t big[100000];
		send_with(sock, big, sizeof big, 0);
		break;
	}
	default: break; /* hangs up at once */
	}
	if (keep) return sock;
	close(sock);
	return -1;
}

int main(int argc, char **argv)
{
	enum { KEPT = 100 };
	int kept[KEPT], i, where = 0;
	long attachments = 0, handshakes = 0;
	int64_t until;
	if (argc != 4) return 2;
	state = strtoull(argv[3], NULL, 10) | 1;
	until = mpr_now() + atol(argv[2]) * 1000000000;
	for (i = 0; i < KEPT; i++) kept[i] = -1;
	while (mpr_now() < until) {
		attached(argv[1], where++ % 8);
		attachments++;
		for (i = 0; i < 50; i++) {
			int *slot = &kept[rnd() % KEPT];
			if (*slot >= 0) close(*slot);
			*slot = shake(argv[1]);
			handshakes++;
		}
	}
	printf("attachments %ld handshakes %ld\n", attachments, handshakes);
	return 0;
}
