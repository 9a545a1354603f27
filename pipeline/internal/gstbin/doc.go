// Package gstbin is the one home of cgo and go-gst: it makes a GStreamer
// pipeline from plain data, feeds it with borrowed frames, counts what passes,
// and reads finished files back.
//
// Whatever happens once a frame is C, in shim.c: wrapping borrowed memory,
// releasing it, counting. Go code runs when a pipeline is built, changed or
// asked. Nothing here knows of graph files, rings or stages' meaning.
package gstbin
