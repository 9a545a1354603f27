// Package ring is shared memory between a process that makes raw video and
// audio and a process that takes it: lock-free, many writer threads, one
// reader, frames of changing size, no copy and, while both sides are busy, no
// system call.
//
// The reader side is [Listen], [Listener.Accept] and [Reader]; the writer side
// is [Attach], [Producer] and [Writer]. What a process in another language must
// know is in FORMAT.md; c/mpipe_ring.h speaks it in C11 and C++17, python/ and
// node/ in Python and for Node.js.
//
// # Three cursors
//
// Write is where the next claim goes, peek the next frame the reader will look
// at, and everything before read may be overwritten. [Reader.Take] lends the
// frame at peek out by reference; read passes it once its [Cell] says that it
// is released, whatever thread released it, in any order. A consumer that holds
// frames holds read back, and the producer finds the ring full: that is all the
// backpressure there is.
//
// # Trust
//
// The consumer makes the memory. It maps what it must not be tricked about
// read-only or keeps it in a page that producers cannot write, copies each
// descriptor once and checks the copy. A producer that writes nonsense ends its
// own attachment ([Invalid]) and nothing else. The content of payload may still
// change under the reader's eyes: whoever parses it copies it first.
//
// # What may not be in here
//
// GStreamer, cgo, graphs, elements, and any policy about what to do with a
// frame. The package imports the standard library and golang.org/x/sys/unix.
// Only Linux on little-endian 64-bit machines is supported.
package ring
