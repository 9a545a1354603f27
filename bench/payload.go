package bench

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/ring"
)

// Payload is what is moved.
type Payload struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Size  int    `json:"bytes"`
	Rate  int    `json:"rate"` // frames a second when paced
	Audio bool   `json:"-"`
	width int
	high  int
}

// Payloads are the frames that are compared, by the name that flags use.
var Payloads = []Payload{
	video("1080p", 1920, 1080),
	video("360p", 640, 360),
	// 5 ms of 48 kHz stereo S16LE, sent as 10 ms of mono would be: 960 bytes.
	{Name: "audio", Title: "audio packets", Size: 960, Rate: 100, Audio: true},
}

// small is for the rate of hand-overs, where the payload should not matter.
var small = Payload{Name: "small", Title: "64-byte frames", Size: 64, Rate: 100, Audio: true}

func video(name string, w, h int) Payload {
	return Payload{Name: name, Title: name + " I420", Size: ring.I420(w, h, 30, 1).Size(), Rate: 30, width: w, high: h}
}

func findPayload(name string) (Payload, error) {
	for _, p := range append(Payloads, small) {
		if p.Name == name {
			return p, nil
		}
	}
	return Payload{}, fmt.Errorf("bench: unknown payload %q", name)
}

// The head of a frame, little-endian; peers/peer.h has the same.
const (
	headNumber = 0  // u64, from 0
	headStamp  = 8  // i64 ns, CLOCK_MONOTONIC when drawing ended; 0 when not paced
	headMarks  = 16 // u64, bits
	headSize   = 24

	markFirst = 1 // measuring begins with this frame
	markLast  = 2 // and ends with this one
)

// tile is what pictures are drawn with: it stays in the first-level cache, so
// that drawing costs what writing the picture costs.
var tile = func() (t [8192 + 64*64]byte) {
	for i := range t {
		t[i] = byte(i>>6 ^ i)
	}
	return
}()

// draw writes every byte of a frame; each frame differs from the one before.
func draw(b []byte, number uint64) {
	part := tile[number%64*64:][:8192]
	for len(b) > 0 {
		b = b[copy(b, part):]
	}
}

// head writes what the consumer checks, after drawing.
func head(b []byte, number uint64, stamp int64, marks uint64) {
	binary.LittleEndian.PutUint64(b[headNumber:], number)
	binary.LittleEndian.PutUint64(b[headStamp:], uint64(stamp))
	binary.LittleEndian.PutUint64(b[headMarks:], marks)
}

// lastByte is what draw leaves at the end of a frame of n bytes.
func lastByte(n int, number uint64) byte { return tile[number%64*64:][(n-1)%8192] }

// sum reads a word of every cache line, as whoever uses the frame would.
func sum(b []byte) (s uint64) {
	for ; len(b) >= 64; b = b[64:] {
		s += binary.LittleEndian.Uint64(b)
	}
	return s
}

// sleepUntil waits for a time of CLOCK_MONOTONIC, in ns.
func sleepUntil(ns int64) {
	ts := unix.NsecToTimespec(ns)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}

// cpuTime is user and system time of this process so far.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
