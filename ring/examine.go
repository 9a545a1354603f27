package ring

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Examination is what Examine finds at an address: Info, and for each of its
// attachments what counters do not say.
type Examination struct {
	Info
	Facts   []Facts `json:"facts"`       // by attachment
	Mailbox int     `json:"mailbox_pid"` // of a named ring: who has taken its mailbox and was not answered
}

// Facts are what stands in one attachment's memory at one moment.
type Facts struct {
	RingID    uint64       `json:"ring_id"`
	Consumer  string       `json:"consumer_state"` // waiting, live, stopping, closed, refused, invalid, replaced
	Reason    string       `json:"reason,omitempty"`
	Ended     bool         `json:"producer_ended"`       // the producer said so
	HeldBy    string       `json:"held_by,omitempty"`    // the edge of the graph that holds frames up, as the consumer says
	HeldSince int64        `json:"held_since,omitempty"` // ns of CLOCK_MONOTONIC: since when the oldest frame is out, as the consumer says
	Classes   []ClassFacts `json:"classes"`
	Streams   []Content    `json:"streams"`
}

// ClassFacts is one class's ring. The cursors are numbers of claims modulo 2^24.
type ClassFacts struct {
	Kind   Kind    `json:"kind"`
	Read   uint32  `json:"read"`
	Peek   uint32  `json:"peek"`
	Write  uint32  `json:"write"`
	Oldest *Claim  `json:"oldest,omitempty"` // at read: what its space waits for
	Open   []Claim `json:"open"`             // claimed and not committed, the oldest first, at most openMost
}

// openMost bounds Open.
const openMost = 16

// Claim is one claim between read and write.
type Claim struct {
	Seq       uint32 `json:"seq"`
	Committed bool   `json:"committed"`
	Delivered bool   `json:"delivered"`        // peek has passed it: the consumer had it
	Stream    string `json:"stream,omitempty"` // "" when it was not written yet
	Writer    int    `json:"writer"`           // index of its entry in the writer table; -1 when unknown
	TID       int    `json:"tid,omitempty"`    // the writer's thread, when it said so
	PTS       int64  `json:"pts_ns,omitempty"` // of a committed frame
	Bytes     int64  `json:"bytes"`
}

// Content is what was last written of a stream.
type Content struct {
	Name    string `json:"name"`
	Formats int    `json:"formats"`               // published so far
	Format  string `json:"format,omitempty"`      // of the latest frame still there
	LastPTS int64  `json:"last_pts_ns,omitempty"` // its stamp
	Ended   bool   `json:"ended"`                 // an end of stream is still there to be seen
}

var consumerStates = [...]string{"waiting", "live", "stopping", "closed", "refused", "invalid", "replaced"}

// Examine is Inspect with more detail, for whoever explains why nothing moves.
func Examine(addr string) (Examination, error) {
	v, err := lookAt(addr)
	if err != nil {
		return Examination{}, err
	}
	defer v.close()
	x := Examination{Info: Info{Addr: addr, Listening: v.listening, Consumer: v.consumer, Attachments: []Stats{}}, Facts: []Facts{}}
	for _, p := range v.pairs {
		switch {
		case p.err != nil:
			x.Attachments = append(x.Attachments, Stats{State: "unreadable: " + p.err.Error()})
			x.Facts = append(x.Facts, Facts{})
		case p.cons.a32(consState).Load() == consWaiting:
			x.Mailbox = int(p.seg.a32(wordsOff+wordMailbox).Load() & mailboxPIDMask)
		default:
			o := newObserver(p.g, p.seg, p.cons)
			x.Attachments = append(x.Attachments, o.Stats())
			x.Facts = append(x.Facts, o.facts())
		}
	}
	return x, nil
}

