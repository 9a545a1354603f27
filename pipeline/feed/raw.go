package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/ring"
)

// RawVideo describes raw pictures in a byte stream: one behind the other, rows
// and planes without gaps, as ffmpeg's rawvideo writes them.
type RawVideo struct {
	VideoSpec
	FourCC string // GStreamer's name of the layout; "" is I420
	From   io.Reader
	Name   string // of the input, for error messages: "standard input"
}

// RawAudio describes raw interleaved sound in a byte stream.
type RawAudio struct {
	AudioSpec
	Sample string // GStreamer's name of the sample format; "" is S16LE
	From   io.Reader
	Name   string
}

// Raw reads raw frames; either may be nil. A stream that ends within a frame is
// an error that gives the bytes.
func Raw(v *RawVideo, a *RawAudio) (*Source, error) {
	s := &Source{}
	if v != nil {
		format, err := tight(v)
		if err != nil {
			return nil, err
		}
		s.tracks = append(s.tracks, &rawVideo{RawVideo: *v, format: format, in: newInput(v.From, v.Name)})
	}
	if a != nil {
		t := &rawAudio{RawAudio: *a, alone: v == nil, in: newInput(a.From, a.Name)}
		if t.Sample == "" {
			t.Sample = "S16LE"
		}
		size, err := sampleBytes(t.Sample)
		if err != nil {
			return nil, err
		}
		t.unit = size * t.Channels
		s.tracks = append(s.tracks, t)
	}
	if len(s.tracks) == 0 {
		return nil, errors.New("neither video nor audio: nothing to feed")
	}
	return s, nil
}

// sampleBytes is the size of a sample format: its name's last number is its bits
// in memory ("S24LE": 24, "S24_32LE": 32).
func sampleBytes(name string) (int, error) {
	names := ring.SampleNames()
	if !slices.Contains(names, name) {
		return 0, fmt.Errorf("unknown sample format %q; known are %s", name, strings.Join(names, ", "))
	}
	all := digits.FindAllString(name, -1)
	bits, err := strconv.Atoi(all[len(all)-1])
	return bits / 8, err
}

var digits = regexp.MustCompile(`[0-9]+`)

// tight is the layout of a picture whose rows and planes follow each other
// without gaps. GStreamer's own layout rounds rows up to 4 bytes.
func tight(v *RawVideo) (ring.VideoFormat, error) {
	fourcc := v.FourCC
	if fourcc == "" {
		fourcc = "I420"
	}
	f, err := ring.PackedVideo(fourcc, v.Width, v.Height, v.Rate.Num, v.Rate.Den)
	if err != nil {
		return f, err
	}
	// At 16 x 16 nothing is rounded: it shows how many bytes each plane has.
	unit, err := ring.PackedVideo(fourcc, 16, 16, 1, 1)
	if err != nil {
		return f, err
	}
	at := 0
	for i := range f.Planes {
		end := unit.Size()
		if i+1 < f.Planes {
			end = unit.Offsets[i+1]
		}
		rows := (end - unit.Offsets[i]) / unit.Strides[i]
		if f.Width*unit.Strides[i]%16 != 0 || f.Height*rows%16 != 0 || subsampled(fourcc) && f.Width%2 != 0 {
			return f, fmt.Errorf("%s of %dx%d: raw pictures whose colours have half the resolution need an even width and height", fourcc, f.Width, f.Height)
		}
		f.Strides[i], f.Offsets[i] = f.Width*unit.Strides[i]/16, at
		at += f.Strides[i] * (f.Height * rows / 16)
	}
	return f, nil
}

// subsampled tells whether two pixels of a row share colour samples.
func subsampled(fourcc string) bool {
	switch fourcc {
	case "NV12", "NV21", "NV16", "P010_10LE", "YUY2", "UYVY", "YVYU":
		return true // planar layouts show it by a plane of half the width
	}
	return false
}

type rawVideo struct {
	RawVideo
	format ring.VideoFormat
	in     *input
	n      uint32 // frames begun
}

func (t *rawVideo) spec() ring.StreamSpec {
	return ring.StreamSpec{Name: "video", Kind: ring.KindVideo, MaxFrame: t.format.Size()}
}

func (t *rawVideo) next(ctx context.Context) (frame, error) {
	if err := t.in.more(ctx); err != nil {
		if err == io.EOF && t.n == 0 {
			err = noFrame(t.RawVideo.Name)
		}
		return frame{}, err
	}
	f := frame{size: t.format.Size(), pts: t.Rate.At(t.n)}
	f.duration = t.Rate.At(t.n+1) - f.pts
	if t.n == 0 {
		f.format.Video = &t.format
	}
	t.n++
	return f, nil
}

func (t *rawVideo) write(ctx context.Context, dst []byte) error {
	got, err := t.in.fill(ctx, dst)
	return t.short(got, err)
}

func (t *rawVideo) skip(ctx context.Context) error {
	got, err := t.in.discard(ctx, t.format.Size())
	return t.short(got, err)
}

