// Package repair makes clean files of what a kill, a crash or a full disk left:
// seekable, with a duration, without what had been begun and not ended. It moves
// bytes and writes indexes; no frame is decoded or changed. Taking containers
// apart is all that may be in here; the finished file is read back by
// pipeline/internal/gstbin.
package repair
