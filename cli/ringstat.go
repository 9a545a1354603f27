package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// ringStat is `mpipe ring stat`.
type ringStat struct {
	json, watch bool
	every       time.Duration
}

func ringStatVerb() *verb {
	return &verb{
		name: "ring stat", args: "ADDR", min: 1, max: 1,
		short: "show the counters of a live ring, disturbing nobody",
		long: `It shows who is attached, how full the ring is, what the consumer holds and since
when, and for each stream and writer what was delivered, copied, dropped and
lost, as totals since the producer attached. Neither side notices.

With --watch it does so again and again, with what changed a second, until
Ctrl-C or until the ring is gone; with --json each time is one line.

exit codes: 0 shown; 1 there is no such ring, or its consumer does not answer;
2 wrong command line.`,
		examples: []example{
			{"mpipe ring stat demo", "who is attached, how full it is, what was dropped"},
			{"mpipe ring stat unix:/run/bot.sock --watch", "every second, with rates"},
			{"mpipe ring stat demo --watch --json | jq -c .rates", "for programs"},
		},
		complete: ringNames,
		declare: func(f *flags) func(*call) int {
			o := &ringStat{}
			f.switchOn(&o.watch, "watch", "show it again and again, with rates")
			f.duration(&o.every, "every", "1s", "with --watch, how often")
			f.switchOn(&o.json, "json", "print JSON; with --watch, one object a line")
			return o.run
		},
	}
}

func (o *ringStat) run(c *call) int {
	addr := c.args[0]
	if err := c.checkRing(addr); err != nil {
		return c.usage("%v", err)
	}
	if o.every < 100*time.Millisecond {
		return c.usage("--every %v: want 100ms or more", o.every) // a socket's consumer has better to do
	}
	now, err := ring.Examine(addr)
	if err != nil {
		return c.noRing(addr, err)
	}
	switch {
	case o.watch:
		return o.follow(c, now)
	case o.json:
		printJSON(c.stdout, now)
	default:
		showRing(c.stdout, now, nil)
	}
	return 0
}

// watched is one line of `mpipe ring stat --watch --json`.
type watched struct {
	Time time.Time `json:"time"`
	ring.Examination
	Rates []streamRate `json:"rates"`
}

// streamRate is what changed of a stream, a second.
type streamRate struct {
	Producer int     `json:"producer_pid"`
	Stream   string  `json:"stream"`
	Frames   float64 `json:"frames_per_s"`
	Bytes    float64 `json:"bytes_per_s"`
	Copied   float64 `json:"copied_per_s"`
	Dropped  float64 `json:"dropped_per_s"`
	Waited   float64 `json:"producer_waited"` // share of the time, summed over its writers
}

// follow shows the ring until it is gone or somebody stops it.
func (o *ringStat) follow(c *call, now ring.Examination) int {
	sc := newScreen(c.stdout)
	stop := onSignals(newScreen(io.Discard), "")
	defer stop.release()
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	at := time.Now()
	var rates []streamRate
	for first := true; ; first = false {
		if o.json {
			printLine(c.stdout, watched{at, now, append([]streamRate{}, rates...)})
		} else {
			if sc.tty {
				fmt.Fprint(c.stdout, "\x1b[H\x1b[2J")
			} else if !first {
				fmt.Fprintln(c.stdout)
			}
			showRing(c.stdout, now, rates)
		}
		select {
		case <-stop.ctx.Done():
			return 0
		case <-tick.C:
		}
		next, err := ring.Examine(c.args[0])
		if err != nil {
			fmt.Fprintf(c.stderr, "mpipe %s: %s\n", c.verb.name, strings.TrimPrefix(err.Error(), "ring: "))
			return 0 // it was shown as long as it was there
		}
		was := at
		at = time.Now()
		rates = ratesOf(now, next, at.Sub(was))
		now = next
	}
}

// ratesOf compares two looks at the same attachments.
func ratesOf(a, b ring.Examination, dt time.Duration) (out []streamRate) {
	for i := range b.Facts {
		for j := range a.Facts {
			if a.Facts[j].RingID != b.Facts[i].RingID || dt <= 0 {
				continue
			}
			was, is := a.Attachments[j], b.Attachments[i]
			for k := range min(len(was.Streams), len(is.Streams)) {
				x, y := was.Streams[k], is.Streams[k]
				a := func(x, y int64) float64 { return float64(y-x) / dt.Seconds() }
				out = append(out, streamRate{
					Producer: is.Producer.PID, Stream: y.Name, Frames: a(x.Frames, y.Frames), Bytes: a(x.Bytes, y.Bytes), Copied: a(x.Copied, y.Copied),
					Dropped: a(x.DroppedFull+x.DroppedPolicy, y.DroppedFull+y.DroppedPolicy), Waited: float64(y.Blocked-x.Blocked) / float64(dt),
				})
			}
		}
	}
	return out
}

