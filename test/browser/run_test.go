package browser

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mpipe starts the browser itself and records a tab that knows nothing of it, to
// its end.
func TestBrowserRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "tab.mp4")
	r := &recording{t: t, out: out, manifest: filepath.Join(t.TempDir(), "m.json"), done: make(chan struct{})}
	r.cmd = exec.Command(mpipe, "browser", "run", "../../browser/example/tab.html", "--size", "640x360", "--graph", "../../graphs/browser.toml", "--param", "out="+out, "--manifest", r.manifest)
	r.cmd.Stderr = &r.err
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.cmd.Wait(); close(r.done) }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		if t.Failed() {
			t.Log(r.err.String())
		}
	})
	m := r.finish(time.Minute)
	got := measure(t, out)
	t.Logf("%+v", got)
	// A tab is captured when it is composed, so a number may be left out or seen twice;
	// but none is torn or goes back.
	if got.Frames < 45 || got.Unreadable > got.Frames/10 || got.OutOfOrder != 0 || got.Last < 200 {
		t.Errorf("the file holds %+v", got)
	}
	// The sound has come through the mixer, which is some 40 ms behind the picture.
	if got.Pairs == 0 || got.SkewMS > 150 || got.SkewMS < -150 {
		t.Errorf("sound is %v ms from the picture in %d places", got.SkewMS, got.Pairs)
	}
	if m.Reason != "end of stream" || m.Sources["tab"].Pads["audio"].Frames == 0 {
		t.Errorf("the manifest is %+v", m)
	}
	if left, _ := filepath.Glob(fmt.Sprintf("/dev/shm/mpipe-chromium-%d-*", r.cmd.Process.Pid)); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

// What cannot be is said before, or instead of, a recording.
func TestBrowserRunRefuses(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		name, want string
		path       string // PATH
		args       []string
		code       int
	}{
		{"no graph", "--graph is missing", "", []string{"run", "https://example.org/"}, 2},
		{"no chromium", "install the Debian package chromium (apt-get install chromium)", empty, []string{"run", "https://example.org/", "--graph", "../../graphs/browser.toml", "--param", "out=a.mp4"}, 1},
		{"no file", "is neither a URL", "", []string{"run", "none.html", "--graph", "../../graphs/browser.toml"}, 2},
		{"no page", "could not be loaded: net::ERR_CONNECTION_REFUSED", "", []string{"run", "http://" + freePort(t) + "/", "--graph", "../../graphs/browser.toml", "--param", "out=" + filepath.Join(empty, "a.mp4")}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(mpipe, append([]string{"browser"}, c.args...)...)
			if c.path != "" {
				cmd.Env = append(os.Environ(), "PATH="+c.path)
			}
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s", cmd.ProcessState.ExitCode(), c.code, c.want, out)
			}
		})
	}
}
