// Package pipeline is mpipe's vocabulary: what an element is, what it declares,
// what flows between elements, and how things go wrong.
//
// It holds interfaces, plain data and the registry, and imports the standard
// library alone. Nothing that parses a graph file, touches GStreamer, opens a
// ring or starts a goroutine may live here; those are pipeline/graph,
// pipeline/internal/gstbin, ring and pipeline/run.
//
// An element declares its properties once, in Props, and has exactly one role:
// [Source] or [Native]. Parsing, checking, `mpipe inspect` and the reference
// pages all derive from that declaration.
package pipeline
