package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed"
	"github.com/mpipe/mpipe/pipeline/feed/measure"
	"github.com/mpipe/mpipe/pipeline/run"
)

// binary is cmd/mpipe, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mpipe-cli")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "mpipe")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/mpipe").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building cmd/mpipe: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// process is an mpipe of its own.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *syncBuffer
}

func start(t *testing.T, stdin []byte, args ...string) *process {
	t.Helper()
	if stdin == nil {
		return startWith(t, nil, args...)
	}
	return startWith(t, bytes.NewReader(stdin), args...)
}

func startWith(t *testing.T, stdin io.Reader, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), stdout: &syncBuffer{}, stderr: &syncBuffer{}}
	p.cmd.Stdin = stdin
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
	})
	return p
}

// exit waits for the process and checks its exit code.
func (p *process) exit(want int) *process {
	p.t.Helper()
	kill := time.AfterFunc(60*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Fatalf("mpipe %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s",
			strings.Join(p.cmd.Args[1:], " "), got, want, p.stdout, p.stderr)
	}
	return p
}

// until waits for a text on standard error.
func (p *process) until(text string) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(p.stderr.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("mpipe %s never said %q; stderr:\n%s", strings.Join(p.cmd.Args[1:], " "), text, p.stderr)
		}
	}
}

// place is a ring and an output of a test.
type place struct{ ring, out string }

func newPlace(t *testing.T) place {
	dir := t.TempDir()
	return place{filepath.Join(dir, "ring"), filepath.Join(dir, "out.mp4")}
}

func (p place) record(t *testing.T, more ...string) *process {
	t.Helper()
	args := []string{"run", "../graphs/record.toml", "--param", "ring=" + p.ring, "--param", "out=" + p.out}
	return start(t, nil, append(args, more...)...)
}

func (p place) feed(t *testing.T, stdin []byte, more ...string) *process {
	t.Helper()
	return start(t, stdin, append([]string{"feed", "--ring", p.ring}, more...)...)
}

