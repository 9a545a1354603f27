package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/ring/stdio"
)

// The test program is the process, too, where ROLE says which one.
func TestMain(m *testing.M) {
	if role := os.Getenv("ROLE"); role != "" {
		os.Exit(filter(role))
	}
	os.Exit(m.Run())
}

// filter adds one to every byte, until it misbehaves at the frame AT.
func filter(role string) int {
	at, _ := strconv.Atoi(os.Getenv("AT"))
	fmt.Fprintln(os.Stderr, "i am here")
	if role == "never" {
		time.Sleep(time.Hour)
	}
	if role == "refuse" {
		fmt.Fprintln(os.Stderr, "i cannot")
		return 3
	}
	ctx := context.Background()
	l, err := ring.Listen(os.Getenv(stdio.EnvIn), ring.Config{})
	if err != nil {
		return 4
	}
	in, err := l.Accept(ctx)
	if err != nil {
		return 5
	}
	s := in.Streams()[0]
	out, err := ring.Attach(ctx, os.Getenv(stdio.EnvOut), []ring.StreamSpec{s.StreamSpec}, ring.AttachOptions{})
	if err != nil {
		return 6
	}
	w, _ := out.Writer()
	for n := 1; ; {
		f := in.Take(s.Kind)
		if f.Cell == nil {
			if f.Flags&ring.FlagEOS != 0 || in.State() != ring.Live {
				out.Close()
				if note := os.Getenv("NOTE"); note != "" {
					os.WriteFile(note, []byte("the end came"), 0o600)
				}
				return 0
			}
			in.Wait(ctx, time.Second)
			continue
		}
		stamp, size := f.PTS, len(f.Data)
		if n == at {
			switch role {
			case "crash":
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			case "exit":
				return 7
			case "hang":
				time.Sleep(time.Hour)
			case "stamp":
				stamp += 5
			case "short":
				size /= 2
			}
		}
		format, _ := in.Format(f.Stream, f.FormatID)
		var id uint32
		if format.Video != nil {
			v := *format.Video
			if n == at && role == "short" {
				v = ring.I420(v.Width, v.Height/2, 30, 1)
				size = v.Size()
			}
			id, _ = out.SetVideo(0, v)
		} else {
			id, _ = out.SetAudio(0, *format.Audio)
		}
		slot, err := w.Claim(0, id, size, ring.Block(5*time.Second))
		if err != nil {
			return 8
		}
		for i := range slot.Data {
			slot.Data[i] = f.Data[i] + 1
		}
		slot.Commit(stamp, f.Duration, f.Flags)
		f.Cell.Release()
		in.Reclaim()
		n++
	}
}

// logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *logged) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// begun is a stage with a process of this role, ready for frames.
func begun(t *testing.T, role string, at int, set func(*process)) (*process, *logged) {
	t.Helper()
	before, _ := os.ReadDir("/proc/self/fd")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	e := &process{}
	pipeline.Specs(e)
	e.command = []string{os.Args[0]}
	e.env = map[string]any{"ROLE": role, "AT": strconv.Itoa(at)}
	e.timeout = 2 * time.Second
	if set != nil {
		set(e)
	}
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, line := &logged{}, &pipeline.Timeline{}
	line.Start(time.Hour)
	if err := e.Start(&pipeline.StageEnv{Stage: "f", Log: slog.New(slog.NewTextHandler(log, nil)).With("stage", "f"), Timeline: line}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(tmp + "/mpipe-process-*"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		var after []os.DirEntry
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if after, _ = os.ReadDir("/proc/self/fd"); len(after) <= len(before)+2 { // the poller's, once
				break
			}
		}
		if len(after) > len(before)+2 {
			t.Errorf("%d open files, and %d before", len(after), len(before))
		}
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err == nil && pid != 0 {
			t.Errorf("the child %d was not waited for", pid)
		}
	})
	return e, log
}

