// Package feed is the producer behind `mpipe feed`: it attaches to a ring and
// writes a test pattern, the frames of a media file, or raw frames from a pipe
// into it, each stream from a goroutine and through a writer of its own.
//
// A [Source] says what comes; [Run] paces it, claims space, has the source draw
// or read straight into it, and keeps account. The package knows nothing of the
// consumer's graph. It is also the example of how to write a producer in Go.
package feed
