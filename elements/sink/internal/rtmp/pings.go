package rtmp

import (
	"encoding/binary"
	"time"
)

const (
	// pingBytes and pingEvery are how far apart pings are at most, while anything
	// is sent: what comes back tells how far the server has read. By bytes too, so
	// that answers come often enough from a line that has become slow.
	pingBytes = 32 << 10
	pingEvery = 500 * time.Millisecond
	// deafPings is how many pings a server may leave unanswered at first before
	// it is asked no more.
	deafPings = 8
	// marksMost bounds how many places in the stream are remembered.
	marksMost = 1 << 10
)

// pings is what is known of how far the server has read. The stream's lock
// guards it.
type pings struct {
	on      bool
	answers bool // the server has answered one
	next    uint32
	unheard int // sent while it has answered none
	marks   []mark
	last    mark      // the latest, answered or not
	heard   time.Time // when it last confirmed anything
}

// mark is a place in the stream.
type mark struct {
	id   uint32
	wire uint64 // bytes that were sent before it
	flv  int64  // of these, of tags
	at   time.Time
}

// due tells whether it is time to ask, by what was sent so far.
func (p *pings) due(wire uint64, now time.Time) bool {
	if !p.on || !p.answers && p.unheard >= deafPings || wire == p.last.wire {
		return false
	}
	return wire-p.last.wire >= pingBytes || now.Sub(p.last.at) >= pingEvery
}

// ask notes a place and gives the message that asks for it.
func (p *pings) ask(wire uint64, flv int64, now time.Time) message {
	p.next++
	p.last = mark{p.next, wire, flv, now}
	if !p.answers {
		p.unheard++
	}
	if len(p.marks) == marksMost { // later ones confirm it too
		p.marks = append(p.marks[:0], p.marks[1:]...)
	}
	p.marks = append(p.marks, p.last)
	return userControl(eventPing, p.next)
}

// confirmed takes all marks away that passed, and gives the tags' bytes before
// the last of them.
func (p *pings) confirmed(passed func(mark) bool, now time.Time) (flv int64, ok bool) {
	n := 0
	for i, m := range p.marks {
		if passed(m) {
			n, flv = i+1, m.flv
		}
	}
	if n > 0 {
		p.marks = append(p.marks[:0], p.marks[n:]...)
		p.heard = now
	}
	return flv, n > 0
}

// late tells that a server that answers has not for so long.
func (p *pings) late(limit time.Duration, now time.Time) bool {
	return limit > 0 && p.answers && len(p.marks) > 0 && now.Sub(p.marks[0].at) > limit && now.Sub(p.heard) > limit
}

func userControl(event uint16, value uint32) message {
	body := binary.BigEndian.AppendUint16(nil, event)
	return message{typ: typeUserControl, body: binary.BigEndian.AppendUint32(body, value)}
}
