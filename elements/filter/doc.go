// Package filter holds the stages between a source and an encoder: those that
// change a picture or a sound, and those that put several together. Each is one
// file that maps words, ffmpeg's where it has one, to properties of GStreamer's
// elements. Nothing here touches GStreamer or a frame; a filter is data.
//
// Filters in Go of users are packages of their own, and encoders are
// elements/encode.
package filter
