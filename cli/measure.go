package cli

import (
	"fmt"

	"github.com/mpipe/mpipe/pipeline/feed/measure"
)

func measureVerb() *verb {
	var asJSON bool
	return &verb{
		name: "measure", args: "FILE", min: 1, max: 1,
		short: "check a recording of the test pattern: lost frames, A/V skew",
		long: `It decodes the file, reads the frame number in each picture, and compares the
white square on each second with the click in the sound. Exit code 0 when every
frame from the first to the last is there once and in order, 1 otherwise.`,
		examples: []example{
			{"mpipe measure demo.mp4", "what a recording of `mpipe feed` holds"},
			{"mpipe measure demo.mp4 --json | jq .av_skew_ms", "one figure for a test"},
		},
		declare: func(f *flags) func(*call) int {
			f.switchOn(&asJSON, "json", "print JSON")
			return func(c *call) int {
				sc := newScreen(c.stderr)
				stop := onSignals(sc, "stopping")
				defer stop.release()
				r, err := measure.File(stop.ctx, c.args[0])
				switch {
				case err != nil:
					return c.failed(err)
				case asJSON:
					printJSON(c.stdout, r)
				default:
					showMeasured(c, r)
				}
				if !r.Perfect() {
					return 1
				}
				return 0
			}
		},
	}
}

func showMeasured(c *call, r *measure.Report) {
	w := c.stdout
	fmt.Fprintf(w, "pictures  %d of %dx%d, numbers %d to %d, %.3fs to %.3fs\n", r.Frames, r.Width, r.Height, r.First, r.Last, r.VideoStart, r.VideoEnd)
	fmt.Fprintf(w, "          %d missing, %d repeated, %d out of order, %d unreadable\n", r.Missing, r.Repeated, r.Backwards, r.Unreadable)
	fmt.Fprintf(w, "sound     %d samples at %d Hz, %.3fs to %.3fs\n", r.Samples, r.SampleRate, r.AudioStart, r.AudioEnd)
	if r.SkewMS == nil {
		fmt.Fprintf(w, "A/V skew  not measured: %d white squares, %d clicks\n", r.Flashes, r.Clicks)
		return
	}
	fmt.Fprintf(w, "A/V skew  %+.1fms median, %+.1fms at most, over %s (sound late is positive)\n", *r.SkewMS, *r.SkewMost, plural(r.Pairs, "click"))
}
