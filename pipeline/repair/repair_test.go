package repair

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What other recorders write: two seconds of video with B-frames and sound, or
// of sound alone, by ffmpeg.
var others = []struct {
	name  string
	codec []string
}{
	{"plain.mp4", []string{"-c:v", "libx264", "-bf", "2", "-g", "15", "-c:a", "aac"}},
	{"faststart.mp4", []string{"-c:v", "libx264", "-bf", "2", "-g", "15", "-c:a", "aac", "-movflags", "+faststart"}},
	{"fragments.mp4", []string{"-c:v", "libx264", "-bf", "2", "-g", "15", "-c:a", "libopus", "-movflags", "+frag_keyframe+empty_moov"}},
	{"base.mp4", []string{"-c:v", "libx264", "-bf", "2", "-g", "15", "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov+default_base_moof+delay_moov"}},
	{"a.mkv", []string{"-c:v", "libx264", "-bf", "2", "-g", "15", "-c:a", "libopus"}},
	{"a.webm", []string{"-c:v", "libvpx", "-deadline", "realtime", "-g", "15", "-c:a", "libvorbis"}},
	{"a.ts", []string{"-c:v", "libx264", "-bf", "2", "-g", "15", "-c:a", "aac"}},
	{"a.ogg", []string{"-vn", "-c:a", "libopus"}},
	{"v.ogg", []string{"-vn", "-c:a", "libvorbis"}},
	{"a.wav", []string{"-vn", "-c:a", "pcm_s16le"}},
	{"a.flac", []string{"-vn", "-c:a", "flac"}},
	{"a.mp3", []string{"-vn", "-c:a", "libmp3lame"}},
}

var othersOnce struct {
	sync.Once
	files map[string][]byte
	err   error
}