func (o *Observer) facts() Facts {
	f := Facts{
		RingID:    o.g.ringID,
		Consumer:  consumerStates[min(int(o.cons.a32(consState).Load()), len(consumerStates)-1)],
		Reason:    o.cons.text(consReason, consReasonSize),
		Ended:     o.seg.a32(wordsOff+wordProducerState).Load() == producerEnded,
		HeldBy:    o.cons.text(consHolder, nameSize),
		HeldSince: o.cons.i64(consHeldSince),
	}
	for i, c := range o.classes {
		if c != nil {
			f.Classes = append(f.Classes, o.classFacts(c, o.cons[consClasses+i*consClassSize:][:consClassSize]))
		}
	}
	for _, s := range o.streams {
		f.Streams = append(f.Streams, o.content(s))
	}
	return f
}

func (o *Observer) classFacts(c *observedClass, cons mem) ClassFacts {
	read, peek, write := cursor(cons.a64(consRead).Load()), cursor(cons.a64(consPeek).Load()), cursor(c.write.Load())
	f := ClassFacts{Kind: c.kind, Read: read.seq(), Peek: peek.seq(), Write: write.seq(), Open: []Claim{}}
	for n := range min(seqDist(read.seq(), write.seq()), c.slots) {
		seq := (read.seq() + n) & seqMask
		s, state := o.slot(c, seq)
		claim := Claim{Seq: seq, Writer: -1, Delivered: n < seqDist(read.seq(), peek.seq()), Committed: state == slotCommitted}
		if state != slotUntagged && state != slotNonsense {
			claim.Stream, claim.Writer, claim.Bytes = o.streams[s.stream].Name, int(s.writer), int64(s.length)
			if claim.Writer < maxWriters {
				claim.TID = int(o.seg.a32(writersOff + claim.Writer*writerSize + writerTID).Load())
			}
			if claim.Committed {
				claim.PTS = s.pts
			}
		}
		if n == 0 {
			f.Oldest = &claim
		}
		if (state == slotUntagged || state == slotClaimed) && len(f.Open) < openMost {
			f.Open = append(f.Open, claim)
		}
	}
	return f
}

func (o *Observer) content(s Stream) Content {
	out := Content{Name: s.Name}
	for i := range maxFormats {
		m := o.seg[formatsOff+i*formatSize:][:formatSize]
		if m.a32(formatState).Load() == formatPublished && m.u16(formatStream) == s.ID {
			out.Formats++
		}
	}
	c := o.class(s.Kind)
	if c == nil {
		return out
	}
	if _, latest, ok := o.newest(c, s.ID); ok {
		out.LastPTS = latest.pts
		if f := o.format(latest.stream, latest.format); f != nil {
			out.Format = f.Format.String()
		}
	}
	w := cursor(c.write.Load())
	for n := range c.slots {
		if e, state := o.slot(c, w.seq()-1-n); state == slotCommitted && e.stream == s.ID && e.flags&FlagEOS != 0 {
			out.Ended = true
		}
	}
	return out
}

// String names what a reader of it needs first.
func (f Format) String() string {
	switch {
	case f.Video != nil:
		return fmt.Sprintf("%s %dx%d %d/%d", f.Video.FourCC, f.Video.Width, f.Video.Height, f.Video.FPSNum, f.Video.FPSDen)
	case f.Audio != nil:
		return fmt.Sprintf("%s %d Hz, %d channels", f.Audio.Sample, f.Audio.Rate, f.Audio.Channels)
	}
	return "no format"
}

// ListenerPID tells which process listens at an address, whether it answers or not;
// 0 when that cannot be seen.
func ListenerPID(addr string) int {
	a, err := parseAddr(addr)
	if err != nil || a.fd >= 0 {
		return 0
	}
	if !a.sock {
		seg, cons, _, err := openNamed(a.path, unix.O_RDONLY)
		if err != nil {
			return 0
		}
		defer seg.unmap()
		defer cons.unmap()
		return int(seg.u32(segConsumerPID))
	}
	ctx, cancel := context.WithTimeout(context.Background(), inspectLimit)
	defer cancel()
	conn, err := dial(ctx, a)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
