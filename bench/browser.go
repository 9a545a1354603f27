package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mpipe/mpipe/browser"
	"github.com/mpipe/mpipe/browser/chromium"
)

func needsMpipe(e *env) string {
	if e.mpipe == "" {
		return "the program mpipe is not at hand"
	}
	if _, err := chromium.Find(); err != nil {
		return err.Error()
	}
	return ""
}

// mark is the CPU time of both sides at a moment.
type mark struct {
	at                 time.Time
	producer, consumer int64 // ns
	measured, all      int64 // frames, as the page counts them
}

// runFiles brings frames from a Worker of a page in headless Chromium into a run of
// mpipe that ends before an encoder, through the browser's own files. The browser's
// CPU is that of all its processes.
func runFiles(ctx context.Context, e *env, s spec) (sample, error) {
	dir, remove, err := e.runDir()
	if err != nil {
		return sample{}, err
	}
	defer remove()
	b, err := chromium.Start(ctx, chromium.Options{})
	if err != nil {
		return sample{}, err
	}
	defer b.Close()
	consumer, manifest, err := startMpipe(ctx, e, s, dir, b.Dir())
	if err != nil {
		return sample{}, err
	}
	defer consumer.kill()
	marks := make(chan mark, 2)
	addr, stop, err := servePage(func(q url.Values) {
		m := mark{at: time.Now(), producer: TreeCPU(b.PID()), consumer: TreeCPU(consumer.cmd.Process.Pid)}
		m.measured, _ = strconv.ParseInt(q.Get("measured"), 10, 64)
		m.all, _ = strconv.ParseInt(q.Get("all"), 10, 64)
		marks <- m
	})
	if err != nil {
		return sample{}, err
	}
	defer stop()
	job, _ := json.Marshal(map[string]any{
		"width": s.payload.width, "height": s.payload.high, "size": s.payload.Size, "rate": s.payload.Rate, "seconds": s.seconds, "paced": s.paced,
	})
	page, err := b.Open(ctx)
	if err == nil {
		err = page.Load(ctx, addr+"/files.html?job="+url.QueryEscape(string(job)))
	}
	if err != nil {
		return sample{}, err
	}
	_, _ = io.Copy(io.Discard, consumer.out)
	if err := consumer.wait(); err != nil {
		return sample{}, consumer.died(err)
	}
	if len(marks) != 2 {
		return sample{}, errors.New("the page ended before it had measured")
	}
	first, last := <-marks, <-marks
	if err := allArrived(manifest, last.all); err != nil {
		return sample{}, err
	}
	return sampleOf(outcome{Frames: last.measured, CPU: last.producer - first.producer},
		outcome{Frames: last.measured, CPU: last.consumer - first.consumer, Wall: last.at.Sub(first.at).Nanoseconds()})
}

// startMpipe starts the run that takes the frames.
func startMpipe(ctx context.Context, e *env, s spec, dir, profile string) (p *process, manifest string, err error) {
	pad := "video"
	if s.payload.Audio {
		pad = "audio"
	}
	graph, manifest := filepath.Join(dir, "graph.toml"), filepath.Join(dir, "manifest.json")
	text := fmt.Sprintf("version = 1\n[sources.tab]\ntype = \"browsersrc\"\nuser_data_dir = %q\n[sinks.out]\ntype = \"null\"\ninputs = [\"tab.%s\"]\n", profile, pad)
	if err := os.WriteFile(graph, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	p, err = spawn(exec.CommandContext(ctx, e.mpipe, "run", graph, "--manifest", manifest, "--progress", "0s", "--log-level", "error"))
	return p, manifest, err
}

// servePage serves the page and the module that it uses, and calls told for what the
// page fetches when it begins and ends to measure.
func servePage(told func(url.Values)) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	peers, err := fs.Sub(sources, "peers")
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/mpipe/", http.StripPrefix("/mpipe/", http.FileServerFS(browser.Files())))
	mux.Handle("/", http.FileServerFS(peers))
	for _, path := range []string{"/first", "/last"} {
		mux.HandleFunc(path, func(_ http.ResponseWriter, r *http.Request) { told(r.URL.Query()) })
	}
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }()
	// Browsers give files to a page from localhost, not from an address.
	return fmt.Sprintf("http://localhost:%d", l.Addr().(*net.TCPAddr).Port), func() { srv.Close() }, nil
}

// allArrived: a transport that loses frames has no figures.
func allArrived(manifest string, want int64) error {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	var m struct {
		Sources map[string]struct {
			Pads map[string]struct{ Frames int64 }
		}
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	got := int64(0)
	for _, p := range m.Sources["tab"].Pads {
		got += p.Frames
	}
	if got != want {
		return fmt.Errorf("%d of %d frames arrived", got, want)
	}
	return nil
}
