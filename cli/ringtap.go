package cli

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/ring/snapshot"
)

// ringTap is `mpipe ring tap`.
type ringTap struct {
	stream, out string
	producer    int64
	duration    time.Duration
	timeout     time.Duration
	overwrite   bool
	json        bool
}

func ringTapVerb() *verb {
	return &verb{
		name: "ring tap", args: "ADDR", min: 1, max: 1,
		short: "copy the current picture, or the next sound, out of a live ring",
		long: `Of a stream of pictures it writes the one committed last, as PNG; of sound what
comes next, as WAV. It reads beside the consumer, which goes on recording:
neither it nor the producer notices, and nothing is lost or delayed.

Colours follow the format's matrix and range; chroma is not interpolated, and HDR
is not tone-mapped. Sound that was overwritten before it was copied, or that the
producer left out, becomes silence and is told.

exit codes: 0 written; 1 there is no such ring, or nothing came within
--timeout; 2 wrong command line.`,
		examples: []example{
			{"mpipe ring tap demo --stream video --out frame.png", "what is being recorded right now"},
			{"mpipe ring tap demo --stream audio --duration 2s --out clip.wav", "the next two seconds of sound"},
			{"mpipe ring tap unix:/run/bot.sock --stream video --out - > frame.png", "into a pipe, of a ring behind a socket"},
		},
		complete: ringNames,
		declare: func(f *flags) func(*call) int {
			o := &ringTap{}
			f.text(&o.stream, "stream", "NAME", "video", "name of the stream; video and audio are also the first of their kind")
			f.text(&o.out, "out", "PATH", "", "where to: a file, or - for standard output").letter = "o"
			f.duration(&o.duration, "duration", "2s", "how much sound")
			f.count(&o.producer, "producer", "PID", "of several producers, which")
			f.duration(&o.timeout, "timeout", "5s", "how long to wait for the first frame, and for each next one")
			f.switchOn(&o.overwrite, "overwrite", "write over a file that is there already")
			f.switchOn(&o.json, "json", "print what was written as JSON; with --out -, to standard error")
			return o.run
		},
	}
}

func (o *ringTap) run(c *call) int {
	addr := c.args[0]
	if err := c.checkRing(addr); err != nil {
		return c.usage("%v", err)
	}
	if o.out == "" {
		return c.usage("--out is missing: a file such as frame.png, or - for standard output")
	}
	list, err := ring.Observe(addr)
	if err != nil {
		return c.noRing(addr, err)
	}
	defer func() {
		for _, w := range list {
			w.Close()
		}
	}()
	w, stream, err := o.choose(list)
	if err != nil {
		return c.failed(fmt.Errorf("%s: %w", addr, err))
	}
	if err := o.fits(stream.Kind); err != nil {
		return c.usage("%v", err)
	}
	stop := onSignals(newScreen(io.Discard), "")
	defer stop.release()
	t := &tapping{o: o, w: w, stream: stream, ctx: stop.ctx}
	var got tapReport
	if stream.Kind == ring.KindVideo {
		got, err = t.picture(c)
	} else {
		got, err = t.sound(c)
	}
	if err != nil {
		return c.failed(fmt.Errorf("%s: %w", addr, err))
	}
	o.report(c, got)
	return 0
}

// fits refuses endings that promise something else than what is written.
func (o *ringTap) fits(k ring.Kind) error {
	want := map[ring.Kind]string{ring.KindVideo: ".png", ring.KindAudio: ".wav"}[k]
	if ext := strings.ToLower(filepath.Ext(o.out)); o.out != "-" && ext != want {
		return fmt.Errorf("--out %s: stream %s is %s, which is written as %s", o.out, o.stream, k, want)
	}
	return nil
}

// choose finds the stream among the producers.
func (o *ringTap) choose(list []*ring.Observer) (*ring.Observer, ring.Stream, error) {
	type found struct {
		w *ring.Observer
		s ring.Stream
	}
	var all []found
	var names, who []string
	for _, w := range list {
		p := w.Stats().Producer
		if o.producer > 0 && int64(p.PID) != o.producer {
			continue
		}
		who = append(who, p.String())
		if s, ok := named(w.Streams(), o.stream); ok {
			all = append(all, found{w, s})
		}
		for _, s := range w.Streams() {
			names = append(names, fmt.Sprintf("%s (%s)", s.Name, s.Kind))
		}
	}
	switch {
	case len(list) == 0:
		return nil, ring.Stream{}, errors.New("no producer is attached")
	case len(who) == 0:
		return nil, ring.Stream{}, fmt.Errorf("no producer has the pid %d", o.producer)
	case len(all) == 0:
		return nil, ring.Stream{}, fmt.Errorf("no stream %q; there is %s", o.stream, strings.Join(names, ", "))
	case len(all) > 1:
		return nil, ring.Stream{}, fmt.Errorf("%d producers have a stream %q: %s; say which with --producer PID", len(all), o.stream, strings.Join(who, ", "))
	}
	return all[0].w, all[0].s, nil
}

