package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/mpipe/mpipe/bench"
)

// BenchmarkBrowser compares what it costs to bring frames of 1080p out of a page in
// an unpatched Chromium: over a WebSocket into Python, and through the browser's
// own files into a run of mpipe that ends before an encoder. CPU is that of all of
// Chromium's processes and of the one that receives, drawing included, since both
// pages draw alike. Pairs in turn; it takes four minutes.
func BenchmarkBrowser(b *testing.B) {
	const rounds = 5
	mpipe := build(b)
	for b.Loop() {
		for _, c := range []struct {
			title, metric, promise string
			paced                  bool
			seconds                float64
		}{
			{"flat out", "flat_out", "at least 12", false, 2},
			{"at 30 a second", "paced", "at least 6", true, 10},
		} {
			var sockets, files, ratios []float64
			for i := range rounds {
				one := func(transport string) float64 {
					r, err := bench.Transports(context.Background(), bench.Options{
						Self: []string{os.Args[0], peerWord}, Mpipe: mpipe, Only: []string{transport}, Payloads: []string{"1080p"},
						FlatOut: !c.paced, Paced: c.paced, Seconds: c.seconds,
					})
					if err != nil {
						b.Fatal(err)
					}
					row := r.Row("1080p", transport)
					if row == nil {
						b.Skipf("%+v", r.Skipped)
					}
					if c.paced {
						return row.Paced.CPU / 1e3 // us a frame
					}
					return row.FlatOut.CPU / 1e3
				}
				order := []string{"chromium-python", "chromium-mpipe"}
				if i%2 == 1 {
					slices.Reverse(order)
				}
				got := map[string]float64{}
				for _, t := range order {
					got[t] = one(t)
				}
				sockets, files = append(sockets, got["chromium-python"]), append(files, got["chromium-mpipe"])
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
