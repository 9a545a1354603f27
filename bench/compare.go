package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Options of a comparison. Zero fields take their defaults.
type Options struct {
	// Self is the command line that runs this binary as a peer: what follows goes to
	// [Peer].
	Self     []string
	Mpipe    string   // path of the program mpipe, which some transports are received with; "" leaves those out
	Only     []string // transports, by [Names]; default: those that are not extra
	Payloads []string // by name; default: all of [Payloads]
	Rounds   int      // how often everything is measured; default 1
	Quick    bool     // shorter runs, fewer samples
	Read     bool     // the consumer reads every cache line
	FlatOut  bool     // leave the paced runs out
	Paced    bool     // leave the others out
	Seconds  float64  // how long each run measures; default: what Quick says
	// Progress is told before each run how many of all are done; may be nil.
	Progress func(done, total int, what string)
}

// lengths of the runs, in seconds. With all that runs by default, starting
// processes included, a round takes a minute; a quick one 20 seconds.
var lengths = map[bool]struct{ flatOut, picture, rest float64 }{
	false: {0.3, 2, 1},
	true:  {0.15, 0.6, 0.3},
}

// Transports runs the comparison. What cannot be measured on this machine is
// left out, with the reason in the report; a run that fails ends it all, since a
// transport that loses a frame has no figures.
func Transports(ctx context.Context, o Options) (*Report, error) {
	if len(o.Self) == 0 {
		return nil, errors.New("bench: Options.Self is empty")
	}
	dir, err := os.MkdirTemp("", "mpipe-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if len(dir) > 80 { // a socket's path has 107 bytes
		return nil, fmt.Errorf("bench: %s is too deep for sockets; set TMPDIR to a shorter path", filepath.Dir(dir))
	}
	e := &env{self: o.Self, mpipe: o.Mpipe, dir: dir, built: map[string]builtProgram{}}
	c := &comparison{Options: o, report: newReport(o)}
	if err := c.choose(e); err != nil {
		return nil, err
	}
	for c.round = range max(1, o.Rounds) {
		if err := c.measure(ctx, e); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	c.report.fill(c)
	return c.report, nil
}

// comparison is one while it runs.
type comparison struct {
	Options
	report   *Report
	chosen   []*transport
	payloads []Payload
	round    int
	samples  map[runKey][]sample // one a round
	done     int
}

type runKey struct {
	transport, payload string
	paced              bool
}

// choose finds what is to be measured, drawing first, and what cannot be.
func (c *comparison) choose(e *env) error {
	c.samples = map[runKey][]sample{}
	for _, name := range c.Only {
		if findTransport(name) == nil {
			return fmt.Errorf("bench: unknown transport %q", name)
		}
	}
	bases := map[string]bool{}
	for _, t := range transports() {
		named := slices.Contains(c.Only, t.name)
		if t.base == "" || !named && (len(c.Only) > 0 || t.extra) {
			continue
		}
		if t.missing != nil {
			if why := t.missing(e); why != "" {
				c.report.Skipped = append(c.report.Skipped, Skipped{t.name, t.title, why})
				continue
			}
		}
		c.chosen = append(c.chosen, t)
		bases[t.base] = true
	}
	for _, name := range []string{drawingC, drawingGo} {
		if bases[name] {
			c.chosen = append([]*transport{findTransport(name)}, c.chosen...)
		}
	}
	for _, name := range c.Payloads {
		p, err := findPayload(name)
		if err != nil {
			return err
		}
		c.payloads = append(c.payloads, p)
	}
	if len(c.payloads) == 0 {
		c.payloads = Payloads
	}
	return nil
}

// modes of a payload: flat out, and at its own rate.
func (c *comparison) modes() []bool {
	switch {
	case c.FlatOut:
		return []bool{false}
	case c.Paced:
		return []bool{true}
	}
	return []bool{false, true}
}

// measure does one round. Every second one goes backwards, so that no transport
// always follows the same other one.
func (c *comparison) measure(ctx context.Context, e *env) error {
	total := max(1, c.Rounds) * len(c.payloads) * len(c.chosen) * len(c.modes())
	order := slices.Clone(c.chosen)
	if c.round%2 == 1 {
		slices.Reverse(order)
	}
	for _, p := range c.payloads {
		for _, paced := range c.modes() {
			for _, t := range order {
				s := spec{transport: t, payload: p, paced: paced, read: c.Read, seconds: c.length(p, paced)}
				if c.Progress != nil {
					c.Progress(c.done, total, p.Title+", "+t.title)
				}
				got, err := e.run(ctx, s)
				if err != nil {
					return err
				}
				k := runKey{t.name, p.Name, paced}
				c.samples[k] = append(c.samples[k], got)
				c.done++
			}
		}
	}
	return nil
}

func (c *comparison) length(p Payload, paced bool) float64 {
	l := lengths[c.Quick]
	switch {
	case c.Seconds > 0:
		return c.Seconds
	case !paced:
		return l.flatOut
	case p.Name == "1080p":
		return l.picture
	default:
		return l.rest
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// percentile of sorted values, in us.
func percentile(sorted []int64, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64((time.Duration(sorted[(len(sorted)-1)*percent/100])).Nanoseconds()) / 1e3
}