// checkRecording decodes what was recorded.
func (p place) checkRecording(t *testing.T, frames int64) {
	t.Helper()
	out := start(t, nil, "measure", p.out, "--json").exit(0)
	var r measure.Report
	if err := json.Unmarshal([]byte(out.stdout.String()), &r); err != nil {
		t.Fatal(err)
	}
	if frames > 0 && r.Frames != frames || r.First != 0 {
		t.Errorf("%d frames from %d, want %d from 0", r.Frames, r.First, frames)
	}
	if r.SkewMost == nil || math.Abs(*r.SkewMost) > 34 {
		t.Errorf("A/V skew: %+v", r)
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	for line, want := range map[string]int{
		"version":        0,
		"version --json": 0,
		"help run":       0,
		"check ../graphs/record.toml --param ring=r --param out=" + dir + "/a.mp4": 0,
		"feed --ring " + dir + "/none --attach-timeout 200ms":                      1,
		"ring stat " + dir + "/none":                                               1,
		"":                                                                         2,
		"frobnicate":                                                               2,
		"run":                                                                      2,
		"run ../graphs/record.toml --nonsense":                                     2,
		"run ../graphs/record.toml":                                                78,
		"run ../graphs/record.toml --param ring=r --param out=" + dir + "/a.xyz": 78,
	} {
		start(t, nil, strings.Fields(line)...).exit(want)
	}
}

func TestNoProducerComes(t *testing.T) {
	p := newPlace(t)
	rec := p.record(t, "--set", "app.attach_timeout=300ms").exit(run.ExitFailed)
	if !strings.Contains(rec.stderr.String(), "mpipe feed --ring") {
		t.Errorf("the error does not say how to start a producer:\n%s", rec.stderr)
	}
}

func TestRecordPattern(t *testing.T) {
	p := newPlace(t)
	manifest := filepath.Join(filepath.Dir(p.out), "manifest.json")
	rec := p.record(t, "--json", "--progress", "200ms", "--manifest", manifest)
	fed := p.feed(t, nil, "--pattern", "320x180@30", "--duration", "3s", "--json", "--progress", "500ms").exit(0)
	rec.exit(0)
	p.checkRecording(t, 90)

	states, last := jsonLines[run.Status, run.Manifest](t, rec, "status", "manifest")
	if len(states) < 3 || !last.Complete || last.Reason != "end of stream" {
		t.Errorf("%d status lines, manifest %+v", len(states), last)
	}
	var stored run.Manifest
	if b, err := os.ReadFile(manifest); err != nil {
		t.Error(err)
	} else if err := json.Unmarshal(b, &stored); err != nil || len(stored.Outputs) != 1 || stored.Outputs[0].Streams[0].Frames != 90 {
		t.Errorf("stored manifest: %v, %s", err, b)
	}
	reports, result := jsonLines[feed.Report, feed.Report](t, fed, "status", "result")
	if len(reports) < 2 || result.Reason != feed.ReasonTime || result.Streams[0].Frames != 90 || result.Streams[0].Dropped != 0 || result.Streams[0].Capacity == 0 {
		t.Errorf("%d status lines, result %+v", len(reports), result)
	}
}

// jsonLines reads standard output: lines of { each: … } and one { end: … }.
func jsonLines[Each, End any](t *testing.T, p *process, each, end string) (list []Each, last End) {
	t.Helper()
	ends := 0
	for _, line := range strings.Split(strings.TrimSpace(p.stdout.String()), "\n") {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &m); err != nil || len(m) != 1 {
			t.Fatalf("%v: %q", err, line)
		}
		if raw, ok := m[end]; ok {
			ends++
			if err := json.Unmarshal(raw, &last); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var e Each
		if err := json.Unmarshal(m[each], &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		list = append(list, e)
	}
	if ends != 1 {
		t.Fatalf("%d lines of %q:\n%s", ends, end, p.stdout)
	}
	return list, last
}

func TestRecordRawFromStdin(t *testing.T) {
	p := newPlace(t)
	rec := p.record(t)
	sound := filepath.Join(t.TempDir(), "sound")
	if err := os.WriteFile(sound, make([]byte, 48000*4), 0o600); err != nil {
		t.Fatal(err)
	}
	p.feed(t, make([]byte, 30*64*48*3/2), "--video", "64x48@30", "--audio", "48000x2", "--audio-in", sound, "--pace", "reader").exit(0)
	rec.exit(0)
	if !strings.Contains(rec.stdout.String(), "h264 video 30") {
		t.Errorf("not 30 frames:\n%s", rec.stdout)
	}
}

func TestStdinEndsWithinAFrame(t *testing.T) {
	p := newPlace(t)
	rec := p.record(t)
	f := p.feed(t, make([]byte, 64*48*3/2*2+1000), "--video", "64x48@30", "--audio", "48000x2", "--audio-in", "/dev/null").exit(1)
	if want := "standard input ended within frame 3: 1000 of 4608 bytes"; !strings.Contains(f.stderr.String(), want) {
		t.Errorf("want %q:\n%s", want, f.stderr)
	}
	rec.cmd.Process.Signal(syscall.SIGTERM)
	rec.cmd.Wait()
}

func TestTermDrains(t *testing.T) {
	p := newPlace(t)
	rec := p.record(t)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	rec.until("00:00:02")
	rec.cmd.Process.Signal(syscall.SIGTERM)
	rec.exit(0)
	if !strings.Contains(rec.stderr.String(), "draining, press Ctrl-C again to stop now") {
		t.Errorf("it does not say that it drains:\n%s", rec.stderr)
	}
	f.exit(0)
	if !strings.Contains(f.stdout.String(), feed.ReasonStopped) {
		t.Errorf("the feed does not say why it ended:\n%s", f.stdout)
	}
	p.checkRecording(t, 0)
}

func TestSecondSignalStopsNow(t *testing.T) {
	p := newPlace(t)
	// The slowest preset has seconds of work left when the drain begins.
	rec := p.record(t, "--set", "h264.preset=placebo", "--drain-timeout", "60s")
	p.feed(t, nil, "--pattern", "1920x1080@30", "--pace", "reader", "--progress", "0s")
	rec.until("written")
	time.Sleep(500 * time.Millisecond)
	rec.cmd.Process.Signal(syscall.SIGINT)
	rec.until("draining")
	time.Sleep(time.Second) // well beyond what counts as the same signal
	began := time.Now()
	rec.cmd.Process.Signal(syscall.SIGINT)
	rec.exit(run.ExitKilled)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("took %v to stop", took)
	}
}

func TestFeedSignals(t *testing.T) {
	p := newPlace(t)
	rec := p.record(t)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	f.until("00:00:01")
	f.cmd.Process.Signal(syscall.SIGINT)
	f.exit(0)
	rec.exit(0)
	p.checkRecording(t, 0)
}

func TestRingStat(t *testing.T) {
	p := newPlace(t)
	rec := p.record(t)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	f.until("00:00:01")
	stat := start(t, nil, "ring", "stat", p.ring).exit(0)
	for _, want := range []string{"1 producer attached", "mpipe feed (pid", "video", "64.0MiB"} {
		if !strings.Contains(stat.stdout.String(), want) {
			t.Errorf("no %q in:\n%s", want, stat.stdout)
		}
	}
	f.cmd.Process.Signal(syscall.SIGTERM)
	f.exit(0)
	rec.exit(0)
}

func TestBashCompletion(t *testing.T) {
	for words, want := range map[string]string{
		"mpipe ru":               "run",
		"mpipe feed --pac":       "--pace",
		"mpipe graph --format m": "mermaid",
		"mpipe inspect opu":      "opus",
		"mpipe help meas":        "measure",
	} {
		script := fmt.Sprintf(`source <(mpipe completion bash); COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _mpipe; echo "${COMPREPLY[*]}"`, words)
		cmd := exec.Command("bash", "-c", script)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", words, got, err, want)
		}
	}
}
