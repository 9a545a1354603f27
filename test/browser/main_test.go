package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	page "github.com/mpipe/mpipe/browser"
	"github.com/mpipe/mpipe/browser/chromium"
	"github.com/mpipe/mpipe/pipeline/run"
)

var (
	mpipe string // the built program
	site  string // http://localhost:PORT with the test page
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mpipe-browser-")
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
	mux := http.NewServeMux()
	mux.Handle("/mpipe/", http.StripPrefix("/mpipe/", http.FileServerFS(page.Files())))
	mux.Handle("/example/", http.StripPrefix("/example/", http.FileServerFS(os.DirFS("../../browser/example"))))
	mux.Handle("/", http.FileServerFS(os.DirFS("testdata")))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	site = strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	code := m.Run()
	if left, _ := filepath.Glob(fmt.Sprintf("/dev/shm/mpipe-chromium-%d-*", os.Getpid())); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left in /dev/shm:", left)
		return 1
	}
	return code
}

func startBrowser(t *testing.T, o chromium.Options) *chromium.Browser {
	t.Helper()
	b, err := chromium.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// tab is a page with the test pattern.
type tab struct {
	*chromium.Page
	t *testing.T
}

// open shows the test page with parameters "k=v".
func open(t *testing.T, b *chromium.Browser, params ...string) *tab {
	t.Helper()
	p, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{}
	for _, kv := range params {
		k, v, _ := strings.Cut(kv, "=")
		q.Set(k, v)
	}
	return load(t, p, "/page.html?"+q.Encode())
}

func load(t *testing.T, p *chromium.Page, path string) *tab {
	t.Helper()
	if err := p.Load(t.Context(), site+path); err != nil {
		t.Fatal(err)
	}
	return &tab{p, t}
}

// result is what the page says of itself.
type result struct {
	State, Reason, Error, Transport string
	Taken, Last                     int
	Refused                         []int
	ClockError, Life                float64
	Streams                         []struct {
		Name                  string
		Written, Full, Policy int
	}
}

func (p *tab) result() (r result) {
	p.t.Helper()
	if err := p.Eval(p.t.Context(), `globalThis.result || {state: "loading"}`, &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// until waits for something of the page.
func (p *tab) until(limit time.Duration, what string, good func(result) bool) result {
	p.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		r := p.result()
		if good(r) {
			return r
		}
		if r.Error != "" || time.Now().After(end) {
			p.t.Fatalf("the page never came to %s: %+v", what, r)
		}
	}
}

// recording is a run of mpipe.
type recording struct {
	t             *testing.T
	cmd           *exec.Cmd
	err           lockedBuffer
	out, manifest string
	done          chan struct{}
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

const graphText = `version = 1
[sources.tab]
%s
[stages.v]
type = "x264"
inputs = ["tab.video"]
preset = "ultrafast"
[stages.a]
type = "opus"
inputs = ["tab.audio"]
[sinks.file]
type = "file"
inputs = ["v", "a"]
path = %q
`

// record starts mpipe with a graph of one source, given as TOML.
func record(t *testing.T, source, name string, args ...string) *recording {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, name)
	return recordGraph(t, fmt.Sprintf(graphText, source, out), out, args...)
}

func recordGraph(t *testing.T, graph, out string, args ...string) *recording {
	t.Helper()
	file := filepath.Join(t.TempDir(), "graph.toml")
	if err := os.WriteFile(file, []byte(graph), 0o600); err != nil {
		t.Fatal(err)
	}
	return recordFile(t, file, out, args...)
}

func recordFile(t *testing.T, file, out string, args ...string) *recording {
	t.Helper()
	r := &recording{t: t, out: out, manifest: filepath.Join(t.TempDir(), "manifest.json"), done: make(chan struct{})}
	r.cmd = exec.Command(mpipe, append([]string{"run", file, "--manifest", r.manifest, "--progress", "1s"}, args...)...)
	r.cmd.Stderr = &r.err
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.cmd.Wait(); close(r.done) }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		if t.Failed() {
			t.Logf("mpipe said:\n%s", r.err.String())
		}
	})
	return r
}

func (r *recording) wait(limit time.Duration) int {
	r.t.Helper()
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		r.t.Fatalf("mpipe did not end within %v", limit)
		return -1
	}
}

// finish waits for a complete recording.
func (r *recording) finish(limit time.Duration) (m run.Manifest) {
	r.t.Helper()
	code := r.wait(limit)
	b, err := os.ReadFile(r.manifest)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil || code != 0 || !m.Complete {
		r.t.Fatalf("exit code %d, manifest %s (%v)", code, b, err)
	}
	return m
}

func (r *recording) says(text string) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(r.err.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("mpipe did not say %q", text)
		}
	}
}

// recorded waits for the progress to say that so much is recorded.
func (r *recording) recorded(seconds int) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		said := r.err.String()
		for _, line := range strings.Split(said, "\n") {
			var h, m, s int
			if n, _ := fmt.Sscanf(line, "%d:%d:%d ", &h, &m, &s); n == 3 && h*3600+m*60+s >= seconds {
				return
			}
		}
	}
	r.t.Fatalf("mpipe did not record %d seconds", seconds)
}

// report is what `mpipe measure` reads from a recording of the test pattern.
type report struct {
	Frames, Unreadable, First, Last, Missing, Repeated, Pairs int
	OutOfOrder                                                int     `json:"out_of_order"`
	SkewMS                                                    float64 `json:"av_skew_ms"`
	SkewMost                                                  float64 `json:"av_skew_most_ms"`
}

func measure(t *testing.T, file string) (r report) {
	t.Helper()
	out, err := exec.Command(mpipe, "measure", file, "--json").Output()
	if json.Unmarshal(out, &r) != nil {
		t.Fatalf("mpipe measure %s: %v %s", file, err, out)
	}
	return r
}

func browsersrc(dir string, more ...string) string {
	return fmt.Sprintf("type = \"browsersrc\"\nuser_data_dir = %q\n%s\n", dir, strings.Join(more, "\n"))
}
