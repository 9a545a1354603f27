// Package shmsrc brings the frames of a shared-memory ring into a graph without
// copying them: every stream of the ring is a pad, every frame is lent out of
// the ring and given back when the graph has done with it.
//
// It decides when frames are delivered, copied or evicted, and when the stream
// ends. How memory is shared is package ring; what becomes of a frame is the
// run's. There is no cgo here.
package shmsrc
