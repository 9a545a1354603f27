package shmsrc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// graphEnd stands for the graph behind one pad: it keeps frames as an encoder
// that looks ahead does, or takes none as a slow sink does.
type graphEnd struct {
	mu        sync.Mutex
	keep      int  // frames held before the oldest is released
	stopped   bool // no room
	held      []*pipeline.Cell
	stamps    []time.Duration
	first     []byte // first byte of each frame
	formats   []pipeline.Format
	holes     []time.Duration
	eos       bool
	fail      error // of SetFormat
	delivered chan struct{}
}

func newEnd(keep int) *graphEnd {
	return &graphEnd{keep: keep, delivered: make(chan struct{}, 1<<16)}
}

func (g *graphEnd) Room() bool           { g.mu.Lock(); defer g.mu.Unlock(); return !g.stopped }
func (g *graphEnd) Hungry() bool         { return g.Room() }
func (g *graphEnd) Notify(pipeline.Wake) {}

func (g *graphEnd) SetFormat(f pipeline.Format) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.formats = append(g.formats, f)
	return g.fail
}

func (g *graphEnd) Push(b *pipeline.Borrowed) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = append(g.held, b.Cell)
	g.stamps = append(g.stamps, b.PTS)
	g.first = append(g.first, b.Data[0])
	for len(g.held) > g.keep {
		g.held[0].Release()
		g.held = g.held[1:]
	}
	g.delivered <- struct{}{}
	return nil
}

func (g *graphEnd) Fill(stamp, d time.Duration) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holes = append(g.holes, stamp, d)
	return 1, nil
}

func (g *graphEnd) EOS() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.eos = true
	for _, c := range g.held {
		c.Release()
	}
	g.held = nil
	return nil
}

// filled gives the holes that were filled: where each begins, how long it is.
func (g *graphEnd) filled() []time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.holes)
}

func (g *graphEnd) count() int { g.mu.Lock(); defer g.mu.Unlock(); return len(g.stamps) }

const picture = 64 * 1024

// rig is a source with a producer, in one process.
type rig struct {
	t     *testing.T
	src   *source
	ends  map[string]*graphEnd
	done  chan struct{}
	err   error // of Run, once done
	prod  *ring.Producer
	video uint32
	audio uint32
	more  uint32 // format of the second stream of pictures
	stop  context.CancelFunc
}

