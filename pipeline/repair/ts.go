package repair

import (
	"errors"
	"io"
)

// MPEG transport streams: ISO/IEC 13818-1. A file is packets of 188 bytes, in
// M2TS each with 4 bytes before it.

const tsBytes = 188

// tsPacket tells the distance of packets and the bytes before the first sync
// byte; 0 when it is no transport stream.
func tsPacket(head []byte) (packet, skip int) {
	for _, p := range []struct{ packet, skip int }{{tsBytes, 0}, {tsBytes + 4, 4}} {
		ok := len(head) > p.skip
		for i := p.skip; i < len(head) && ok; i += p.packet {
			ok = head[i] == 0x47
		}
		if ok {
			return p.packet, p.skip
		}
	}
	return 0, 0
}

// tsStream is one elementary stream.
type tsStream struct {
	codec  string
	frames int64 // PES packets begun: each a picture, or a frame of sound or, of other muxers, some
	// The last PES packet:
	length  int     // as its header says; 0 is unknown, -1 is none yet
	got     int     // bytes of it
	stuffed bool    // its last packet was filled up, as the last one is
	packets []int64 // places of its packets
}

type ts struct {
	in           *input
	packet, skip int
	tables       map[int]bool // PIDs of program maps
	streams      map[int]*tsStream
	order        []*tsStream
}

func readTS(in *input, packet, skip int) (*found, error) {
	t := &ts{in: in, packet: packet, skip: skip, tables: map[int]bool{}, streams: map[int]*tsStream{}}
	fd := &found{container: "ts"}
	end := int64(0)
	const window = 4096 // packets
	for end+int64(packet) <= in.size {
		b, err := in.read(end, window*packet)
		if err != nil {
			return nil, err
		}
		n := 0
		for ; len(b)-n >= packet && b[n+skip] == 0x47; n += packet {
			t.take(b[n+skip:n+packet], end+int64(n))
		}
		end += int64(n)
		if n == 0 || n < len(b)/packet*packet {
			break
		}
	}
	if len(t.order) == 0 {
		return nil, errors.New("no list of streams (PMT) in it is whole: nothing can be done")
	}
	t.judge(fd, end)
	return fd, nil
}

// take reads one packet.
func (t *ts) take(p []byte, off int64) {
	pid := int(be.Uint16(p[1:])) & 0x1fff
	begins := p[1]&0x40 != 0
	at, stuffed := 4, false
	if p[3]&0x20 != 0 { // an adaptation field
		n := int(p[4])
		at += 1 + n
		stuffed = at <= tsBytes && n > adaptationNeeds(p[5:min(tsBytes, at)])
	}
	if p[3]&0x10 == 0 || at >= tsBytes {
		return // no payload
	}
	body := p[at:]
	switch {
	case pid == 0 && begins:
		t.programs(body)
	case t.tables[pid] && begins:
		t.programMap(body)
	case t.streams[pid] != nil:
		t.streams[pid].take(body, begins, stuffed, off)
	}
}

// adaptationNeeds is how long an adaptation field would be without stuffing.
func adaptationNeeds(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	n := 1
	for flag, size := range map[byte]int{0x10: 6, 0x08: 6, 0x04: 1} { // PCR, OPCR, splice countdown
		if b[0]&flag != 0 {
			n += size
		}
	}
	for _, flag := range []byte{0x02, 0x01} { // private data, extension: with their length
		if b[0]&flag != 0 && n < len(b) {
			n += 1 + int(b[n])
		}
	}
	return n
}

// section gives the content of a table of programs, without its checksum.
func section(b []byte) []byte {
	if len(b) == 0 || len(b) < 1+int(b[0])+3 {
		return nil
	}
	b = b[1+int(b[0]):]
	n := int(be.Uint16(b[1:])) & 0xfff
	if n < 9 || len(b) < 3+n {
		return nil
	}
	return b[8 : 3+n-4]
}

func (t *ts) programs(b []byte) {
	for s := section(b); len(s) >= 4; s = s[4:] {
		if be.Uint16(s) != 0 {
			t.tables[int(be.Uint16(s[2:]))&0x1fff] = true
		}
	}
}

func (t *ts) programMap(b []byte) {
	s := section(b)
	if len(s) < 4 {
		return
	}
	skip := 4 + int(be.Uint16(s[2:]))&0xfff
	for s = s[min(skip, len(s)):]; len(s) >= 5; {
		pid, info := int(be.Uint16(s[1:]))&0x1fff, int(be.Uint16(s[3:]))&0xfff
		if t.streams[pid] == nil {
			st := &tsStream{codec: tsCodec(s[0]), length: -1}
			t.streams[pid] = st
			t.order = append(t.order, st)
		}
		s = s[min(5+info, len(s)):]
	}
}

func tsCodec(streamType byte) string {
	switch streamType {
	case 0x01, 0x02:
		return "mpeg2"
	case 0x03, 0x04:
		return "mp3"
	case 0x0f, 0x11:
		return "aac"
	case 0x1b:
		return "h264"
	case 0x24:
		return "h265"
	case 0x81:
		return "ac3"
	case 0x06:
		return "private data, such as opus"
	}
	return "unknown"
}

func (s *tsStream) take(b []byte, begins, stuffed bool, off int64) {
	if begins {
		s.length, s.got, s.packets = 0, 0, s.packets[:0]
		if len(b) >= 6 && b[0] == 0 && b[1] == 0 && b[2] == 1 {
			s.frames++
			if n := int(be.Uint16(b[4:])); n > 0 {
				s.length = 6 + n
			}
		}
	}
	if s.length < 0 {
		return // the middle of what began before the file
	}
	s.got += len(b)
	s.stuffed = stuffed
	s.packets = append(s.packets, off)
}

// broken tells whether the last PES packet lacks its end. cut says that the file
// was cut within a packet: only then is a picture of unknown length, without the
// filling that the last packet of one has, taken for a broken one.
func (s *tsStream) broken(cut bool) bool {
	if s.length > 0 {
		return s.got < s.length
	}
	return cut && s.length == 0 && !s.stuffed
}

func (t *ts) judge(fd *found, end int64) {
	cut := end < t.in.size
	if cut {
		fd.note("the file ends within a packet, or what follows is damaged, at byte %d of %d", end, t.in.size)
	}
	drop := map[int64]bool{}
	for _, s := range t.order {
		st := &Stream{Codec: s.codec, Frames: s.frames, readBack: -1}
		if s.broken(cut) {
			fd.note("the last packet of %s is not all there", s.codec)
			st.Frames--
			st.Cut = 1
			for _, off := range s.packets {
				drop[off] = true
			}
		}
		fd.streams = append(fd.streams, st)
	}
	if fd.whole = len(fd.notes) == 0; fd.whole {
		return
	}
	fd.size = end - int64(len(drop)*t.packet)
	fd.cutBytes = t.in.size - fd.size
	fd.write = func(w io.Writer) error { return t.write(w, end, drop) }
}

// write leaves out the packets to be dropped, which are few and near the end.
func (t *ts) write(w io.Writer, end int64, drop map[int64]bool) error {
	first := end
	for off := range drop {
		first = min(first, off)
	}
	if err := t.in.copy(w, 0, first); err != nil {
		return err
	}
	for off := first; off < end; off += int64(t.packet) {
		if drop[off] {
			continue
		}
		if err := t.in.copy(w, off, int64(t.packet)); err != nil {
			return err
		}
	}
	return nil
}
