// Package cli is the command line: it parses arguments, calls pipeline/graph,
// pipeline/run, pipeline/feed and ring, and shows what they say to people
// (tables, a live line) or to programs (--json).
//
// A verb is declared once, in a file of its own: name, arguments, flags with
// their docs, examples. Help, error texts and shell completion derive from that.
// Nothing here knows how a recording works; what a verb needs to decide belongs
// to the packages below.
package cli
