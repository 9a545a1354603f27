package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
	"github.com/mpipe/mpipe/ring/capture"
)

// ringReplay is `mpipe ring replay`.
type ringReplay struct {
	ring, speed    string
	pace, whenFull string
	list, die      bool
	only           int64
	attach, every  time.Duration
	json           bool
}

func ringReplayVerb() *verb {
	return &verb{
		name: "ring replay", args: "CAPTURE", min: 1, max: 1,
		short: "play a capture into a ring, as its producers wrote it",
		long: `Producers attach in their order and at their distance, and each frame comes as long
after that as it came then, with its own stamps moved to now. So what failed in
production can be had again, with a graph on any machine.

--speed 2 plays twice as fast and --pace reader as fast as the reader takes; the
stamps stay those of the original, as they do with "mpipe feed". Of a capture that
was cut short, what is whole is played. --die ends the process by SIGKILL where
the capture says that its producer died; otherwise it ends the streams in good order.

--list shows what a capture holds, checks every byte of it, and plays nothing.

exit codes: 0 all was played, or the consumer asked to stop, or the first SIGINT,
SIGTERM or SIGHUP ended the streams; 1 the capture is damaged, or something
failed; 2 wrong command line; 130 stopped by the second signal.`,
		examples: []example{
			{"mpipe ring replay bot.mring --ring test", "in the original timing, into what `mpipe run` reads as ring test"},
			{"mpipe ring replay bot.mring --ring test --pace reader", "as fast as the encoder allows"},
			{"mpipe ring replay bot.mring --ring test --attachment 1 --die", "only the first producer, with its death"},
			{"mpipe ring replay bot.mring --list", "what is in it, and whether it is whole"},
		},
		declare: func(f *flags) func(*call) int {
			o := &ringReplay{}
			f.text(&o.ring, "ring", "ADDR", "", "the ring: a name under /dev/shm, a path, or unix:/path.sock")
			f.text(&o.speed, "speed", "FACTOR", "1", "times the original speed")
			f.choice(&o.pace, "pace", "clock", "when a frame is written", "clock", "reader")
			f.choice(&o.whenFull, "when-full", "block", "what to do when the ring is full: wait, or leave the frame out", "block", "drop")
			f.count(&o.only, "attachment", "N", "play only the Nth producer of the capture")
			f.switchOn(&o.die, "die", "die where the producer died")
			f.switchOn(&o.list, "list", "show what the capture holds instead, and check it")
			f.duration(&o.attach, "attach-timeout", "30s", "how long to wait for a consumer; 0s for ever")
			f.duration(&o.every, "progress", "1s", "how often to show progress; 0s for never")
			f.switchOn(&o.json, "json", "print progress and result as JSON lines; with --list, JSON")
			return o.run
		},
	}
}

func (o *ringReplay) run(c *call) int {
	speed, err := strconv.ParseFloat(o.speed, 64)
	switch {
	case err != nil || !(speed >= 0.01 && speed <= 100):
		return c.usage("--speed %s: want 0.01 to 100", o.speed)
	case o.ring == "" && !o.list:
		return c.usage("--ring is missing: the address that the graph's source has as ring")
	case o.ring != "" && c.checkRing(o.ring) != nil:
		return c.usage("--ring: %v", c.checkRing(o.ring))
	case o.pace == "reader" && (o.whenFull == "drop" || speed != 1):
		return c.usage("--pace reader waits for the reader; it has no speed and cannot drop")
	}
	f, err := capture.Open(c.args[0])
	if err != nil {
		return c.failed(err)
	}
	defer f.Close()
	x, err := capture.Scan(f)
	if err == nil && o.list {
		err = capture.Verify(f)
	}
	if err != nil {
		return c.failed(fmt.Errorf("%s: %w", c.args[0], err))
	}
	if o.list {
		if o.json {
			printJSON(c.stdout, x)
		} else {
			showCapture(c.stdout, c.args[0], x)
		}
		return 0
	}
	return o.play(c, f, x, speed)
}

