package cli

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

func TestLiveLineOnATerminal(t *testing.T) {
	var b bytes.Buffer
	s := &screen{w: &b, tty: true, width: 10}
	s.status("one")
	s.status("two, too long for it")
	fmt.Fprintln(s, "a log line")
	s.status("three")
	s.clear()
	fmt.Fprintln(s, "the end")
	const e = "\r\x1b[K"
	want := e + "one" + e + "two, too " + e + "a log line\n" + "two, too " + e + "three" + e + "the end\n"
	if b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}

func TestPlainLinesElsewhere(t *testing.T) {
	var b bytes.Buffer
	s := newScreen(&b)
	s.status("waiting")
	s.status("waiting")
	fmt.Fprintln(s, "a log line")
	s.status("one")
	s.clear()
	if want := "waiting\na log line\none\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestProgressLine(t *testing.T) {
	src := pipeline.SourceReport{Capacity: 64 << 20, Used: 16 << 20, Pads: map[string]pipeline.PadReport{
		"video": {DroppedFull: 2, Dropped: 1, Lost: 1}, "audio": {DroppedFull: 1},
	}}
	st := run.Status{
		State: run.Running.String(), Media: 3723*time.Second + 900*time.Millisecond, FPS: 29.97, Speed: 1,
		Sources: map[string]pipeline.SourceReport{"bot": src}, Outputs: []run.OutputStatus{{Bytes: 1 << 20}, {Bytes: 1 << 19}},
	}
	want := "01:02:03  30.0 fps  1.00x  ring 25% of 64.0MiB  dropped 5  written 1.5MiB"
	if got := progressLine(st); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	st.State, st.Sources["cam"] = run.Draining.String(), pipeline.SourceReport{Capacity: 1 << 20}
	want = "01:02:03  draining  30.0 fps  1.00x  ring bot 25% of 64.0MiB  ring cam 0% of 1.0MiB  dropped 5  written 1.5MiB"
	if got := progressLine(st); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := progressLine(run.Status{State: run.Opening.String()}); got != "waiting for a producer" {
		t.Errorf("got %s", got)
	}
}

func TestSummary(t *testing.T) {
	skew := -1.25
	m := &run.Manifest{
		Complete: false, Elapsed: 12.34, Reason: "signal",
		Sources: map[string]pipeline.SourceReport{"bot": {Pads: map[string]pipeline.PadReport{
			"video": {Frames: 300, Bytes: 3 << 20, Copied: 4, DroppedFull: 5, Dropped: 1, Late: 2, Lost: 3, Blocked: 1500 * time.Millisecond},
		}}},
		Outputs: []run.OutputResult{
			{Stage: "local", Path: "a.mp4", Bytes: 2 << 20, Duration: 10, Complete: true, Playable: true, Checked: true, SkewMS: &skew,
				Streams: []run.StreamResult{{Kind: "h264 video", Frames: 300}, {Kind: "opus audio", Frames: 500}}},
			{Stage: "live", Checked: true},
		},
	}
	var b bytes.Buffer
	summary(&b, m)
	golden(t, "summary", b.String())
}
