// Package capture keeps what went through a ring in a file, and plays it back
// into another: formats, frames with their stamps and flags, what was lost, who
// attached, and how each attachment ended, all with the time at which it came.
// What failed in production can so be had again, offline, as often as wanted.
//
// [Consume] is the consumer of a ring and loses nothing; [Tap] stands beside a
// consumer and counts what it came too late for. [Replay] is a producer. FORMAT.md
// describes the file.
//
// The package imports ring and the standard library. Nothing here encodes, and
// nothing knows of graphs.
package capture
