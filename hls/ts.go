package hls

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Sizes and marks of ISO/IEC 13818-1.
const (
	packetSize = 188
	packetSync = 0x47
	nullPID    = 0x1fff
)

// streamTypes are those of ISO/IEC 13818-1, table 2-34, that matter for cutting:
// pictures come before sound.
var streamTypes = map[byte]Media{
	0x01: Video, 0x02: Video, 0x1b: Video, 0x24: Video,
	0x03: Audio, 0x04: Audio, 0x0f: Audio, 0x11: Audio, 0x81: Audio, 0x06: Audio, // 0x06: private, such as Opus
}

// mpegts cuts an MPEG-TS at the packets that begin a key frame, and puts the
// tables, which only come by now and then, at the front of each segment.
type mpegts struct {
	pacer
	rest []byte // of a packet that came in part

	pat, pmt []byte // the latest packets
	pmtPID   int
	pid      int // of the stream that says where to cut; 0 while not known
	media    Media
	pts      uint64        // the latest, 33 bits
	now      time.Duration // the latest, from the first on, without the wrap
	greatest time.Duration // of now
	frames   int64
	seen     bool
}

func newTS(target time.Duration, out parts) *mpegts {
	return &mpegts{pacer: pacer{target: target, out: out}, pmtPID: -1}
}

func (m *mpegts) Write(p []byte) (int, error) {
	n := len(p)
	if len(m.rest) > 0 {
		k := min(len(p), packetSize-len(m.rest))
		m.rest, p = append(m.rest, p[:k]...), p[k:]
		if len(m.rest) < packetSize {
			return n, nil
		}
		if err := m.packets(m.rest); err != nil {
			return 0, err
		}
		m.rest = m.rest[:0]
	}
	whole := len(p) / packetSize * packetSize
	if err := m.packets(p[:whole]); err != nil {
		return 0, err
	}
	m.rest = append(m.rest, p[whole:]...)
	return n, nil
}

// packets takes whole ones, and writes on as many at a time as there are.
func (m *mpegts) packets(b []byte) error {
	from := 0
	for at := 0; at < len(b); at += packetSize {
		p := b[at : at+packetSize]
		if p[0] != packetSync {
			return fmt.Errorf("the muxer made a packet that does not begin with %#x", packetSync)
		}
		t, ok := m.look(p)
		if !ok {
			continue
		}
		if _, err := m.out.Write(b[from:at]); err != nil {
			return err
		}
		from = at
		before := m.start
		if err := m.point(t); err != nil {
			return err
		}
		if m.start != before && m.pat != nil { // a new segment
			if _, err := m.out.Write(slices.Concat(m.pat, m.pmt)); err != nil {
				return err
			}
		}
	}
	if from == len(b) {
		return nil
	}
	_, err := m.out.Write(b[from:])
	return err
}

func (m *mpegts) end() error {
	if len(m.rest) > 0 {
		return errCut
	}
	end := m.greatest
	if m.frames > 1 { // the last one lasts as long as they do on the average
		end += m.greatest / time.Duration(m.frames-1)
	}
	return m.finish(end)
}

// look reads what matters of a packet. ok tells that a segment may begin with it,
// at the time t, which counts from the first frame.
func (m *mpegts) look(p []byte) (t time.Duration, ok bool) {
	pid := int(binary.BigEndian.Uint16(p[1:])) & nullPID
	begins, payload, random := p[1]&0x40 != 0, p[4:], false
	if p[3]&0x20 != 0 { // an adaptation field
		n := int(p[4])
		if n > len(p)-5 {
			return 0, false
		}
		random = n > 0 && p[5]&0x40 != 0
		payload = p[5+n:]
	}
	if p[3]&0x10 == 0 || !begins {
		return 0, false
	}
	switch pid {
	case 0:
		m.table(p, payload, &m.pat, m.programs)
	case m.pmtPID:
		m.table(p, payload, &m.pmt, m.streams)
	case m.pid:
		if m.pid == 0 {
			return 0, false
		}
		pts, has := ptsOf(payload)
		if !has {
			return 0, false
		}
		m.advance(pts)
		return m.now, random || m.media == Audio
	}
	return 0, false
}

// advance moves the clock to a PTS of 90 kHz that wraps after 26.5 hours.
func (m *mpegts) advance(pts uint64) {
	m.frames++
	if !m.seen {
		m.seen, m.pts = true, pts
		return
	}
	const wrap = 1 << 33
	d := int64(pts-m.pts) & (wrap - 1)
	if d >= wrap/2 {
		d -= wrap
	}
	m.now += time.Duration(d) * time.Second / 90_000
	m.pts = pts
	m.greatest = max(m.greatest, m.now)
}

// table keeps a packet that holds a whole table, and reads it.
func (m *mpegts) table(packet, payload []byte, keep *[]byte, read func(section []byte)) {
	if len(payload) < 1 || int(payload[0])+4 > len(payload) {
		return
	}
	s := payload[1+int(payload[0]):]
	n := 3 + int(binary.BigEndian.Uint16(s[1:])&0xfff)
	if n < 16 || n > len(s) {
		return // longer than a packet: a muxer of a few streams never makes one
	}
	*keep = append((*keep)[:0], packet...)
	read(s[:n-4]) // without its CRC
}

// programs takes the PID of the first programme's table.
func (m *mpegts) programs(s []byte) {
	for e := s[8:]; len(e) >= 4; e = e[4:] {
		if binary.BigEndian.Uint16(e) != 0 {
			m.pmtPID = int(binary.BigEndian.Uint16(e[2:]) & nullPID)
			return
		}
	}
}

// streams takes the first stream of pictures, or else of sound.
func (m *mpegts) streams(s []byte) {
	if m.pid != 0 || len(s) < 12 {
		return
	}
	skip := 12 + int(binary.BigEndian.Uint16(s[10:])&0xfff)
	if skip > len(s) {
		return
	}
	for e := s[skip:]; len(e) >= 5; {
		media, pid := streamTypes[e[0]], int(binary.BigEndian.Uint16(e[1:])&nullPID)
		if media == Video || media == Audio && m.pid == 0 {
			m.pid, m.media = pid, media
		}
		n := 5 + int(binary.BigEndian.Uint16(e[3:])&0xfff)
		if media == Video || n > len(e) {
			return
		}
		e = e[n:]
	}
}

// ptsOf reads the time stamp of a PES packet's header (2.4.3.6).
func ptsOf(b []byte) (pts uint64, ok bool) {
	if len(b) < 14 || b[0] != 0 || b[1] != 0 || b[2] != 1 || b[7]&0x80 == 0 {
		return 0, false
	}
	return uint64(b[9]>>1&7)<<30 | uint64(binary.BigEndian.Uint16(b[10:])>>1)<<15 | uint64(binary.BigEndian.Uint16(b[12:])>>1), true
}
