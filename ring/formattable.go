package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// streamFormat is a parsed entry of the format table.
type streamFormat struct {
	Format
	stream uint16
	size   int // bytes of a frame: exact for video, a multiple for audio
}

// fits tells whether n bytes can be a frame of the format.
func (f *streamFormat) fits(n int) error {
	switch {
	case f.Video != nil && n < f.size:
		return fmt.Errorf("%d bytes; a %s picture of %dx%d takes %d", n, f.Video.FourCC, f.Video.Width, f.Video.Height, f.size)
	case f.Audio != nil && n%f.size != 0:
		return fmt.Errorf("%d bytes; %s with %d channels comes in multiples of %d", n, f.Audio.Sample, f.Audio.Channels, f.size)
	}
	return nil
}

// Fits tells whether a format is one that a ring carries, and n bytes can be a
// frame of it: what both ends check of every frame.
func (f Format) Fits(n int) error {
	s := streamFormat{Format: f}
	switch {
	case f.Video != nil:
		if err := f.Video.check(); err != nil {
			return err
		}
		s.size = f.Video.Size()
	case f.Audio != nil:
		if err := f.Audio.check(); err != nil {
			return err
		}
		s.size = f.Audio.frameBytes()
	default:
		return errors.New("ring: a format of neither video nor audio")
	}
	return s.fits(n)
}

// encodeVideo writes everything but the state of an entry.
func encodeVideo(m mem, stream int, f VideoFormat) {
	m[formatKind] = byte(KindVideo)
	m[formatPlanes] = byte(f.Planes)
	m.put16(formatStream, uint16(stream))
	m.put32(formatWidth, uint32(f.Width))
	m.put32(formatHeight, uint32(f.Height))
	m.put32(formatFPSNum, uint32(f.FPSNum))
	m.put32(formatFPSDen, uint32(f.FPSDen))
	for i := range f.Strides {
		m.put32(formatStrides+4*i, uint32(f.Strides[i]))
		m.put64(formatOffsets+8*i, uint64(f.Offsets[i]))
	}
	m.putText(formatName, formatTextSize, f.FourCC)
	m.putText(formatColor, formatTextSize, f.Colorimetry)
	m.putText(formatChroma, formatTextSize, f.ChromaSite)
}

func encodeAudio(m mem, stream int, f AudioFormat) {
	m[formatKind] = byte(KindAudio)
	m.put16(formatStream, uint16(stream))
	m.put32(formatWidth, uint32(f.Rate))
	m.put32(formatHeight, uint32(f.Channels))
	m.put64(formatMask, f.Mask)
	m.putText(formatName, formatTextSize, f.Sample)
}

// parseFormat checks an entry in private memory.
func parseFormat(m mem, id uint32) (*streamFormat, error) {
	f := &streamFormat{Format: Format{ID: id}, stream: m.u16(formatStream)}
	switch Kind(m[formatKind]) {
	case KindVideo:
		v := &VideoFormat{
			FourCC: m.text(formatName, formatTextSize),
			Width:  int(m.u32(formatWidth)), Height: int(m.u32(formatHeight)),
			Planes: int(m[formatPlanes]),
			FPSNum: int(m.u32(formatFPSNum)), FPSDen: int(m.u32(formatFPSDen)),
			Colorimetry: m.text(formatColor, formatTextSize), ChromaSite: m.text(formatChroma, formatTextSize),
		}
		for i := range v.Strides {
			off := m.u64(formatOffsets + 8*i)
			v.Strides[i], v.Offsets[i] = int(m.u32(formatStrides+4*i)), int(min(off, 1<<62))
		}
		if err := v.check(); err != nil {
			return nil, err
		}
		f.Video, f.size = v, v.Size()
	case KindAudio:
		a := &AudioFormat{
			Sample: m.text(formatName, formatTextSize),
			Rate:   int(m.u32(formatWidth)), Channels: int(m.u32(formatHeight)),
			Mask: m.u64(formatMask),
		}
		if err := a.check(); err != nil {
			return nil, err
		}
		f.Audio, f.size = a, a.frameBytes()
	default:
		return nil, fmt.Errorf("format %d is of kind %d", id, m[formatKind])
	}
	return f, nil
}

// Format gives a format by the stream and id its frames carry.
func (r *Reader) Format(stream uint16, id uint32) (Format, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.snapshot != nil && (id == 0 || id > maxFormats || r.formats[id-1].Load() == nil) {
		return Format{}, false // the table is no longer mapped
	}
	f, err := r.format(stream, id)
	if err != nil {
		return Format{}, false
	}
	return f.Format, true
}

// format reads an entry the first time it is needed. Two callers may both parse
// it; the entry does not change, so either result will do.
func (r *Reader) format(stream uint16, id uint32) (*streamFormat, error) {
	if id == 0 || id > maxFormats {
		return nil, fmt.Errorf("format %d; a ring has %d", id, maxFormats)
	}
	slot := &r.formats[id-1]
	f := slot.Load()
	if f == nil {
		var err error
		if f, err = r.readFormat(id, slot); err != nil {
			return nil, err
		}
	}
	if f.stream != stream {
		return nil, fmt.Errorf("format %d belongs to stream %d, not %d", id, f.stream, stream)
	}
	return f, nil
}

func (r *Reader) readFormat(id uint32, slot *atomic.Pointer[streamFormat]) (*streamFormat, error) {
	m := r.b.seg[formatsOff+int(id-1)*formatSize:][:formatSize]
	if m.a32(formatState).Load() != formatPublished { // SYNC POINT format
		return nil, fmt.Errorf("format %d is not published", id)
	}
	private := make(mem, formatSize)
	copy(private[4:], m[4:])
	f, err := parseFormat(private, id)
	if err != nil {
		return nil, err
	}
	if int(f.stream) >= len(r.streams) || (f.Video != nil) != (r.streams[f.stream].Kind == KindVideo) {
		return nil, fmt.Errorf("format %d does not fit stream %d", id, f.stream)
	}
	slot.CompareAndSwap(nil, f)
	return slot.Load(), nil
}
