package browser

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/ring"
)

var le = binary.LittleEndian

// page is a page library that does as it is told, in Go: FORMAT.md from the other
// side, without a browser.
type page struct {
	t               *testing.T
	bell, ack, data *os.File
	session         [16]byte
	capacity        [2]uint64
	arenas          [2]int64
	pos             [2]uint64
	n               [2]uint32
}

const (
	pw, ph  = 64, 36
	picture = pw * ph * 3 / 2
	packet  = 480 * 8
)

var fileNumber int

// newPage makes the two small files in a user data dir.
func newPage(t *testing.T, dir, name, origin string) *page {
	t.Helper()
	p := &page{t: t}
	rand.Read(p.session[:])
	p.ack = p.file(dir, intake.AckSize)
	p.begin(p.ack, intake.MagicAck, make([]byte, intake.PageSize))
	p.bell = p.file(dir, intake.BellSize)
	b := make([]byte, intake.PageSize)
	le.PutUint32(b[intake.BellState:], intake.SessionOpen)
	le.PutUint32(b[intake.BellStreams:], 2)
	intake.PutText(b[intake.BellName:][:64], name)
	intake.PutText(b[intake.BellOrigin:][:128], origin)
	intake.PutText(b[intake.BellToken:][:64], "secret")
	for i, s := range []string{"video", "audio"} {
		at := b[intake.BellTable+i*intake.StreamSize:]
		le.PutUint32(at, uint32(i+1))
		le.PutUint64(at[8:], []uint64{picture, packet}[i])
		intake.PutText(at[0x10:][:48], s)
	}
	p.format(1, 0, 1, pw, ph, "I420")
	p.format(2, 1, 2, 48000, 2, "F32LE")
	p.begin(p.bell, intake.MagicBell, b)
	t.Cleanup(p.die)
	return p
}

func (p *page) file(dir string, size int64) *os.File {
	p.t.Helper()
	at := filepath.Join(dir, "Default", "File System", "000", "t", "00")
	if err := os.MkdirAll(at, 0o700); err != nil {
		p.t.Fatal(err)
	}
	fileNumber++
	f, err := os.Create(filepath.Join(at, fmt.Sprintf("%08d", fileNumber)))
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

func (p *page) begin(f *os.File, magic string, head []byte) {
	le.PutUint16(head[8:], intake.Major)
	copy(head[intake.BellSession:], p.session[:])
	p.put(f, head[8:], 8)
	p.put(f, []byte(magic), 0)
}

func (p *page) put(f *os.File, b []byte, at int64) {
	if _, err := f.WriteAt(b, at); err != nil && p.t.Context().Err() == nil {
		p.t.Error(err)
	}
}

func (p *page) format(id, stream, kind, w, h int, name string) {
	b := make([]byte, intake.FormatSize)
	le.PutUint32(b, 1)
	le.PutUint16(b[4:], uint16(stream))
	b[6] = byte(kind)
	le.PutUint32(b[8:], uint32(w))
	le.PutUint32(b[0xc:], uint32(h))
	le.PutUint32(b[0x14:], 1)
	intake.PutText(b[0x18:][:16], name)
	if kind == 1 {
		v, err := ring.PackedVideo(name, w, h, 0, 1)
		if err != nil {
			p.t.Fatal(err)
		}
		b[7] = byte(v.Planes)
		for i := range v.Planes {
			le.PutUint32(b[0x28+4*i:], uint32(v.Strides[i]))
			le.PutUint64(b[0x38+8*i:], uint64(v.Offsets[i]))
		}
	}
	p.put(p.bell, b, intake.BellFormats+int64(id-1)*intake.FormatSize)
}

// state is what mpipe says in the ack.
func (p *page) state() (intake.State, string) {
	b := make([]byte, intake.AckSize)
	_, _ = p.ack.ReadAt(b, 0)
	reason := b[intake.AckReason:][:256]
	for i, c := range reason {
		if c == 0 {
			reason = reason[:i]
			break
		}
	}
	return intake.State(le.Uint32(b[intake.AckState:])), string(reason)
}

func (p *page) until(want intake.State) string {
	p.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s, reason := p.state()
		if s == want {
			return reason
		}
		if time.Now().After(end) {
			p.t.Fatalf("the session is in state %d (%s), want %d", s, reason, want)
		}
	}
}

