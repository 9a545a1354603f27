package gstbin

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

// FileReport is what a finished file holds, read back from the file itself.
type FileReport struct {
	Duration time.Duration // as the container says; 0 when it does not
	Seekable bool
	Streams  []FileStream
}

// FileStream is one stream of a file.
type FileStream struct {
	// Kinds are what the demuxer's caps can stand for: usually one; for MPEG-1
	// audio in MP4, without its layer, two. Empty for what mpipe does not know.
	Kinds []pipeline.Kind
	Traffic
}

// demuxers by container, or the parser of one that holds a single stream.
// parsebin finds the right one by itself, but leaves out streams that end within
// a few packets.
var demuxers = map[string]string{
	"mp4": "qtdemux", "mkv": "matroskademux", "webm": "matroskademux", "ogg": "oggdemux", "ts": "tsdemux",
	"mp3": "mpegaudioparse", "flac": "flacparse", "wav": "wavparse",
}

// ReadFile takes a media file apart to its last packet, without decoding, and
// fails when it cannot be parsed to the end. It reads the file once.
func ReadFile(ctx context.Context, path, container string) (FileReport, error) {
	demuxer, ok := demuxers[container]
	if !ok {
		demuxer = "parsebin"
	}
	p, err := New("verify")
	if err != nil {
		return FileReport{}, err
	}
	defer p.Close()
	if err := p.Add("file", "filesrc", []pipeline.Setting{{Name: "location", Value: path}}); err != nil {
		return FileReport{}, err
	}
	if err := p.Add("demux", demuxer, nil); err != nil {
		return FileReport{}, err
	}
	if err := p.Link("file", "demux", "sink", ""); err != nil {
		return FileReport{}, err
	}
	probe := C.mpipe_probe_new((*C.GstElement)(p.gst.Unsafe()), element(p.elems["demux"]))
	defer C.mpipe_probe_free(probe) // after Stop: deferred calls run last in, first out
	defer p.Stop()
	if err := p.Start(); err != nil {
		return FileReport{}, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return FileReport{}, fmt.Errorf("reading the file back took too long: %w", err)
		}
		m := p.Next(50 * time.Millisecond)
		if m.Fault != nil && !m.Fault.Warning {
			return FileReport{}, m.Fault
		}
		if m.EOS {
			return report(p, probe), nil
		}
	}
}

func report(p *Pipeline, probe *C.MpipeProbe) FileReport {
	C.mpipe_probe_settle(probe)
	var r FileReport
	pipe := (*C.GstElement)(p.gst.Unsafe())
	if d := C.mpipe_query_duration(pipe); d > 0 {
		r.Duration = time.Duration(d)
	}
	r.Seekable = C.mpipe_query_seekable(pipe) != 0
	C.g_mutex_lock(&probe.lock)
	defer C.g_mutex_unlock(&probe.lock)
	for _, s := range unsafe.Slice(&probe.streams[0], probe.n) {
		st := FileStream{Kinds: pipeline.KindsOfCaps([]string{C.GoString(s.caps)}), Traffic: readTap(s.tap)}
		r.Streams = append(r.Streams, st)
	}
	return r
}