// give passes n frames of a grey picture and gives what came of each.
func give(t *testing.T, e *process, n int) (good, dropped int, err error) {
	t.Helper()
	for i := range n {
		data := bytes.Repeat([]byte{byte(i)}, 32*16*3/2)
		y, u, v := data[:512], data[512:640], data[640:]
		f := &pipeline.Frame{Video: &pipeline.VideoFormat{FourCC: "I420", Width: 32, Height: 16, FPSNum: 30, FPSDen: 1}, PTS: time.Duration(i) * time.Second / 30, Duration: time.Second / 30}
		f.SetPlanes(pipeline.Plane{Data: y, Stride: 32, Row: 32, Rows: 16}, pipeline.Plane{Data: u, Stride: 16, Row: 16, Rows: 8}, pipeline.Plane{Data: v, Stride: 16, Row: 16, Rows: 8})
		switch err := e.Process(f); {
		case errors.Is(err, pipeline.ErrDrop):
			dropped++
		case err != nil:
			return good, dropped, err
		default:
			if want := bytes.Repeat([]byte{byte(i + 1)}, len(data)); !bytes.Equal(data, want) {
				t.Fatalf("frame %d holds %d, want %d everywhere", i, data[0], want[0])
			}
			good++
		}
	}
	return good, dropped, nil
}

func TestFramesGoThroughTheProcess(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	e, log := begun(t, "ok", 0, func(e *process) { e.env["NOTE"] = note })
	if good, dropped, err := give(t, e, 200); good != 200 || dropped != 0 || err != nil {
		t.Fatalf("%d frames went through, %d did not: %v", good, dropped, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(note); string(b) != "the end came" {
		t.Errorf("the process did not see the end of the stream: %q", b)
	}
	if !strings.Contains(log.String(), `stage=f says="i am here"`) {
		t.Errorf("the log lacks what the process says:\n%s", log)
	}
}

func TestSoundGoesThroughTheProcess(t *testing.T) {
	e, _ := begun(t, "ok", 0, func(e *process) { e.media = "audio" })
	for i := range 50 {
		data := bytes.Repeat([]byte{byte(i)}, 4*(100+i)) // packets need not be alike
		f := &pipeline.Frame{Audio: &pipeline.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2}, PTS: time.Duration(i) * 10 * time.Millisecond}
		f.SetPlanes(pipeline.Plane{Data: data, Stride: len(data), Row: len(data), Rows: 1})
		if err := e.Process(f); err != nil || data[0] != byte(i+1) || data[len(data)-1] != byte(i+1) {
			t.Fatalf("packet %d is %d: %v", i, data[0], err)
		}
	}
}

// Whatever goes wrong costs the frame at which it does, and is counted.
func TestProcessesThatFailAreStartedAgain(t *testing.T) {
	for role, why := range map[string]string{
		"crash": "ended with signal: killed", "exit": "ended with exit status 7", "hang": "it gave nothing for a frame within",
		"stamp": "has to keep the stamp", "short": "has to keep the form",
	} {
		t.Run(role, func(t *testing.T) {
			e, log := begun(t, role, 20, func(e *process) { e.timeout = 3 * time.Second })
			good, dropped, err := give(t, e, 50) // fails at 20 and, started again, at 40
			if good != 48 || dropped != 2 || err != nil || e.count.lost.Load() != 2 || e.count.restarts.Load() < 2 {
				t.Errorf("%d frames went through, %d did not, %d restarts: %v", good, dropped, e.count.restarts.Load(), err)
			}
			if !strings.Contains(log.String(), why) {
				t.Errorf("the log lacks %q:\n%s", why, log)
			}
		})
	}
}

func TestProcessesThatAreGivenUp(t *testing.T) {
	for _, c := range []struct {
		role string
		set  func(*process)
		want string
	}{
		{"crash", func(e *process) { e.onExit = "fail" }, `set on_exit = "restart"`},
		{"crash", func(e *process) { e.env["AT"] = "1" }, "failed 3 times"},
		{"refuse", nil, "it ended before it attached to its rings; it ended with exit status 3"},
		{"never", func(e *process) { e.timeout = 200 * time.Millisecond }, "it does not read the ring in MPIPE_RING_IN within 200ms"},
	} {
		t.Run(c.role, func(t *testing.T) {
			e, _ := begun(t, c.role, 5, func(e *process) {
				e.limit = 2
				if c.set != nil {
					c.set(e)
				}
			})
			if _, _, err := give(t, e, 50); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCommandsThatCannotBe(t *testing.T) {
	e := &process{}
	pipeline.Specs(e)
	e.command = []string{"./no-such-program"}
	if err := e.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "no-such-program") || !strings.Contains(err.Error(), "build it, or correct the path") {
		t.Errorf("got %v", err)
	}
	e.format = "XYZ1"
	if err := e.Check(); err == nil || !strings.Contains(err.Error(), `no video in the layout "XYZ1"`) {
		t.Errorf("got %v", err)
	}
}
