/* sandboxed.c: a producer that locks itself in before it draws.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   cc -std=c11 -O2 -o sandboxed sandboxed.c
 *   launcher: connects a SEQPACKET socket to the consumer, and starts this
 *             program with it as fd 3
 *   ./sandboxed --ring fd:3 --frames 100
 *
 * The filter is in the manner of Chromium's baseline policy for renderers: what
 * is not listed is denied, and that includes open, socket, connect,
 * set_robust_list, pidfd_open and mmap with MAP_POPULATE. What the ring needs of a
 * kernel from then on is FUTEX_WAIT and FUTEX_WAKE on shared memory, poll on its
 * socket, and the clock.
 *
 * The filter goes on once the program is attached; with --early before that, so
 * that even the handshake runs inside. With --strict a denied call kills the
 * process instead of failing, which shows that none is tried.
 */
#define _GNU_SOURCE
#include "mpipe_ring.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "add this machine's AUDIT_ARCH"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), RETURN(SECCOMP_RET_ALLOW)

static int lock_in(uint32_t denied)
{
	struct sock_filter rules[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
		RETURN(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),
		ALLOW(read), ALLOW(write), ALLOW(close), ALLOW(fstat), ALLOW(exit), ALLOW(exit_group),
		ALLOW(sendto), ALLOW(sendmsg), ALLOW(recvmsg), ALLOW(ppoll),
#ifdef __NR_poll
		ALLOW(poll),
#endif
#ifdef __NR_newfstatat
		ALLOW(newfstatat), /* how some libraries spell fstat; there is no path to give it */
#endif
		ALLOW(munmap), ALLOW(mprotect), ALLOW(madvise), ALLOW(brk), ALLOW(getpid), ALLOW(gettid),
		ALLOW(clock_gettime), ALLOW(clock_nanosleep), ALLOW(nanosleep), ALLOW(sched_yield), ALLOW(rt_sigreturn), ALLOW(getrandom),
		/* futex: WAIT and WAKE, private or not; no robust lists, no requeueing */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_futex, 0, 5),
		LOAD(args[1]),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x7f),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, FUTEX_WAKE, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(denied),
		/* mmap: only without MAP_POPULATE */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 0, 3),
		LOAD(args[3]),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_POPULATE, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(denied),
	};
	struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Is the door shut? Only asked when a denied call fails rather than kills. */
static int locked_in(void)
{
	return open("/etc/hostname", O_RDONLY) < 0 && errno == EPERM &&
	       socket(AF_UNIX, SOCK_SEQPACKET, 0) < 0 && errno == EPERM &&
	       mmap(NULL, MPR_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED && errno == EPERM;
}

static uint64_t fnv1a(const uint8_t *b, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	return h;
}

/* A picture that is never the same twice; prints the hash of each. */
static int draw(mpr_producer *p, long frames)
{
	mpr_writer w;
	mpr_video v;
	mpr_slot s;
	uint32_t format;
	int code = mpr_video_layout(&v, "I420", 320, 180, 0, 1);
	if (code == MPR_OK) code = mpr_writer_open(p, &w);
	if (code == MPR_OK) code = mpr_set_video(p, 0, &v, &format);
	for (long n = 0; code == MPR_OK && n < frames; n++) {
		code = mpr_claim(&w, 0, format, v.size, -1, &s);
		if (code != MPR_OK) break;
		for (size_t i = 0; i < s.size; i++) s.data[i] = (uint8_t)(i * 7 + (size_t)n * 13);
		printf("%ld %016llx\n", n, (unsigned long long)fnv1a(s.data, s.size));
		mpr_commit(&s, mpr_now(), 0, MPR_KEY);
	}
	return code;
}

int main(int argc, char **argv)
{
	const char *ring = NULL;
	long frames = 100;
	int early = 0, strict = 0, code;
	mpr_stream stream = {"video", MPR_VIDEO, 320 * 180 * 3 / 2};
	mpr_producer p;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--early") == 0)
			early = 1;
		else if (strcmp(argv[i], "--strict") == 0)
			strict = 1;
		else if (strcmp(argv[i], "--ring") == 0 && i + 1 < argc)
			ring = argv[++i];
		else if (strcmp(argv[i], "--frames") == 0 && i + 1 < argc)
			frames = atol(argv[++i]);
	}
	if (!ring) {
		fputs("usage: sandboxed --ring fd:N [--frames N] [--early] [--strict]\n", stderr);
		return 2;
	}
	uint32_t denied = strict ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM;
	if (early && lock_in(denied) < 0) return 3;
	code = mpr_attach(&p, ring, &stream, 1, "sandboxed.c", 10000);
	if (code != MPR_OK) {
		fprintf(stderr, "sandboxed: %s: %s: %s\n", ring, mpr_error(code), p.reason);
		return 1;
	}
	if (!early && lock_in(denied) < 0) return 3;
	if (!strict && !locked_in()) {
		fputs("sandboxed: the filter does not hold\n", stderr);
		return 3;
	}
	code = draw(&p, frames);
	if (code != MPR_OK) fprintf(stderr, "sandboxed: %s\n", mpr_error(code));
	mpr_close(&p);
	return code == MPR_OK ? 0 : 1;
}
