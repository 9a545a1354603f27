/* killed.c: producers that kill themselves at a fault point, for TestKill.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   killed ADDRESS LOG
 *
 * Each line of standard input, "POINT AFTER SEED THREADS", makes a new process
 * that attaches, writes frames, and dies at the AFTERth time it reaches the
 * point, or at its end. Its pid is printed when it starts and "over" when it is
 * dead. What it did is in LOG, shared memory laid out as kill_test.go says.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
static void reach(uint32_t point);
#define MPR_FAULT(point) reach(point)
#include "mpipe_ring.h"

#include <pthread.h>
#include <sys/wait.h>

enum { FRAMES = 20, STREAMS = 3, LOG_STATES = 64, LOG_ROW = 64, VIDEO_MOST = 8192, AUDIO_MOST = 1920 };
enum { TRYING = 1, CLAIMED, COMMITTING, COMMITTED, ABORTING, ABORTED, ENDING, END };

static struct {
	uint32_t point, after, threads;
	uint64_t seed;
	uint8_t *log;
	mpr_producer p;
	uint32_t formats[STREAMS];
} g;

static void die(void)
{
	int64_t now = mpr_now();
	__atomic_store_n((uint64_t *)(void *)g.log, (uint64_t)now, __ATOMIC_SEQ_CST);
	raise(SIGKILL);
}

static void reach(uint32_t point)
{
	if (point != g.point || __atomic_sub_fetch(&g.after, 1, __ATOMIC_SEQ_CST) != 0) return;
	__atomic_store_n((uint32_t *)(void *)(g.log + 8), point, __ATOMIC_SEQ_CST);
	die();
}

/* splitmix64: one step for a frame's shape, one for each word of it. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void set(int stream, int n, int state)
{
	__atomic_store_n(g.log + LOG_STATES + stream * LOG_ROW + n, (uint8_t)state, __ATOMIC_SEQ_CST);
}

static void frame(mpr_writer *w, int stream, int n)
{
	uint64_t key = mix(g.seed ^ (uint64_t)stream << 32 ^ (uint64_t)n), k, word;
	size_t size = stream == 2 ? 8 * (1 + key % (AUDIO_MOST / 8)) : 1024 + 8 * (key % ((VIDEO_MOST - 1024) / 8));
	mpr_slot s;
	if (g.point == MPR_AT_TOOK_WAIT || g.point == MPR_AT_MOVED_SEQ) mpr_nap(); /* so that the consumer sleeps */
	set(stream, n, TRYING);
	if (mpr_claim(w, stream, g.formats[stream], size, -1, &s) != MPR_OK) exit(3);
	set(stream, n, CLAIMED);
	for (k = 0; k < size / 8; k++) {
		word = mix(key + k);
		memcpy(s.data + 8 * k, &word, 8);
	}
	if (key >> 60 == 0 || (g.point == MPR_AT_ABORTING && key >> 62 == 0) || (g.point == MPR_AT_ABORTED && key >> 62 == 0)) {
		set(stream, n, ABORTING);
		mpr_abort(&s);
		set(stream, n, ABORTED);
		return;
	}
	set(stream, n, COMMITTING);
	mpr_commit(&s, n, 0, 0);
	set(stream, n, COMMITTED);
}

static void *write_frames(void *arg)
{
	int t = (int)(intptr_t)arg, i;
	mpr_writer w;
	if (mpr_writer_open(&g.p, &w) != MPR_OK) exit(3);
	for (i = 0; i < FRAMES; i++) {
		if (g.threads == 1)
			for (t = 0; t < STREAMS; t++) frame(&w, t, i);
		else
			frame(&w, t, i);
	}
	mpr_writer_close(&w);
	return NULL;
}

static void produce(const char *address)
{
	mpr_stream streams[STREAMS] = {{"v", MPR_VIDEO, VIDEO_MOST}, {"w", MPR_VIDEO, VIDEO_MOST}, {"a", MPR_AUDIO, AUDIO_MOST}};
	mpr_audio a = {"S16LE", 48000, 2, 0};
	mpr_video v;
	pthread_t threads[STREAMS];
	int i;
	memset(&v, 0, sizeof v);
	strcpy(v.fourcc, "GRAY8");
	v.width = v.strides[0] = 64;
	v.height = 16;
	v.planes = v.fps_den = 1;
	v.size = 1024;
	if (mpr_attach(&g.p, address, streams, STREAMS, "killed.c", 20000) != MPR_OK) exit(2);
	for (i = 0; i < STREAMS; i++)
		if ((i < 2 ? mpr_set_video(&g.p, i, &v, &g.formats[i]) : mpr_set_audio(&g.p, i, &a, &g.formats[i])) != MPR_OK) exit(2);
	if (g.threads == 1) {
		write_frames(0);
	} else {
		for (i = 0; i < STREAMS; i++)
			if (pthread_create(&threads[i], NULL, write_frames, (void *)(intptr_t)i) != 0) exit(2);
		for (i = 0; i < STREAMS; i++) pthread_join(threads[i], NULL);
	}
	for (i = 0; i < STREAMS; i++) {
		set(i, FRAMES, ENDING);
		if (mpr_end(&g.p, i) != MPR_OK) exit(3);
		set(i, FRAMES, END);
	}
	mpr_close(&g.p);
	die();
}

int main(int argc, char **argv)
{
	unsigned long long seed;
	int fd;
	if (argc != 3 || (fd = open(argv[2], O_RDWR)) < 0) return 2;
	g.log = (uint8_t *)mmap(NULL, MPR_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (g.log == MAP_FAILED) return 2;
	while (scanf("%u %u %llu %u", &g.point, &g.after, &seed, &g.threads) == 4) {
		pid_t pid = fork();
		int status;
		g.seed = seed;
		if (pid < 0) return 2;
		if (pid == 0) {
			produce(argv[1]);
			_exit(4);
		}
		printf("%d\n", (int)pid);
		fflush(stdout);
		waitpid(pid, &status, 0);
		printf("over %d\n", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
		fflush(stdout);
	}
	return 0;
}
