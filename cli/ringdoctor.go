package cli

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/ring/doctor"
)

// ringDoctor is `mpipe ring doctor`.
type ringDoctor struct {
	remove, json bool
	window       time.Duration
}

func ringDoctorVerb() *verb {
	return &verb{
		name: "ring doctor", args: "[ADDR]", max: 1,
		short: "explain a ring that stands still; find and remove stale names",
		long: `It looks at the ring twice, --for apart, and says in words who is attached, alive or
stopped, what everything waits for and since when, what is lost, and what to do.
It changes nothing. Without ADDR it looks at all rings under /dev/shm.

A consumer that was killed leaves its names behind: NAME and NAME.consumer under
/dev/shm. They are listed as stale, and --remove removes them, but only while it is
proved that nobody uses them: the lock that a consumer holds all its life is free,
and no process has its pid and start time. Names in use are never touched.

exit codes: 0 nothing is wrong; 1 something is, or a stale name is left; 2 wrong
command line.`,
		examples: []example{
			{"mpipe ring doctor demo", "why nothing moves"},
			{"mpipe ring doctor", "all rings under /dev/shm, and what dead consumers left there"},
			{"mpipe ring doctor --remove", "give the memory of dead rings back"},
			{"mpipe ring doctor demo --json | jq -r '.rings[].findings[] | select(.level == \"problem\").code'", "for programs"},
		},
		complete: ringNames,
		declare: func(f *flags) func(*call) int {
			o := &ringDoctor{}
			f.switchOn(&o.remove, "remove", "remove stale names")
			f.duration(&o.window, "for", "1s", "how long to watch whether anything moves")
			f.switchOn(&o.json, "json", "print JSON")
			return o.run
		},
	}
}

// doctorResult is what --json prints.
type doctorResult struct {
	Rings []*doctor.Report `json:"rings"`
	Stale []staleName      `json:"stale"`
}

type staleName struct {
	ring.Leftover
	Removed bool   `json:"removed"`
	Error   string `json:"error,omitempty"`
}

func (o *ringDoctor) run(c *call) int {
	var out doctorResult
	stop := onSignals(newScreen(io.Discard), "")
	defer stop.release()
	if len(c.args) > 0 {
		if err := c.checkRing(c.args[0]); err != nil {
			return c.usage("%v", err)
		}
		r := doctor.Diagnose(stop.ctx, c.args[0], o.window)
		out.Rings = []*doctor.Report{r}
		out.clean(r.Stale, o.remove)
	} else {
		left, err := ring.Leftovers("/dev/shm")
		if err != nil {
			return c.failed(err)
		}
		out.Rings = o.all(stop.ctx, left)
		out.clean(left, o.remove)
	}
	if o.json {
		printJSON(c.stdout, out)
	} else {
		out.show(c.stdout, len(c.args) == 0)
	}
	return out.code()
}

// all looks at the rings under /dev/shm that are not stale, at once.
func (o *ringDoctor) all(ctx context.Context, stale []ring.Leftover) []*doctor.Report {
	dead := map[string]bool{}
	for _, l := range stale {
		dead[l.Path] = true
	}
	reports := make(chan *doctor.Report)
	n := 0
	for _, name := range ringNames() {
		if !dead["/dev/shm/"+name] && !dead["/dev/shm/"+name+".consumer"] && ring.CheckAddr(name) == nil {
			n++
			go func() { reports <- doctor.Diagnose(ctx, name, o.window) }()
		}
	}
	out := []*doctor.Report{}
	for range n {
		out = append(out, <-reports)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Addr < out[j].Addr })
	return out
}

// clean lists stale names and removes them where asked to.
func (d *doctorResult) clean(left []ring.Leftover, remove bool) {
	d.Stale = []staleName{}
	for _, l := range left {
		s := staleName{Leftover: l}
		if remove {
			if err := l.Remove(); err != nil {
				s.Error = err.Error()
			} else {
				s.Removed = true
			}
		}
		d.Stale = append(d.Stale, s)
	}
}

// code is 1 when something is wrong. What only stale names made wrong is right
// once they are removed.
func (d *doctorResult) code() int {
	left := 0
	for _, s := range d.Stale {
		if !s.Removed {
			left = 1
		}
	}
	for _, r := range d.Rings {
		for _, f := range r.Findings {
			if f.Level == doctor.Problem && (left == 1 || len(d.Stale) == 0 || !r.OnlyStale()) {
				return 1
			}
		}
	}
	return left
}

func (d *doctorResult) show(w io.Writer, all bool) {
	for i, r := range d.Rings {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s:\n", r.Addr)
		about := ""
		for _, f := range r.Findings {
			if f.About != about {
				about = f.About
				fmt.Fprintf(w, "%s:\n", about)
			}
			fmt.Fprintf(w, "  %-8s %s\n", f.Level, f.Text)
			if f.Do != "" {
				fmt.Fprintf(w, "           %s\n", f.Do)
			}
		}
	}
	if all && len(d.Rings) == 0 {
		fmt.Fprintln(w, "no live ring under /dev/shm")
	}
	var bytes int64
	for i, s := range d.Stale {
		if i == 0 {
			fmt.Fprintln(w, "\nstale names:")
		}
		does := "stale"
		switch {
		case s.Removed:
			does = "removed"
		case s.Error != "":
			does = "not removed: " + strings.TrimPrefix(s.Error, "ring: ")
		}
		bytes += s.Bytes
		fmt.Fprintf(w, "  %s (%s): %s; %s\n", s.Path, pipeline.FormatSize(s.Bytes), does, s.Why)
	}
	if bytes > 0 && !d.Stale[0].Removed {
		fmt.Fprintf(w, "`mpipe ring doctor --remove` gives %s back\n", pipeline.FormatSize(bytes))
	}
}
