package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline/run"
)

func outputOf(s *scene, id string) run.OutputResult {
	s.t.Helper()
	return output(s.t, s.account(), id)
}

// said fails unless the manifest says of an output that it is not complete, and
// why, and the log does too.
func (s *scene) said(id, why string) {
	s.t.Helper()
	if o := outputOf(s, id); o.Complete || !strings.Contains(o.Error, why) {
		s.t.Errorf("the manifest says of %s: %+v, want %q", id, o, why)
	}
	if log := logOf(s.recording, id); !strings.Contains(log, why) {
		s.t.Errorf("the log says of %s: %s, want %q", id, log, why)
	}
}

// begins fails unless a file begins with frame 0 and goes on without a gap.
func (s *scene) begins(file string) report {
	s.t.Helper()
	got := measure(s.t, file)
	if filepath.Ext(file) == ".ts" && s.killed && got.Repeated+got.Unreadable == 1 {
		got.Repeated, got.Unreadable = 0, 0 // the last picture is cut: it decodes in part, or the one before is shown again
	}
	if got.First != 0 || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
		s.t.Errorf("%s holds %+v", filepath.Base(file), got)
	}
	return got
}

// lost fails unless all but the last second is there; a fragment and a GOP are
// that long. It gives what was lost.
func (s *scene) lost(file string) string {
	s.t.Helper()
	got := s.begins(file)
	lost := time.Duration(s.taken)*time.Second/30 - time.Duration(min(got.VideoEnd, got.AudioEnd)*float64(time.Second))
	if lost > time.Second+behind {
		s.t.Errorf("%s, killed after %d frames, has pictures to %.2f s and sound to %.2f s", filepath.Base(file), s.taken, got.VideoEnd, got.AudioEnd)
	}
	return max(0, lost).String()
}

// sessions are the server's recordings, each from a key frame on.
func (s *scene) sessions(least int) (files []string) {
	s.t.Helper()
	files = withPictures(s.live.Recordings("talk"))
	for _, f := range files {
		s.onlyWholeGOPs(f)
	}
	if len(files) < least {
		s.t.Fatalf("the server recorded %v, want %d", files, least)
	}
	return files
}

// onlyWholeGOPs fails unless a recording begins with a key frame and each gap in
// it ends at one.
func (s *scene) onlyWholeGOPs(file string) (gaps int) {
	s.t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", file).Output()
	if err != nil {
		s.t.Errorf("%s: %v", file, err)
	}
	before := -1.0
	for _, line := range strings.Fields(string(out)) {
		at, flags, _ := strings.Cut(line, ",")
		pts, _ := strconv.ParseFloat(at, 64)
		if gap := before < 0 || pts-before > 1.5/30; gap {
			if !strings.HasPrefix(flags, "K") {
				s.t.Errorf("%s: at %.2f s, after %.2f s, no key frame", filepath.Base(file), pts, before)
			}
			if before >= 0 {
				gaps++
			}
		}
		before = pts
	}
	return gaps
}

// recovered: the stream holds all up to one GOP before the fault, and again from
// one GOP and the time to connect after its end.
func (s *scene) recovered() string {
	s.t.Helper()
	files := s.sessions(2)
	before := s.session(files[0], -1)
	if limit := s.taken - frameAt(behind) - gopFrames; before.Last < limit {
		s.t.Errorf("the stream that was struck after %d frames ends with frame %d, want %d", s.taken, before.Last, limit)
	}
	text, last := fmt.Sprintf("%d to %d", before.First, before.Last), before.Last
	for _, f := range files[1:] {
		got := s.session(f, last)
		if limit := s.resumeLimit(); got.First > limit && f == files[len(files)-1] {
			s.t.Errorf("after %v the server was well; the stream goes on with frame %d, want %d", s.cured, got.First, limit)
		}
		text, last = text+fmt.Sprintf(", %d to %d", got.First, got.Last), got.Last
	}
	return s.wentOn(text, last)
}

// resumeLimit is the first frame, at the latest, of a stream whose server is well
// again.
func (s *scene) resumeLimit() int { return frameAt(s.cured+reconnects+behind) + gopFrames }

// came: there was no server at first. What its queue held comes, and from one GOP
// and the time to connect on everything.
func (s *scene) came() string {
	s.t.Helper()
	files := s.sessions(1)
	got := measure(s.t, files[0])
	if len(files) > 1 || got.First+got.Missing > s.resumeLimit() || got.Unreadable+got.Repeated+got.OutOfOrder > 0 || s.onlyWholeGOPs(files[0]) > 1 {
		s.t.Errorf("the server was there after %v, and has in %d streams %+v", s.cured, len(files), got)
	}
	return s.wentOn(fmt.Sprintf("%d to %d, %d left out before", got.First, got.Last, got.First+got.Missing), got.Last)
}

