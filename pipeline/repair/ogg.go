package repair

import (
	"bytes"
	"errors"
	"io"
)

// An Ogg file is pages: RFC 3533.

// oggStream is one logical stream.
type oggStream struct {
	serial  uint32
	codec   string
	headers int64   // packets that are no frames
	packets int64   // whole ones
	ended   bool    // its last page says so
	last    oggPage // the last page on which a packet ends
	tail    spans   // pages behind it, with a packet that never ended
}

type oggPage struct {
	off, n int64
	data   []byte
}

// maxPage is the longest page there can be.
const maxPage = 27 + 255 + 255*255

func readOgg(in *input) (*found, error) {
	fd := &found{container: "ogg"}
	streams := map[uint32]*oggStream{}
	var order []*oggStream
	off := int64(0)
	for off < in.size {
		b, err := in.read(off, maxPage)
		if err != nil {
			return nil, err
		}
		n := oggPageSize(b)
		if n == 0 || !oggSumRight(b[:n]) {
			break
		}
		serial := le.Uint32(b[14:])
		s := streams[serial]
		if s == nil {
			s = &oggStream{serial: serial}
			s.codec, s.headers = oggCodec(b[27+int(b[26]) : n])
			streams[serial] = s
			order = append(order, s)
		}
		s.take(oggPage{off: off, n: int64(n), data: b[:n:n]})
		off += int64(n)
	}
	if len(order) == 0 || off == 0 {
		return nil, errors.New("its first page is damaged: nothing can be done")
	}
	fd.judgeOgg(in, order, off)
	for _, s := range fd.streams {
		if s.Frames > 0 {
			return fd, nil
		}
	}
	return nil, errors.New("no frame in it is whole: nothing can be done")
}

// oggPageSize gives the length of the page that b begins with; 0 when it begins
// with none or not all of it is there.
func oggPageSize(b []byte) int {
	if len(b) < 27 || !bytes.HasPrefix(b, []byte("OggS\x00")) || len(b) < 27+int(b[26]) {
		return 0
	}
	n := 27 + int(b[26])
	for _, s := range b[27:n] {
		n += int(s)
	}
	if n > len(b) {
		return 0
	}
	return n
}

// oggCodec names the codec by its first packet and counts its header packets.
func oggCodec(b []byte) (string, int64) {
	switch {
	case bytes.HasPrefix(b, []byte("OpusHead")):
		return "opus", 2
	case bytes.HasPrefix(b, []byte("\x01vorbis")):
		return "vorbis", 3
	case bytes.HasPrefix(b, []byte("\x7fFLAC")) && len(b) > 9:
		return "flac", 1 + int64(be.Uint16(b[7:]))
	case bytes.HasPrefix(b, []byte("\x80theora")):
		return "theora", 3
	case bytes.HasPrefix(b, []byte("OVP80")):
		return "vp8", 1
	case bytes.HasPrefix(b, []byte("Speex   ")):
		return "speex", 2
	}
	return "unknown", 0
}

// take notes a page. Its lacing values below 255 end packets.
func (s *oggStream) take(p oggPage) {
	ends := int64(0)
	for _, v := range p.data[27 : 27+int(p.data[26])] {
		if v < 255 {
			ends++
		}
	}
	s.packets += ends
	s.ended = p.data[5]&0x04 != 0
	if ends > 0 {
		s.last, s.tail = p, nil
	} else {
		s.tail.add(p.off, p.n)
	}
}

// lastPage is the last page with the end of the stream marked on it and without
// a packet that was begun and not ended.
func (s *oggStream) lastPage() []byte {
	n := int(s.last.data[26])
	lacing := s.last.data[27 : 27+n]
	keep := n
	for keep > 0 && lacing[keep-1] == 255 {
		keep--
	}
	size := 0
	for _, v := range lacing[:keep] {
		size += int(v)
	}
	b := bytes.Clone(s.last.data[:27])
	b[5] |= 0x04
	b[26] = byte(keep)
	b = append(append(b, lacing[:keep]...), s.last.data[27+n:27+n+size]...)
	le.PutUint32(b[22:], 0)
	le.PutUint32(b[22:], oggSum(b))
	return b
}

func (fd *found) judgeOgg(in *input, order []*oggStream, end int64) {
	open := 0
	for _, s := range order {
		frames := max(0, s.packets-s.headers)
		st := &Stream{Codec: s.codec, Frames: frames, readBack: -1}
		fd.streams = append(fd.streams, st)
		if !s.ended {
			open++
		}
	}
	if end < in.size {
		fd.note("the file ends within a page, or what follows is damaged, at byte %d of %d", end, in.size)
	}
	if open > 0 {
		fd.note("the end of the stream is not marked")
	}
	if fd.whole = len(fd.notes) == 0; fd.whole {
		return
	}
	fd.cutBytes = in.size - end
	changed := map[int64][]byte{} // pages by their place
	var drop spans
	for _, s := range order {
		if s.ended || s.last.data == nil {
			continue
		}
		changed[s.last.off] = s.lastPage()
		for _, p := range s.tail {
			drop = append(drop, p)
			fd.cutBytes += p.n
		}
	}
	fd.size = end
	fd.write = func(w io.Writer) error { return writeOgg(w, in, end, changed, drop) }
}

func writeOgg(w io.Writer, in *input, end int64, changed map[int64][]byte, drop spans) error {
	dropped := func(off int64) bool {
		for _, p := range drop {
			if off >= p.off && off < p.off+p.n {
				return true
			}
		}
		return false
	}
	for off := int64(0); off < end; {
		b, err := in.read(off, maxPage)
		if err != nil {
			return err
		}
		n := oggPageSize(b)
		if n == 0 {
			return io.ErrUnexpectedEOF // the file changed under us
		}
		page := b[:n]
		if c := changed[off]; c != nil {
			page = c
		}
		if !dropped(off) {
			if _, err := w.Write(page); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	return nil
}

// oggTable is for the checksum of a page: CRC-32 with the polynomial 0x04c11db7,
// not reflected, from 0.
var oggTable = func() (t [256]uint32) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			if r&0x80000000 != 0 {
				r = r<<1 ^ 0x04c11db7
			} else {
				r <<= 1
			}
		}
		t[i] = r
	}
	return t
}()

func oggSum(b []byte) (sum uint32) {
	for _, c := range b {
		sum = sum<<8 ^ oggTable[byte(sum>>24)^c]
	}
	return sum
}

func oggSumRight(page []byte) bool {
	want := le.Uint32(page[22:])
	b := bytes.Clone(page)
	le.PutUint32(b[22:], 0)
	return oggSum(b) == want
}