// makeOthers gives a folder of its own with them.
func makeOthers(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	o := &othersOnce
	o.Do(func() { o.files, o.err = encodeOthers(dir) })
	if o.err != nil {
		t.Fatal(o.err)
	}
	for name, b := range o.files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func encodeOthers(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, o := range others {
		args := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc=size=128x96:rate=30:duration=2", "-f", "lavfi", "-i", "sine=frequency=500:sample_rate=48000:duration=2"}
		args = append(append(args, o.codec...), filepath.Join(dir, o.name))
		if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w %s", o.name, err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, o.name))
		if err != nil {
			return nil, err
		}
		files[o.name] = b
	}
	return files, nil
}

func TestWholeFilesAreLeftAlone(t *testing.T) {
	dir := makeOthers(t)
	for _, o := range others {
		path := filepath.Join(dir, o.name)
		before, _ := os.ReadFile(path)
		r, err := File(context.Background(), path, Options{InPlace: true})
		if err != nil || !r.Whole || r.Output != "" || r.Duration < 1.9 || r.Duration > 2.2 {
			t.Errorf("%s: %+v (%v), want whole, 2 s", o.name, r, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", o.name)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != len(others) {
		t.Errorf("%d files in the folder, %d were made", len(list), len(others))
	}
}

// decoded counts the frames that ffmpeg decodes of a stream, -1 when it cannot
// open the file, and gives what it complains about.
func decoded(path, stream string) (int, string) {
	cmd := exec.Command("ffprobe", "-v", "error", "-count_frames", "-select_streams", stream+":0", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", path)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return -1, complaints.String()
	}
	n, _ := strconv.Atoi(strings.Trim(strings.Fields(string(out) + " 0")[0], ","))
	return n, complaints.String()
}

func duration(path string) float64 {
	out, _ := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path).Output()
	d, _ := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	return d
}

// random gives the faults' seed: MPIPE_SEED, or a new one, and prints it.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	n, err := strconv.ParseInt(os.Getenv("MPIPE_SEED"), 10, 64)
	if err != nil {
		n = time.Now().UnixNano()
	}
	t.Logf("MPIPE_SEED=%d", n)
	return rand.New(rand.NewSource(n))
}

// Files cut anywhere: a clear error when nothing can be done, otherwise a file
// that decodes without a complaint and holds every frame that the cut file still
// showed.
func TestCutAnywhere(t *testing.T) {
	cuts := 200
	if testing.Short() {
		cuts = 30
	}
	rng, dir, out := random(t), makeOthers(t), t.TempDir()
	repaired := 0
	for i := range cuts {
		o := others[i%len(others)]
		whole, err := os.ReadFile(filepath.Join(dir, o.name))
		if err != nil {
			t.Fatal(err)
		}
		at := 1 + rng.Intn(len(whole)-1)
		cut := filepath.Join(out, fmt.Sprintf("%d-%s", i, o.name))
		if err := os.WriteFile(cut, whole[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		r, err := File(ctx, cut, Options{})
		if ctx.Err() != nil {
			t.Fatalf("%s cut at %d: it hangs", o.name, at)
		}
		cancel()
		switch {
		case err != nil:
			if n, _ := decoded(cut, "v"); n > 1 {
				t.Errorf("%s cut at %d shows %d pictures, and repair says %v", o.name, at, n, err)
			}
		case !r.Whole:
			repaired++
			if rng.Intn(4) == 0 { // it takes its time
				checkRepaired(t, fmt.Sprintf("%s cut at %d", o.name, at), cut, r)
			}
		}
		os.Remove(cut)
		os.Remove(DefaultOutput(cut))
	}
	if repaired < cuts/4 {
		t.Errorf("%d of %d cut files were repaired", repaired, cuts)
	}
}

// checkRepaired looks at a repaired file with ffmpeg, and whether there is
// anything left to repair.
func checkRepaired(t *testing.T, name, cut string, r *Report) {
	t.Helper()
	if again, err := File(context.Background(), r.Output, Options{}); err != nil || !again.Whole {
		t.Errorf("%s: the repaired file is not whole: %+v (%v)", name, again, err)
	}
	for _, stream := range []string{"v", "a"} {
		before, _ := decoded(cut, stream)
		after, complaints := decoded(r.Output, stream)
		// The cut file's last frame decodes with an error, or as a part of one.
		// ffmpeg's MPEG-TS has up to 14 frames of sound in what it cuts as one.
		lost := 1
		if r.Container == "ts" && stream == "a" {
			lost = 14
		}
		if after < before-lost || complaints != "" {
			t.Errorf("%s: %d frames of %s decode of the cut file, %d of the repaired one: %s\n%+v", name, before, stream, after, complaints, r)
		}
	}
	if d := duration(r.Output); d <= 0 || d > 2.2 {
		t.Errorf("%s: ffprobe says the repaired file lasts %v", name, d)
	}
}

func TestCannotBeDone(t *testing.T) {
	dir := makeOthers(t)
	plain, err := os.ReadFile(filepath.Join(dir, "plain.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"noindex.mp4", plain[:len(plain)/2], "moov atom not found"},
		{"empty.mp4", nil, "nothing was recorded"},
		{"text.mp4", []byte("this is no media file at all, just text"), "no MP4, MKV"},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := File(context.Background(), path, Options{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTheFileIsOnlyReplacedWhenTold(t *testing.T) {
	dir := makeOthers(t)
	whole, err := os.ReadFile(filepath.Join(dir, "a.mkv"))
	if err != nil {
		t.Fatal(err)
	}
	cut, ctx := filepath.Join(dir, "cut.mkv"), context.Background()
	half := whole[:len(whole)/2]
	if err := os.WriteFile(cut, half, 0o640); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(cut, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := File(ctx, cut, Options{InPlace: true}); err == nil || !strings.Contains(err.Error(), "being written") {
		t.Errorf("a file that is being written got %v", err)
	}
	w.Close()
	if r, err := File(ctx, cut, Options{DryRun: true}); err != nil || r.Whole || r.Output != "" || len(r.Found) == 0 {
		t.Errorf("a dry run got %+v (%v)", r, err)
	}
	r, err := File(ctx, cut, Options{})
	if err != nil || r.Output != filepath.Join(dir, "cut.repaired.mkv") {
		t.Fatalf("%+v (%v)", r, err)
	}
	if _, err := File(ctx, cut, Options{}); err == nil || !strings.Contains(err.Error(), "already there") {
		t.Errorf("a repaired file that is there already got %v", err)
	}
	if b, _ := os.ReadFile(cut); !bytes.Equal(b, half) {
		t.Error("the file was changed without being told so")
	}
	if r, err := File(ctx, cut, Options{InPlace: true}); err != nil || r.Output != cut {
		t.Fatalf("%+v (%v)", r, err)
	}
	if st, err := os.Stat(cut); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v (%v), want that of the file before", st.Mode(), err)
	}
	if r, err := File(ctx, cut, Options{}); err != nil || !r.Whole {
		t.Errorf("the repaired file is %+v (%v), want whole", r, err)
	}
	if list, _ := filepath.Glob(filepath.Join(dir, ".*")); len(list) > 0 {
		t.Errorf("left behind: %v", list)
	}
}
