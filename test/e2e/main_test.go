package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/run"
)

var mpipe string // the built program

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mpipe-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	mpipe = filepath.Join(dir, "mpipe")
	if out, err := exec.Command("go", "build", "-o", mpipe, "../../cmd/mpipe").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building mpipe: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if left, _ := filepath.Glob(fmt.Sprintf("/dev/shm/mpipe-e2e-%d-*", os.Getpid())); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left in /dev/shm:", left)
		return 1
	}
	return code
}

var ringNumber atomic.Int32

// ringName is a name in /dev/shm that no other test uses.
func ringName() string {
	return fmt.Sprintf("mpipe-e2e-%d-%d", os.Getpid(), ringNumber.Add(1))
}

// proc is a running mpipe.
type proc struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	err  lockedBuffer
	done chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs mpipe; it is killed at the end of the test if it still runs.
func start(t *testing.T, args ...string) *proc {
	t.Helper()
	return startWith(t, nil, args...)
}

// startWith is start with more in the environment.
func startWith(t *testing.T, env []string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, cmd: exec.Command(mpipe, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("mpipe %s\n%s", strings.Join(args, " "), tail(p.err.String()))
		}
	})
	return p
}

func tail(s string) string {
	if len(s) > 4000 {
		return "…" + s[len(s)-4000:]
	}
	return s
}

// wait gives the exit code.
func (p *proc) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.cmd.Process.Signal(syscall.SIGQUIT) // goroutines into the log
		p.t.Fatalf("%s did not end within %v", p.cmd.Args[1], limit)
		return -1
	}
}

func (p *proc) signal(s os.Signal) { p.cmd.Process.Signal(s) }

// says waits until standard error holds the text.
func (p *proc) says(text string) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(p.err.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s did not say %q", p.cmd.Args[1], text)
		}
	}
}

// graph writes a graph file and gives its path.
func graph(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "graph.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const record = `version = 1
[params]
ring = { required = true }
out = { required = true }
[sources.app]
type = "shmsrc"
ring = "${ring}"
[stages.v]
type = "x264"
inputs = ["app.video"]
preset = "ultrafast"
[stages.a]
type = "opus"
inputs = ["app.audio"]
[sinks.file]
type = "file"
inputs = ["v", "a"]
path = "${out}"
`

// recording is a run of a graph with a manifest.
type recording struct {
	*proc
	ring, out, manifest string
}

// recordTo starts a run; name is the output file's.
func recordTo(t *testing.T, graphFile, ring, name string, args ...string) *recording {
	t.Helper()
	dir := t.TempDir()
	r := &recording{ring: ring, out: filepath.Join(dir, name), manifest: filepath.Join(dir, "manifest.json")}
	all := append([]string{"run", graphFile, "--param", "ring=" + ring, "--param", "out=" + r.out, "--manifest", r.manifest, "--progress", "200ms"}, args...)
	r.proc = start(t, all...)
	return r
}

// finish waits for a complete recording.
func (r *recording) finish(limit time.Duration) run.Manifest {
	r.t.Helper()
	code := r.wait(limit)
	m := r.account()
	if code != 0 || !m.Complete {
		r.t.Fatalf("exit code %d, manifest %+v", code, m)
	}
	return m
}

func (r *recording) account() (m run.Manifest) {
	r.t.Helper()
	b, err := os.ReadFile(r.manifest)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		r.t.Fatalf("no manifest: %v", err)
	}
	return m
}

// report is what `mpipe measure` reads from a recording of the test pattern.
type report struct {
	Frames, Unreadable, First, Last, Missing, Repeated, Pairs int
	OutOfOrder                                                int `json:"out_of_order"`
	Samples                                                   int
	VideoEnd                                                  float64 `json:"video_end_s"`
	AudioEnd                                                  float64 `json:"audio_end_s"`
	SkewMost                                                  float64 `json:"av_skew_most_ms"`
	Width, Height                                             int
}

func measure(t *testing.T, file string) (r report) {
	t.Helper()
	out, err := exec.Command(mpipe, "measure", file, "--json").Output()
	if json.Unmarshal(out, &r) != nil {
		t.Fatalf("mpipe measure %s: %v %s", file, err, out)
	}
	return r
}

// whole fails unless a recording holds the frames 0 to n-1, once each, in order,
// with sound within a frame of the picture.
func whole(t *testing.T, file string, n int) {
	t.Helper()
	r := measure(t, file)
	if r.Frames != n || r.First != 0 || r.Last != n-1 || r.Missing+r.Repeated+r.OutOfOrder+r.Unreadable != 0 {
		t.Errorf("recording holds %+v, want the frames 0 to %d once each", r, n-1)
	}
	if r.Pairs == 0 || r.SkewMost > 33.4 || r.SkewMost < -33.4 {
		t.Errorf("sound is up to %v ms from the picture in %d places, want within a frame", r.SkewMost, r.Pairs)
	}
}