func (t *rawVideo) short(got int, err error) error {
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("%s ended within frame %d: %d of %d bytes; does it hold %s pictures of %dx%d?",
		t.RawVideo.Name, t.n, got, t.format.Size(), t.format.FourCC, t.Width, t.Height)
}

type rawAudio struct {
	RawAudio
	in      *input
	alone   bool  // there is no video beside it
	unit    int   // bytes of one sample of all channels
	packets int64 // begun
	at      int64 // samples read
	buf     []byte
	held    []byte // the current packet
}

func (t *rawAudio) spec() ring.StreamSpec {
	return ring.StreamSpec{Name: "audio", Kind: ring.KindAudio, MaxFrame: int(samplesAt(packet, t.AudioSpec.Rate)+1) * t.unit}
}

// next reads the packet: sound is small, and only its end tells how long the
// last packet is.
func (t *rawAudio) next(ctx context.Context) (frame, error) {
	t.packets++
	want := int(t.packets*int64(t.AudioSpec.Rate)/100-t.at) * t.unit
	if len(t.buf) < want {
		t.buf = make([]byte, want)
	}
	got, err := t.in.fill(ctx, t.buf[:want])
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && got%t.unit != 0:
		return frame{}, fmt.Errorf("%s ended within a sample: %d of %d bytes; does it hold %s of %d channels?", t.RawAudio.Name, got%t.unit, t.unit, t.Sample, t.Channels)
	case err == io.EOF && t.packets == 1 && t.alone:
		return frame{}, noFrame(t.RawAudio.Name)
	case err != nil && (got == 0 || !errors.Is(err, io.ErrUnexpectedEOF)):
		return frame{}, err
	}
	t.held = t.buf[:got]
	f := frame{size: got, pts: timeOf(t.at, t.AudioSpec.Rate)}
	t.at += int64(got / t.unit)
	f.duration = timeOf(t.at, t.AudioSpec.Rate) - f.pts
	if t.packets == 1 {
		f.format.Audio = &ring.AudioFormat{Sample: t.Sample, Rate: t.AudioSpec.Rate, Channels: t.Channels}
	}
	return f, nil
}

func (t *rawAudio) write(_ context.Context, dst []byte) error {
	copy(dst, t.held)
	return nil
}

func (t *rawAudio) skip(context.Context) error { return nil }

// noFrame is the error of pictures, or of sound without pictures, that end before
// they begin: mostly the program that should write them has failed.
func noFrame(name string) error {
	return fmt.Errorf("no frame came on %s; see what the program that writes it says", name)
}

// input reads a byte stream so that waiting for it ends with a context.
type input struct {
	r     io.Reader
	fd    int // to wait on; -1 when r is no file
	name  string
	first [1]byte // read by more, not yet taken
	has   bool
}

func newInput(r io.Reader, name string) *input {
	in := &input{r: r, fd: -1, name: name}
	if f, ok := r.(*os.File); ok {
		in.fd = int(f.Fd())
		// A larger pipe needs fewer switches between its two ends. It is not
		// important enough to fail: r may be no pipe, or the user's share used up.
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	}
	return in
}

// pipeSize is the most a user may set on Linux by default.
const pipeSize = 1 << 20

// readSlice bounds how late an end of the context is seen, in ms.
const readSlice = 100

func (in *input) read(ctx context.Context, p []byte) (int, error) {
	for in.fd >= 0 {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(in.fd), Events: unix.POLLIN}}, readSlice)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if n > 0 || err != nil && err != unix.EINTR {
			break // an error shows again in the read, with its name
		}
	}
	n, err := in.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", in.name, err)
	}
	return n, err
}

// more waits until there is a byte to read; io.EOF when there is none.
func (in *input) more(ctx context.Context) error {
	for !in.has {
		n, err := in.read(ctx, in.first[:])
		if n == 0 && err != nil {
			return err
		}
		in.has = n > 0
	}
	return nil
}

// fill reads all of p. The error is io.EOF when the stream ends before its first
// byte, io.ErrUnexpectedEOF when it ends later.
func (in *input) fill(ctx context.Context, p []byte) (got int, err error) {
	if in.has && len(p) > 0 {
		p[0], in.has, got = in.first[0], false, 1
	}
	for got < len(p) && err == nil {
		var n int
		n, err = in.read(ctx, p[got:])
		got += n
	}
	switch {
	case got == len(p):
		return got, nil
	case err == io.EOF && got > 0:
		return got, io.ErrUnexpectedEOF
	}
	return got, err
}

// discard reads n bytes and forgets them.
func (in *input) discard(ctx context.Context, n int) (got int, err error) {
	buf := make([]byte, min(n, 64<<10))
	for got < n {
		m, err := in.fill(ctx, buf[:min(len(buf), n-got)])
		got += m
		if err == io.EOF && got > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return got, err
		}
	}
	return got, nil
}
