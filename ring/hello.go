package ring

import (
	"fmt"
	"unicode/utf8"
)

// HELLO, from the producer or an observer. Over a socket it is one SEQPACKET
// message; in named mode it lies in the mailbox page.
const (
	helloMagicOff = 0x00 // u64
	helloMajor    = 0x08 // u16
	helloMinor    = 0x0a // u16
	helloLength   = 0x0c // u32, bytes of the whole message
	helloRequired = 0x10 // u64 feature bits
	helloOptional = 0x18 // u64
	helloRole     = 0x20 // u32
	helloCount    = 0x24 // u32 streams
	helloPID      = 0x28 // u32; over a socket the kernel's word counts instead
	helloBoot     = 0x30 // u64 start time, clock ticks since boot; 0 when it cannot be read
	helloName     = 0x38 // char [64]
	helloSize     = 0x80 // streams follow

	helloStreamSize = 0x40
	helloSKind      = 0x00 // u32
	helloSMaxFrame  = 0x08 // u64 bytes
	helloSName      = 0x10 // char [48]

	roleProducer = 1
	roleObserver = 2
)

// WELCOME, over a socket. The fds come with it by SCM_RIGHTS: for a producer
// the segment and the consumer page, for an observer that pair, read-only, for
// each attachment.
const (
	welcomeMagicOff = 0x00 // u64
	welcomeMajor    = 0x08 // u16
	welcomeMinor    = 0x0a // u16
	welcomeLength   = 0x0c // u32
	welcomeStatus   = 0x10 // u32
	welcomePairs    = 0x14 // u32 pairs of fds
	welcomePID      = 0x18 // u32 consumer
	welcomeEpoch    = 0x20 // u64
	welcomeBoot     = 0x28 // u64 start time of the consumer
	welcomeName     = 0x40 // char [64] of the consumer
	welcomeReason   = 0x80 // char [256]
	welcomeSize     = 0x180

	welcomeTaken   = 0
	welcomeRefused = 1

	// observerPairs bounds one answer: SCM_RIGHTS carries at most 253 fds.
	observerPairs = 64
)

// hello is a HELLO taken apart.
type hello struct {
	role    uint32
	pid     int
	boot    uint64
	name    string
	streams []StreamSpec
}

func (h hello) encode() mem {
	m := make(mem, helloSize+len(h.streams)*helloStreamSize)
	m.put64(helloMagicOff, helloMagic)
	m.put16(helloMajor, abiMajor)
	m.put16(helloMinor, abiMinor)
	m.put32(helloLength, uint32(len(m)))
	m.put64(helloRequired, 0)
	m.put64(helloOptional, featuresOptional)
	m.put32(helloRole, h.role)
	m.put32(helloCount, uint32(len(h.streams)))
	m.put32(helloPID, uint32(h.pid))
	m.put64(helloBoot, h.boot)
	m.putText(helloName, nameSize, h.name)
	for i, s := range h.streams {
		at := helloSize + i*helloStreamSize
		m.put32(at+helloSKind, uint32(s.Kind))
		m.put64(at+helloSMaxFrame, uint64(s.MaxFrame))
		m.putText(at+helloSName, streamNameSize, s.Name)
	}
	return m
}

// parseHello checks a message in private memory. The error is the reason that
// the sender is told.
func parseHello(m mem) (hello, error) {
	if len(m) < helloSize || m.u64(helloMagicOff) != helloMagic {
		return hello{}, fmt.Errorf("not a HELLO")
	}
	if v := m.u16(helloMajor); v != abiMajor {
		return hello{}, fmt.Errorf("it speaks version %d of the ring, the consumer version %d", v, abiMajor)
	}
	if bits := m.u64(helloRequired) &^ featuresRequired; bits != 0 {
		return hello{}, fmt.Errorf("it requires the features %#x, which the consumer does not have", bits)
	}
	h := hello{role: m.u32(helloRole), pid: int(m.u32(helloPID)), boot: m.u64(helloBoot), name: m.text(helloName, nameSize)}
	n := int(m.u32(helloCount))
	if n > maxStreams {
		return hello{}, fmt.Errorf("%d streams declared; an attachment has at most %d", n, maxStreams)
	}
	if want := helloSize + n*helloStreamSize; int(m.u32(helloLength)) != want || len(m) < want {
		return hello{}, fmt.Errorf("a HELLO of %d bytes with %d streams has %d bytes", m.u32(helloLength), n, want)
	}
	for i := range n {
		at := helloSize + i*helloStreamSize
		size := m.u64(at + helloSMaxFrame)
		if size > maxArenaBytes {
			size = maxArenaBytes // refused by checkStreams, without overflow
		}
		kind := m.u32(at + helloSKind)
		if kind > 0xff {
			kind = 0
		}
		h.streams = append(h.streams, StreamSpec{
			Name: m.text(at+helloSName, streamNameSize), Kind: Kind(kind), MaxFrame: int(size),
		})
	}
	switch h.role {
	case roleObserver:
		return h, nil
	case roleProducer:
		return h, checkStreams(h.streams)
	default:
		return hello{}, fmt.Errorf("unknown role %d", h.role)
	}
}

