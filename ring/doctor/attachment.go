package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// attachment is one attachment as it was seen, twice if it was there before.
type attachment struct {
	r      *Report
	x      ring.Examination
	now    ring.Stats
	facts  ring.Facts
	was    *ring.Stats // nil when it is new
	old    *ring.Facts
	window time.Duration // between the two looks
	clock  int64         // ns of CLOCK_MONOTONIC: when it was looked at last
}

func (a *attachment) add(level Level, code, do, format string, args ...any) {
	about := ""
	if a.now.Producer.PID != 0 {
		about = a.now.Producer.String()
	}
	a.r.add(level, code, about, do, format, args...)
}

func (a *attachment) judge() {
	p := a.now.Producer
	switch a.now.State {
	case ring.Live.String():
		a.live()
	case ring.Ended.String():
		a.add(Note, "ended", "", "the producer ended its streams; the consumer takes what is left")
		a.rest()
	case ring.Dead.String():
		a.add(Note, "producer-dead", "", "the producer is dead; what it had committed is delivered, and then the consumer ends or waits for the next")
		a.rest()
	case ring.Closed.String():
		a.add(Note, "closed", "", "the consumer has left this attachment")
	case ring.Invalid.String():
		a.add(Problem, "invalid", "correct the producer: ring/FORMAT.md, section 9, says what is checked",
			"the producer broke the protocol and was cut off: %s", a.facts.Reason)
	default:
		text := a.now.State
		if a.facts.Reason != "" {
			text += ": " + a.facts.Reason
		}
		a.add(Problem, "odd", "", "the attachment is %s", text)
	}
	if a.now.State != ring.Live.String() && p.PID != 0 && alive(processState(p.PID)) && a.now.State != ring.Ended.String() {
		a.add(Note, "producer-alive", "", "the process %d of that producer is %s", p.PID, describe(processState(p.PID)))
	}
}

// live judges an attachment whose producer is attached.
func (a *attachment) live() {
	state := processState(a.now.Producer.PID)
	switch {
	case !alive(state):
		a.add(Problem, "producer-dead", "", "the producer is %s, and the consumer has not noticed yet", describe(state))
	case stopped(state):
		a.add(Problem, "producer-stopped", fmt.Sprintf("`kill -CONT %d` lets it go on", a.now.Producer.PID),
			"the producer is stopped (state %c): it commits nothing", state)
	default:
		a.add(OK, "producer", "", "the producer is attached and %s", describe(state))
	}
	if a.facts.Consumer == "stopping" {
		a.add(Note, "stopping", "", "the consumer takes nothing new and finishes what it has")
	}
	if a.was == nil {
		a.add(Note, "new", "", "it attached while this was looked at; look again")
		return
	}
	for i := range a.facts.Classes {
		a.class(i)
	}
	for i := range a.facts.Streams {
		a.stream(i)
	}
}

// class judges one class's ring.
func (a *attachment) class(i int) {
	c, st := a.facts.Classes[i], a.now.Classes[i]
	before := a.old.Classes[i]
	readMoved, writeMoved := c.Read != before.Read, c.Write != before.Write
	full := st.Waiters > 0 || st.SlotsUsed == st.Slots || a.dropped(c.Kind) > 0
	stuck := a.stuckWriters(c, before)
	switch {
	case full && !readMoved:
		a.add(Problem, "full", "", "the %s ring is full (%s) and nothing was freed in %s%s", c.Kind, fill(st), seconds(a.window), waiters(st))
		if c.Oldest != nil && !stuck && !stopped(processState(a.x.Consumer.PID)) {
			a.oldest(c, st)
		}
	case full && readMoved:
		a.add(Note, "full-moving", "", "the %s ring is full (%s)%s, but it moves: the consumer is the slow side%s", c.Kind, fill(st), waiters(st), a.heldBy())
	case !readMoved && !writeMoved && !stuck && c.Oldest != nil && !c.Oldest.Delivered:
		a.oldest(c, st)
	case !readMoved && !writeMoved && !stuck && st.HeldFrames > 1:
		// Encoders look ahead and get nothing to look at; the latest picture is kept.
		a.add(Note, "kept", "", "the consumer keeps %s of %s and waits for more", plural(int(st.HeldFrames), "frame"), c.Kind)
	}
}

// dropped counts the frames of a kind that found no room between the two looks.
func (a *attachment) dropped(k ring.Kind) (n int64) {
	for i, s := range a.now.Streams {
		if s.Kind == k {
			n += s.DroppedFull - a.was.Streams[i].DroppedFull
		}
	}
	return n
}

// rest looks at what is left of an attachment that is over.
func (a *attachment) rest() {
	if a.old == nil || stopped(processState(a.x.Consumer.PID)) {
		return
	}
	for i, c := range a.facts.Classes {
		if c.Oldest != nil && c.Read == a.old.Classes[i].Read {
			a.oldest(c, a.now.Classes[i])
		}
	}
}

