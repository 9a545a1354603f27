package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/mpipe/mpipe/ring"
)

func testCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var (
	small = ring.VideoFormat{FourCC: "GRAY8", Width: 64, Height: 16, Planes: 1, Strides: [4]int{64}, FPSNum: 30, FPSDen: 1}
	large = ring.VideoFormat{FourCC: "GRAY8", Width: 64, Height: 32, Planes: 1, Strides: [4]int{64}, FPSNum: 30, FPSDen: 1, Colorimetry: "1:4:0:0"}
	sound = ring.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2, Mask: 3}
)

var streams = []ring.StreamSpec{
	{Name: "video", Kind: ring.KindVideo, MaxFrame: 4096},
	{Name: "audio", Kind: ring.KindAudio, MaxFrame: 960},
}

// got is a frame as a consumer took it, with what its format and stream were.
type got struct {
	stream   string
	format   string
	pts, dur int64
	flags    ring.Flags
	data     string
}

func describe(f ring.Format) string {
	if f.Video != nil {
		return fmt.Sprintf("%+v", *f.Video)
	}
	return fmt.Sprintf("%+v", *f.Audio)
}

// feed is a producer that writes n pictures, half of them in another format, and
// as much sound, and loses one frame by its own policy.
func feed(ctx context.Context, addr string, n int, every time.Duration) error {
	p, err := ring.Attach(ctx, addr, streams, ring.AttachOptions{Name: "tester"})
	if err != nil {
		return err
	}
	defer p.Close()
	w, err := p.Writer()
	if err != nil {
		return err
	}
	defer w.Close()
	a, err := p.SetAudio(1, sound)
	if err != nil {
		return err
	}
	start := ring.Now()
	for i := range n {
		f := small
		if i >= n/2 {
			f = large
		}
		v, err := p.SetVideo(0, f)
		if err != nil {
			return err
		}
		for stream, id := range []uint32{v, a} {
			size := 960
			if stream == 0 {
				size = f.Size()
			}
			s, err := w.Claim(stream, id, size, ring.Block(0))
			if err != nil {
				return err
			}
			for j := range s.Data {
				s.Data[j] = byte(i*7 + j + stream)
			}
			s.Commit(start+int64(i)*int64(33*time.Millisecond), int64(33*time.Millisecond), ring.FlagKey)
		}
		if i == n/3 {
			w.DropByPolicy(0)
		}
		time.Sleep(every)
	}
	return nil
}

// consume takes all frames of the next producer.
func consume(ctx context.Context, l *ring.Listener, slow time.Duration) (frames []got, st ring.Stats, err error) {
	r, err := l.Accept(ctx)
	if err != nil {
		return nil, st, err
	}
	defer r.Close()
	for ctx.Err() == nil {
		moved := false
		for _, k := range kinds {
			if _, ok := r.Peek(k); !ok {
				continue
			}
			moved = true
			f := r.Take(k)
			g := got{stream: r.Streams()[f.Stream].Name, pts: f.PTS, dur: f.Duration, flags: f.Flags, data: string(f.Data)}
			if f.Cell != nil {
				format, _ := r.Format(f.Stream, f.FormatID)
				g.format = describe(format)
				f.Cell.Release()
			} else {
				g.pts = 0 // when an end was said is no frame's stamp
			}
			frames = append(frames, g)
			time.Sleep(slow)
		}
		if !moved && r.State() != ring.Live && r.Drained(ring.KindVideo) && r.Drained(ring.KindAudio) {
			return frames, r.Stats(), nil
		}
		if !moved {
			r.Wait(ctx, 100*time.Millisecond)
		}
	}
	return frames, st, ctx.Err()
}

// record consumes the frames of one feed into a file.
func record(t *testing.T, addr string, n int, every time.Duration) (path string, rep Report) {
	t.Helper()
	ctx := testCtx(t)
	path = filepath.Join(t.TempDir(), "x.mring")
	w, err := Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	fed := make(chan error, 1)
	go func() { fed <- feed(ctx, addr, n, every) }()
	rep, err = Consume(ctx, w, Options{Ring: addr, Config: ring.Config{VideoBytes: 64 << 10, AudioBytes: 16 << 10}})
	if err := errors.Join(err, <-fed, w.Close(rep.Reason)); err != nil {
		t.Fatal(err)
	}
	return path, rep
}

