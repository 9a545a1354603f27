package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// runFlags are the flags of `mpipe run`.
type runFlags struct {
	graph    graph.Options
	json     bool
	manifest string
	every    time.Duration
	drain    time.Duration
	level    string
	// beside starts what runs beside the graph, and gives what ends it and says what
	// went wrong with it; nil for nothing.
	beside func(ctx context.Context, stop context.CancelFunc, log *slog.Logger) (end func() error, err error)
}

func runVerb() *verb {
	return &verb{
		name: "run", args: "GRAPH", min: 1, max: 1,
		short: "record or stream as a graph file says",
		long: `It waits for the producers the graph names, records until they end, finalises
every output, reads it back and says what is in it.

SIGINT (Ctrl-C), SIGTERM or SIGHUP drains: nothing new is taken from the
producers, what is inside goes on into the outputs, and these are finalised. A
second signal stops at once. Under nohup, SIGHUP is ignored. When the reader of
standard output or standard error ends, the recording goes on.

On a terminal a line shows how it goes: time, frames a second, speed, how full
the ring is, drops, bytes written. Elsewhere the same comes as plain lines, or
with --json as one JSON object a line on standard output: {"status": …} while it
runs, {"manifest": …} at the end, or {"errors": [ … ]} alone when the graph is
wrong.

exit codes: 0 every output is complete; 1 something failed; 2 wrong command
line; 70 a defect of mpipe; 78 the graph is wrong, nothing was started;
130 stopped by the second signal.`,
		examples: []example{
			{"mpipe run graphs/record.toml --param ring=demo --param out=demo.mp4", "record what comes through the ring \"demo\" into an MP4"},
			{"mpipe run meeting.toml --param id=43 --set h264.bitrate=1M --set h264.type=openh264", "the same graph with other settings, the file unchanged"},
			{"mpipe run meeting.toml --param id=44 --json | jq 'select(.status).status.fps'", "for programs: how it goes, as JSON lines"},
		},
		declare: func(f *flags) func(*call) int {
			o := &runFlags{}
			o.declare(f)
			return func(c *call) int { return o.run(c, c.args[0]) }
		},
	}
}

// declare is the flags of every verb that runs a graph.
func (o *runFlags) declare(f *flags) {
	graphFlags(f, &o.graph)
	f.switchOn(&o.json, "json", "print progress and result as JSON lines")
	f.text(&o.manifest, "manifest", "PATH", "", "write the manifest, the account of the run, as JSON to this file")
	f.duration(&o.every, "progress", "1s", "how often to show progress; 0s for never")
	f.duration(&o.drain, "drain-timeout", run.DefaultDrain.String(), "how long draining may take after a signal or the end of the sources")
	f.choice(&o.level, "log-level", "info", "what is logged to standard error", "debug", "info", "warn", "error")
}

// graphFlags are the flags of every verb that reads a graph.
func graphFlags(f *flags, o *graph.Options) {
	f.pairs(&o.Params, "param", "NAME=VALUE", "set a parameter that the graph declares in [params]")
	f.pairs(&o.Set, "set", "STAGE.KEY=VALUE", "set a key of a stage, as if the file did")
}

func (o *runFlags) run(c *call, file string) int {
	plan, err := graph.LoadPlan(file, o.graph, run.Catalog())
	if err != nil {
		return o.refuse(c, err)
	}
	if o.manifest != "" {
		// An unwritable place is found now, not after an hour of recording.
		if err := writable(o.manifest); err != nil {
			return c.usage("--manifest: %v", err)
		}
	}
	if takesStdout(plan) {
		c.stdout = c.stderr
	}
	sc := newScreen(c.stderr)
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return c.usage("--log-level: %v", err)
	}
	log := slog.New(slog.NewTextHandler(sc, &slog.HandlerOptions{Level: level, ReplaceAttr: shortTime}))
	for _, n := range plan.Notes {
		log.Warn(n.Text, "stage", n.Stage)
	}
	stop := onSignals(sc, "draining, press Ctrl-C again to stop now")
	defer stop.release()
	ctx, cancel := context.WithCancel(stop.ctx)
	defer cancel()
	end := func() error { return nil }
	if o.beside != nil {
		if end, err = o.beside(ctx, cancel, log); err != nil {
			return c.failed(err)
		}
	}
	m, err := run.Run(ctx, plan, run.Options{
		Log: log, Progress: o.progress(c, sc), Every: o.every, DrainTimeout: o.drain, Kill: stop.kill,
	})
	sc.clear()
	if berr := end(); berr != nil {
		return max(o.finish(c, m, run.ExitFailed), c.failed(berr))
	}
	switch {
	case run.ExitCode(m, err) == run.ExitConfig:
		return o.refuse(c, err)
	case err != nil:
		return o.finish(c, m, c.fail(err))
	}
	return o.finish(c, m, run.ExitCode(m, nil))
}

// takesStdout tells that standard output belongs to an output of the graph.
func takesStdout(p *graph.Plan) bool {
	for _, s := range p.Graph.Stages {
		if t, ok := s.Element.(interface{ TakesStdout() bool }); ok && t.TakesStdout() {
			return true
		}
	}
	return false
}

// refuse reports errors for which nothing was started: there is no account.
func (o *runFlags) refuse(c *call, err error) int {
	if o.json {
		printLine(c.stdout, map[string]any{"errors": errorLines(err)})
	}
	return c.fail(err)
}

// finish shows and stores the manifest.
func (o *runFlags) finish(c *call, m *run.Manifest, code int) int {
	if m == nil {
		return code
	}
	if o.json {
		printLine(c.stdout, map[string]any{"manifest": m})
	} else {
		summary(c.stdout, m)
	}
	if o.manifest == "" {
		return code
	}
	if err := writeFile(o.manifest, m); err != nil {
		fmt.Fprintf(c.stderr, "the manifest could not be written: %v\n", err)
		if code == 0 {
			return run.ExitFailed
		}
	}
	return code
}

// progress gives the callback that suits where the output goes.
func (o *runFlags) progress(c *call, sc *screen) func(run.Status) {
	switch {
	case o.every == 0:
		return nil
	case o.json:
		return func(s run.Status) {
			if !idle(s) {
				printLine(c.stdout, map[string]any{"status": s})
			}
		}
	default:
		// The source's log line says that it waits, and for what.
		logged := o.level == "debug" || o.level == "info"
		return func(s run.Status) {
			if !idle(s) && !(logged && waiting(s)) {
				sc.status(progressLine(s))
			}
		}
	}
}

// idle tells of a run that ended before any frame flowed: the error says it all.
func idle(s run.Status) bool { return s.State == run.Ended.String() && s.Elapsed == 0 }

func printLine(w io.Writer, v any) {
	b, err := json.Marshal(v)
	if err != nil { // only what cannot be JSON at all, a NaN for example
		b, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	fmt.Fprintf(w, "%s\n", b)
}

func printJSON(w io.Writer, v any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		printLine(w, map[string]string{"error": err.Error()})
	}
}

func writable(path string) error {
	st, err := os.Stat(filepath.Dir(path))
	if err == nil && !st.IsDir() {
		return fmt.Errorf("%s is not a directory", filepath.Dir(path))
	}
	return err
}

// writeFile stores v as JSON; whoever looks at the path sees all of it or the
// file that was there before.
func writeFile(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing under the name
	if _, err = f.Write(append(b, '\n')); err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// shortTime leaves the date to whoever collects logs.
func shortTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.String("t", a.Value.Time().Format("15:04:05.000"))
	}
	return a
}
