package gstbin

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/mpipe/mpipe/pipeline"
)

func set(kv ...string) (out []pipeline.Setting) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, pipeline.Setting{Name: kv[i], Value: kv[i+1]})
	}
	return out
}

// offHeap is memory a test may lend: cells and one frame.
func offHeap(t *testing.T, size int) []byte {
	t.Helper()
	m, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(m) })
	return m
}

func chain(t *testing.T, p *Pipeline, elems ...[]string) {
	t.Helper()
	for i, e := range elems {
		if err := p.Add(e[0], e[1], set(e[2:]...)); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			pad := "sink"
			if strings.HasSuffix(e[1], "mux") {
				pad = "video_%u"
			}
			if err := p.Link(elems[i-1][0], e[0], pad, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func untilEOS(t *testing.T, p *Pipeline) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		m := p.Next(50 * time.Millisecond)
		if m.Fault != nil {
			t.Fatal(m.Fault)
		}
		if m.EOS {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no end of stream within 20 s")
		}
	}
}

func i420(w, h int) pipeline.Format {
	return pipeline.Format{Video: &pipeline.VideoFormat{FourCC: "I420", Width: w, Height: h, FPSNum: 30, FPSDen: 1, NativeLayout: true}}
}

// record pushes n frames of one lent memory and returns what came out.
func record(t *testing.T, n int, tail ...[]string) (*Pipeline, *Feed) {
	t.Helper()
	const w, h = 320, 240
	p, err := New("test")
	if err != nil {
		t.Fatal(err)
	}
	chain(t, p, append([][]string{{"src", "appsrc"}}, tail...)...)
	f := p.Feed("src")
	last := tail[len(tail)-1][0]
	if err := p.Tap(last, "sink"); err != nil {
		t.Fatal(err)
	}
	if err := f.SetFormat(i420(w, h)); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	mem := offHeap(t, 4096+w*h*3/2)
	cells := unsafe.Slice((*pipeline.Cell)(unsafe.Pointer(&mem[0])), 8)
	frame := mem[4096:]
	for i := range n {
		c := &cells[i%len(cells)]
		waitFor(t, func() bool { return c.Held.Load() == 0 && f.Room() })
		c.Held.Store(1)
		for j := range frame {
			if j%97 == 0 {
				frame[j] = byte(i + j)
			}
		}
		b := pipeline.Borrowed{Data: frame, Duration: time.Second / 30, Cell: c}
		if err := f.Push(&b, time.Duration(i)*time.Second/30); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.EOS(); err != nil {
		t.Fatal(err)
	}
	untilEOS(t, p)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range cells {
		if cells[i].Held.Load() != 0 {
			t.Errorf("cell %d still held after the pipeline stopped", i)
		}
	}
	return p, f
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited 10 s in vain")
		}
	}
}

func TestFramesPassAndCellsComeBack(t *testing.T) {
	p, f := record(t, 100, []string{"sink", "fakesink", "sync", "false"})
	defer p.Close()
	if tr := f.Traffic(); tr.Frames != 100 || tr.FirstPTS != 0 {
		t.Errorf("feed counted %+v, want 100 frames from 0", tr)
	}
	if tr := p.Traffic("sink", "sink"); tr.Frames != 100 || !tr.EOS || tr.LastEnd.Round(time.Millisecond) != 3333*time.Millisecond {
		t.Errorf("sink counted %+v, want 100 frames, the end, and 3.333 s", tr)
	}
}

