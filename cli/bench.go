package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/mpipe/mpipe/bench"
)

// peerVerb is what `mpipe bench` starts this binary with, for one side of a
// transport.
const peerVerb = "__bench-peer"

func benchPeer(c *call, args []string) int {
	if err := bench.Peer(args, c.stdout); err != nil {
		fmt.Fprintln(c.stderr, err)
		return 1
	}
	return 0
}

// benchFlags are the flags of `mpipe bench`.
type benchFlags struct {
	only, payloads []string
	rounds         int64
	quick, read    bool
	price          float64
	json           bool
}

func benchVerb() *verb {
	var payloads []string
	for _, p := range bench.Payloads {
		payloads = append(payloads, p.Name)
	}
	return &verb{
		name: "bench", args: "transports", min: 1, max: 1,
		short: "measure on this machine what moving frames between processes costs",
		long: `It sends frames of 1080p and 360p I420 and audio packets of 960 bytes from one
process to another: through the ring, GStreamer's shmsink, a pipe, a Unix socket,
TCP and a WebSocket (masked, fragments of 131072 bytes). Each runs flat out and at
the payload's own rate. Shown are, per frame, the CPU time of both processes
together, that less what drawing the frame costs by itself, frames a second, and
the latency from drawn to arrived.

It takes about a minute, a third of that with --quick. On a machine that does
other things at the same time, --rounds 5 gives medians that can be trusted more.
What cannot be measured here, because a compiler or GStreamer's headers are
missing, is left out and named. Package bench says how everything is measured and
why so.`,
		examples: []example{
			{"mpipe bench transports", "all transports, in about a minute"},
			{"mpipe bench transports --price-per-core-hour 0.04", "the same, with what the ring would save, in the price's currency"},
			{"mpipe bench transports --quick --payload 1080p --only ring,websocket", "two transports, one payload, in seconds"},
			{"mpipe bench transports --only chromium-python,chromium-mpipe --payload 1080p", "what a page in Chromium sends: over a WebSocket to Python, and to mpipe"},
			{"mpipe bench transports --json | jq '.payloads[0].rows[] | {transport, cpu: .paced.cpu_us}'", "one figure of each, for a program"},
		},
		complete: func() []string { return []string{"transports"} },
		declare: func(f *flags) func(*call) int {
			o := &benchFlags{}
			f.texts(&o.only, "only", "NAME,…", "measure these: "+strings.Join(bench.Names(), ", ")).values = bench.Names()
			f.texts(&o.payloads, "payload", "NAME,…", "send these: "+strings.Join(payloads, ", ")).values = payloads
			f.count(&o.rounds, "rounds", "N", "measure everything N times and show medians (default 1)")
			f.switchOn(&o.quick, "quick", "shorter runs: fewer frames, coarser figures")
			f.switchOn(&o.read, "read", "have the consumer read every cache line of a frame, as an encoder does")
			f.decimal(&o.price, "price-per-core-hour", "PRICE", "what an hour of a core costs you, to see what the ring saves")
			f.switchOn(&o.json, "json", "print JSON")
			return func(c *call) int {
				if c.args[0] != "transports" {
					return c.usage("unknown command %q%s", c.args[0], suggest(c.args[0], []string{"transports"}))
				}
				return o.run(c, payloads)
			}
		},
	}
}