func showRing(w io.Writer, x ring.Examination, rates []streamRate) {
	state := "nobody listens there"
	switch {
	case x.Listening:
		state = fmt.Sprintf("%s (pid %d) listens", dash(x.Consumer.Name), x.Consumer.PID)
	case x.Consumer.PID != 0:
		state = fmt.Sprintf("%s (pid %d) is dead", dash(x.Consumer.Name), x.Consumer.PID)
	}
	fmt.Fprintf(w, "%s: %s, %s attached\n", x.Addr, state, plural(len(x.Attachments), "producer"))
	for i, a := range x.Attachments {
		showAttachment(w, a, x.Facts[i], rates)
	}
}

func showAttachment(w io.Writer, a ring.Stats, f ring.Facts, rates []streamRate) {
	fmt.Fprintf(w, "\n%s (pid %d): %s", dash(a.Producer.Name), a.Producer.PID, a.State)
	if !a.Producer.Start.IsZero() {
		fmt.Fprintf(w, ", started %s", a.Producer.Start.Format(time.DateTime))
	}
	fmt.Fprintf(w, ", epoch %d", a.Epoch)
	if f.Reason != "" {
		fmt.Fprintf(w, ", %s", f.Reason)
	}
	fmt.Fprintln(w)
	t := table(w)
	fmt.Fprintln(t, "RING\tFULL\tOF\tSLOTS\tHELD\tHELD MOST\tEVICTED\tOLDEST HELD")
	for i, k := range a.Classes {
		fmt.Fprintf(t, "%s\t%.0f%%\t%s\t%d of %d\t%d (%s)\t%d (%s)\t%d\t%s\n", k.Kind, 100*float64(k.Used)/float64(max(k.Capacity, 1)),
			pipeline.FormatSize(k.Capacity), k.SlotsUsed, k.Slots, k.HeldFrames, pipeline.FormatSize(k.HeldBytes),
			k.HeldMost, pipeline.FormatSize(k.HeldBytesMost), k.Evicted, oldestHeld(f, i))
	}
	fmt.Fprintln(t, "\nSTREAM\tKIND\tFRAMES\tBYTES\tCOPIED\tDROPPED FULL\tDROPPED BY POLICY\tLOST\tPRODUCER WAITED")
	for _, s := range a.Streams {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d (%s)\t%d\t%d\t%d\t%s\n", s.Name, s.Kind, s.Frames, pipeline.FormatSize(s.Bytes), s.Copied,
			pipeline.FormatSize(s.CopiedBytes), s.DroppedFull, s.DroppedPolicy, s.Abandoned, s.Blocked.Round(time.Millisecond))
	}
	showRates(t, a, rates)
	fmt.Fprintln(t, "\nWRITER\tFRAMES\tBYTES\tABORTED\tDROPPED FULL\tDROPPED BY POLICY\tWAITED\tRETRIES")
	for _, e := range a.Writers {
		fmt.Fprintf(t, "%d\t%d\t%s\t%d\t%d\t%d\t%s\t%d\n", e.Index, e.Frames, pipeline.FormatSize(e.Bytes), e.Aborted,
			e.DroppedFull, e.DroppedPolicy, e.Blocked.Round(time.Millisecond), e.Retries)
	}
	t.Flush()
	var delivered, held int64
	for _, s := range a.Streams {
		delivered += s.Frames
	}
	for _, k := range a.Classes {
		held += k.HeldFrames
	}
	fmt.Fprintf(w, "\nconsumer: %d frames delivered, %d released; %d sleeps, %d wake-ups; copies %s of at most %s; %d claims abandoned", delivered, max(0, delivered-held), a.Waits, a.WakeUps,
		pipeline.FormatSize(a.CopiesAlive), pipeline.FormatSize(a.CopyLimit), a.Abandoned)
	if f.HeldBy != "" {
		fmt.Fprintf(w, "; held up by %s", f.HeldBy)
	}
	fmt.Fprintln(w)
}

// oldestHeld says how long ago the oldest frame was captured that the consumer
// has and not given back.
func oldestHeld(f ring.Facts, class int) string {
	if class >= len(f.Classes) {
		return "-"
	}
	o := f.Classes[class].Oldest
	if age := ring.Now(); o != nil && o.Delivered && o.Committed && o.PTS > 0 && o.PTS < age {
		return fmt.Sprintf("%.1fs", time.Duration(age-o.PTS).Seconds())
	}
	return "-"
}

func showRates(w io.Writer, a ring.Stats, rates []streamRate) {
	head := false
	for _, r := range rates {
		if r.Producer != a.Producer.PID {
			continue
		}
		if !head {
			fmt.Fprintln(w, "\nA SECOND\tFRAMES\tBYTES\tCOPIED\tDROPPED\tPRODUCER WAITED")
			head = true
		}
		fmt.Fprintf(w, "%s\t%.1f\t%s\t%.1f\t%.1f\t%.0f%%\n", r.Stream, r.Frames, pipeline.FormatSize(int64(r.Bytes)), r.Copied, r.Dropped, 100*r.Waited)
	}
}