func fill(st ring.ClassStats) string {
	return fmt.Sprintf("%.0f%% of %.1f MiB, %s", 100*float64(st.Used)/float64(max(st.Capacity, 1)), float64(st.Capacity)/(1<<20), plural(st.SlotsUsed, "frame"))
}

func waiters(st ring.ClassStats) string {
	if st.Waiters == 0 {
		return ""
	}
	return fmt.Sprintf("; %s for room", verb(st.Waiters, "writer waits", "writers wait"))
}

func verb(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// stuckWriters finds claims that were open both times.
func (a *attachment) stuckWriters(c, before ring.ClassFacts) (found bool) {
	for _, open := range c.Open {
		for _, old := range before.Open {
			if open.Seq != old.Seq {
				continue
			}
			found = true
			do := "see what that thread does between claim and commit; a claim that is never committed fills the ring"
			if open.Writer < 0 {
				a.add(Problem, "writer-stuck", do, "a writer has taken place %d of the %s ring and not said what for, for at least %s%s", open.Seq, c.Kind, seconds(a.window), a.blocks(c, open))
				continue
			}
			a.add(Problem, "writer-stuck", do, "writer %d%s has claimed %d bytes for stream %s and not committed them, for at least %s%s",
				open.Writer, a.thread(open), open.Bytes, open.Stream, seconds(a.window), a.blocks(c, open))
		}
	}
	return found
}

func (a *attachment) thread(c ring.Claim) string {
	if c.TID == 0 {
		return ""
	}
	return fmt.Sprintf(" (thread %d, %s)", c.TID, describe(threadState(a.now.Producer.PID, c.TID)))
}

func (a *attachment) blocks(c ring.ClassFacts, open ring.Claim) string {
	if c.Oldest == nil || c.Oldest.Seq != open.Seq {
		return "; what it claimed later waits behind it"
	}
	return "; no space behind it can be freed"
}

// oldest says what the space at read waits for.
func (a *attachment) oldest(c ring.ClassFacts, st ring.ClassStats) {
	o := c.Oldest
	switch {
	case o.Committed && o.Delivered:
		a.add(Problem, "held", "look at the outputs behind that edge: a sink that stands still holds everything before it",
			"the consumer holds %s%s%s", plural(int(max(st.HeldFrames, 1)), "frame"), a.heldSince(o), a.heldBy())
	case o.Committed:
		a.add(Problem, "not-taken", "look at the outputs: a sink that stands still holds everything before it",
			"a frame of stream %s, captured %s ago, is ready, and the consumer does not take it%s", o.Stream, a.age(o.PTS), a.heldBy())
	}
}

func (a *attachment) heldSince(o *ring.Claim) string {
	if a.facts.HeldSince > 0 && a.facts.HeldSince <= a.clock {
		return fmt.Sprintf(", the oldest for %s", seconds(time.Duration(a.clock-a.facts.HeldSince)))
	}
	return fmt.Sprintf(", the oldest of stream %s, captured %s ago", o.Stream, a.age(o.PTS))
}

func (a *attachment) heldBy() string {
	if a.facts.HeldBy == "" {
		return ""
	}
	return ", held up by " + a.facts.HeldBy
}

// age of a stamp, which is the producer's word.
func (a *attachment) age(pts int64) string {
	if pts <= 0 || pts > a.clock {
		return "an unknown time"
	}
	return seconds(time.Duration(a.clock - pts))
}

// silence is how long a stream may say nothing before that is worth a word.
const silence = 2 * time.Second

// stream judges what comes of one stream.
func (a *attachment) stream(i int) {
	s, st, was := a.facts.Streams[i], a.now.Streams[i], a.was.Streams[i]
	if n := st.DroppedFull - was.DroppedFull; n > 0 {
		a.add(Problem, "dropping", "give the consumer more CPU, a larger ring (capacity) or less to do", "stream %s lost %s in %s because the ring was full", s.Name, plural(int(n), "frame"), seconds(a.window))
	}
	n := st.Frames - was.Frames
	switch {
	case s.Ended:
		a.add(Note, "stream-ended", "", "stream %s was ended by its producer", s.Name)
	case s.Formats == 0:
		a.add(Problem, "no-format", "the producer must publish a format before the first frame", "stream %s has no format yet, so no frame of it can come", s.Name)
	case s.LastPTS == 0 && st.Frames == 0:
		a.add(Problem, "no-frame", "see why the producer commits none", "stream %s has a format and no frame was committed yet", s.Name)
	case n > 0:
		a.add(OK, "stream", "", "stream %s moves: %.1f frames/s, %s", s.Name, float64(n)/a.window.Seconds(), strings.TrimSpace(s.Format))
	case s.LastPTS > 0 && s.LastPTS <= a.clock && time.Duration(a.clock-s.LastPTS) > silence:
		a.add(Note, "silent", "", "nothing came of stream %s for %s, by its stamps", s.Name, a.age(s.LastPTS))
	}
}