func TestKeyRequestsFollowTimeStamps(t *testing.T) {
	for _, enc := range [][]string{{"enc", "x264enc", "tune", "zerolatency"}, {"enc", "vp8enc"}, {"enc", "openh264enc"}} {
		p, err := New("keys")
		if err != nil {
			t.Fatal(err)
		}
		chain(t, p, []string{"test", "videotestsrc", "num-buffers", "120", "pattern", "ball"},
			[]string{"caps", "capsfilter", "caps", "video/x-raw,format=I420,width=160,height=120,framerate=30/1"},
			enc, []string{"sink", "fakesink", "sync", "false"})
		p.KeyRequests("enc", time.Second)
		p.Tap("sink", "sink")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		untilEOS(t, p)
		if tr := p.Traffic("sink", "sink"); tr.Frames != 120 || tr.Keys != 4 {
			t.Errorf("%s: %d frames with %d key frames in 4 s, want 120 with 4", enc[1], tr.Frames, tr.Keys)
		}
		p.Stop()
		p.Close()
	}
}

func TestReadFileAgreesWithWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	p, _ := record(t, 90, []string{"enc", "x264enc", "speed-preset", "ultrafast"}, []string{"parse", "h264parse"},
		[]string{"mux", "mp4mux", "fragment-duration", "1000", "fragment-mode", "first-moov-then-finalise"}, []string{"file", "filesink", "location", path})
	p.Close()
	r, err := ReadFile(context.Background(), path, "mp4")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Streams) != 1 || !slices.Contains(r.Streams[0].Kinds, pipeline.Kind{Media: pipeline.Video, Codec: "h264"}) || r.Streams[0].Frames != 90 {
		t.Errorf("read %+v, want one h264 stream of 90 frames", r)
	}
	if !r.Seekable || r.Duration.Round(10*time.Millisecond) != 3*time.Second {
		t.Errorf("duration %v seekable %v, want 3 s and seekable", r.Duration, r.Seekable)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", path).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "90" {
		t.Errorf("ffprobe decodes %q (%v), want 90 frames", out, err)
	}
	if err := os.Truncate(path, 200); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(context.Background(), path, "mp4"); err == nil {
		t.Error("a file cut to 200 bytes was called good")
	}
}

func TestFaultNamesElementAndCause(t *testing.T) {
	p, err := New("fault")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	chain(t, p, []string{"src", "videotestsrc"}, []string{"sink", "filesink", "location", filepath.Join(t.TempDir(), "no", "such", "folder")})
	if p.Start() == nil {
		t.Fatal("a filesink without a folder started")
	}
	m := p.Next(time.Second)
	if m.Fault == nil || m.Fault.Element != "sink" || !strings.Contains(m.Fault.Error(), "No such file") {
		t.Errorf("got %+v, want a fault of sink about the missing folder", m.Fault)
	}
	p.Stop()
}

func TestAddRefusesWhatGStreamerWouldIgnore(t *testing.T) {
	p, err := New("bad")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range [][]string{
		{"no-such-element"}, {"x264enc", "speed-preset", "warp"}, {"x264enc", "no-such", "1"}, {"x264enc", "bitrate", "many"},
	} {
		if err := p.Add("x", c[0], set(c[1:]...)); err == nil {
			t.Errorf("%v was accepted", c)
		}
	}
}

