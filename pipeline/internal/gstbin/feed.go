package gstbin

// #include "shim.h"
import "C"

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

// feedRoom is how many frames wait in a feed before it has no room: one to work
// on and one to follow, so that the streaming thread never runs dry between a
// wake-up and the next push.
const feedRoom = 2

// Feed pushes borrowed frames into an appsrc. All methods but Traffic belong to
// one goroutine.
type Feed struct {
	video bool
	c     *C.MpipeFeed
	tap   *C.MpipeTap
}

// Feed makes the appsrc id a feed.
func (p *Pipeline) Feed(id string) *Feed {
	c := C.mpipe_feed_new(element(p.elems[id]))
	f := &Feed{c: c, tap: C.mpipe_feed_tap(c)}
	p.feeds = append(p.feeds, f)
	return f
}

func (f *Feed) free() { C.mpipe_feed_free(f.c) }

// Room tells whether another frame may be pushed.
func (f *Feed) Room() bool { return C.mpipe_feed_level(f.c) < feedRoom }

// Hungry tells that the streaming thread waits for a frame.
func (f *Feed) Hungry() bool { return atomic.LoadUint32((*uint32)(&f.tap.hungry)) != 0 }

// Notify names the eventcount to wake when a frame leaves the feed.
func (f *Feed) Notify(w pipeline.Wake) {
	C.mpipe_feed_notify(f.c, C.uintptr_t(w.Waiters), C.uintptr_t(w.Seq))
}

// SetFormat announces the format of the frames that follow.
func (f *Feed) SetFormat(format pipeline.Format) error {
	caps, free := cstr(Caps(format))
	defer free()
	var strides *C.int
	var offsets *C.uint64_t
	planes := 0
	var s [4]C.int
	var o [4]C.uint64_t
	if v := format.Video; v != nil && !v.NativeLayout {
		planes = v.Planes
		for i := range planes {
			s[i], o[i] = C.int(v.Strides[i]), C.uint64_t(v.Offsets[i])
		}
		strides, offsets = &s[0], &o[0]
	}
	if C.mpipe_feed_caps(f.c, caps, strides, offsets, C.int(planes)) != 0 {
		return fmt.Errorf("gstreamer does not know the format %s", Caps(format))
	}
	f.video = format.Video != nil
	return nil
}

// Push lends a frame at running time pts. The cell is released whether or not
// the push succeeds. The latest picture is kept until the next, or the end.
func (f *Feed) Push(b *pipeline.Borrowed, pts time.Duration) error {
	flag := func(x pipeline.FrameFlags) C.uint32_t {
		if b.Flags&x != 0 {
			return 1
		}
		return 0
	}
	ret := C.mpipe_feed_push(f.c, unsafe.Pointer(unsafe.SliceData(b.Data)), C.uint64_t(len(b.Data)),
		C.int64_t(pts), C.int64_t(b.Duration), flag(pipeline.FlagDiscont), flag(pipeline.FlagCorrupt),
		(*C.MpipeCell)(unsafe.Pointer(b.Cell)))
	return flowError(int(ret))
}

// repeatEvery is the distance of repeated pictures in a hole. An encoder that
// looks ahead gives out what it holds only for more input: at 8 a second x264's
// default look-ahead of 46 frames is through in 6 s, before the 10 s queue of
// the stream beside it is full.
const repeatEvery = time.Second / 8

// silenceEvery is the length of one buffer of silence.
const silenceEvery = time.Second / 10

// Fill covers a hole in the stream from pts on for d: with the latest picture,
// repeated, or with silence. Muxers wait for a stream that says nothing, and not
// every encoder passes on that there is a gap. It returns the frames put in;
// none for video before its first picture.
func (f *Feed) Fill(pts, d time.Duration) (frames int64, err error) {
	step := silenceEvery
	if f.video {
		step = repeatEvery
	}
	for end := pts + d; pts < end; pts += step {
		if err := flowError(int(C.mpipe_feed_fill(f.c, C.int64_t(pts), C.int64_t(min(step, end-pts))))); err != nil {
			return frames, err
		}
		frames++
	}
	return frames, nil
}

// EOS ends the stream behind what was pushed.
func (f *Feed) EOS() error { return flowError(int(C.mpipe_feed_eos(f.c))) }

// Traffic counts what left the feed.
func (f *Feed) Traffic() Traffic { return readTap(f.tap) }

// ErrStopped is what a push gets when the pipeline takes no more frames: it is
// stopping, or the elements behind failed and said so on the bus.
var ErrStopped = fmt.Errorf("the pipeline takes no more frames")

func flowError(ret int) error {
	if ret == 0 {
		return nil
	}
	return ErrStopped
}

// Caps writes a format as GStreamer caps. Colorimetry and chroma site are left
// out when empty, so that GStreamer's defaults for the size apply.
func Caps(f pipeline.Format) string {
	if a := f.Audio; a != nil {
		caps := fmt.Sprintf("audio/x-raw,format=%s,layout=interleaved,rate=%d,channels=%d", a.Sample, a.Rate, a.Channels)
		if mask := channelMask(a); mask != 0 {
			caps += fmt.Sprintf(",channel-mask=(bitmask)0x%x", mask)
		}
		return caps
	}
	v := f.Video
	caps := fmt.Sprintf("video/x-raw,format=%s,width=%d,height=%d,framerate=%d/%d,pixel-aspect-ratio=1/1,interlace-mode=progressive",
		v.FourCC, v.Width, v.Height, v.FPSNum, v.FPSDen)
	if v.Colorimetry != "" {
		caps += ",colorimetry=" + v.Colorimetry
	}
	if v.ChromaSite != "" {
		caps += ",chroma-site=" + v.ChromaSite
	}
	return caps
}

// CanvasCaps is the part of a format that stays fixed for a whole recording:
// everything but the frame rate, which needs no conversion.
func CanvasCaps(f pipeline.Format) string {
	if f.Audio != nil {
		return Caps(f)
	}
	v := f.Video
	return fmt.Sprintf("video/x-raw,format=%s,width=%d,height=%d,pixel-aspect-ratio=1/1", v.FourCC, v.Width, v.Height)
}

// channelMask is front left and right for stereo without a mask: several
// encoders refuse more than one channel without positions.
func channelMask(a *pipeline.AudioFormat) uint64 {
	if a.Mask == 0 && a.Channels == 2 {
		return 0x3
	}
	return a.Mask
}