func (o *benchFlags) run(c *call, payloads []string) int {
	opts := bench.Options{Rounds: int(o.rounds), Quick: o.quick, Read: o.read}
	for _, list := range []struct {
		flag    string
		given   []string
		allowed []string
		into    *[]string
	}{{"only", o.only, bench.Names(), &opts.Only}, {"payload", o.payloads, payloads, &opts.Payloads}} {
		for _, name := range strings.Split(strings.Join(list.given, ","), ",") {
			if len(list.given) == 0 {
				break
			}
			if !slices.Contains(list.allowed, name) {
				return c.usage("--%s %q: allowed are %s%s", list.flag, name, strings.Join(list.allowed, ", "), suggest(name, list.allowed))
			}
			*list.into = append(*list.into, name)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return c.failed(err)
	}
	opts.Self, opts.Mpipe = []string{exe, peerVerb}, exe
	sc := newScreen(c.stderr)
	stop := onSignals(sc, "stopping")
	defer stop.release()
	opts.Progress = func(done, total int, what string) { sc.status(fmt.Sprintf("%d of %d  %s", done+1, total, what)) }
	r, err := bench.Transports(stop.ctx, opts)
	sc.clear()
	switch {
	case stop.ctx.Err() != nil:
		return c.failed(errors.New("stopped before everything was measured"))
	case err != nil:
		return c.failed(errors.New(strings.TrimPrefix(err.Error(), "bench: ")))
	}
	what, savings := r.Savings(o.price)
	if o.json {
		printJSON(c.stdout, struct {
			*bench.Report
			SavingsOf string         `json:"savings_of,omitempty"`
			Savings   []bench.Saving `json:"savings,omitempty"`
		}{r, what, savings})
		return 0
	}
	showBench(c.stdout, r)
	showSavings(c.stdout, what, savings, o.price)
	return 0
}

func showBench(w io.Writer, r *bench.Report) {
	fmt.Fprintf(w, "%s, %s, Linux %s, %s; medians of %s\n", r.Machine.CPU, plural(r.Machine.Cores, "core"), r.Machine.Kernel, r.Machine.Go, plural(r.Rounds, "round"))
	read := "it looks at each frame's ends"
	if r.Read {
		read = "it reads every cache line of a frame"
	}
	fmt.Fprintf(w, "CPU is user and system time of producer and consumer together, in us a frame (%s);\nBEYOND is that less drawing alone; P50 and P99 are from drawn to arrived, in us.\n", read)
	for _, p := range r.Payloads {
		fmt.Fprintf(w, "\n%-32s %30s %37s\n", fmt.Sprintf("%s, %d bytes", p.Title, p.Size), "flat out", fmt.Sprintf("at %d a second", p.Rate))
		fmt.Fprintf(w, "%-32s %11s %9s %8s %9s %9s %8s %8s\n", "TRANSPORT", "FRAMES/S", "CPU", "BEYOND", "CPU", "BEYOND", "P50", "P99")
		for _, row := range p.Rows {
			f, q := row.FlatOut, row.Paced
			fmt.Fprintf(w, "%-32s %11.0f %9s %8s %9s %9s %8s %8s\n", row.Title, f.Rate, micros(f.CPU), micros(f.Beyond),
				micros(q.CPU), micros(q.Beyond), latency(q.P50, q), latency(q.P99, q))
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "\nleft out: %s: %s\n", s.Title, s.Reason)
	}
}

// micros shows three digits or so.
func micros(v float64) string {
	if v < 10 && v > -10 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func latency(v float64, f *bench.Figures) string {
	if f.Samples == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

func showSavings(w io.Writer, what string, list []bench.Saving, price float64) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\nmoving %d hours of %s takes core-hours (BEYOND), of which the ring, drawn in place, saves\n", bench.SavingHours, what)
	line := func(title, takes, saved, money string) {
		fmt.Fprintf(w, "%s\n", strings.TrimRight(fmt.Sprintf("%-32s %11s %9s %12s", title, takes, saved, money), " "))
	}
	money := ""
	if price > 0 {
		money = fmt.Sprintf("AT %g EACH", price)
	}
	line("OVER", "TAKES", "SAVED", money)
	for _, s := range list {
		if price > 0 {
			money = fmt.Sprintf("%.2f", s.Money)
		}
		line(s.Title, fmt.Sprintf("%.2f", s.CoreHours), fmt.Sprintf("%.2f", s.Saved), money)
	}
}