func newRig(t *testing.T, ends map[string]*graphEnd, set map[string]any) *rig {
	t.Helper()
	r := &rig{t: t, src: &source{}, ends: ends, done: make(chan struct{})}
	addr := filepath.Join(t.TempDir(), "ring")
	for _, s := range pipeline.Specs(r.src) {
		v, ok := set[s.Name]
		if s.Name == "ring" {
			v, ok = addr, true
		}
		if ok {
			if err := s.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	env := &pipeline.SourceEnv{Stage: "app", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Outlets: map[string]pipeline.Outlet{}, Timeline: &pipeline.Timeline{}}
	for name, e := range ends {
		env.Outlets[name] = e
	}
	attached := make(chan *ring.Producer, 1)
	go func() {
		p, err := ring.Attach(context.Background(), addr, append(specs[:2:2], ring.StreamSpec{Name: "video_more", Kind: ring.KindVideo, MaxFrame: picture}),
			ring.AttachOptions{Name: "test", Reattach: true})
		if err != nil {
			t.Error(err)
		}
		attached <- p
	}()
	if err := r.src.Open(context.Background(), env); err != nil {
		t.Fatal(err)
	}
	if r.prod = <-attached; r.prod == nil {
		t.FailNow()
	}
	var err error
	if r.video, err = r.prod.SetVideo(0, grey); err != nil {
		t.Fatal(err)
	}
	if r.audio, err = r.prod.SetAudio(1, ring.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2}); err != nil {
		t.Fatal(err)
	}
	if r.more, err = r.prod.SetVideo(2, grey); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.err = r.src.Run(ctx); close(r.done) }()
	t.Cleanup(func() {
		r.stop()
		r.prod.Close()
		<-r.done
		if err := r.src.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// write puts n frames into a stream, stamped from a start on.
func (r *rig) write(stream int, n int, from time.Duration, policy ring.Policy) (full int) {
	r.t.Helper()
	w, err := r.prod.Writer()
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Close()
	format, size, dur := r.video, picture, time.Second/30
	if stream == 1 {
		format, size, dur = r.audio, 1920, 10*time.Millisecond
	}
	if stream == 2 {
		format = r.more
	}
	for i := range n {
		slot, err := w.Claim(stream, format, size, policy)
		if err != nil {
			full++
			continue
		}
		slot.Data[0] = byte(i)
		slot.Commit(int64(from+time.Duration(i)*dur), int64(dur), 0)
	}
	return full
}

func (r *rig) ended() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(20 * time.Second):
		r.t.Fatalf("the source did not end; %+v", r.src.Report())
		return nil
	}
}

// An encoder that keeps 40 frames behind a ring of 8: it gets them all, as
// copies, and nothing stalls.
func TestLookAheadLongerThanTheRing(t *testing.T) {
	video := newEnd(40)
	r := newRig(t, map[string]*graphEnd{"video": video}, map[string]any{"capacity": int64(8 * picture)})
	r.write(0, 200, time.Hour, ring.Block(10*time.Second))
	r.prod.Close()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	if video.count() != 200 || !video.eos {
		t.Fatalf("%d frames arrived, EOS %v; want 200 and EOS", video.count(), video.eos)
	}
	for i, b := range video.first {
		if b != byte(i) {
			t.Fatalf("frame %d holds %d", i, b)
		}
	}
	rep := r.src.Report()
	if p := rep.Pads["video"]; p.Copied == 0 || p.Frames != 200 {
		t.Errorf("counters are %+v, want copies", p)
	}
}

// The same encoder with a ring that is long enough: not one copy.
func TestNoCopyWhileTheRingIsLongEnough(t *testing.T) {
	video := newEnd(40)
	r := newRig(t, map[string]*graphEnd{"video": video}, map[string]any{"capacity": int64(64 * picture)})
	r.write(0, 200, time.Hour, ring.Block(10*time.Second))
	r.prod.Close()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	rep := r.src.Report()
	if p := rep.Pads["video"]; p.Copied != 0 || p.Frames != 200 || rep.HeldMost < 40 {
		t.Errorf("counters are %+v, most held %d; want no copy and 40 held", p, rep.HeldMost)
	}
}

// A sink that takes nothing is no look-ahead: nothing is copied to make room,
// the producer finds the ring full.
func TestASlowSinkHoldsTheProducerUp(t *testing.T) {
	video := newEnd(0)
	video.stopped = true
	r := newRig(t, map[string]*graphEnd{"video": video}, map[string]any{"capacity": int64(8 * picture)})
	full := r.write(0, 50, time.Hour, ring.Drop)
	time.Sleep(300 * time.Millisecond) // time to do the wrong thing
	full += r.write(0, 50, time.Hour+2*time.Second, ring.Drop)
	rep := r.src.Report()
	if full < 90 || rep.Pads["video"].DroppedFull != int64(full) || rep.Pads["video"].Copied != 0 {
		t.Errorf("%d of 100 frames found the ring full, the source says %+v; want at least 90 and no copy", full, rep.Pads["video"])
	}
	video.mu.Lock()
	video.stopped = false
	video.mu.Unlock()
	r.prod.Close()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	if video.count() != 100-full {
		t.Errorf("%d frames arrived, %d were written", video.count(), 100-full)
	}
}

// A stage with several inputs takes what one has only beside something from another:
// a pad without room does not keep from another what lies behind in the ring.
func TestAFullPadDoesNotHoldAnotherUp(t *testing.T) {
	video, more := newEnd(0), newEnd(0)
	video.stopped = true
	r := newRig(t, map[string]*graphEnd{"video": video, "video_more": more}, map[string]any{"capacity": int64(64 * picture)})
	opened := func() {
		video.mu.Lock()
		defer video.mu.Unlock()
		video.stopped = false
	}
	t.Cleanup(opened)
	r.write(0, 20, time.Hour, ring.Drop)
	r.write(2, 1, time.Hour, ring.Drop)
	select {
	case <-more.delivered:
	case <-time.After(5 * time.Second):
		t.Fatal("the frame behind those of the full pad did not come")
	}
	// What the hungry pad wants may not come: at most half of the ring is set aside.
	full := r.write(0, 100, time.Hour+time.Second, ring.Drop)
	time.Sleep(300 * time.Millisecond) // time to do the wrong thing
	if rep := r.src.Report(); rep.HeldFrames > 32 || rep.Pads["video"].Copied != 0 || full < 50 {
		t.Errorf("%d of 64 frames are out of the ring, %d of 120 found it full: %+v", rep.HeldFrames, full, rep.Pads["video"])
	}
	opened()
	r.prod.Close()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	if video.count() != 120-full || !slices.IsSorted(video.stamps) {
		t.Errorf("%d frames arrived of %d, in order: %v", video.count(), 120-full, slices.IsSorted(video.stamps))
	}
}

// All of a stream that is over before its consumer looks is delivered.
func TestAShortStreamIsWhole(t *testing.T) {
	video, audio := newEnd(0), newEnd(0)
	r := newRig(t, map[string]*graphEnd{"video": video, "audio": audio}, nil)
	r.write(1, 100, time.Hour, ring.Block(0))
	r.write(0, 30, time.Hour, ring.Block(0))
	r.prod.Close()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	if video.count() != 30 || audio.count() != 100 {
		t.Errorf("%d pictures and %d packets arrived, want 30 and 100", video.count(), audio.count())
	}
}

func TestAStopDeliversWhatWasCommitted(t *testing.T) {
	video, audio := newEnd(0), newEnd(0)
	r := newRig(t, map[string]*graphEnd{"video": video, "audio": audio}, nil)
	r.write(1, 20, time.Hour, ring.Block(0))
	r.write(0, 20, time.Hour, ring.Block(0))
	r.stop()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	if video.count() != 20 || audio.count() != 20 || !video.eos || !audio.eos {
		t.Errorf("%d pictures and %d packets, EOS %v and %v; want 20, 20 and both", video.count(), audio.count(), video.eos, audio.eos)
	}
	w, err := r.prod.Writer()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Claim(0, r.video, picture, ring.Drop); !errors.Is(err, ring.ErrFull) || r.prod.Err() != ring.ErrStopped {
		t.Errorf("a claim after the stop got %v (%v), want no consumer and %v", err, r.prod.Err(), ring.ErrStopped)
	}
}

// A stream that falls behind the others is filled up, and what comes too late
// for that is left out.
func TestAHoleInOneStream(t *testing.T) {
	video, audio := newEnd(0), newEnd(0)
	r := newRig(t, map[string]*graphEnd{"video": video, "audio": audio}, nil)
	r.write(1, 10, time.Hour, ring.Block(0))
	r.write(0, 120, time.Hour, ring.Block(0)) // four seconds of pictures, 0.1 of sound
	for end := time.Now().Add(5 * time.Second); len(audio.filled()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the hole was not filled")
		}
	}
	if h := audio.filled(); h[0] != time.Hour+100*time.Millisecond || (h[0]+h[1]).Round(10*time.Millisecond) != time.Hour+3*time.Second {
		t.Errorf("filled from %v for %v, want from where the sound ended up to a second behind the pictures", h[0], h[1])
	}
	r.write(1, 10, time.Hour+200*time.Millisecond, ring.Block(0)) // too late
	r.write(1, 10, time.Hour+4*time.Second, ring.Block(0))
	r.prod.Close()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	if p := r.src.Report().Pads["audio"]; audio.count() != 20 || p.Late != 10 || p.Filled != 1 {
		t.Errorf("%d packets arrived, counters %+v; want 20, 10 of them late", audio.count(), p)
	}
	if len(video.filled()) > 0 {
		t.Error("the pictures have no hole")
	}
}

func TestOutputsFollowTheirNames(t *testing.T) {
	s := &source{}
	pipeline.Specs(s)
	s.streams = map[string]any{"screen": "video", "mic": "audio"}
	for pad, want := range map[string]pipeline.Kind{
		"video": pipeline.RawVideo, "video2": pipeline.RawVideo, "audio_left": pipeline.RawAudio, "screen": pipeline.RawVideo, "mic": pipeline.RawAudio,
	} {
		if got, err := s.Output(pad); err != nil || got != want {
			t.Errorf("%s is %v (%v), want %v", pad, got, err, want)
		}
	}
	for _, pad := range []string{"", "camera"} {
		if _, err := s.Output(pad); err == nil {
			t.Errorf("%q was taken", pad)
		}
	}
	s.addr = "r"
	s.streams["screen"] = "film"
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "streams.screen") {
		t.Errorf("a stream of kind film got %v", err)
	}
}
