// Package bench compares ways to move raw frames from one process to another:
// what `mpipe bench transports` runs and `make bench` builds on.
//
// The method, which the code is the documentation of:
//
//   - Every transport runs in two real processes, a producer and a consumer: this
//     binary executed again (see [Peer]), or a small program of peers/.
//   - The producer draws every byte of a frame, then hands it over. Drawing is the
//     same work for all, done by the same code, and measured alone in the same
//     round ("drawing"); what a transport costs is the difference.
//   - A frame begins with its number, a stamp of CLOCK_MONOTONIC taken when
//     drawing ended, and marks for the first and the last measured frame. The
//     consumer looks at these and at the last byte, and with Options.Read at every
//     cache line, as an encoder would. Numbers must follow each other: a lost,
//     repeated or torn frame fails the run.
//   - CPU is user and system time of each process by its own clock
//     (CLOCK_PROCESS_CPUTIME_ID), from the first measured frame to the last; what
//     starting and warming up cost is not in it.
//   - Latency is from the stamp to the consumer having the whole frame, at the
//     payload's own rate; flat out it would be the length of a queue.
//   - Rounds interleave all transports, so that a disturbance of the machine meets
//     all; figures are medians over the rounds, differences are taken within one.
//
// Every transport gets the best implementation that this package's authors could
// find for what it has to do; each says in its file what was chosen and why.
//
// The package knows package ring and the operating system. No pipelines, no
// GStreamer binding: GStreamer's own shared memory is measured in a C program that
// is compiled when it is needed.
package bench
