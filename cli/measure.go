package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/mpipe/mpipe/pipeline/feed/measure"
)

func measureVerb() *verb {
	var asJSON bool
	return &verb{
		name: "measure", args: "FILE", min: 1, max: 1,
		short: "check a recording of the test pattern: lost frames, A/V skew",
		long: `It decodes the file, reads the frame number in each picture, and compares the
white square on each second with the click in the sound. Exit code 0 when every
frame from the first to the last is there once and in order, 1 otherwise; of a
file without pictures, 0 when there is sound with a click in each full second.`,
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
					return c.failed(mediaError(c.args[0], err))
				case asJSON:
					printJSON(c.stdout, r)
				default:
					showMeasured(c, r)
				}
				if !asExpected(r) {
					return 1
				}
				return 0
			}
		},
	}
}

func showMeasured(c *call, r *measure.Report) {
	w := c.stdout
	if r.Frames == 0 {
		fmt.Fprintln(w, "pictures  none")
	} else {
		showPictures(w, r)
	}
	if r.Samples == 0 {
		fmt.Fprintln(w, "sound     none")
	} else {
		fmt.Fprintf(w, "sound     %d samples at %d Hz, %.3fs to %.3fs, %s\n", r.Samples, r.SampleRate, r.AudioStart, r.AudioEnd, plural(r.Clicks, "click"))
	}
	switch {
	case r.Frames == 0 || r.Samples == 0: // there is nothing to compare
	case r.SkewMS == nil:
		fmt.Fprintf(w, "A/V skew  not measured: %d white squares, %d clicks\n", r.Flashes, r.Clicks)
	default:
		fmt.Fprintf(w, "A/V skew  %+.1fms median, %+.1fms at most, over %s (sound late is positive)\n", *r.SkewMS, *r.SkewMost, plural(r.Pairs, "click"))
	}
}

// asExpected judges by what the file has: pictures when there are any, otherwise
// the clicks of the sound, of which a start or end within a second may cut one.
func asExpected(r *measure.Report) bool {
	if r.Frames > 0 {
		return r.Perfect()
	}
	return r.Samples > 0 && r.Clicks >= int(r.AudioEnd-r.AudioStart)
}

func showPictures(w io.Writer, r *measure.Report) {
	numbers := "no number readable"
	if r.First >= 0 {
		numbers = fmt.Sprintf("numbers %d to %d", r.First, r.Last)
	}
	fmt.Fprintf(w, "pictures  %d of %dx%d, %s, %.3fs to %.3fs\n", r.Frames, r.Width, r.Height, numbers, r.VideoStart, r.VideoEnd)
	fmt.Fprintf(w, "          %d missing, %d repeated, %d out of order, %d unreadable\n", r.Missing, r.Repeated, r.Backwards, r.Unreadable)
}

// mediaError puts the file and what to do around the error of a file that cannot
// be opened or decoded.
func mediaError(path string, err error) error {
	var missing *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return fmt.Errorf("%s: %w; give the path of a media file, or a URI such as file:///home/me/film.mkv", path, missing.Err)
	case !strings.HasPrefix(err.Error(), path+": "):
		return err
	default:
		return fmt.Errorf("%w; is it a media file? `gst-play-1.0 %s` shows what GStreamer can play", trimmed{err}, path)
	}
}

// trimmed is an error without the full stop that GStreamer ends its sentences with.
type trimmed struct{ error }

func (t trimmed) Error() string { return strings.TrimSuffix(t.error.Error(), ".") }
func (t trimmed) Unwrap() error { return t.error }
