package intake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/mpipe/mpipe/ring"
)

// The layout of files and messages; browser/layout.js says the same, and a test
// compares them.
const (
	Major    = 1
	PageSize = 4096
	Granule  = 64
	Record   = 64
	Records  = 1024 // of each class
	Streams  = 32
	Formats  = 256

	MagicBell = "MPIPEBEL"
	MagicAck  = "MPIPEACK"
	MagicData = "MPIPEDAT"
	MagicWire = "MPIPEWIR"

	BellSession  = 0x10
	BellState    = 0x20
	BellStreams  = 0x24
	BellPing     = 0x28
	BellReady    = 0x30
	BellName     = 0x40
	BellOrigin   = 0x80
	BellToken    = 0x100
	BellTable    = 0x200
	BellCounters = 0xa00
	BellFormats  = 0x1000
	BellRecords  = 0x9000 // of video; audio's follow
	BellSize     = 0x29000

	StreamSize  = 64
	CounterSize = 16
	FormatSize  = 128

	AckSession   = 0x10
	AckState     = 0x20
	AckBeat      = 0x24
	AckPong      = 0x28
	AckPongTime  = 0x30
	AckClasses   = 0x40
	AckClassSize = 0x40
	AckDataSize  = 0xc0
	AckArenas    = 0xc8
	AckRewind    = 0xd8
	AckReason    = 0x100
	AckConsumer  = 0x200
	AckSize      = PageSize

	// HelloSize is the part of the bell's first page that says who comes: over a
	// socket the first message.
	HelloSize = BellCounters
)

// Align is granules that extents of a class are rounded up to.
var Align = [2]uint64{64, 1}

// State is how the consumer sees a session; the numbers are the layout's.
type State uint32

const (
	None State = iota
	Live
	Stopping
	Closed
	Refused
	Invalid
)

// States of a session as its page says it.
const (
	SessionOpen  = 1
	SessionEnded = 2
)

// Kinds of messages over a socket.
const (
	WireHello = iota + 1
	WireFormat
	WireFrame
	WirePing
	WireCounters
	WireEnd
	WireState = iota + 11
	WirePong
	WireRead
)

// Hello is who comes, and with what.
type Hello struct {
	Session [16]byte // all zero over a socket
	Name    string
	Origin  string // what the page says of itself; a browser's WebSocket proves it
	Token   string
	Streams []ring.StreamSpec
}

func (h *Hello) String() string {
	name := h.Name
	if name == "" {
		name = "page"
	}
	if h.Origin != "" {
		name += " of " + h.Origin
	}
	return name
}

