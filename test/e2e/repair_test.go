package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const sound = `version = 1
[params]
ring = { required = true }
out = { required = true }
[sources.app]
type = "shmsrc"
ring = "${ring}"
[stages.a]
type = "opus"
inputs = ["app.audio"]
[sinks.file]
type = "file"
inputs = ["a"]
path = "${out}"
`

// killed records and kills at a moment; it gives the file and how long it was
// recorded.
func killed(t *testing.T, text, name string, after time.Duration, set ...string) (string, float64) {
	t.Helper()
	r := recordTo(t, graph(t, text), ringName(), name, set...)
	feed := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30")
	r.says("stream=")
	began := time.Now()
	time.Sleep(after)
	r.signal(syscall.SIGKILL)
	lived := time.Since(began).Seconds()
	<-r.done
	feed.wait(10 * time.Second)
	os.Remove("/dev/shm/" + r.ring)
	os.Remove("/dev/shm/" + r.ring + ".consumer")
	return r.out, lived
}

// What a kill left plays up to then; repaired, it holds all that the killed file
// played, and has a duration and a place for each time.
func TestRepairOfKilledRecordings(t *testing.T) {
	wavText := strings.Replace(sound, "[stages.a]\ntype = \"opus\"\ninputs = [\"app.audio\"]\n", "", 1)
	wavText = strings.Replace(wavText, `["a"]`, `["app.audio"]`, 1)
	cases := []struct {
		name, text string
		lost       float64 // seconds of the end that may be missing
		holes      int     // among the last frames: a later one is stored before the B-frames that lean on it
		set        []string
	}{
		{"a.mp4", record, 2, 0, nil},
		{"b.mp4", record, 3, 2, []string{"--set", "v.preset=veryfast", "--set", "v.bframes=2"}},
		{"a.mkv", record, 1, 0, nil},
		{"a.webm", record, 2, 0, []string{"--set", "v.type=vp8"}},
		{"a.ts", record, 1, 0, nil},
		{"a.ogg", sound, 2, 0, nil},
		{"a.mp3", sound, 1, 0, []string{"--set", "a.type=mp3"}},
		{"a.flac", sound, 1, 0, []string{"--set", "a.type=flac"}},
		{"a.wav", wavText, 1, 0, nil},
		{"a.m4a", sound, 2, 0, nil},
	}
	rng := seed(t)
	for i, c := range cases {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			after := 2*time.Second + time.Duration(rng.Int63n(int64(2*time.Second)))
			text := c.text
			if c.name == "a.webm" {
				text = strings.Replace(text, "preset = \"ultrafast\"\n", "", 1)
			}
			file, lived := killed(t, text, c.name, after, c.set...)
			before := measure(t, file)
			fixed := filepath.Join(t.TempDir(), c.name)
			p := start(t, "repair", file, "-o", fixed, "--json")
			if code := p.wait(time.Minute); code != 0 {
				t.Fatalf("exit code %d: %s", code, p.err.String())
			}
			var said struct{ Whole bool }
			if err := json.Unmarshal(p.out.Bytes(), &said); err != nil {
				t.Fatalf("%v: %s", err, p.out.String())
			}
			if said.Whole { // TS and MP3 need no end: nothing but a frame in the middle can be wrong
				if c.name != "a.ts" && c.name != "a.mp3" {
					t.Fatalf("a killed %s is called whole", c.name)
				}
				fixed = file
			}
			got := measure(t, fixed)
			end := max(got.VideoEnd, got.AudioEnd)
			if end < lived-c.lost {
				t.Errorf("killed after %.2f s, it plays to %.2f s", lived, end)
			}
			if got.Frames < before.Frames || got.Samples < before.Samples || got.Missing > c.holes || got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
				t.Errorf("repaired, it holds %+v, before %+v", got, before)
			}
			if got.Pairs > 0 && (got.SkewMost > 33.4 || got.SkewMost < -33.4) {
				t.Errorf("sound is up to %v ms from the picture", got.SkewMost)
			}
			seekable(t, fixed, end)
		})
	}
}

// seekable fails unless ffprobe gives the duration and a frame from the middle,
// without reading what is before.
func seekable(t *testing.T, file string, want float64) {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file).CombinedOutput()
	d, perr := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil || perr != nil || d < want-0.2 || d > want+0.2 {
		t.Errorf("ffprobe says it lasts %q (%v), want %.2f s", out, err, want)
	}
	middle := strconv.FormatFloat(want*0.75, 'f', 3, 64)
	out, err = exec.Command("ffprobe", "-v", "error", "-read_intervals", middle+"%+#1", "-show_entries", "packet=pts_time", "-of", "csv=p=0", file).CombinedOutput()
	at, perr := strconv.ParseFloat(strings.Trim(strings.Fields(string(out) + " none")[0], ","), 64)
	// From the key frame before: the interval is 2 s at most. MPEG-TS counts from
	// a start of its own.
	if err != nil || perr != nil || at < want*0.75-2.1 || at < 0.01 && want > 3 {
		t.Errorf("seeking to %s gives %q (%v)", middle, out, err)
	}
}

// Killed while the finished file's index was written: the first one, which the
// recorder had hidden in the data by then, is found again.
func TestRepairOfAnIndexThatWasBegun(t *testing.T) {
	r := recordTo(t, graph(t, record), ringName(), "a.mp4")
	start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "100", "--pace", "reader").wait(time.Minute)
	r.finish(time.Minute)
	b, err := os.ReadFile(r.out)
	if err != nil {
		t.Fatal(err)
	}
	moov := strings.LastIndex(string(b), "moov")
	if moov < 0 {
		t.Fatal("the recording has no moov")
	}
	rng := seed(t)
	for range 5 {
		cut := filepath.Join(t.TempDir(), "cut.mp4")
		if err := os.WriteFile(cut, b[:moov-4+rng.Intn(len(b)-moov)], 0o600); err != nil {
			t.Fatal(err)
		}
		p := start(t, "repair", "--in-place", cut)
		if code := p.wait(time.Minute); code != 0 {
			t.Fatalf("exit code %d: %s", code, p.err.String())
		}
		// All fragments had been written when the end began.
		whole(t, cut, 100)
	}
}
