// Package process is the stage whose work another process does: mpipe starts it,
// writes frames into one ring, reads what became of them from another, and looks
// after the process. It knows the rings by package ring alone and nothing of
// GStreamer; what the process does with a frame is not its affair.
package process
