// Package sink holds the elements that end a graph. Each maps mpipe's words to
// GStreamer elements, as data; what touches the disk before a run is in Open.
package sink
