package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
	"github.com/mpipe/mpipe/ring"
)

// MediaOptions say what to take from a media file.
type MediaOptions struct {
	NoVideo, NoAudio bool
	FourCC           string // layout of the pictures; "" is I420
	// MaxSize is the largest picture to come, for files whose size changes; the
	// zero value is the size of the first.
	MaxSize VideoSpec
}

// mediaPacket bounds the bytes of a packet of sound, whatever its format.
const mediaPacket = 64 << 10

// Media is the first video and the first audio of anything GStreamer decodes: a
// path or a URI. Stamps, sizes and rates stay the file's.
func Media(ctx context.Context, path string, o MediaOptions) (*Source, error) {
	if o.FourCC == "" {
		o.FourCC = "I420"
	}
	most, err := ring.PackedVideo(o.FourCC, max(1, o.MaxSize.Width), max(1, o.MaxSize.Height), 0, 1)
	if err != nil {
		return nil, err
	}
	d, err := gstbin.OpenDecoder(ctx, path, !o.NoVideo, !o.NoAudio, o.FourCC)
	if err != nil {
		return nil, err
	}
	s := &Source{close: d.Close}
	for _, m := range []*media{
		{file: path, name: "video", kind: ring.KindVideo, dec: d.Video(), most: most.Size()},
		{file: path, name: "audio", kind: ring.KindAudio, dec: d.Audio(), most: mediaPacket},
	} {
		if m.dec == nil {
			continue
		}
		// The ring wants to know the largest frame before the first.
		if m.ahead, m.aheadErr = m.decode(ctx); m.aheadErr == nil && m.kind == ring.KindVideo {
			m.most = max(m.most, m.ahead.size)
		}
		s.tracks = append(s.tracks, m)
	}
	return s, nil
}

// media is one stream of the file. Sound that comes in large pieces is cut into
// packets.
type media struct {
	file string
	name string
	kind ring.Kind
	dec  *gstbin.Decoding
	most int

	ahead    frame // the first frame, decoded when the file was opened
	aheadErr error
	begun    bool

	piece frame // what the decoder gave last; of sound, what is left of it
	from  int   // where in the decoder's frame the current frame begins
	size  int   // of the current frame
	rate  int   // audio: samples a second
	bytes int   // audio: of one sample of all channels
	end   time.Duration
}

func (m *media) spec() ring.StreamSpec {
	return ring.StreamSpec{Name: m.name, Kind: m.kind, MaxFrame: m.most}
}

func (m *media) next(ctx context.Context) (frame, error) {
	if !m.begun {
		m.begun = true
		if m.aheadErr != nil {
			return frame{}, m.aheadErr
		}
		m.piece = m.ahead
	} else if m.from += m.size; m.kind == ring.KindVideo || m.piece.size == 0 {
		p, err := m.decode(ctx)
		if err != nil {
			return frame{}, err
		}
		m.piece = p
	}
	if m.kind == ring.KindAudio {
		return m.cut(), nil
	}
	m.size = m.piece.size
	if m.size > m.most {
		v := m.piece.format.Video
		return frame{}, fmt.Errorf("the picture grows to %dx%d, %d bytes, but %d bytes were announced; feed with --max-size %dx%d",
			v.Width, v.Height, m.size, m.most, v.Width, v.Height)
	}
	return m.piece, nil
}

// decode waits for the decoder's next frame.
func (m *media) decode(ctx context.Context) (frame, error) {
	d, err := m.dec.Next(ctx)
	if errors.Is(err, io.EOF) {
		return frame{}, io.EOF
	}
	if err != nil {
		return frame{}, fmt.Errorf("decoding %s of %s: %w", m.name, m.file, err)
	}
	m.from, m.size = 0, 0
	f := frame{size: d.Size, pts: d.PTS, duration: d.Duration, discont: d.Discont && m.begun}
	if f.pts < 0 {
		f.pts = m.end
	}
	m.end = f.pts + f.duration
	if d.Format != nil {
		f.format = ringFormat(*d.Format)
		if a := f.format.Audio; a != nil {
			m.rate, m.bytes = a.Rate, 2*a.Channels // the decoder gives S16LE
		}
	}
	return f, nil
}

// cut takes the next packet off the piece.
func (m *media) cut() frame {
	f := m.piece
	samples := min(f.size/m.bytes, max(1, int(samplesAt(packet, m.rate))), mediaPacket/m.bytes)
	m.size = samples * m.bytes
	f.size, f.duration = m.size, timeOf(int64(samples), m.rate)
	rest := m.piece
	rest.size -= m.size
	rest.pts += f.duration
	rest.discont, rest.format = false, ring.Format{}
	m.piece = rest
	return f
}

func (m *media) write(_ context.Context, dst []byte) error { return m.dec.Copy(dst, m.from) }

func (m *media) skip(context.Context) error { return nil }

func ringFormat(f pipeline.Format) ring.Format {
	if v := f.Video; v != nil {
		return ring.Format{Video: &ring.VideoFormat{
			FourCC: v.FourCC, Width: v.Width, Height: v.Height, Planes: v.Planes, Strides: v.Strides, Offsets: v.Offsets,
			FPSNum: v.FPSNum, FPSDen: v.FPSDen, Colorimetry: v.Colorimetry, ChromaSite: v.ChromaSite,
		}}
	}
	a := f.Audio
	return ring.Format{Audio: &ring.AudioFormat{Sample: a.Sample, Rate: a.Rate, Channels: a.Channels, Mask: a.Mask}}
}
