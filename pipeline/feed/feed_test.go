package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed/pattern"
	"github.com/mpipe/mpipe/ring"
)

// heard is what a consumer found of one stream.
type heard struct {
	stream  ring.Stream
	frames  [][]byte
	pts     []int64
	flags   []ring.Flags
	formats []ring.Format // as they changed
	ended   bool
}

// consumer takes everything of one attachment, optionally slowly, and gives it
// by stream name.
type consumer struct {
	addr       string
	l          *ring.Listener
	hold       time.Duration // before each look at video
	stop       int           // after so many video frames, take nothing new; 0 never
	soundFirst bool
	got        map[string]*heard
	done       chan error
}

func consume(t *testing.T, cfg ring.Config, hold time.Duration, stop int) *consumer {
	t.Helper()
	c := &consumer{addr: filepath.Join(t.TempDir(), "ring"), hold: hold, stop: stop, got: map[string]*heard{}, done: make(chan error, 1)}
	if cfg.VideoBytes == 0 {
		cfg.VideoBytes = 4 << 20
	}
	var err error
	if c.l, err = ring.Listen(c.addr, cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	go func() { c.done <- c.take(ctx) }()
	t.Cleanup(func() {
		cancel()
		c.l.Close()
	})
	return c
}

func (c *consumer) take(ctx context.Context) error {
	r, err := c.l.Accept(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, s := range r.Streams() {
		c.got[s.Name] = &heard{stream: s}
	}
	videos := 0
	for ctx.Err() == nil {
		idle := true
		for _, k := range []ring.Kind{ring.KindAudio, ring.KindVideo} {
			if _, ok := r.Peek(k); !ok || k == ring.KindVideo && c.soundFirst && !c.got["audio"].ended {
				continue
			}
			idle = false
			if k == ring.KindVideo {
				time.Sleep(c.hold)
				if videos++; videos == c.stop {
					r.StopProducer()
				}
			}
			c.keep(r, r.Take(k))
		}
		r.Reclaim()
		if idle && (r.State() == ring.Ended || r.State() == ring.Dead) && r.Drained(ring.KindVideo) && r.Drained(ring.KindAudio) {
			return r.Err()
		}
		if idle {
			r.Wait(ctx, 20*time.Millisecond)
		}
	}
	return ctx.Err()
}

func (c *consumer) keep(r *ring.Reader, f ring.Frame) {
	for _, h := range c.got {
		if h.stream.ID != f.Stream {
			continue
		}
		if f.Flags&ring.FlagEOS != 0 {
			h.ended = true
			return
		}
		format, _ := r.Format(f.Stream, f.FormatID)
		if n := len(h.formats); n == 0 || h.formats[n-1].ID != format.ID {
			h.formats = append(h.formats, format)
		}
		h.frames = append(h.frames, bytes.Clone(f.Data))
		h.pts, h.flags = append(h.pts, f.PTS), append(h.flags, f.Flags)
	}
	if f.Cell != nil {
		f.Cell.Release()
	}
}

// result waits for the consumer.
func (c *consumer) result(t *testing.T) map[string]*heard {
	t.Helper()
	if err := <-c.done; err != nil {
		t.Fatalf("consumer: %v", err)
	}
	return c.got
}

func mustFeed(t *testing.T, c *consumer, s *Source, o Options) *Report {
	t.Helper()
	defer s.Close()
	o.Ring, o.AttachTimeout = c.addr, 10*time.Second
	r, err := Run(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustPattern(t *testing.T, size string, more ...string) *Source {
	t.Helper()
	var videos []VideoSpec
	for _, s := range append([]string{size}, more...) {
		v, err := ParseVideo(s)
		if err != nil {
			t.Fatal(err)
		}
		videos = append(videos, v)
	}
	s, err := Pattern(videos, AudioSpec{48000, 2})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkCounter wants frame i to show number i.
func checkCounter(t *testing.T, h *heard, count int) {
	t.Helper()
	if len(h.frames) != count {
		t.Fatalf("%s: %d frames, want %d", h.stream.Name, len(h.frames), count)
	}
	v := h.formats[0].Video
	for i, f := range h.frames {
		if n, ok := pattern.Read(f, v.Strides[0], v.Width, v.Height); !ok || n != uint32(i) {
			t.Fatalf("%s: frame %d shows %d, %v", h.stream.Name, i, n, ok)
		}
	}
}

func TestPatternAsFastAsTheReader(t *testing.T) {
	c := consume(t, ring.Config{}, 0, 0)
	r := mustFeed(t, c, mustPattern(t, "320x180@30", "160x90@15"), Options{AsFast: true, Duration: 4 * time.Second})
	got := c.result(t)
	checkCounter(t, got["video"], 120)
	checkCounter(t, got["video2"], 60)
	audio := got["audio"]
	if len(audio.frames) != 400 || !audio.ended || !got["video"].ended {
		t.Errorf("%d packets, ends %v %v", len(audio.frames), audio.ended, got["video"].ended)
	}
	start := got["video"].pts[0]
	for i, pts := range got["video"].pts {
		if want := start + int64(pattern.Rate{Num: 30, Den: 1}.At(uint32(i))); pts != want {
			t.Fatalf("frame %d has stamp %d, want %d", i, pts, want)
		}
	}
	if audio.pts[0] != start || audio.pts[399] != start+3990*int64(time.Millisecond) {
		t.Errorf("sound from %d to %d, video from %d", audio.pts[0], audio.pts[399], start)
	}
	clicks := pattern.Clicks(bytes.Join(audio.frames, nil), 48000, 2)
	if len(clicks) != 4 || clicks[1] != 48000 {
		t.Errorf("clicks at %v", clicks)
	}
	if r.Reason != ReasonTime || r.Streams[0].Frames != 120 || r.Streams[0].Bytes != 120*320*180*3/2 || r.SkewMS == nil || *r.SkewMS != 0 {
		t.Errorf("report %+v", r)
	}
}

func TestClockPace(t *testing.T) {
	c := consume(t, ring.Config{}, 0, 0)
	began := time.Now()
	mustFeed(t, c, mustPattern(t, "160x90@50"), Options{Duration: time.Second})
	if took := time.Since(began); took < 980*time.Millisecond {
		t.Errorf("one second was fed in %v", took)
	}
	checkCounter(t, c.result(t)["video"], 50)
}

// small is a ring of four 160x90 pictures.
var small = ring.Config{VideoBytes: 4 * 24 << 10, Slots: 8, AudioBytes: 256 << 10}

func TestFullRingDropsAndCounts(t *testing.T) {
	c := consume(t, small, 40*time.Millisecond, 0) // takes 25 a second of 100
	r := mustFeed(t, c, mustPattern(t, "160x90@100"), Options{Duration: time.Second, Drop: true})
	got := c.result(t)["video"]
	v := r.Streams[0]
	if v.Dropped == 0 || v.Frames+v.Dropped != 100 || int(v.Frames) != len(got.frames) {
		t.Errorf("%d frames, %d dropped, %d arrived; want 100 in all", v.Frames, v.Dropped, len(got.frames))
	}
	f := got.formats[0].Video
	last, gaps := int64(-1), 0
	for i, b := range got.frames {
		n, ok := pattern.Read(b, f.Strides[0], f.Width, f.Height)
		if !ok || int64(n) <= last {
			t.Fatalf("frame %d shows %d, %v after %d", i, n, ok, last)
		}
		missing := int64(n) > last+1
		if marked := got.flags[i]&ring.FlagDiscont != 0; marked != missing {
			t.Errorf("frame %d: missing before it %v, marked %v", n, missing, marked)
		}
		if missing {
			gaps++
		}
		last = int64(n)
	}
	if gaps == 0 {
		t.Error("no gap in the numbers")
	}
}

func TestFullRingBlocksAndLosesNothing(t *testing.T) {
	c := consume(t, small, 10*time.Millisecond, 0)
	r := mustFeed(t, c, mustPattern(t, "160x90@100"), Options{Duration: 600 * time.Millisecond, AsFast: true})
	checkCounter(t, c.result(t)["video"], 60)
	if v := r.Streams[0]; v.Dropped != 0 || v.Blocked < 200*time.Millisecond {
		t.Errorf("dropped %d, blocked %v", v.Dropped, v.Blocked)
	}
}

func TestSoundDoesNotWaitForPictures(t *testing.T) {
	c := consume(t, small, 0, 0)
	c.soundFirst = true // no picture is taken before the sound has ended
	r := mustFeed(t, c, mustPattern(t, "160x90@100"), Options{Duration: time.Second})
	got := c.result(t)
	if len(got["audio"].frames) != 100 || len(got["video"].frames) != 100 {
		t.Errorf("%d packets, %d pictures arrived, want 100 of each", len(got["audio"].frames), len(got["video"].frames))
	}
	if v, a := r.Streams[0], r.Streams[1]; v.Blocked < 500*time.Millisecond || a.Blocked > 200*time.Millisecond {
		t.Errorf("video waited %v, audio %v", v.Blocked, a.Blocked)
	}
}

func TestConsumerStops(t *testing.T) {
	c := consume(t, ring.Config{}, 0, 10)
	r := mustFeed(t, c, mustPattern(t, "160x90@30"), Options{})
	got := c.result(t)["video"]
	if r.Reason != ReasonStopped || int(r.Streams[0].Frames) != len(got.frames) {
		t.Errorf("reason %q, %d frames fed, %d arrived", r.Reason, r.Streams[0].Frames, len(got.frames))
	}
}

func TestEndOfContextEndsTheStreams(t *testing.T) {
	c := consume(t, ring.Config{}, 0, 0)
	s := mustPattern(t, "160x90@30")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	r, err := Run(ctx, s, Options{Ring: c.addr})
	if err != nil || r.Reason != ReasonSignal {
		t.Fatalf("%v, reason %q", err, r.Reason)
	}
	got := c.result(t)
	if !got["video"].ended || !got["audio"].ended || int(r.Streams[0].Frames) != len(got["video"].frames) {
		t.Errorf("ends %v %v; %d frames fed, %d arrived", got["video"].ended, got["audio"].ended, r.Streams[0].Frames, len(got["video"].frames))
	}
}

func TestLeavesAConsumerThatTakesNothing(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "ring")
	l, err := ring.Listen(addr, small)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *ring.Reader, 1)
	go func() {
		r, err := l.Accept(context.Background())
		if err != nil {
			r = nil
		}
		accepted <- r
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = Run(ctx, mustPattern(t, "160x90@30"), Options{Ring: addr, AsFast: true})
	if err == nil || !strings.Contains(err.Error(), "took nothing") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > letGo+2*time.Second {
		t.Errorf("took %v to leave", took)
	}
	if r := <-accepted; r != nil {
		r.Close()
	}
}

func TestNobodyListens(t *testing.T) {
	s := mustPattern(t, "160x90@30")
	waited := make(chan bool, 1)
	r, err := Run(context.Background(), s, Options{
		Ring: filepath.Join(t.TempDir(), "none"), AttachTimeout: patience + 200*time.Millisecond, Waiting: func() { waited <- true },
	})
	if err == nil || !strings.Contains(err.Error(), "mpipe run") || !strings.Contains(err.Error(), "does not exist") || r.Error == "" || r.Elapsed != 0 {
		t.Errorf("got %v, report %+v", err, r)
	}
	if len(waited) != 1 {
		t.Error("it did not say that it waits")
	}
}

func TestStoppedBeforeAConsumerCame(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	r, err := Run(ctx, mustPattern(t, "160x90@30"), Options{Ring: filepath.Join(t.TempDir(), "none")})
	if !errors.Is(err, ErrNotAttached) || r.Reason != ReasonSignal || len(r.Streams) != 0 {
		t.Errorf("%v, report %+v", err, r)
	}
}

func TestWhyNobodyTookTheRing(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
		start  bool // starting a consumer is the remedy
	}{
		{fmt.Errorf("ring: x (%w): %w", errors.New("nobody listens"), context.DeadlineExceeded), ": nobody listens", true},
		{fmt.Errorf("ring: x: %w: %w", context.DeadlineExceeded, errors.New("the ring has a producer already")), ": the ring has a producer already", false},
		{fmt.Errorf("ring: %w: x: the ring has a producer already", context.DeadlineExceeded), ": the ring has a producer already", false},
		{fmt.Errorf("ring: x: %w", context.DeadlineExceeded), ";", true},
	} {
		got := whyNot(c.err)
		if !strings.HasPrefix(got, c.reason) || strings.Contains(got, "start one") != c.start {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}

func TestSpecs(t *testing.T) {
	for s, want := range map[string]VideoSpec{
		"1280x720@30":          {1280, 720, pattern.Rate{Num: 30, Den: 1}},
		"1280x720":             {1280, 720, pattern.Rate{Num: 30, Den: 1}},
		"64x36@29.97":          {64, 36, pattern.Rate{Num: 30000, Den: 1001}},
		"64x36@12.5":           {64, 36, pattern.Rate{Num: 125, Den: 10}},
		"1920x1080@60000/1001": {1920, 1080, pattern.Rate{Num: 60000, Den: 1001}},
	} {
		if v, err := ParseVideo(s); err != nil || v != want {
			t.Errorf("%s: %+v, %v", s, v, err)
		}
	}
	for _, s := range []string{"", "1280", "1280x", "x720", "0x720", "1280x720@", "1280x720@0", "1280x720@30/0", "99999x1", "1280X720", "1x1@2000"} {
		if v, err := ParseVideo(s); err == nil {
			t.Errorf("%q was read as %+v", s, v)
		}
	}
	if a, err := ParseAudio("48000x2"); err != nil || a != (AudioSpec{48000, 2}) {
		t.Errorf("%+v, %v", a, err)
	}
	for _, s := range []string{"", "48000", "48000x", "48000x0", "0x2", "48kx2"} {
		if a, err := ParseAudio(s); err == nil {
			t.Errorf("%q was read as %+v", s, a)
		}
	}
}

// The feed leaves out what the consumer says that it cannot take, and no sound.
func TestAdaptsToAdvice(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "ring")
	l, err := ring.Listen(addr, ring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		r, err := l.Accept(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		r.Advise(15, 1, "app.video")
		drainAll(r)
	}()
	r, err := Run(context.Background(), mustPattern(t, "160x90@30"), Options{Ring: addr, Duration: 2 * time.Second, Adapt: true})
	if err != nil {
		t.Fatal(err)
	}
	v, a := r.Streams[0], r.Streams[1]
	if v.Frames+v.Skipped != 60 || v.Skipped < 25 || v.Skipped > 30 || a.Skipped != 0 || a.Frames != 200 {
		t.Errorf("%d pictures, %d left out, %d packets", v.Frames, v.Skipped, a.Frames)
	}
}

// drainAll takes everything of an attachment.
func drainAll(r *ring.Reader) {
	defer r.Close()
	for !r.Drained(ring.KindVideo) || !r.Drained(ring.KindAudio) {
		idle := true
		for _, k := range []ring.Kind{ring.KindVideo, ring.KindAudio} {
			if f := r.Take(k); f.Cell != nil {
				f.Cell.Release()
				idle = false
			}
		}
		r.Reclaim()
		if idle {
			r.Wait(context.Background(), time.Second)
		}
	}
}

// A consumer that goes away is waited for, and what it had not taken is counted.
func TestGoesOnWithTheNextConsumer(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "ring")
	taken := make(chan int64, 2)
	go func() {
		for i := range 2 {
			l, err := ring.Listen(addr, ring.Config{})
			if err != nil {
				t.Error(err)
				return
			}
			r, err := l.Accept(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			if i == 0 {
				for r.Stats().Classes[0].SlotsUsed < 10 {
					time.Sleep(time.Millisecond)
				}
				r.Close()
				taken <- 0
			} else {
				drainAll(r)
				st := r.Stats().Streams
				taken <- st[0].Frames + st[1].Frames
			}
			l.Close()
		}
	}()
	r, err := Run(context.Background(), mustPattern(t, "160x90@30"), Options{Ring: addr, Duration: 2 * time.Second, Reattach: true})
	if err != nil {
		t.Fatal(err)
	}
	got := <-taken + <-taken
	if sent := r.Streams[0].Frames + r.Streams[1].Frames; r.Epochs != 2 || r.Lost < 10 || got+r.Lost != sent || r.Reason != ReasonTime {
		t.Errorf("%d sent, %d taken, %d lost, %d consumers, %s", sent, got, r.Lost, r.Epochs, r.Reason)
	}
}
