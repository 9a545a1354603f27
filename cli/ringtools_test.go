package cli

import (
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/pipeline/run"
	"github.com/mpipe/mpipe/ring/capture"
	"github.com/mpipe/mpipe/ring/doctor"
)

// eachPlace runs a test with a ring behind files, and one behind a socket; at the
// same time, as most of it is waiting.
func eachPlace(t *testing.T, test func(t *testing.T, mode string, p place)) {
	for _, mode := range []string{"named", "unix"} {
		if mode == "unix" && testing.Short() {
			continue
		}
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			if mode == "unix" {
				p.ring = "unix:" + p.ring
			}
			test(t, mode, p)
		})
	}
}

// tool runs a verb of mpipe ring to its end.
func tool(t *testing.T, code int, args ...string) *process {
	t.Helper()
	return start(t, nil, append([]string{"ring"}, args...)...).exit(code)
}

// counterOf reads the frame number out of a PNG.
func counterOf(t *testing.T, path string) uint32 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	b := img.Bounds()
	luma := make([]byte, b.Dx()*b.Dy())
	for i := range luma {
		_, g, _, _ := img.At(i%b.Dx(), i/b.Dx()).RGBA()
		luma[i] = byte(g >> 8)
	}
	n, ok := pattern.Read(luma, b.Dx(), b.Dx(), b.Dy())
	if !ok {
		t.Fatalf("%s does not show the test pattern", path)
	}
	return n
}

// TestTap: a picture and sound out of a ring that is being recorded, which is
// whole all the same.
func TestTap(t *testing.T) {
	eachPlace(t, func(t *testing.T, mode string, p place) {
		rec := p.record(t)
		f := p.feed(t, nil, "--pattern", "320x180@30", "--duration", "6s")
		f.until("00:00:01")
		dir := t.TempDir()
		last := uint32(0)
		for i := range 3 {
			path := filepath.Join(dir, fmt.Sprintf("%d.png", i))
			tool(t, 0, "tap", p.ring, "--stream", "video", "--out", path)
			n := counterOf(t, path)
			if n <= last || n > 6*30 {
				t.Errorf("picture %d after %d", n, last)
			}
			last = n
		}
		clip := filepath.Join(dir, "clip.wav")
		var r tapReport
		got := tool(t, 0, "tap", p.ring, "--stream", "audio", "--duration", "1500ms", "--out", clip, "--json")
		if err := json.Unmarshal([]byte(got.stdout.String()), &r); err != nil || r.Frames != 72000 || r.Silenced != 0 || r.Missed != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if m := start(t, nil, "measure", clip).exit(0).stdout.String(); !strings.Contains(m, "72000 samples at 48000 Hz") {
			t.Errorf("the clip holds:\n%s", m)
		}
		tool(t, 1, "tap", p.ring, "--out", clip[:len(clip)-3]+"png", "--stream", "nothing")
		tool(t, 2, "tap", p.ring, "--out", clip, "--stream", "video")
		tool(t, 1, "tap", p.ring, "--out", clip, "--stream", "audio", "--duration", "100ms") // it is there
		tool(t, 0, "tap", p.ring, "--out", clip, "--stream", "audio", "--duration", "100ms", "--overwrite")
		f.exit(0)
		rec.exit(0)
		p.checkRecording(t, 6*30)
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestRingStatWatches(t *testing.T) {
	p := newPlace(t)
	rec := p.record(t)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	f.until("00:00:01")
	watch := start(t, nil, "ring", "stat", p.ring, "--watch", "--json", "--every", "200ms")
	for end := time.Now().Add(30 * time.Second); strings.Count(watch.stdout.String(), "\n") < 5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it shows nothing")
		}
	}
	f.cmd.Process.Signal(syscall.SIGTERM)
	f.exit(0)
	rec.exit(0)
	watch.exit(0) // with the ring
	fast := false
	for _, line := range strings.Split(strings.TrimSpace(watch.stdout.String()), "\n") {
		var w watched
		if err := json.Unmarshal([]byte(line), &w); err != nil || w.Addr != p.ring || len(w.Facts) != len(w.Attachments) {
			t.Fatalf("%v: %s", err, line)
		}
		for _, r := range w.Rates {
			fast = fast || r.Stream == "video" && r.Frames > 1
		}
	}
	if !fast {
		t.Errorf("no rates in:\n%s", watch.stdout)
	}
}

// captured makes a capture of a feed with the ring's only consumer.
func (p place) captured(t *testing.T, feedArgs ...string) (path string, feed *process) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.mring")
	rec := start(t, nil, "ring", "record", p.ring, "-o", path)
	feed = p.feed(t, nil, feedArgs...)
	feed.exit(0)
	rec.exit(0)
	return path, feed
}