// named finds a stream by its name, or the first of a kind.
func named(streams []ring.Stream, name string) (ring.Stream, bool) {
	for _, s := range streams {
		if s.Name == name {
			return s, true
		}
	}
	for _, s := range streams {
		if s.Kind.String() == name {
			return s, true
		}
	}
	return ring.Stream{}, false
}

// tapReport is what was written.
type tapReport struct {
	Out      string  `json:"out"`
	Stream   string  `json:"stream"`
	Format   string  `json:"format"`
	PTS      int64   `json:"pts_ns"` // of the picture, or of the first sound; CLOCK_MONOTONIC
	Age      float64 `json:"age_s"`  // since the capture, when it was copied
	Frames   int64   `json:"frames"` // pictures, or samples of each channel
	Seconds  float64 `json:"seconds,omitempty"`
	Silenced float64 `json:"silenced_s,omitempty"` // of sound: what was missing
	Missed   int64   `json:"missed,omitempty"`     // claims that were overwritten before they could be copied
	Note     string  `json:"note,omitempty"`
}

func (o *ringTap) report(c *call, r tapReport) {
	to := c.stdout
	if o.out == "-" {
		to = c.stderr
	}
	if o.json {
		printJSON(to, r)
		return
	}
	what := fmt.Sprintf("a picture of stream %s", r.Stream)
	if r.Seconds > 0 {
		what = fmt.Sprintf("%.3fs of stream %s", r.Seconds, r.Stream)
	}
	fmt.Fprintf(to, "%s: %s, %s, captured %.3fs before\n", r.Out, what, r.Format, r.Age)
	if r.Silenced > 0 {
		fmt.Fprintf(to, "%.3fs were missing and are silent", r.Silenced)
		if r.Missed > 0 {
			fmt.Fprintf(to, ": %s overwritten before they could be copied", plural(int(r.Missed), "claim"))
		}
		fmt.Fprintln(to)
	}
	if r.Note != "" {
		fmt.Fprintln(to, r.Note)
	}
}

// tapping copies one stream.
type tapping struct {
	o      *ringTap
	w      *ring.Observer
	stream ring.Stream
	ctx    context.Context
	buf    []byte
}

// pollEvery is how often an observer looks, whom nobody wakes.
const pollEvery = 2 * time.Millisecond

// await calls look until it gives a frame, the attachment is over, or the time is.
func (t *tapping) await(look func() (ring.Frame, bool)) (ring.Frame, error) {
	for end := time.Now().Add(t.o.timeout); ; {
		state, why := t.w.State()
		if f, ok := look(); ok {
			if cap(f.Data) > cap(t.buf) {
				t.buf = f.Data
			}
			return f, nil
		}
		switch {
		case state != ring.Live && why != nil:
			return ring.Frame{}, fmt.Errorf("stream %s: %s", t.stream.Name, strings.TrimPrefix(why.Error(), "ring: "))
		case state != ring.Live:
			return ring.Frame{}, fmt.Errorf("stream %s: the attachment is %s", t.stream.Name, state)
		case t.ctx.Err() != nil:
			return ring.Frame{}, errors.New("stopped")
		case time.Now().After(end):
			return ring.Frame{}, fmt.Errorf("nothing came of stream %s within %v; `mpipe ring doctor` may say why", t.stream.Name, t.o.timeout)
		}
		time.Sleep(pollEvery)
	}
}

func (t *tapping) picture(c *call) (tapReport, error) {
	f, err := t.await(func() (ring.Frame, bool) { return t.w.Latest(t.stream.ID, t.buf) })
	if err != nil {
		return tapReport{}, err
	}
	age := ring.Now() - f.PTS
	format, _ := t.w.Format(f.Stream, f.FormatID)
	img, err := snapshot.Picture(*format.Video, f.Data)
	if err != nil {
		return tapReport{}, err
	}
	err = t.o.write(c, func(w io.Writer) error { return png.Encode(w, img) })
	return tapReport{
		Out: t.o.out, Stream: t.stream.Name, Format: format.String(), PTS: f.PTS, Age: time.Duration(age).Seconds(), Frames: 1,
	}, err
}

// write makes the file, whole or not at all.
func (o *ringTap) write(c *call, fill func(io.Writer) error) (err error) {
	if o.out == "-" {
		return fill(c.stdout)
	}
	if _, err := os.Lstat(o.out); err == nil && !o.overwrite {
		return fmt.Errorf("%s is there already; choose another name or say --overwrite", o.out)
	}
	f, err := os.CreateTemp(filepath.Dir(o.out), "."+filepath.Base(o.out)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing under the name
	err = fill(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if o.overwrite {
		return os.Rename(f.Name(), o.out)
	}
	return os.Link(f.Name(), o.out) // fails where rename would replace
}