func scan(t *testing.T, path string) (*File, *Index) {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	x, err := Scan(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(f); err != nil {
		t.Fatal(err)
	}
	return f, x
}

// TestReplayGivesTheSame: what a consumer takes from a replay is what another
// would have taken from the producer, as fast as it can and in the original time.
func TestReplayGivesTheSame(t *testing.T) {
	for _, mode := range []string{"named", "unix"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			addr := filepath.Join(dir, "ring")
			if mode == "unix" {
				addr = "unix:" + addr
			}
			const n = 60
			path, rep := record(t, addr, n, time.Millisecond)
			f, x := scan(t, path)
			if rep.Frames != 2*n || x.Frames != 2*n || x.Cut || x.End != ReasonEnded || len(x.Attachments) != 1 {
				t.Fatalf("%+v, %+v", rep, x)
			}
			a := x.Attachments[0]
			if a.Producer.Name != "tester" || a.Producer.PID != os.Getpid() || a.Detach.State != "ended" || a.Losses.Streams[0].DroppedPolicy != 1 || len(a.Formats()) != 3 {
				t.Errorf("%+v, losses %+v, formats %+v", a, a.Losses, a.Formats())
			}
			// The same producer's frames, taken directly.
			direct := take(t, addr, func(ctx context.Context) error { return feed(ctx, addr, n, 0) })
			for _, o := range []ReplayOptions{{AsFast: true}, {Speed: 2}} {
				o.Ring = addr
				played := take(t, addr, func(ctx context.Context) error {
					began := time.Now()
					rep, err := Replay(ctx, f, x, o)
					if rep.Reason != ReasonPlayed || rep.Frames != 2*n || rep.Streams[1].Dropped != 0 {
						t.Errorf("%+v", rep)
					}
					if took := time.Since(began); !o.AsFast && took < x.Length/2-10*time.Millisecond {
						t.Errorf("it took %v at twice the speed of %v", took, x.Length)
					}
					return err
				})
				same(t, direct, played)
			}
		})
	}
}

