package e2e

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/hls"
	"github.com/mpipe/mpipe/test/servers"
)

// hlsRecord is record with an HLS sink "hls" in the file's place.
func hlsRecord(more string) string {
	text, _, _ := strings.Cut(record, "[sinks.file]")
	text = strings.Replace(text, "preset = \"ultrafast\"", "preset = \"ultrafast\"\nkeyframe_interval = \"1s\"", 1)
	return text + "[sinks.hls]\ntype = \"hls\"\ninputs = [\"v\", \"a\"]\nsegment_time = \"1s\"\n" + more + "\n# ${out}\n"
}

// played is what ffmpeg, as a player, copies out of a playlist, from some second
// of it on.
func played(t *testing.T, list string, from float64) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "played.mkv")
	args := []string{"-v", "error", "-allowed_extensions", "ALL", "-live_start_index", "0"}
	if from > 0 {
		args = append(args, "-ss", fmt.Sprint(from))
	}
	if b, err := exec.Command("ffmpeg", append(args, "-i", list, "-map", "0", "-c", "copy", out)...).CombinedOutput(); err != nil || len(b) > 0 {
		t.Fatalf("ffmpeg cannot play %s: %v %s", list, err, b)
	}
	return out
}

func readList(t *testing.T, file string) *hls.Playlist {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	list, err := hls.Parse(string(b))
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return list
}

func TestHLSIsPlayedFromAnywhere(t *testing.T) {
	for _, format := range []string{"fmp4", "ts"} {
		dir := t.TempDir()
		r := recordTo(t, graph(t, hlsRecord(fmt.Sprintf("path = %q\nformat = %q", dir, format))), ringName(), "unused")
		start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "300", "--pace", "reader")
		r.finish(time.Minute)
		list := filepath.Join(dir, "index.m3u8")
		whole(t, played(t, list, 0), 300)
		if d := readList(t, list).Length().Seconds(); math.Abs(d-10) > 0.04 {
			t.Errorf("%s: %v s, want 10", format, d)
		}
		// A player that goes to a segment needs nothing of those before. FFmpeg 5.1
		// cannot go anywhere in HLS of fragmented MP4, its own neither, so that is
		// done by hand.
		for _, k := range []int{1, 6} {
			parts := []string{readList(t, list).Map}
			for _, s := range readList(t, list).Segments[k:] {
				parts = append(parts, s.Name)
			}
			got := measure(t, joined(t, dir, parts))
			if got.First != 30*k || got.Last != 299 || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
				t.Errorf("%s from segment %d on holds %+v", format, k, got)
			}
		}
		if format == "ts" {
			if got := measure(t, played(t, list, 6.2)); got.Last != 299 || got.First > 186 || got.First < 150 || got.Missing+got.Repeated+got.OutOfOrder != 0 {
				t.Errorf("%s from 6.2 s on plays %+v", format, got)
			}
		}
	}
}

