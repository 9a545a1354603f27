package bench

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// order is what one side of one run is told, as its only argument.
type order struct {
	Role      string  `json:"role"` // "producer", "consumer"
	Transport string  `json:"transport"`
	Payload   string  `json:"payload"`
	Addr      string  `json:"addr"` // for a listener, the directory it may use
	Seconds   float64 `json:"seconds"`
	Paced     bool    `json:"paced"`
	Read      bool    `json:"read"`
}

// outcome is what a side says at its end, as a line of JSON.
type outcome struct {
	Frames  int64   `json:"frames"` // between the first and the last measured one
	CPU     int64   `json:"cpu_ns"`
	Wall    int64   `json:"wall_ns"`
	Latency []int64 `json:"latency_ns,omitempty"` // the consumer's, when paced
}

// sender is a transport's end in the producer.
type sender interface {
	// buffer gives the memory to draw the next frame into, and waits for it if it
	// must.
	buffer() ([]byte, error)
	// send hands over what was drawn there.
	send() error
	close() error
}

// receiver is a transport's end in the consumer.
type receiver interface {
	// next waits for a whole frame; its bytes stay until done. io.EOF at the end.
	next() ([]byte, error)
	done() error
	close() error
}

// Peer plays one side of one run, as the arguments say that [Options].Self was
// followed by. It prints where it listens, then what it measured.
func Peer(args []string, stdout io.Writer) error {
	var o order
	if len(args) != 1 {
		return errors.New("bench: want one order; this verb is for mpipe bench itself")
	}
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return fmt.Errorf("bench: the order: %w", err)
	}
	p, err := findPayload(o.Payload)
	if err != nil {
		return err
	}
	t := findTransport(o.Transport)
	if t == nil || t.link == nil {
		return fmt.Errorf("bench: no transport %q", o.Transport)
	}
	var out outcome
	if o.Role == "producer" {
		out, err = produceOver(t.link, o, p)
	} else {
		out, err = consumeOver(t.link, o, p, stdout)
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", o.Role, o.Transport, err)
	}
	return json.NewEncoder(stdout).Encode(out)
}

func produceOver(l link, o order, p Payload) (outcome, error) {
	s, err := l.dial(o.Addr, p)
	if err != nil {
		return outcome{}, err
	}
	out, err := produce(s, o, p)
	return out, errors.Join(err, s.close())
}

func consumeOver(l link, o order, p Payload, stdout io.Writer) (outcome, error) {
	addr, accept, err := l.listen(o.Addr, p)
	if err != nil {
		return outcome{}, err
	}
	fmt.Fprintln(stdout, "at", addr)
	r, err := accept()
	if err != nil {
		return outcome{}, err
	}
	out, err := consume(r, o, p)
	return out, errors.Join(err, r.close())
}

// warmUp is how many frames, or how long flat out, come before measuring.
const (
	warmUpPaced = 6
	warmUpTime  = 60 * time.Millisecond
)

// produce draws and sends frames, from the warm-up to the last.
func produce(s sender, o order, p Payload) (outcome, error) {
	m := newMetronome(o, p)
	var out outcome
	var cpu, wall int64
	for n := uint64(0); ; n++ {
		marks := m.tick(n)
		b, err := s.buffer()
		if err != nil {
			return out, err
		}
		draw(b, n)
		var stamp int64
		if o.Paced {
			stamp = ring.Now()
		}
		head(b, n, stamp, marks)
		if err := s.send(); err != nil {
			return out, err
		}
		if n == 0 {
			m.begin = ring.Now() // it may have waited for the other side
		}
		if marks&markFirst != 0 {
			cpu, wall = int64(cpuTime()), ring.Now()
		}
		if marks&markLast != 0 {
			out.CPU, out.Wall = int64(cpuTime())-cpu, ring.Now()-wall
			out.Frames = int64(n - m.first)
			return out, nil
		}
	}
}

// metronome says when a frame is due and which ones are measured.
type metronome struct {
	begin, period int64 // ns; period 0 flat out
	warm, length  int64 // ns
	every         uint64
	first, last   uint64
	measuring     bool
}

func newMetronome(o order, p Payload) *metronome {
	m := &metronome{begin: ring.Now(), length: int64(o.Seconds * float64(time.Second)), every: 1}
	if o.Paced {
		m.period = int64(time.Second) / int64(p.Rate)
		m.first = warmUpPaced
		m.last = m.first + max(2, uint64(o.Seconds*float64(p.Rate)))
		return m
	}
	m.warm = int64(warmUpTime)
	if p.Size < 4096 {
		m.every = 64 // looking at the clock for each would be seen
	}
	return m
}

// tick waits until frame n is due and gives its marks.
func (m *metronome) tick(n uint64) (marks uint64) {
	if m.period > 0 {
		sleepUntil(m.begin + int64(n)*m.period)
		if n == m.first {
			marks |= markFirst
		}
		if n == m.last {
			marks |= markLast
		}
		return marks
	}
	if n%m.every != 0 {
		return 0
	}
	switch since := ring.Now() - m.begin; {
	case !m.measuring && since >= m.warm:
		m.measuring, m.first = true, n
		return markFirst
	case m.measuring && since >= m.warm+m.length && n > m.first+1:
		return markLast
	}
	return 0
}

// consume takes frames until the last one, and checks each.
func consume(r receiver, o order, p Payload) (outcome, error) {
	var out outcome
	var cpu, wall int64
	var first uint64
	measuring := false
	for n := uint64(0); ; n++ {
		b, err := r.next()
		if err != nil {
			return out, fmt.Errorf("frame %d: %w", n, err)
		}
		now := int64(0)
		if o.Paced {
			now = ring.Now()
		}
		number, stamp, marks, err := look(b, n, p)
		if err != nil {
			return out, err
		}
		if o.Read {
			sink.Store(sum(b))
		}
		if measuring && o.Paced {
			out.Latency = append(out.Latency, now-stamp)
		}
		if err := r.done(); err != nil {
			return out, err
		}
		if marks&markFirst != 0 {
			measuring, first = true, number
			if o.Paced {
				out.Latency = make([]int64, 0, 4096)
			}
			cpu, wall = int64(cpuTime()), ring.Now()
		}
		if marks&markLast != 0 {
			out.CPU, out.Wall = int64(cpuTime())-cpu, ring.Now()-wall
			out.Frames = int64(number - first)
			return out, nil
		}
	}
}

var sink atomic.Uint64 // so that reading is not optimised away

// look checks that a frame is the next one, whole.
func look(b []byte, want uint64, p Payload) (number uint64, stamp int64, marks uint64, err error) {
	if len(b) != p.Size {
		return 0, 0, 0, fmt.Errorf("frame %d has %d bytes, want %d", want, len(b), p.Size)
	}
	number = binary.LittleEndian.Uint64(b[headNumber:])
	if number != want || b[len(b)-1] != lastByte(len(b), number) {
		return 0, 0, 0, fmt.Errorf("frame %d came as %d, ending in %#x", want, number, b[len(b)-1])
	}
	return number, int64(binary.LittleEndian.Uint64(b[headStamp:])), binary.LittleEndian.Uint64(b[headMarks:]), nil
}
