package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/ring/capture"
)

// ringRecord is `mpipe ring record`.
type ringRecord struct {
	out                     string
	tap, keep, json         bool
	duration, attach, every time.Duration
	config                  ring.Config
}

func ringRecordVerb() *verb {
	return &verb{
		name: "ring record", args: "ADDR", min: 1, max: 1,
		short: "keep what goes through a ring in a capture file, to replay it",
		long: `A capture holds formats, raw frames with their stamps and flags, what was lost, and
how producers came and went, each with its time. "mpipe ring replay" plays it into
a ring again. 1080p at 30 frames a second takes 93 MB a second of disk.

Without --tap it is the consumer of the ring, in place of "mpipe run": nothing is
lost, and a disk that is too slow holds the producer up. With --tap it reads beside
a running consumer, which does not notice; what was overwritten before it could be
copied is counted as missed.

It ends when all producers that attached are gone, after --duration, or at SIGINT,
SIGTERM or SIGHUP. Killed at any moment, it leaves a capture that is good up to the
last whole frame.

exit codes: 0 the capture is whole; 1 something failed, or a tap missed
something; 2 wrong command line; 130 stopped by the second signal.`,
		examples: []example{
			{"mpipe ring record bot-42 -o bot.mring", "take what the producer of ring bot-42 writes, until it ends"},
			{"mpipe ring record bot-42 --tap --duration 30s -o bot.mring", "half a minute beside the `mpipe run` that records it"},
			{"mpipe ring record unix:/run/bot.sock --keep -o bot.mring", "producer after producer, until Ctrl-C"},
		},
		complete: ringNames,
		declare: func(f *flags) func(*call) int {
			o := &ringRecord{}
			f.text(&o.out, "out", "PATH", "", "the capture file to make, such as x.mring").letter = "o"
			f.switchOn(&o.tap, "tap", "stand beside the consumer instead of being it")
			f.switchOn(&o.keep, "keep", "go on with further producers")
			f.duration(&o.duration, "duration", "", "record this long, from the first producer on")
			f.duration(&o.attach, "attach-timeout", "30s", "how long to wait for the first producer; 0s for ever")
			f.size(&o.config.VideoBytes, "capacity", "64MiB", "of the ring for pictures, when it is the consumer")
			f.size(&o.config.AudioBytes, "audio-capacity", "1MiB", "of the ring for sound, when it is the consumer")
			f.duration(&o.every, "progress", "1s", "how often to show progress; 0s for never")
			f.switchOn(&o.json, "json", "print progress and result as JSON lines")
			return o.run
		},
	}
}

func (o *ringRecord) run(c *call) int {
	addr := c.args[0]
	if err := c.checkRing(addr); err != nil {
		return c.usage("%v", err)
	}
	if o.out == "" {
		return c.usage("--out is missing: the capture file to make, such as x.mring")
	}
	o.config.Name = "mpipe ring record"
	sc := newScreen(c.stderr)
	opts := capture.Options{
		Ring: addr, Config: o.config, Keep: o.keep, Duration: o.duration, AttachTimeout: o.attach, Every: o.every,
		Event: func(text string) { fmt.Fprintln(sc, text) },
	}
	stop := onSignals(sc, "ending the capture, press Ctrl-C again to stop now")
	defer stop.release()
	w, err := capture.Create(o.out, o.tap)
	if err != nil {
		return c.failed(err)
	}
	opts.Progress = o.progress(c, sc, w)
	record := capture.Consume
	if o.tap {
		record = capture.Tap
	}
	return o.end(c, sc, stop, w, func() (capture.Report, error) { return record(stop.ctx, w, opts) })
}

// progress gives the callback that suits where the output goes.
func (o *ringRecord) progress(c *call, sc *screen, w *capture.Writer) func(capture.Report) {
	if o.json {
		return func(r capture.Report) { printLine(c.stdout, map[string]any{"status": r}) }
	}
	return func(r capture.Report) {
		sc.status(captureLine(r) + fmt.Sprintf("  missed %d  written %s", r.Missed, pipeline.FormatSize(w.Written())))
	}
}

// end runs the recording and reports; the second signal does not wait for it.
func (o *ringRecord) end(c *call, sc *screen, stop *stopper, w *capture.Writer, record func() (capture.Report, error)) int {
	done := make(chan int, 1)
	go func() {
		r, err := record()
		if cerr := w.Close(r.Reason); err == nil {
			err = cerr
		}
		if r.Attachments == 0 {
			_ = os.Remove(o.out) // there is nothing in it
		}
		sc.clear()
		if o.json {
			printLine(c.stdout, map[string]any{"result": r})
		} else if r.Attachments > 0 {
			captureSummary(c.stdout, "captured in "+o.out, r)
		}
		switch {
		case errors.Is(err, capture.ErrNobody):
			done <- c.failed(fmt.Errorf("%w (%v); `mpipe feed --ring %s` is one", err, o.attach, c.args[0]))
		case err != nil:
			done <- c.failed(err)
		case r.Missed > 0:
			fmt.Fprintf(c.stderr, "mpipe %s: %s came too fast for this tap; record without --tap, on a faster disk, or give the ring more capacity\n", c.verb.name, plural(int(r.Missed), "claim"))
			done <- 1
		default:
			done <- 0
		}
	}()
	select {
	case <-stop.kill:
		sc.clear()
		return run.ExitKilled
	case code := <-done:
		return code
	}
}

// captureLine is one status for people.
func captureLine(r capture.Report) string {
	if r.Attachments == 0 {
		return "waiting for a producer"
	}
	var parts []string
	var media float64
	var dropped int64
	for _, s := range r.Streams {
		parts = append(parts, fmt.Sprintf("%s %d", s.Name, s.Frames))
		media = max(media, s.Media)
		dropped += s.Dropped
	}
	return fmt.Sprintf("%s  %s  dropped %d", clock(time.Duration(media*float64(time.Second))), strings.Join(parts, "  "), dropped)
}

func captureSummary(w io.Writer, what string, r capture.Report) {
	fmt.Fprintf(w, "%s: %s in %.1fs, %s of frames: %s\n\n", what, plural(int(r.Frames), "frame"), r.Elapsed, pipeline.FormatSize(r.Bytes), r.Reason)
	t := table(w)
	fmt.Fprintln(t, "STREAM\tKIND\tFRAMES\tBYTES\tLENGTH\tDROPPED")
	for _, s := range r.Streams {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%.3fs\t%d\n", s.Name, s.Kind, s.Frames, pipeline.FormatSize(s.Bytes), s.Media, s.Dropped)
	}
	t.Flush()
}