// attach waits to be taken and makes the large file.
func (p *page) attach(dir string) {
	p.t.Helper()
	p.until(intake.Live)
	b := make([]byte, intake.AckSize)
	_, _ = p.ack.ReadAt(b, 0)
	for c := range 2 {
		p.capacity[c] = le.Uint64(b[intake.AckClasses+c*intake.AckClassSize:])
		p.arenas[c] = int64(le.Uint64(b[intake.AckArenas+8*c:]))
	}
	size := le.Uint64(b[intake.AckDataSize:])
	p.data = p.file(dir, int64(size))
	p.begin(p.data, intake.MagicData, make([]byte, intake.PageSize))
	p.put(p.bell, le.AppendUint64(nil, size), intake.BellReady)
}

// record is one that fits, for the next frame of a class.
func (p *page) record(class int) intake.Frame {
	return intake.Frame{Stream: class, Pos: p.pos[class], Length: []int{picture, packet}[class], Format: uint32(class + 1), PTS: ring.Now(), Duration: int64(time.Second / 30)}
}

// write writes a frame when there is room, whose bytes are all of a value.
func (p *page) write(class int, value byte) {
	p.t.Helper()
	f := p.record(class)
	extent, offset := intake.Place(class, p.capacity[class], f.Pos, f.Length)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Microsecond) {
		var b [16]byte
		_, _ = p.ack.ReadAt(b[:], int64(intake.AckClasses+class*intake.AckClassSize+0x10))
		if uint64(p.n[class])-le.Uint64(b[:]) < intake.Records-1 && p.pos[class]-le.Uint64(b[8:])+extent <= p.capacity[class] {
			break
		}
		if time.Now().After(end) {
			s, reason := p.state()
			p.t.Fatalf("no room for frame %d of class %d; state %d %s", p.n[class], class, s, reason)
		}
	}
	data := make([]byte, f.Length)
	for i := range data {
		data[i] = value
	}
	p.put(p.data, data, p.arenas[class]+int64(offset))
	p.commit(class, f)
	p.pos[class] += extent
}

// commit writes a record as it is.
func (p *page) commit(class int, f intake.Frame) {
	p.n[class]++
	p.put(p.bell, encode(p.n[class], f), int64(intake.BellRecords+class*intake.Records*intake.Record+int((p.n[class]-1)%intake.Records)*intake.Record))
}

func encode(word uint32, f intake.Frame) []byte {
	b := make([]byte, intake.Record)
	flags := uint16(f.Flags)
	if f.Rewind {
		flags |= intake.FlagRewind
	}
	le.PutUint32(b, word)
	le.PutUint16(b[4:], uint16(f.Stream))
	le.PutUint16(b[6:], flags)
	le.PutUint64(b[8:], f.Pos)
	le.PutUint32(b[0x10:], uint32(f.Length))
	le.PutUint32(b[0x14:], f.Format)
	le.PutUint64(b[0x18:], uint64(f.PTS))
	le.PutUint64(b[0x20:], uint64(f.Duration))
	le.PutUint32(b[0x3c:], word)
	return b
}

// end ends the streams in good order.
func (p *page) end() {
	p.put(p.bell, le.AppendUint32(nil, intake.SessionEnded), intake.BellState)
}

// die closes everything, as the kernel does for a process.
func (p *page) die() {
	for _, f := range []*os.File{p.bell, p.ack, p.data} {
		if f != nil {
			f.Close()
		}
	}
}
