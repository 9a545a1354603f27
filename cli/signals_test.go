package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed"
	"github.com/mpipe/mpipe/pipeline/run"
)

// TestBrokenPipe: the reader of all output, such as a tee that Ctrl-C reaches
// too, ends before the recording does.
func TestBrokenPipe(t *testing.T) {
	for _, verb := range []string{"run", "feed"} {
		t.Run(verb, func(t *testing.T) {
			p := newPlace(t)
			mine := []string{"run", "../graphs/record.toml", "--param", "ring=" + p.ring, "--param", "out=" + p.out, "--progress", "100ms"}
			others := []string{"feed", "--ring", p.ring, "--pattern", "320x180@30", "--progress", "100ms"}
			if verb == "feed" {
				mine, others = others, mine
			}
			cmd := exec.Command(binary, mine...)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout, cmd.Stderr = w, w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			t.Cleanup(func() { cmd.Process.Kill() })
			piped := &process{t: t, cmd: cmd, stdout: &syncBuffer{}, stderr: &syncBuffer{}}
			other := start(t, nil, others...)
			other.until("00:00:01")
			r.Close()
			time.Sleep(300 * time.Millisecond) // progress meets the broken pipe
			cmd.Process.Signal(syscall.SIGINT)
			piped.exit(0)
			other.exit(0)
			p.checkRecording(t, 0)
			if left, _ := filepath.Glob(p.ring + "*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// signalled records, sends the signals with a pause between them, and gives the
// recorder.
func signalled(t *testing.T, p place, pause time.Duration, signals ...syscall.Signal) *process {
	t.Helper()
	rec := p.record(t)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	rec.until("00:00:01")
	for i, s := range signals {
		if i > 0 {
			time.Sleep(pause)
		}
		rec.cmd.Process.Signal(s)
	}
	rec.exit(0)
	f.exit(0)
	return rec
}

func TestHangupDrains(t *testing.T) {
	p := newPlace(t)
	signalled(t, p, 0, syscall.SIGHUP)
	p.checkRecording(t, 0)
}

func TestTwoSignalsAtOnceAreOne(t *testing.T) {
	p := newPlace(t)
	rec := signalled(t, p, 50*time.Millisecond, syscall.SIGTERM, syscall.SIGTERM)
	if strings.Contains(rec.stderr.String(), "stopping now") {
		t.Errorf("the second counted:\n%s", rec.stderr)
	}
	p.checkRecording(t, 0)
}

func TestNohupIgnoresHangup(t *testing.T) {
	p := newPlace(t)
	p.record(t)
	f := &process{t: t, stdout: &syncBuffer{}, stderr: &syncBuffer{}}
	f.cmd = exec.Command("nohup", binary, "feed", "--ring", p.ring, "--pattern", "320x180@30", "--duration", "3s", "--json")
	f.cmd.Stdout, f.cmd.Stderr = f.stdout, f.stderr
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); !strings.Contains(f.stdout.String(), "status"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never fed")
		}
	}
	f.cmd.Process.Signal(syscall.SIGHUP)
	f.exit(0)
	if _, r := jsonLines[feed.Report, feed.Report](t, f, "status", "result"); r.Reason != feed.ReasonTime {
		t.Errorf("ended by %q", r.Reason)
	}
}

func TestFeedStoppedBeforeItAttached(t *testing.T) {
	p := newPlace(t)
	f := p.feed(t, nil)
	f.until("waiting for a consumer of ring " + p.ring)
	f.cmd.Process.Signal(syscall.SIGINT)
	f.exit(run.ExitFailed)
	if !strings.Contains(f.stderr.String(), "stopped before a consumer took the ring") || f.stdout.String() != "" {
		t.Errorf("stdout %q, stderr:\n%s", f.stdout, f.stderr)
	}
}

func TestFeedIntoATakenRing(t *testing.T) {
	p := newPlace(t)
	p.record(t)
	f := p.feed(t, nil, "--pattern", "320x180@30")
	f.until("00:00:01")
	second := p.feed(t, nil, "--attach-timeout", "300ms").exit(1)
	if s := second.stderr.String(); !strings.Contains(s, "producer already") || strings.Contains(s, "start one") {
		t.Errorf("it does not say that the ring has a producer:\n%s", s)
	}
}

func TestEmptyInput(t *testing.T) {
	for graph, form := range map[string]string{"pictures": "--video=64x48@30", "sound": "--audio=48000x2"} {
		p := newPlace(t)
		rec := start(t, nil, "run", "../graphs/"+graph+".toml", "--param", "ring="+p.ring, "--param", "out="+filepath.Join(t.TempDir(), "out.mka"))
		f := p.feed(t, []byte{}, form).exit(1)
		if !strings.Contains(f.stderr.String(), "no frame came on standard input") {
			t.Errorf("%s: %s", form, f.stderr)
		}
		rec.cmd.Process.Signal(syscall.SIGTERM)
		rec.cmd.Wait()
	}
}

// TestNothingStarted: an output that cannot be written to is an error like one
// of the graph.
func TestNothingStarted(t *testing.T) {
	p := newPlace(t)
	if err := os.WriteFile(p.out, []byte("here before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"--json"}} {
		rec := p.record(t, more...).exit(run.ExitConfig)
		lines := strings.Split(strings.TrimSpace(rec.stderr.String()), "\n")
		if len(lines) != 2 || lines[1] != "1 error; nothing was started" {
			t.Errorf("%v: stderr:\n%s", more, rec.stderr)
		}
		if more == nil {
			if rec.stdout.String() != "" {
				t.Errorf("stdout:\n%s", rec.stdout)
			}
			continue
		}
		checkErrorLine(t, rec.stdout.String(), 1, "local")
	}
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"run", "testdata/wrong.toml", "--json"}, nil, &stdout, &stderr); code != run.ExitConfig {
		t.Errorf("exit code %d", code)
	}
	checkErrorLine(t, stdout.String(), 4, "")
}

// checkErrorLine wants one JSON line with so many errors, the first of the stage.
func checkErrorLine(t *testing.T, text string, count int, stage string) {
	t.Helper()
	var got struct{ Errors []errorLine }
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Errors) != count {
		t.Fatalf("%v: %s", err, text)
	}
	for _, e := range got.Errors {
		if e.Pos == "" || e.Msg == "" {
			t.Errorf("%+v", e)
		}
	}
	if stage != "" && got.Errors[0].Stage != stage {
		t.Errorf("%+v", got.Errors[0])
	}
}

func TestMeasureSoundAlone(t *testing.T) {
	p := newPlace(t)
	p.out = strings.TrimSuffix(p.out, "mp4") + "ogg"
	rec := start(t, nil, "run", "../graphs/sound.toml", "--param", "ring="+p.ring, "--param", "out="+p.out)
	p.feed(t, nil, "--no-video", "--duration", "3s", "--pace", "reader").exit(0)
	rec.exit(0)
	m := start(t, nil, "measure", p.out).exit(0)
	if s := m.stdout.String(); !strings.HasPrefix(s, "pictures  none\n") || !strings.Contains(s, "3 clicks") || strings.Contains(s, "skew") {
		t.Errorf("measured:\n%s", s)
	}
}

func TestNoMedia(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text.mkv")
	if err := os.WriteFile(path, []byte("this is no film"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"measure", path}, {"feed", "--ring", "none", path}} {
		p := start(t, nil, line...).exit(1)
		if s := p.stderr.String(); !strings.Contains(s, path+": ") || !strings.Contains(s, "gst-play-1.0") {
			t.Errorf("%v: %s", line, s)
		}
	}
}
