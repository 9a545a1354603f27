// Package run carries out a plan: it builds the GStreamer pipeline, attaches
// the sources, watches, drains on a signal, finalises every output, reads the
// finished files back and writes the manifest.
//
// A run's state only moves forward, and all errors take one path: the first one
// is the run's, the sources stop, and what can still be finished is finished.
// Parsing graphs belongs to pipeline/graph, everything per frame to
// pipeline/internal/gstbin and the sources.
package run