// session looks at one recording, behind a frame of the one before.
func (s *scene) session(file string, last int) report {
	s.t.Helper()
	got := measure(s.t, file)
	if got.Frames == 0 || got.Missing+got.Unreadable+got.Repeated+got.OutOfOrder > 0 || got.First <= last {
		s.t.Errorf("behind frame %d the server has %+v", last, got)
	}
	return got
}

func frameAt(d time.Duration) int { return int(d * 30 / time.Second) }

// wentOn: to the end, and the manifest says that something is missing.
func (s *scene) wentOn(text string, last int) string {
	s.t.Helper()
	if last != s.frames-1 {
		s.t.Errorf("the stream ends with frame %d, want %d", last, s.frames-1)
	}
	if o := outputOf(s, "live"); o.Complete || o.Error == "" {
		s.t.Errorf("the manifest says %+v", o)
	}
	return text
}

// reset: between two streams is what was under way, and one GOP and the time to
// connect.
func (s *scene) reset() string {
	s.t.Helper()
	text, last := "", -1
	files := s.sessions(3)
	for i, f := range files {
		got := s.session(f, last)
		// The server itself takes a name once a second.
		if limit := frameAt(time.Second+reconnects+behind) + 2*gopFrames; i > 0 && got.First-last > limit {
			s.t.Errorf("behind frame %d comes %d, want it within %d", last, got.First, limit)
		}
		text, last = text+fmt.Sprintf(", %d to %d", got.First, got.Last), got.Last
	}
	// Struck once more in the last GOP, the stream has no key frame to go on with.
	if outputOf(s, "live").Retries >= int64(len(files)) && last >= s.frames-1-gopFrames {
		last = s.frames - 1
	}
	return s.wentOn(text[2:], last)
}

// throttled: one stream, out of which whole GOPs are left.
func (s *scene) throttled() string {
	s.t.Helper()
	files := s.sessions(1)
	got, gaps := measure(s.t, files[0]), s.onlyWholeGOPs(files[0])
	o := outputOf(s, "live")
	if len(files) > 1 || got.First != 0 || got.Unreadable+got.Repeated+got.OutOfOrder > 0 || gaps == 0 || int64(got.Last+1-got.Frames) > o.Streams[0].Dropped || o.Retries > 0 {
		s.t.Errorf("%d streams, %d gaps, %+v; the manifest says %+v", len(files), gaps, got, o)
	}
	return fmt.Sprintf("%d of %d, %d gaps of GOPs", got.Frames, s.frames, gaps)
}

// retried: every frame, though requests failed.
func (s *scene) retried() string {
	s.t.Helper()
	o := outputOf(s, "archive")
	if o.Retries == 0 {
		s.t.Errorf("no fault struck: %+v", o)
	}
	return fmt.Sprintf("%s, %d retries", s.all("archive"), o.Retries)
}

func (s *scene) refused() string {
	s.t.Helper()
	o := outputOf(s, "archive")
	if o.Complete || o.Error == "" || len(s.store.Keys(s.store.bucket)) > 0 {
		s.t.Errorf("the manifest says %+v", o)
	}
	s.store.nothingLeft(filepath.Join(s.dir, "spool"))
	return "nothing, and it says so"
}

// resume finishes what is in the spool.
func (s *scene) resume() {
	s.t.Helper()
	env := []string{"AWS_ACCESS_KEY_ID=" + s.store.Access, "AWS_SECRET_ACCESS_KEY=" + s.store.Secret, "AWS_REGION=" + s.store.Region}
	p := startWith(s.t, env, "upload", "--resume", "--spool", filepath.Join(s.dir, "spool"))
	if code := p.wait(time.Minute); code != 0 {
		s.t.Fatalf("resuming ended with %d", code)
	}
	s.store.nothingLeft(filepath.Join(s.dir, "spool"))
}

// resumed: every frame, once the rest was sent.
func (s *scene) resumed() string {
	s.t.Helper()
	if o := outputOf(s, "archive"); o.Complete || o.Resume == "" {
		s.t.Errorf("the manifest says %+v", o)
	}
	s.resume()
	whole(s.t, s.store.object(s.key), s.frames)
	return fmt.Sprintf("all %d, resumed", s.frames)
}
