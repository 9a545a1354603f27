package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/bench"
	"github.com/mpipe/mpipe/browser"
	"github.com/mpipe/mpipe/browser/chromium"
)

// BenchmarkBrowser compares what it costs to bring frames of 1080p out of a page in
// an unpatched Chromium: over a WebSocket into Python, and through the browser's
// own files into a run of mpipe that ends before an encoder. CPU is that of all of
// Chromium's processes and of the one that receives, drawing included, since both
// pages draw alike. Pairs in turn; it takes about two minutes.
func BenchmarkBrowser(b *testing.B) {
	const rounds = 5
	mpipe := build(b)
	for b.Loop() {
		for _, c := range []struct {
			title           string
			fps, frames     int
			metric, promise string
		}{
			{"flat out", 0, 300, "flat_out", "at least 12"},
			{"at 30 a second", 30, 60, "paced", "at least 6"},
		} {
			var sockets, files, ratios []float64
			for i := range rounds {
				socket := func() { sockets = append(sockets, overWebSocket(b, c.fps > 0)) }
				file := func() { files = append(files, throughFiles(b, mpipe, c.fps, c.frames)) }
				if i%2 == 0 {
					socket()
					file()
				} else {
					file()
					socket()
				}
				ratios = append(ratios, sockets[i]/files[i])
			}
			slices.Sort(ratios)
			slices.Sort(sockets)
			slices.Sort(files)
			fmt.Printf("%-16s CPU seconds per 1,000 frames of 1080p: WebSocket to Python %.2f, files to mpipe %.2f; %.1f times (%.1f to %.1f), promised %s\n",
				c.title, sockets[rounds/2], files[rounds/2], ratios[rounds/2], ratios[0], ratios[rounds-1], c.promise)
			b.ReportMetric(ratios[rounds/2], c.metric)
		}
	}
}

// overWebSocket gives CPU seconds for 1,000 frames.
func overWebSocket(b *testing.B, paced bool) float64 {
	r, err := bench.Transports(context.Background(), bench.Options{
		Self: []string{os.Args[0], peerWord}, Only: []string{"chromium-python"}, Payloads: []string{"1080p"}, FlatOut: !paced,
	})
	if err != nil {
		b.Fatal(err)
	}
	row := r.Row("1080p", "chromium-python")
	if row == nil {
		b.Skipf("%+v", r.Skipped)
	}
	f := row.FlatOut
	if paced {
		f = row.Paced
	}
	return f.CPU / 1e3 // us a frame
}

// throughFiles gives CPU seconds for 1,000 frames.
func throughFiles(b *testing.B, mpipe string, fps, frames int) float64 {
	br, err := chromium.Start(context.Background(), chromium.Options{})
	if err != nil {
		b.Skip(err)
	}
	defer br.Close()
	graph := filepath.Join(b.TempDir(), "graph.toml")
	text := fmt.Sprintf("version = 1\n[sources.tab]\ntype = \"browsersrc\"\nuser_data_dir = %q\n[sinks.out]\ntype = \"null\"\ninputs = [\"tab.video\"]\n", br.Dir())
	if err := os.WriteFile(graph, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	run := exec.Command(mpipe, "run", graph, "--progress", "0s", "--log-level", "error")
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		b.Fatal(err)
	}
	var marks [2]int64 // ns
	mark := func(i int) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) {
			marks[i] = bench.TreeCPU(br.PID()) + bench.TreeCPU(run.Process.Pid)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/mpipe/", http.StripPrefix("/mpipe/", http.FileServerFS(browser.Files())))
	mux.Handle("/", http.FileServerFS(os.DirFS("testdata")))
	mux.HandleFunc("/first", mark(0))
	mux.HandleFunc("/last", mark(1))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	page, err := br.Open(context.Background())
	if err == nil {
		err = page.Load(context.Background(), fmt.Sprintf("%s/frames.html?fps=%d&frames=%d", strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), fps, frames))
	}
	if err != nil {
		run.Process.Kill()
		b.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { run.Process.Kill() })
	defer late.Stop()
	if err := run.Wait(); err != nil {
		b.Fatalf("mpipe run: %v", err)
	}
	return float64(marks[1]-marks[0]) / 1e9 / float64(frames) * 1000
}
