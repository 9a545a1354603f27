package gstbin

/*
#cgo pkg-config: gstreamer-audio-1.0
#include <stdlib.h>
#include "decode.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

// Decoder turns a media file into raw frames: its first video and its first
// audio stream, as far as wanted. Frames wait inside until they are taken, a few
// of each stream at most.
type Decoder struct {
	c     *C.MpipeDecode
	video *Decoding
	audio *Decoding
}

// Decoding is one stream of a Decoder. It belongs to one goroutine.
type Decoding struct {
	d      *Decoder
	stream C.int
}

// Decoded describes the frame that Next found.
type Decoded struct {
	Size     int              // bytes
	PTS      time.Duration    // from the beginning of the file; -1 when unknown
	Duration time.Duration    // 0 when unknown
	Format   *pipeline.Format // set on the first frame and when the format changes
	Discont  bool             // something before this frame is missing
}

// prerollTimeout is how long a file may take to give its first frames; a file on
// a slow disk is slow, but a pipe or server that says nothing is broken.
const prerollTimeout = 30 * time.Second

// pollEvery is how often waiting for a frame looks at the context.
const pollEvery = 50 * time.Millisecond

var scheme = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]+://`)

// OpenDecoder opens a path or a URI. Video is converted to the raw format named
// (such as "I420") with square pixels, audio to S16LE; sizes and rates stay the
// file's. It fails when the file has neither of the streams that are wanted.
func OpenDecoder(ctx context.Context, path string, video, audio bool, format string) (*Decoder, error) {
	Init()
	uri := path
	if !scheme.MatchString(path) {
		if _, err := os.Stat(path); err != nil { // GStreamer's "Resource not found" hides why
			return nil, err
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		uri = (&url.URL{Scheme: "file", Path: abs}).String()
	}
	flag := map[bool]C.int{true: 1}
	curi, free := cstr(uri)
	defer free()
	cformat, free2 := cstr(format)
	defer free2()
	var missing *C.char
	c := C.mpipe_decode_new(curi, flag[video], flag[audio], cformat, &missing)
	if c == nil {
		return nil, fmt.Errorf("gstreamer has no element %q, which decoding needs; run scripts/setup", C.GoString(missing))
	}
	d := &Decoder{c: c}
	if err := d.preroll(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if C.mpipe_decode_has(c, C.MPIPE_DECODE_VIDEO) != 0 {
		d.video = &Decoding{d, C.MPIPE_DECODE_VIDEO}
	}
	if C.mpipe_decode_has(c, C.MPIPE_DECODE_AUDIO) != 0 {
		d.audio = &Decoding{d, C.MPIPE_DECODE_AUDIO}
	}
	if d.video == nil && d.audio == nil {
		d.Close()
		return nil, fmt.Errorf("%s: has no stream of the wanted kind", path)
	}
	return d, nil
}

func (d *Decoder) preroll(ctx context.Context) error {
	for end := time.Now().Add(prerollTimeout); ; {
		switch C.mpipe_decode_preroll(d.c, C.int64_t(pollEvery)) {
		case C.MPIPE_DECODE_FRAME:
			if C.mpipe_decode_play(d.c) != 0 {
				return errors.New("gstreamer refused to start decoding")
			}
			return nil
		case C.MPIPE_DECODE_ERROR:
			return d.err()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("gave no frame within %v", prerollTimeout)
		}
	}
}

func (d *Decoder) err() error {
	text := C.mpipe_decode_error(d.c)
	defer C.g_free(C.gpointer(unsafe.Pointer(text)))
	return errors.New(C.GoString(text))
}

// Video is the file's video, nil when it has none or none was wanted.
func (d *Decoder) Video() *Decoding { return d.video }

// Audio is the file's audio, nil when it has none or none was wanted.
func (d *Decoder) Audio() *Decoding { return d.audio }

// Close stops decoding. No method of a Decoding may run or follow.
func (d *Decoder) Close() {
	C.mpipe_decode_free(d.c)
	d.c = nil
}

// Next waits for the next frame and makes it the one that Copy copies. It
// returns io.EOF behind the last.
func (s *Decoding) Next(ctx context.Context) (Decoded, error) {
	var f C.MpipeDecodeFrame
	for {
		switch C.mpipe_decode_next(s.d.c, s.stream, C.int64_t(pollEvery), &f) {
		case C.MPIPE_DECODE_FRAME:
			return s.decoded(&f), nil
		case C.MPIPE_DECODE_EOS:
			return Decoded{}, io.EOF
		case C.MPIPE_DECODE_ERROR:
			return Decoded{}, s.d.err()
		}
		if err := ctx.Err(); err != nil {
			return Decoded{}, err
		}
	}
}

func (s *Decoding) decoded(f *C.MpipeDecodeFrame) Decoded {
	out := Decoded{
		Size:     int(f.size),
		PTS:      time.Duration(f.pts),
		Duration: max(0, time.Duration(f.duration)),
		Discont:  f.discont != 0,
	}
	if f.changed == 0 {
		return out
	}
	if s.stream == C.MPIPE_DECODE_AUDIO {
		out.Format = &pipeline.Format{Audio: &pipeline.AudioFormat{
			Sample:   C.GoString(&f.format[0]),
			Rate:     int(f.rate),
			Channels: int(f.channels),
			Mask:     uint64(f.mask),
		}}
		return out
	}
	v := &pipeline.VideoFormat{
		FourCC: C.GoString(&f.format[0]),
		Width:  int(f.width), Height: int(f.height),
		Planes: int(f.planes),
		FPSNum: int(f.fps_n), FPSDen: max(1, int(f.fps_d)),
		Colorimetry:  C.GoString(&f.colorimetry[0]),
		ChromaSite:   C.GoString(&f.chroma_site[0]),
		FullSize:     int(f.size),
		NativeLayout: true,
	}
	for i := range v.Planes {
		v.Strides[i], v.Offsets[i] = int(f.stride[i]), int(f.offset[i])
	}
	out.Format = &pipeline.Format{Video: v}
	return out
}

// Copy writes the current frame into dst: of video all of it, so that dst has
// its Size; of audio len(dst) bytes from byte `from` on.
func (s *Decoding) Copy(dst []byte, from int) error {
	if len(dst) == 0 {
		return nil
	}
	if C.mpipe_decode_copy(s.d.c, s.stream, unsafe.Pointer(&dst[0]), C.uint64_t(from), C.uint64_t(len(dst))) != 0 {
		return errors.New("gstreamer could not copy the decoded frame")
	}
	return nil
}
