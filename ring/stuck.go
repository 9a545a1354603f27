package ring

import (
	"fmt"
	"time"
)

// A producer that lives can stop in the middle of a frame: a thread that is
// stopped, deadlocked, swapped out, or gone without the process. Nobody can tell
// whether it will come back, so its space is never given to others: the ring is
// replaced instead. The consumer announces that (consReplaced), claims end, and
// after a grace for frames that other threads have in hand the write cursors as
// they stand are final, as after a death. Read is not published any more, so
// that nothing in the old ring is ever claimed again, and whoever wakes there
// writes into memory that is its own for good.

const (
	// defaultWriterTimeout is far above what a frame takes to draw, and below
	// what a viewer of a live stream puts up with.
	defaultWriterTimeout = 5 * time.Second
	// replaceGrace is for the frames that other threads have in hand when the
	// ring is replaced: a few times what drawing one takes.
	replaceGrace = 100 * time.Millisecond
	// lookMost is how much a single look can add to the time a claim was seen to
	// stand still: a consumer that was stopped itself has not looked.
	lookMost = 2 * waitSlice
)

// obstacle is the oldest claim that is not finished.
type obstacle struct {
	at      cursor
	looked  int64 // ns; 0: there is none
	waited  time.Duration
	dropped int64 // of the class's streams, when it became that
}

// watchWriters replaces the ring when a claim of a live producer has been in the
// way of others for too long.
func (r *Reader) watchWriters() {
	if r.writerTimeout <= 0 {
		return
	}
	for _, c := range r.classes {
		if c == nil {
			continue
		}
		o := &c.obstacle
		if cursor(c.write.Load()) == c.next {
			o.looked = 0
			continue
		}
		now := Now()
		switch {
		case o.looked == 0 || o.at != c.next:
			*o = obstacle{at: c.next, looked: now, dropped: r.droppedFull(c)}
			continue
		case c.headOK: // others can be taken, and the consumer does not
			o.looked = now
			continue
		}
		o.waited += min(time.Duration(now-o.looked), lookMost)
		o.looked = now
		if o.waited < r.writerTimeout {
			continue
		}
		if who, stuck := r.inTheWay(c); stuck {
			r.replace(fmt.Errorf("ring: %s of producer %s; it gets another ring", who, r.producer))
			return
		}
	}
}

// inTheWay tells whether others wait for the claim at next, and whose it is: frames
// of the same stream that are committed behind it, or writers that find no room and
// nothing in the ring that could be taken to make some. A writer that is slow where nobody is
// behind it takes as long as it wants.
func (r *Reader) inTheWay(c *readClass) (who string, stuck bool) {
	w := cursor(c.write.Load())
	behind := !c.roomForTwo(c.read) && (c.spaceWaiters.Load() != 0 || r.droppedFull(c) != c.obstacle.dropped)
	if c.next == c.scan { // never tagged: nothing behind it can even be looked at
		if tagged(c.state(c.scan.seq()), c.scan.seq()) {
			return "", false // it came a moment ago
		}
		behind = behind || seqDist(c.scan.seq(), w.seq()) > 1
		return fmt.Sprintf("%s has had a claim in the making for %v", r.writerAt(c), c.obstacle.waited.Round(time.Millisecond)), behind
	}
	e := c.entry(c.next.seq())
	if c.state(c.next.seq())&0xff != stateClaimed {
		return "", false
	}
	for seq := (c.next.seq() + 1) & seqMask; seq != c.scan.seq() && !behind; seq = (seq + 1) & seqMask {
		o := c.entry(seq)
		behind = o.status == entryPending && o.stream == e.stream && c.state(seq)&0xff == stateCommitted
	}
	return fmt.Sprintf("writer %d%s has had a frame of stream %q open for %v",
		e.writer, r.threadOf(int(e.writer)), r.streams[e.stream].Name, c.obstacle.waited.Round(time.Millisecond)), behind
}

// writerAt names the writer that was about to claim what read waits for, by its
// intent. SYNC POINT intent.
func (r *Reader) writerAt(c *readClass) string {
	class, _ := c.kind.class()
	for i := range maxWriters {
		if cursor(r.b.seg.a64(writersOff+i*writerSize+writerIntent+8*class).Load()) == c.scan {
			return fmt.Sprintf("writer %d%s", i, r.threadOf(i))
		}
	}
	return "a writer"
}

// droppedFull sums up what the producer dropped of a class, in its own words.
func (r *Reader) droppedFull(c *readClass) (n int64) {
	for i, s := range r.streams {
		if s.Kind == c.kind {
			n += r.b.seg.i64(streamsOff + i*streamSize + streamFull)
		}
	}
	return n
}

func (r *Reader) threadOf(writer int) string {
	if tid := r.b.seg.a32(writersOff + writer*writerSize + writerTID).Load(); tid != 0 {
		return fmt.Sprintf(" (thread %d)", tid)
	}
	return ""
}

// replace announces that the producer gets another ring.
func (r *Reader) replace(reason error) {
	r.graceEnd = Now() + int64(replaceGrace)
	r.again.Store(true) // before the producer can know of it
	r.conclude(Replaced, reason)
	r.log.Warn("ring: replaced", "producer", r.producer.String(), "reason", reason)
	r.b.cons.putText(consReason, consReasonSize, reason.Error())
	r.announce(consReplaced)
}

// settleReplaced ends the grace, early when the producer is gone.
func (r *Reader) settleReplaced() {
	if Now() < r.graceEnd && r.peer.Load() == 0 {
		return
	}
	r.seal()
}
