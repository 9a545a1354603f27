package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Level says how much a finding matters.
type Level string

const (
	OK      Level = "ok"      // as it should be
	Note    Level = "note"    // worth knowing
	Problem Level = "problem" // something stands still, is lost, or was left behind
)

// Finding is one thing that was seen.
type Finding struct {
	Level Level  `json:"level"`
	Code  string `json:"code"`            // for programs: a word that stays the same
	About string `json:"about,omitempty"` // the producer, where there can be several
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what may be done about it
}

// Report is what was found at one address.
type Report struct {
	Addr     string          `json:"addr"`
	Findings []Finding       `json:"findings"`
	Stale    []ring.Leftover `json:"stale"` // names there that a dead consumer left
}

// OnlyStale tells that nothing is wrong but the names a dead consumer left.
func (r *Report) OnlyStale() bool {
	for _, f := range r.Findings {
		if f.Level == Problem && f.Code != "stale-names" && f.Code != "consumer-dead" {
			return false
		}
	}
	return true
}

// Diagnose looks at an address now and, when that tells something, once more
// after the window: what did not move in between stands still.
func Diagnose(ctx context.Context, addr string, window time.Duration) *Report {
	r := &Report{Addr: addr, Findings: []Finding{}, Stale: []ring.Leftover{}}
	if left, _ := ring.LeftoversAt(addr); left != nil {
		r.Stale = left
	}
	before, err := ring.Examine(addr)
	if err != nil {
		r.unreachable(err)
		return r
	}
	if !before.Listening {
		r.consumerDead(before)
		return r
	}
	began := ring.Now()
	select {
	case <-time.After(window):
	case <-ctx.Done():
	}
	after, err := ring.Examine(addr)
	if err != nil {
		r.unreachable(err)
		return r
	}
	r.consumer(after)
	moved := time.Duration(ring.Now() - began)
	for i, facts := range after.Facts {
		a := attachment{r: r, x: after, now: after.Attachments[i], facts: facts, window: moved, clock: ring.Now()}
		for j, f := range before.Facts {
			if f.RingID == facts.RingID {
				a.was, a.old = &before.Attachments[j], &before.Facts[j]
			}
		}
		a.judge()
	}
	return r
}

func (r *Report) add(level Level, code, about, do, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Level: level, Code: code, About: about, Text: fmt.Sprintf(format, args...), Do: do})
}

// unreachable: there is nobody, or nobody answers.
func (r *Report) unreachable(err error) {
	pid := ring.ListenerPID(r.Addr)
	switch state := processState(pid); {
	case len(r.Stale) > 0:
		r.add(Problem, "stale-names", "", "`mpipe ring doctor --remove` removes them; so does the next consumer of that name",
			"nobody listens, and a consumer that is dead left %s", plural(len(r.Stale), "name"))
	case stopped(state):
		r.stoppedConsumer(pid, state)
	case pid > 0 && alive(state):
		r.add(Problem, "consumer-silent", "", "see what that process does", "the consumer, pid %d, listens but does not answer: %v", pid, err)
	default:
		r.add(Problem, "nobody", "", "start a consumer, such as `mpipe run` with a graph whose source names this ring", "%s", short(err))
	}
}

func (r *Report) stoppedConsumer(pid int, state byte) {
	r.add(Problem, "consumer-stopped", "", fmt.Sprintf("`kill -CONT %d` lets it go on", pid),
		"the consumer, pid %d, is stopped (state %c): it takes nothing, and producers wait or drop", pid, state)
}

func (r *Report) consumerDead(x ring.Examination) {
	r.add(Problem, "consumer-dead", "", "start it again, which takes the name over; or `mpipe ring doctor --remove` removes what it left",
		"the consumer %s is dead; %s in place", x.Consumer, isOrAre(len(r.Stale)))
	for i, a := range x.Attachments {
		if p := a.Producer; alive(processState(p.PID)) && x.Facts[i].Consumer == "live" {
			r.add(Note, "producer-alone", p.String(), "", "the producer %s still runs; its frames go nowhere", p)
		}
	}
}

func isOrAre(n int) string {
	if n == 1 {
		return "1 name it left is"
	}
	return fmt.Sprintf("%d names it left are", n)
}

// consumer judges a consumer that answers.
func (r *Report) consumer(x ring.Examination) {
	c := x.Consumer
	state := processState(c.PID)
	switch {
	case !x.Listening:
		r.consumerDead(x)
		return
	case stopped(state):
		r.stoppedConsumer(c.PID, state)
	default:
		r.add(OK, "consumer", "", "", "%s listens (state %c)", c, state)
	}
	if len(x.Attachments) > 0 {
		return
	}
	if x.Mailbox != 0 {
		r.add(Note, "handshake", "", "", "process %d (%s) has begun to attach and is not taken yet", x.Mailbox, describe(processState(x.Mailbox)))
		return
	}
	r.add(Note, "no-producer", "", "start the producer; `mpipe feed --ring "+r.Addr+"` is one", "no producer is attached, so there is nothing to record")
}