// take consumes what a producer gives.
func take(t *testing.T, addr string, produce func(context.Context) error) []got {
	t.Helper()
	ctx := testCtx(t)
	l, err := ring.Listen(addr, ring.Config{VideoBytes: 64 << 10, AudioBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() { done <- produce(ctx) }()
	frames, _, err := consume(ctx, l, 0)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return frames
}

// same compares each stream's frames; stamps count from the first one.
func same(t *testing.T, want, have []got) {
	t.Helper()
	split := func(list []got) map[string][]got {
		first := int64(1<<63 - 1)
		for _, g := range list {
			if g.pts > 0 {
				first = min(first, g.pts)
			}
		}
		out := map[string][]got{}
		for _, g := range list {
			if g.pts > 0 {
				g.pts -= first
			}
			out[g.stream] = append(out[g.stream], g)
		}
		return out
	}
	a, b := split(want), split(have)
	for name := range a {
		if len(a[name]) != len(b[name]) {
			t.Fatalf("stream %s: %d frames, want %d", name, len(b[name]), len(a[name]))
		}
		for i := range a[name] {
			if !reflect.DeepEqual(a[name][i], b[name][i]) {
				t.Fatalf("stream %s: frame %d is %+v, want %+v", name, i, b[name][i], a[name][i])
			}
		}
	}
}

// TestTapBesideAConsumer: what a tap records and what it missed is all there was,
// and the consumer takes every frame.
func TestTapBesideAConsumer(t *testing.T) {
	ctx := testCtx(t)
	addr := filepath.Join(t.TempDir(), "ring")
	l, err := ring.Listen(addr, ring.Config{VideoBytes: 64 << 10, AudioBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(t.TempDir(), "x.mring")
	w, err := Create(path, true)
	if err != nil {
		t.Fatal(err)
	}
	attached := make(chan struct{})
	tapped := make(chan Report, 1)
	go func() {
		rep, err := Tap(ctx, w, Options{Ring: addr, Event: func(text string) {
			if text[:8] == "attached" {
				close(attached)
			}
		}})
		if err := errors.Join(err, w.Close(rep.Reason)); err != nil {
			t.Error(err)
		}
		tapped <- rep
	}()
	const n = 200
	fed := make(chan error, 1)
	go func() {
		p, err := ring.Attach(ctx, addr, streams, ring.AttachOptions{})
		if err != nil {
			fed <- err
			return
		}
		<-attached
		w, _ := p.Writer()
		id, _ := p.SetVideo(0, small)
		for i := range n {
			s, err := w.Claim(0, id, small.Size(), ring.Block(0))
			if err != nil {
				fed <- err
				return
			}
			s.Data[0] = byte(i)
			s.Commit(int64(i+1), 1, 0)
			time.Sleep(500 * time.Microsecond)
		}
		w.Close()
		fed <- p.Close()
	}()
	frames, _, err := consume(ctx, l, 0)
	if err := errors.Join(err, <-fed); err != nil {
		t.Fatal(err)
	}
	l.Close()
	rep := <-tapped
	f, x := scan(t, path)
	if !x.Header.Tapped || len(x.Attachments) != 1 || x.Attachments[0].Detach.State != "ended" || rep.Reason != ReasonEnded {
		t.Fatalf("%+v, %+v", rep, x)
	}
	if got := x.Frames + rep.Missed; len(frames) != n+2 || got < n || got > n+1 { // a missed claim may have been the end
		t.Errorf("%d taken; %d tapped and %d missed of %d", len(frames), x.Frames, rep.Missed, n)
	}
	for c := f.Records(0); ; {
		r, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Type == TypeFrame && r.Length > 0 {
			b := make([]byte, r.Length)
			if err := f.Payload(r, b); err != nil || b[0] != byte(r.Frame.PTS-1) {
				t.Fatalf("frame %d holds %d: %v", r.Frame.PTS-1, b[0], err)
			}
		}
	}
}

// TestCutAnywhere: a file that ends anywhere behind its header is good up to there.
func TestCutAnywhere(t *testing.T) {
	path, _ := record(t, filepath.Join(t.TempDir(), "ring"), 8, 0)
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last, steps := int64(0), 0
	// Every 17th length meets each part of records whose sizes are not its multiples.
	for n := 0; n < len(all); n += 17 {
		f, err := New(bytes.NewReader(all[:n]), int64(n))
		if (err != nil) != (n < fileHeader) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err != nil {
			continue
		}
		x, err := Scan(f)
		if err == nil {
			err = Verify(f)
		}
		if err != nil || !x.Cut || x.Frames < last {
			t.Fatalf("%d bytes: %v, %+v", n, err, x)
		}
		if x.Frames > last {
			steps++
		}
		last = x.Frames
	}
	if last != 16 || steps != 16 {
		t.Errorf("%d frames in %d steps", last, steps)
	}
}

// TestDamage: no byte can change unnoticed.
func TestDamage(t *testing.T) {
	path, _ := record(t, filepath.Join(t.TempDir(), "ring"), 2, 0)
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i] ^= 0x10
		f, err := New(bytes.NewReader(all), int64(len(all)))
		if err == nil {
			_, err = Scan(f)
		}
		if err == nil {
			err = Verify(f)
		}
		if err == nil {
			t.Fatalf("byte %d was changed and nobody noticed", i)
		}
		all[i] ^= 0x10
	}
}

// TestReplayStops: a consumer that stops taking, and a signal.
func TestReplayStops(t *testing.T) {
	path, _ := record(t, filepath.Join(t.TempDir(), "ring"), 60, 10*time.Millisecond)
	f, x := scan(t, path)
	addr := filepath.Join(t.TempDir(), "ring2")
	for _, how := range []string{ReasonStopped, ReasonSignal} {
		ctx, cancel := context.WithCancel(testCtx(t))
		l, err := ring.Listen(addr, ring.Config{VideoBytes: 64 << 10, AudioBytes: 16 << 10})
		if err != nil {
			t.Fatal(err)
		}
		type outcome struct {
			rep Report
			err error
		}
		done := make(chan outcome, 1)
		go func() {
			rep, err := Replay(ctx, f, x, ReplayOptions{Ring: addr})
			done <- outcome{rep, err}
		}()
		r, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if how == ReasonStopped {
			r.StopProducer()
		} else {
			cancel()
		}
		got := <-done
		if got.err != nil || got.rep.Reason != how || got.rep.Frames == 0 || got.rep.Frames >= 120 {
			t.Errorf("%s: %+v, %v", how, got.rep, got.err)
		}
		cancel()
		r.Close()
		l.Close()
	}
}

// TestDiskFull: the error is told, and what was written before is good.
func TestDiskFull(t *testing.T) {
	ctx := testCtx(t)
	addr := filepath.Join(t.TempDir(), "ring")
	disk := &bounded{left: 20000}
	w, err := NewWriter(disk, false)
	if err != nil {
		t.Fatal(err)
	}
	go feed(ctx, addr, 1000, 0)
	rep, err := Consume(ctx, w, Options{Ring: addr})
	if !errors.Is(err, errFull) || rep.Reason != ReasonError || !errors.Is(w.Close(""), errFull) {
		t.Errorf("%+v, %v", rep, err)
	}
	f, err := New(bytes.NewReader(disk.b.Bytes()), int64(disk.b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if x, err := Scan(f); err != nil || !x.Cut || x.Frames != rep.Frames {
		t.Errorf("%+v, %v; %d were reported", x, err, rep.Frames)
	}
}

var errFull = errors.New("no space left")

type bounded struct {
	b    bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.b.Write(p[:n])
	if b.left -= n; n < len(p) {
		return n, errFull
	}
	return n, nil
}

// FuzzScan: no file makes a reader panic or take memory beyond the limits.
func FuzzScan(f *testing.F) {
	var b bytes.Buffer
	w, _ := NewWriter(&b, true)
	n, _ := w.Attach(Attachment{Streams: []Stream{{"v", "video", 4096}, {"a", "audio", 960}}})
	w.Format(n, formatRecord(0, ring.Format{ID: 1, Video: &small}))
	w.Format(n, formatRecord(1, ring.Format{ID: 2, Audio: &sound}))
	w.Frame(n, ring.Frame{Kind: ring.KindVideo, FormatID: 1, PTS: 1, Data: make([]byte, 1024)})
	w.Frame(n, ring.Frame{Stream: 1, Kind: ring.KindAudio, FormatID: 2, PTS: 1, Data: make([]byte, 96)})
	w.Losses(n, Losses{Missed: map[string]int64{"video": 1}})
	w.Detach(n, Detach{State: "dead"})
	w.Close("signal")
	// Checksums are made right, so that the fuzzer gets beyond them.
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		b = mended(b)
		file, err := New(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		x, err := Scan(file)
		if err != nil {
			return
		}
		_ = Verify(file)
		for _, a := range x.Attachments {
			for _, f := range a.Formats() {
				_ = describe(f.Ring())
			}
		}
	})
}