// joined puts files into one.
func joined(t *testing.T, dir string, names []string) string {
	t.Helper()
	var all []byte
	for _, n := range names {
		if n == "" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	out := filepath.Join(t.TempDir(), "joined"+path.Ext(names[len(names)-1]))
	if err := os.WriteFile(out, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// kill -9 at random moments: the playlist names whole segments, up to the last
// key frame, and plays.
func TestHLSAfterSIGKILL(t *testing.T) {
	kills := 8
	if testing.Short() {
		kills = 2
	}
	rng := seed(t)
	for i := range kills {
		format, kind := []string{"fmp4", "ts"}[i%2], []string{"event", "vod"}[i/2%2]
		dir := t.TempDir()
		r := recordTo(t, graph(t, hlsRecord(fmt.Sprintf("path = %q\nformat = %q\nplaylist = %q", dir, format, kind))), ringName(), "unused")
		start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30")
		r.says("stream=video")
		began := time.Now()
		time.Sleep(3*time.Second + time.Duration(rng.Int63n(int64(2*time.Second))))
		r.signal(syscall.SIGKILL)
		lived := time.Since(began).Seconds()
		<-r.done
		list := filepath.Join(dir, "index.m3u8")
		if kind == "vod" {
			if err := os.Rename(hls.Unfinished(list), list); err != nil {
				t.Fatal(err)
			}
		}
		// A player of an event waits for more, so the test ends it.
		if f, err := os.OpenFile(list, os.O_APPEND|os.O_WRONLY, 0); err == nil && kind == "event" {
			fmt.Fprintln(f, "#EXT-X-ENDLIST")
			f.Close()
		}
		named, there := len(readList(t, list).Segments), segments(t, dir)
		if named != there {
			t.Errorf("%s %s: %d segments are named, %d are there", format, kind, named, there)
		}
		got := measure(t, played(t, list, 0))
		if got.VideoEnd < lived-3 || got.First != 0 || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
			t.Errorf("%s %s killed after %.2f s plays %+v", format, kind, lived, got)
		}
		os.Remove("/dev/shm/" + r.ring)
		os.Remove("/dev/shm/" + r.ring + ".consumer")
	}
}

func segments(t *testing.T, dir string) int {
	t.Helper()
	a, _ := filepath.Glob(dir + "/index-*.m4s")
	b, _ := filepath.Glob(dir + "/index-*.ts")
	return len(a) + len(b)
}

// A viewer who polls a live playlist by HTTP never misses a segment that it names,
// and gets every frame; older segments are deleted.
func TestHLSLiveIsWatched(t *testing.T) {
	dir := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	r := recordTo(t, graph(t, hlsRecord(fmt.Sprintf("path = %q\nplaylist = \"live\"\nwindow = 3", dir))), ringName(), "unused")
	start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "360")
	var all []byte
	next, most, target := 0, 0, 0
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the playlist has no end")
		}
		text, code := get(t, web.URL+"/index.m3u8")
		if code != http.StatusOK || len(text) == 0 {
			continue // not yet
		}
		list, err := hls.Parse(string(text))
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if target != 0 && list.Target != target {
			t.Errorf("the target duration was %d and is %d", target, list.Target)
		}
		target, most = list.Target, max(most, segments(t, dir))
		if len(list.Segments) > 3 || list.First > next {
			t.Fatalf("the viewer wants segment %d, the playlist is\n%s", next, list)
		}
		if all == nil {
			all, _ = get(t, web.URL+"/"+list.Map)
		}
		for i, s := range list.Segments {
			b, code := get(t, web.URL+"/"+s.Name)
			if code != http.StatusOK || len(b) == 0 {
				t.Fatalf("%s is named and answers %d", s.Name, code)
			}
			if list.First+i == next {
				all, next = append(all, b...), next+1
			}
		}
		if list.Ended {
			break
		}
	}
	m := r.finish(time.Minute)
	if !m.Outputs[0].Checked {
		t.Errorf("the manifest says %+v", m.Outputs[0])
	}
	seen := filepath.Join(t.TempDir(), "seen.mp4")
	if err := os.WriteFile(seen, all, 0o600); err != nil {
		t.Fatal(err)
	}
	whole(t, seen, 360)
	if most > 8 || next < 10 { // 3 named, 4 that stay, and one between its two steps
		t.Errorf("%d segments were seen, %d were on disk at a time", next, most)
	}
}

func get(t *testing.T, url string) ([]byte, int) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b, r.StatusCode
}

// hlsObjects gives an HLS sink into the store.
func (s *store) hlsSink(url, prefix, spool, more string) string {
	return hlsRecord(fmt.Sprintf("bucket = %q\nkey_prefix = %q\nendpoint = %q\npath_style = true\nspool = %q\n%s", s.bucket, prefix, url, spool, more))
}

