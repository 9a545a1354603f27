package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mpipe/mpipe/ring"
)

// ErrTooLong: a WAV file's sizes have 32 bits.
var ErrTooLong = errors.New("a WAV file holds at most 4 GiB; take less at a time")

// WAV writes sound in RIFF WAVE form, Microsoft's "Multimedia Programming
// Interface" of 1991 with WAVEFORMATEXTENSIBLE of 2001. Samples that WAV does not
// know (big-endian, unsigned 16 and 32 bits, signed 8 bits, 24 in 32 bits) become
// those that it does, without loss.
type WAV struct {
	w      io.Writer
	f      ring.AudioFormat
	s      sample
	header int   // bytes before the samples
	n      int64 // bytes of samples
	buf    []byte
}

// sample is how one sample lies in the ring and in the file.
type sample struct {
	in, out int // bytes
	big     bool
	flip    bool // the sign bit means the opposite
	float   bool
}

// parseSample takes GStreamer's name apart: S16LE, S24_32BE, U8, F32LE.
func parseSample(name string) sample {
	var bits, width int
	s := sample{big: strings.HasSuffix(name, "BE"), float: name[0] == 'F'}
	if n, _ := fmt.Sscanf(name[1:], "%d_%d", &bits, &width); n < 2 {
		width = bits
	}
	s.in, s.out = width/8, bits/8
	// WAV has 8 bits unsigned and everything above signed.
	s.flip = !s.float && (name[0] == 'U') != (s.out == 1)
	return s
}

// NewWAV writes the header. When w can seek, Close completes the sizes in it;
// otherwise they say "until the end".
func NewWAV(w io.Writer, f ring.AudioFormat) (*WAV, error) {
	if err := (ring.Format{Audio: &f}).Fits(0); err != nil {
		return nil, err
	}
	s := &WAV{w: w, f: f, s: parseSample(f.Sample)}
	h := s.head()
	s.header = len(h)
	if _, err := w.Write(h); err != nil {
		return nil, err
	}
	return s, nil
}

const (
	formatPCM        = 1
	formatFloat      = 3
	formatExtensible = 0xfffe
	sizeUnknown      = 0xffffffff
)

func (s *WAV) head() []byte {
	le := binary.LittleEndian
	align := s.f.Channels * s.s.out
	tag, plain := uint16(formatPCM), s.f.Channels <= 2 && s.s.out <= 2
	if s.s.float {
		tag, plain = formatFloat, s.f.Channels <= 2
	}
	var fmtChunk []byte
	put := func(tag uint16) {
		fmtChunk = le.AppendUint16(fmtChunk, tag)
		fmtChunk = le.AppendUint16(fmtChunk, uint16(s.f.Channels))
		fmtChunk = le.AppendUint32(fmtChunk, uint32(s.f.Rate))
		fmtChunk = le.AppendUint32(fmtChunk, uint32(s.f.Rate*align))
		fmtChunk = le.AppendUint16(fmtChunk, uint16(align))
		fmtChunk = le.AppendUint16(fmtChunk, uint16(8*s.s.out))
	}
	if plain {
		put(tag)
	} else {
		put(formatExtensible)
		fmtChunk = le.AppendUint16(fmtChunk, 22)
		fmtChunk = le.AppendUint16(fmtChunk, uint16(8*s.s.out))
		fmtChunk = le.AppendUint32(fmtChunk, waveMask(s.f))
		fmtChunk = le.AppendUint16(fmtChunk, tag) // the rest is KSDATAFORMAT_SUBTYPE's
		fmtChunk = append(fmtChunk, "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"...)
	}
	out := append([]byte("RIFF"), 0xff, 0xff, 0xff, 0xff)
	out = append(out, "WAVEfmt "...)
	out = le.AppendUint32(out, uint32(len(fmtChunk)))
	out = append(out, fmtChunk...)
	out = append(out, "data"...)
	return le.AppendUint32(out, sizeUnknown)
}

// waveMask gives the speakers of a channel mask of GStreamer's, which counts as
// Microsoft's up to the centre at the back and then has the sides one further;
// 0, "unspecified", for everything beyond.
func waveMask(f ring.AudioFormat) uint32 {
	const same, sides = 1<<9 - 1, 3 << 10
	switch {
	case f.Mask&^uint64(same|sides) != 0:
		return 0
	case f.Mask == 0 && f.Channels <= 2:
		return [...]uint32{1 << 2, 3}[f.Channels-1]
	}
	return uint32(f.Mask&same | f.Mask&sides>>1)
}

// Write appends samples as the ring holds them, whole sample frames.
func (s *WAV) Write(samples []byte) (int, error) {
	if err := (ring.Format{Audio: &s.f}).Fits(len(samples)); err != nil {
		return 0, err
	}
	s.buf = s.buf[:0]
	for at := 0; at < len(samples); at += s.s.in {
		s.buf = s.s.convert(s.buf, samples[at:at+s.s.in])
	}
	return len(samples), s.append(s.buf)
}

// convert appends one sample in the file's form.
func (c sample) convert(to, in []byte) []byte {
	at := len(to)
	if c.big {
		to = append(to, in[c.in-c.out:]...)
		slices.Reverse(to[at:])
	} else {
		to = append(to, in[:c.out]...)
	}
	if c.flip {
		to[len(to)-1] ^= 0x80
	}
	return to
}

// Silence appends n sample frames of silence.
func (s *WAV) Silence(n int64) error {
	zero := make([]byte, s.f.Channels*s.s.out)
	if s.s.out == 1 {
		for i := range zero {
			zero[i] = 0x80
		}
	}
	block := slices.Repeat(zero, 1024)
	for ; n > 0; n -= 1024 {
		if err := s.append(block[:min(n, 1024)*int64(len(zero))]); err != nil {
			return err
		}
	}
	return nil
}

func (s *WAV) append(b []byte) error {
	if s.n+int64(len(b)) > sizeUnknown-4096 {
		return ErrTooLong
	}
	s.n += int64(len(b))
	_, err := s.w.Write(b)
	return err
}

// FrameBytes is the bytes of one sample of every channel, as Write takes them.
func (s *WAV) FrameBytes() int { return s.s.in * s.f.Channels }

// Frames is how many sample frames were written.
func (s *WAV) Frames() int64 { return s.n / int64(s.f.Channels*s.s.out) }

// Close completes the file; it does not close what it was made with.
func (s *WAV) Close() error {
	pad := s.n % 2
	if pad != 0 {
		if _, err := s.w.Write([]byte{0}); err != nil {
			return err
		}
	}
	w, ok := s.w.(io.WriteSeeker)
	if !ok {
		return nil
	}
	for _, f := range []struct{ at, size int64 }{{4, int64(s.header) - 8 + s.n + pad}, {int64(s.header) - 4, s.n}} {
		if _, err := w.Seek(f.at, io.SeekStart); err != nil {
			return nil // a pipe: the sizes stay unknown
		}
		if err := binary.Write(w, binary.LittleEndian, uint32(f.size)); err != nil {
			return err
		}
	}
	_, err := w.Seek(0, io.SeekEnd)
	return err
}