func (o *ringReplay) play(c *call, f *capture.File, x *capture.Index, speed float64) int {
	sc := newScreen(c.stderr)
	opts := capture.ReplayOptions{
		Ring: o.ring, Only: uint32(o.only), Speed: speed, AsFast: o.pace == "reader", Drop: o.whenFull == "drop",
		AttachTimeout: o.attach, Every: o.every, Event: func(text string) { fmt.Fprintln(sc, text) },
	}
	if o.die {
		opts.Died = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	}
	opts.Progress = func(r capture.Report) { sc.status(captureLine(r)) }
	if o.json {
		opts.Progress = func(r capture.Report) { printLine(c.stdout, map[string]any{"status": r}) }
	}
	if x.Cut {
		fmt.Fprintf(sc, "%s was cut short; what is whole is played\n", c.args[0])
	}
	stop := onSignals(sc, "ending the streams, press Ctrl-C again to stop now")
	defer stop.release()
	type outcome struct {
		r   capture.Report
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := capture.Replay(stop.ctx, f, x, opts)
		done <- outcome{r, err}
	}()
	select {
	case <-stop.kill:
		sc.clear()
		return run.ExitKilled
	case out := <-done:
		sc.clear()
		switch {
		case o.json:
			printLine(c.stdout, map[string]any{"result": out.r})
		case out.r.Attachments > 0:
			captureSummary(c.stdout, "played "+c.args[0], out.r)
		}
		if out.err != nil {
			var damaged *capture.DamagedError
			if errors.As(out.err, &damaged) {
				out.err = fmt.Errorf("%s: %w", c.args[0], out.err)
			}
			return c.failed(out.err)
		}
		return 0
	}
}

func showCapture(w io.Writer, path string, x *capture.Index) {
	how := "beside a consumer"
	if !x.Header.Tapped {
		how = "as the consumer"
	}
	end := "whole: " + x.End
	if x.Cut {
		end = "cut short"
	}
	fmt.Fprintf(w, "%s: captured %s, %s, %s in %.1fs, %s\n", path, x.Header.Created.Format(time.DateTime), how, plural(int(x.Frames), "frame"), x.Length.Seconds(), end)
	for _, a := range x.Attachments {
		state := "the capture ends before it did"
		if a.Detach != nil {
			state = a.Detach.State
			if a.Detach.Reason != "" {
				state += " (" + a.Detach.Reason + ")"
			}
		}
		fmt.Fprintf(w, "\nproducer %d: %s (pid %d), %.1fs: %s\n", a.Number, dash(a.Producer.Name), a.Producer.PID, time.Duration(a.To-a.From).Seconds(), state)
		t := table(w)
		fmt.Fprintln(t, "STREAM\tFORMATS\tFRAMES\tBYTES\tLENGTH\tDROPPED FULL\tDROPPED BY POLICY\tLOST")
		for i, s := range a.Streams {
			n := a.Totals[i]
			var l capture.StreamLosses
			if a.Losses != nil && i < len(a.Losses.Streams) {
				l = a.Losses.Streams[i]
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%.3fs\t%d\t%d\t%d\n", s.Name, formatsOf(a, i), n.Frames, pipeline.FormatSize(n.Bytes),
				time.Duration(n.LastPTS-n.FirstPTS).Seconds(), l.DroppedFull, l.DroppedPolicy, l.Abandoned)
		}
		t.Flush()
		if a.Losses != nil {
			for kind, n := range a.Losses.Missed {
				fmt.Fprintf(w, "missed by the tap: %s of %s\n", plural(int(n), "claim"), kind)
			}
		}
	}
}

func formatsOf(a *capture.Attached, stream int) string {
	text := ""
	for _, f := range a.Formats() {
		if f.Stream != stream {
			continue
		}
		if text != "" {
			text += "; "
		}
		text += f.Ring().String()
	}
	return dash(text)
}