// folder brings the objects below a prefix to a folder.
func (s *store) folder(prefix string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	for _, key := range s.Keys(s.bucket) {
		if strings.HasPrefix(key, prefix) {
			if err := os.WriteFile(filepath.Join(dir, path.Base(key)), s.Object(s.bucket, key), 0o600); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return dir
}

// Segments in a store: whole at the end, read back by mpipe; at every moment the
// store has what the playlist in it names, also after an outage.
func TestHLSToS3(t *testing.T) {
	s := startStore(t)
	link := servers.StartToxiproxy(t).Proxy(s.Addr)
	spool := t.TempDir()
	r := recordTo(t, graph(t, s.hlsSink("http://"+link.Addr, "talks/1", spool, `verify = "read"`)), ringName(), "unused")
	start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "360")
	r.says("stream=video")
	began, down, looked := time.Now(), false, 0
	for done := false; !done; {
		select {
		case <-r.done:
			done = true
		case <-time.After(300 * time.Millisecond):
		}
		if t := time.Since(began); !down && t > 3*time.Second {
			link.Down()
			down = true
		} else if down && t > 6*time.Second {
			link.Up()
		}
		looked += s.named("talks/1")
	}
	m := r.finish(time.Minute)
	o := m.Outputs[0]
	if !o.Playable || o.Streams[0].Frames != 360 || o.Retries == 0 || o.Where != "s3://"+s.bucket+"/talks/1/index.m3u8" {
		t.Errorf("the manifest says %+v", o)
	}
	if looked == 0 {
		t.Error("the playlist was in the store at no moment")
	}
	whole(t, played(t, filepath.Join(s.folder("talks/1/"), "index.m3u8"), 0), 360)
	s.nothingLeft(spool)
}

// named fails when the playlist in the store names what the store does not have;
// it gives 1 when there is a playlist.
func (s *store) named(prefix string) int {
	s.t.Helper()
	have := map[string]bool{}
	keys := s.Keys(s.bucket)
	for _, k := range keys {
		have[k] = true
	}
	if !have[prefix+"/index.m3u8"] {
		return 0
	}
	list, err := hls.Parse(string(s.Object(s.bucket, prefix+"/index.m3u8")))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, k := range s.Keys(s.bucket) {
		have[k] = true
	}
	for _, seg := range list.Segments {
		if !have[prefix+"/"+seg.Name] {
			s.t.Errorf("the playlist in the store names %s, which it does not have", seg.Name)
		}
	}
	return 1
}

// A dead process's segments are sent by mpipe upload --resume.
func TestHLSToS3AfterSIGKILL(t *testing.T) {
	s, spool := startStore(t), t.TempDir()
	link := servers.StartToxiproxy(t).Proxy(s.Addr)
	r := recordTo(t, graph(t, s.hlsSink("http://"+link.Addr, "talks/2", spool, `format = "ts"`)), ringName(), "unused")
	start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30")
	r.says("stream=video")
	began := time.Now()
	time.Sleep(2 * time.Second)
	link.Down()
	time.Sleep(3 * time.Second)
	r.signal(syscall.SIGKILL)
	lived := time.Since(began).Seconds()
	<-r.done
	if code := start(t, "upload", "--resume", "--spool", spool, "--endpoint", s.URL).wait(time.Minute); code != 0 {
		t.Fatalf("resuming ended with %d", code)
	}
	s.nothingLeft(spool)
	list := filepath.Join(s.folder("talks/2/"), "index.m3u8")
	if got := len(readList(t, list).Segments); got == 0 || segments(t, filepath.Dir(list)) != got {
		t.Errorf("%d segments are named, %d are there", got, segments(t, filepath.Dir(list)))
	}
	f, err := os.OpenFile(list, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "#EXT-X-ENDLIST")
	f.Close()
	if got := measure(t, played(t, list, 0)); got.VideoEnd < lived-3 || got.First != 0 || got.Missing+got.OutOfOrder+got.Unreadable+got.Repeated != 0 {
		t.Errorf("killed after %.2f s plays %+v", lived, got)
	}
	os.Remove("/dev/shm/" + r.ring)
	os.Remove("/dev/shm/" + r.ring + ".consumer")
}