func listed1(t *testing.T, path string) (x capture.Index) {
	t.Helper()
	out := tool(t, 0, "replay", path, "--list", "--json")
	if err := json.Unmarshal([]byte(out.stdout.String()), &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// replayed plays a capture into a recording, which it gives.
func replayed(t *testing.T, p place, path string, args ...string) *process {
	t.Helper()
	rec := p.record(t, "--json")
	start(t, nil, append([]string{"ring", "replay", path, "--ring", p.ring}, args...)...).exit(0)
	return rec.exit(0)
}

// TestReplay: a recording of a replay is the recording of what was captured.
func TestReplay(t *testing.T) {
	eachPlace(t, func(t *testing.T, mode string, p place) {
		path, _ := p.captured(t, "--pattern", "320x180@30", "--duration", "2s")
		if x := listed1(t, path); x.Cut || x.Frames != 60+200 || x.Attachments[0].Detach.State != "ended" {
			t.Errorf("%+v", x)
		}
		for i, args := range [][]string{{"--pace", "reader"}, {"--speed", "1.5"}} {
			q := p
			q.out = fmt.Sprintf("%s.%d.mp4", p.out, i)
			began := time.Now()
			replayed(t, q, path, args...)
			if took := time.Since(began); i == 1 && took < 1200*time.Millisecond {
				t.Errorf("two seconds took %v at one and a half times their speed", took)
			}
			q.checkRecording(t, 60)
		}
	})
}

// TestRecordingIsKilled: the capture is good up to the last whole frame.
func TestRecordingIsKilled(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(t.TempDir(), "x.mring")
	rec := start(t, nil, "ring", "record", p.ring, "-o", path)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	rec.until("00:00:02")
	rec.cmd.Process.Kill()
	rec.cmd.Wait()
	f.exit(1)
	x := listed1(t, path)
	if !x.Cut || x.Attachments[0].Detach != nil || x.Attachments[0].Totals[0].Frames < 50 {
		t.Errorf("%+v", x)
	}
	tool(t, 0, "doctor", p.ring, "--remove")
	replayed(t, p, path, "--pace", "reader")
	p.checkRecording(t, x.Attachments[0].Totals[0].Frames)
}

// TestTapRecords: beside a recording, which does not notice, and the capture holds
// whole frames without a hole, as the tap missed none.
func TestTapRecords(t *testing.T) {
	eachPlace(t, func(t *testing.T, mode string, p place) {
		rec := p.record(t)
		path := filepath.Join(t.TempDir(), "x.mring")
		f := p.feed(t, nil, "--pattern", "320x180@30", "--duration", "5s")
		f.until("00:00:01")
		got := tool(t, 0, "record", p.ring, "--tap", "--duration", "1500ms", "-o", path, "--json")
		_, result := jsonLines[capture.Report, capture.Report](t, got, "status", "result")
		if result.Missed != 0 || result.Reason != capture.ReasonDuration {
			t.Errorf("%+v", result)
		}
		f.exit(0)
		rec.exit(0)
		p.checkRecording(t, 5*30)
		if x := listed1(t, path); !x.Header.Tapped || x.Attachments[0].Detach.State != capture.Stopped || x.Frames != result.Frames {
			t.Errorf("%+v", x)
		}
		q := newPlace(t)
		replayed(t, q, path, "--pace", "reader")
		out := start(t, nil, "measure", q.out).exit(0).stdout.String()
		if !strings.Contains(out, "0 missing, 0 repeated, 0 out of order, 0 unreadable") {
			t.Errorf("the replay holds:\n%s", out)
		}
	})
}

// TestReplayDies: a producer's death is in the capture, and is played.
func TestReplayDies(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(t.TempDir(), "x.mring")
	rec := start(t, nil, "ring", "record", p.ring, "-o", path)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	f.until("00:00:01")
	f.cmd.Process.Kill()
	f.cmd.Wait()
	rec.exit(0)
	x := listed1(t, path)
	if x.Cut || x.Attachments[0].Detach.State != "dead" {
		t.Fatalf("%+v", x.Attachments[0])
	}
	again := p.record(t, "--json")
	play := start(t, nil, "ring", "replay", path, "--ring", p.ring, "--die", "--pace", "reader").exit(-1)
	if s := play.cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", s)
	}
	again.cmd.Wait()
	_, m := jsonLines[run.Status, run.Manifest](t, again, "status", "manifest")
	if m.Reason != "producer died" {
		t.Errorf("the recording ended by %q", m.Reason)
	}
	p.checkRecording(t, x.Attachments[0].Totals[0].Frames)
}

// examined is what the doctor says of one ring.
func examined(t *testing.T, addr string, want int) map[string]doctor.Finding {
	t.Helper()
	p := tool(t, want, "doctor", addr, "--json", "--for", "500ms")
	var out doctorResult
	if err := json.Unmarshal([]byte(p.stdout.String()), &out); err != nil || len(out.Rings) != 1 {
		t.Fatalf("%v: %s", err, p.stdout)
	}
	found := map[string]doctor.Finding{}
	for _, f := range out.Rings[0].Findings {
		found[f.Code] = f
	}
	return found
}

func expect(t *testing.T, when string, found map[string]doctor.Finding, codes ...string) {
	t.Helper()
	problems := 0
	for _, f := range found {
		if f.Level == doctor.Problem {
			problems++
		}
	}
	for _, code := range codes {
		if found[code].Level != doctor.Problem {
			t.Errorf("%s: no problem %q in %+v", when, code, found)
		}
	}
	if problems != len(codes) {
		t.Errorf("%s: %d problems, want %v: %+v", when, problems, codes, found)
	}
}

// TestDoctor: each way in which a recording stands still has its name.
func TestDoctor(t *testing.T) {
	eachPlace(t, func(t *testing.T, mode string, p place) {
		expect(t, "nobody is there", examined(t, p.ring, 1), "nobody")
		rec := p.record(t, "--set", "app.capacity=4MiB", "--set", "app.audio_capacity=64KiB")
		rec.until("waiting for a producer")
		if found := examined(t, p.ring, 0); found["no-producer"].Text == "" {
			t.Errorf("no producer is attached: %+v", found)
		}
		f := p.feed(t, nil, "--pattern", "320x180@30")
		f.until("00:00:01")
		found := examined(t, p.ring, 0)
		expect(t, "all is well", found)
		if found["stream"].Level != doctor.OK || found["producer"].Level != doctor.OK {
			t.Errorf("%+v", found)
		}
		f.cmd.Process.Signal(syscall.SIGSTOP)
		expect(t, "the producer is stopped", examined(t, p.ring, 1), "producer-stopped")
		f.cmd.Process.Signal(syscall.SIGCONT)
		rec.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(3 * time.Second) // the ring holds 1.6 s of pictures
		if mode == "named" {
			expect(t, "the consumer is stopped", examined(t, p.ring, 1), "consumer-stopped", "full")
		} else {
			expect(t, "the consumer is stopped", examined(t, p.ring, 1), "consumer-stopped")
		}
		rec.cmd.Process.Kill()
		rec.cmd.Wait()
		f.exit(1)
		checkStale(t, p, mode)
	})
}

// checkStale has the doctor find and remove what a killed consumer left.
func checkStale(t *testing.T, p place, mode string) {
	t.Helper()
	path := strings.TrimPrefix(p.ring, "unix:")
	want, code := []string{path, path + ".consumer"}, "consumer-dead"
	if mode == "unix" {
		want, code = []string{path}, "stale-names"
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != len(want) {
		t.Fatalf("it left %v", left)
	}
	expect(t, "the consumer was killed", examined(t, p.ring, 1), code)
	// While another consumer has the name, nothing is removed.
	again := p.record(t, "--set", "local.overwrite=true")
	again.until("waiting for a producer")
	tool(t, 0, "doctor", p.ring, "--remove")
	if left, _ := filepath.Glob(path + "*"); len(left) != len(want) {
		t.Fatalf("a name in use was removed; there is %v", left)
	}
	again.cmd.Process.Kill()
	again.cmd.Wait()
	out := tool(t, 0, "doctor", p.ring, "--remove").stdout.String()
	if left, _ := filepath.Glob(path + "*"); len(left) != 0 || strings.Count(out, ": removed;") != len(want) {
		t.Errorf("left are %v; it said:\n%s", left, out)
	}
}