// checkStreams holds for both sides; what depends on the arenas is fitStreams.
func checkStreams(streams []StreamSpec) error {
	if len(streams) == 0 || len(streams) > maxStreams {
		return fmt.Errorf("%d streams declared; an attachment has 1 to %d", len(streams), maxStreams)
	}
	seen := map[string]bool{}
	for i, s := range streams {
		if _, ok := s.Kind.class(); !ok {
			return fmt.Errorf("stream %d is neither video nor audio (%d)", i, s.Kind)
		}
		if !validName(s.Name) || len(s.Name) >= streamNameSize {
			return fmt.Errorf("stream %d has the name %q; allowed are letters, digits, '.', '_' and '-', at most %d of them", i, s.Name, streamNameSize-1)
		}
		if seen[s.Name] {
			return fmt.Errorf("two streams are named %q", s.Name)
		}
		seen[s.Name] = true
		if s.MaxFrame < 1 {
			return fmt.Errorf("stream %q declares frames of at most %d bytes; say how large the largest is", s.Name, s.MaxFrame)
		}
	}
	return nil
}

// fitStreams refuses streams whose frames can stall the ring: below two of the
// largest frames, the producer can never write one while another is held.
func fitStreams(streams []StreamSpec, g *geometry) error {
	for _, s := range streams {
		c, _ := s.Kind.class()
		capacity := g.classes[c].capacity * granule
		extent, _ := g.classes[c].place(0, uint64(s.MaxFrame))
		if 2*extent*granule > capacity {
			return fmt.Errorf("frames of stream %q take up to %d bytes, but the %s arena has %d: it must hold two with room for the seam; make the consumer's arena (its capacity) at least %d bytes or the frames smaller",
				s.Name, s.MaxFrame, s.Kind, capacity, 2*extent*granule)
		}
	}
	return nil
}

// validName is the alphabet of ring and stream names.
func validName(s string) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}

// welcome is a WELCOME taken apart.
type welcome struct {
	refused bool
	reason  string
	pairs   int
	pid     int
	boot    uint64
	epoch   uint64
	name    string
}

func (w welcome) encode() mem {
	m := make(mem, welcomeSize)
	m.put64(welcomeMagicOff, welcomeMagic)
	m.put16(welcomeMajor, abiMajor)
	m.put16(welcomeMinor, abiMinor)
	m.put32(welcomeLength, welcomeSize)
	if w.refused {
		m.put32(welcomeStatus, welcomeRefused)
	}
	m.put32(welcomePairs, uint32(w.pairs))
	m.put32(welcomePID, uint32(w.pid))
	m.put64(welcomeEpoch, w.epoch)
	m.put64(welcomeBoot, w.boot)
	m.putText(welcomeName, nameSize, w.name)
	m.putText(welcomeReason, consReasonSize, w.reason)
	return m
}

func parseWelcome(m mem) (welcome, error) {
	if len(m) < welcomeSize || m.u64(welcomeMagicOff) != welcomeMagic {
		return welcome{}, fmt.Errorf("the answer is not a WELCOME")
	}
	if v := m.u16(welcomeMajor); v != abiMajor {
		return welcome{}, fmt.Errorf("the consumer speaks version %d of the ring, this producer version %d", v, abiMajor)
	}
	return welcome{
		refused: m.u32(welcomeStatus) != welcomeTaken,
		reason:  m.text(welcomeReason, consReasonSize),
		pairs:   int(min(m.u32(welcomePairs), observerPairs)),
		pid:     int(m.u32(welcomePID)),
		boot:    m.u64(welcomeBoot),
		epoch:   m.u64(welcomeEpoch),
		name:    m.text(welcomeName, nameSize),
	}, nil
}