// A stream with a hole of ten seconds beside one that goes on: the muxer gets
// both, and the pictures an encoder holds when the hole begins come out.
func TestHolesAreFilled(t *testing.T) {
	for _, hole := range []string{"video", "audio"} {
		p, err := New("hole")
		if err != nil {
			t.Fatal(err)
		}
		const long = "15000000000"
		path := filepath.Join(t.TempDir(), "a.mkv")
		chain(t, p, []string{"v", "appsrc"}, []string{"venc", "x264enc"}, []string{"vq", "queue", "max-size-time", long, "max-size-buffers", "0"})
		chain(t, p, []string{"a", "appsrc"}, []string{"aenc", "opusenc"}, []string{"aq", "queue", "max-size-time", long, "max-size-buffers", "0"})
		p.Add("mux", "matroskamux", nil)
		p.Add("file", "filesink", set("location", path))
		for from, pad := range map[string]string{"vq": "video_%u", "aq": "audio_%u"} {
			if err := p.Link(from, "mux", pad, ""); err != nil {
				t.Fatal(err)
			}
		}
		p.Link("mux", "file", "sink", "")
		p.Tap("vq", "src")
		p.Tap("aq", "src")
		video, audio := p.Feed("v"), p.Feed("a")
		video.SetFormat(i420(64, 64))
		audio.SetFormat(pipeline.Format{Audio: &pipeline.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2}})
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		mem := offHeap(t, 1<<20)
		cells := unsafe.Slice((*pipeline.Cell)(unsafe.Pointer(&mem[0])), 4096)
		n := 0
		push := func(f *Feed, size int, at, d time.Duration) {
			cells[n].Held.Store(1)
			if err := f.Push(&pipeline.Borrowed{Data: mem[1<<19 : 1<<19+size], Duration: d, Cell: &cells[n]}, at); err != nil {
				t.Fatal(err)
			}
			n++
		}
		for i := range 120 { // 12 s, 100 ms a step
			at := time.Duration(i) * 100 * time.Millisecond
			in := i < 10 || i >= 110
			if in || hole != "video" {
				push(video, 64*64*3/2, at, 100*time.Millisecond)
			} else if i == 10 {
				if frames, err := video.Fill(at, 10*time.Second); err != nil || frames != 80 {
					t.Fatalf("%d pictures repeated (%v), want 80", frames, err)
				}
			}
			if in || hole != "audio" {
				push(audio, 19200, at, 100*time.Millisecond)
			} else if i == 10 {
				if frames, err := audio.Fill(at, 10*time.Second); err != nil || frames != 100 {
					t.Fatalf("%d buffers of silence (%v), want 100", frames, err)
				}
			}
		}
		video.EOS()
		audio.EOS()
		untilEOS(t, p)
		for _, q := range []string{"vq", "aq"} {
			if end := p.Traffic(q, "src").LastEnd; end < 11900*time.Millisecond || end > 12200*time.Millisecond {
				t.Errorf("hole in %s: %s ends at %v, want about 12 s", hole, q, end)
			}
		}
		p.Stop()
		for i := range cells {
			if cells[i].Held.Load() != 0 {
				t.Fatalf("cell %d is still held", i)
			}
		}
		p.Close()
	}
}

func TestCatalogDescribesX264(t *testing.T) {
	Init()
	var c Catalog
	f, ok := c.Factory("x264enc")
	if !ok || f.Plugin != "x264" || !strings.Contains(f.Klass, "Encoder") {
		t.Fatalf("x264enc is %+v", f)
	}
	i := slices.IndexFunc(f.Props, func(p pipeline.FactoryProp) bool { return p.Name == "speed-preset" })
	if i < 0 || !slices.Contains(f.Props[i].Values, "veryfast") || !f.Props[i].Writable {
		t.Errorf("speed-preset is %+v", f.Props[i])
	}
	i = slices.IndexFunc(f.Props, func(p pipeline.FactoryProp) bool { return p.Name == "rc-lookahead" })
	if p := f.Props[i]; p.Min != "0" || p.Max != "250" || p.Default != "40" {
		t.Errorf("rc-lookahead is %+v, want 0 to 250, 40", p)
	}
	if _, ok := c.Factory("x265encoder"); ok {
		t.Error("an element that does not exist was found")
	}
	if names := c.Factories(); !slices.IsSorted(names) || !slices.Contains(names, "filesink") {
		t.Error("the list of elements is not sorted or has no filesink")
	}
}

func TestPipelinesLeaveNothingBehind(t *testing.T) {
	run := func() {
		p, _ := record(t, 30, []string{"sink", "fakesink", "sync", "false"})
		p.Close()
	}
	run()
	fds := func() int {
		runtime.GC()
		runtime.GC()
		e, _ := os.ReadDir("/proc/self/fd")
		return len(e)
	}
	before, goroutines := fds(), runtime.NumGoroutine()
	for range 20 {
		run()
	}
	waitFor(t, func() bool { return fds() <= before+2 })
	if n := runtime.NumGoroutine(); n > goroutines+2 {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
}