var (
	le         = binary.LittleEndian
	streamName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,47}$`)
)

// ParseHello reads the first HelloSize bytes of a bell, or of a connection.
func ParseHello(b []byte, magic string) (*Hello, error) {
	if len(b) < HelloSize || string(b[:8]) != magic {
		return nil, errors.New("it is no greeting of mpipe's page library")
	}
	if v := le.Uint16(b[8:]); v != Major {
		return nil, fmt.Errorf("it speaks version %d, this mpipe version %d; use the page library that came with this mpipe", v, Major)
	}
	h := &Hello{Name: text(b[BellName:][:64]), Origin: text(b[BellOrigin:][:128]), Token: text(b[BellToken:][:64])}
	copy(h.Session[:], b[BellSession:])
	n := le.Uint32(b[BellStreams:])
	if n < 1 || n > Streams {
		return nil, fmt.Errorf("it declares %d streams; allowed are 1 to %d", n, Streams)
	}
	seen := map[string]bool{}
	for i := range int(n) {
		s := b[BellTable+i*StreamSize:][:StreamSize]
		spec := ring.StreamSpec{Name: text(s[0x10:]), Kind: ring.Kind(min(le.Uint32(s), 255))}
		most := le.Uint64(s[8:])
		switch {
		case spec.Kind != ring.KindVideo && spec.Kind != ring.KindAudio:
			return nil, fmt.Errorf("stream %d is neither video nor audio", i)
		case !streamName.MatchString(spec.Name) || seen[spec.Name]:
			return nil, fmt.Errorf("stream %d has no name of its own", i)
		case most < 1 || most > ring.MaxArena:
			return nil, fmt.Errorf("stream %s declares frames of %d bytes", spec.Name, most)
		}
		spec.MaxFrame = int(most)
		seen[spec.Name] = true
		h.Streams = append(h.Streams, spec)
	}
	return h, nil
}

// text reads a field that ends with a NUL; what is not printable ASCII is '?'.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(b))
}

// PutText writes a field that ends with a NUL.
func PutText(b []byte, s string) {
	clear(b)
	copy(b[:len(b)-1], s)
}

// Format is a format of a stream as the page publishes it: one of the two.
type Format struct {
	Stream int
	Video  *ring.VideoFormat
	Audio  *ring.AudioFormat
}

// ParseFormat reads one entry of the table of formats. What the numbers may be is
// checked by the ring.
func ParseFormat(b []byte) (Format, error) {
	if len(b) < FormatSize || le.Uint32(b) != 1 {
		return Format{}, errors.New("a frame in a format that was not published")
	}
	f := Format{Stream: int(le.Uint16(b[4:]))}
	w, h := le.Uint32(b[8:]), le.Uint32(b[0xc:])
	if w > 1<<20 || h > 1<<20 {
		return f, fmt.Errorf("a format with %d by %d", w, h)
	}
	name := text(b[0x18:][:16])
	switch b[6] {
	case 1:
		v := &ring.VideoFormat{
			FourCC: name, Width: int(w), Height: int(h), Planes: int(b[7]),
			FPSNum: int(le.Uint32(b[0x10:])), FPSDen: int(le.Uint32(b[0x14:])),
			Colorimetry: text(b[0x58:][:16]), ChromaSite: text(b[0x68:][:16]),
		}
		for i := range v.Strides {
			v.Strides[i] = int(le.Uint32(b[0x28+4*i:]))
			v.Offsets[i] = int(min(le.Uint64(b[0x38+8*i:]), 1<<41))
		}
		if !colorimetry[v.Colorimetry] || !chromaSites[v.ChromaSite] {
			return f, fmt.Errorf("a format with the colorimetry %q and the chroma site %q", v.Colorimetry, v.ChromaSite)
		}
		f.Video = v
	case 2:
		f.Audio = &ring.AudioFormat{Sample: name, Rate: int(w), Channels: int(h), Mask: le.Uint64(b[0x78:])}
	default:
		return f, fmt.Errorf("a format of kind %d", b[6])
	}
	return f, nil
}

// The words that a page may say: they become part of caps.
var (
	colorimetry = map[string]bool{"": true, "bt601": true, "bt709": true, "bt2020": true, "sRGB": true}
	chromaSites = map[string]bool{"": true, "mpeg2": true, "jpeg": true}
)

// FlagRewind: the arena was empty and is begun anew; positions go on at the next
// multiple of its size.
const FlagRewind = 0x100

// Frame is what a record says.
type Frame struct {
	Word     uint32 // number of the record plus 1, or kind of message
	Stream   int
	Flags    ring.Flags
	Rewind   bool
	Pos      uint64
	Length   int
	Format   uint32
	PTS      int64
	Duration int64
}

// ParseRecord reads a record; false when it is not written, or not to its end.
func ParseRecord(b []byte) (Frame, bool) {
	f := Frame{
		Word: le.Uint32(b), Stream: int(le.Uint16(b[4:])), Flags: ring.Flags(le.Uint16(b[6:]) &^ FlagRewind), Rewind: le.Uint16(b[6:])&FlagRewind != 0, Pos: le.Uint64(b[8:]),
		Length: int(le.Uint32(b[0x10:])), Format: le.Uint32(b[0x14:]), PTS: int64(le.Uint64(b[0x18:])), Duration: int64(le.Uint64(b[0x20:])),
	}
	return f, f.Word != 0 && f.Word == le.Uint32(b[0x3c:])
}

// Place is the extent, in granules, and the offset, in bytes, of n bytes at a
// position of an arena: the arithmetic of ring/FORMAT.md.
func Place(class int, capacity, pos uint64, n int) (extent, offset uint64) {
	align := Align[class]
	need := (uint64(n) + Granule - 1) / Granule
	need = (need + align - 1) / align * align
	at := pos % capacity
	if at+need <= capacity {
		return need, at * Granule
	}
	return capacity - at + need, 0
}
