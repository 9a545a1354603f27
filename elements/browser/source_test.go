package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/pipeline"
)

// graphEnd stands for the graph behind one pad. It keeps frames as an encoder does.
type graphEnd struct {
	mu    sync.Mutex
	keep  int
	held  []*pipeline.Cell
	datas [][]byte // of what is held
	first []byte   // first byte of each frame
	torn  int      // frames whose bytes are not all the same
	moved int      // frames whose bytes changed while they were held
	eos   bool
}

func (g *graphEnd) Room() bool                        { return true }
func (g *graphEnd) Hungry() bool                      { return true }
func (g *graphEnd) Notify(pipeline.Wake)              {}
func (g *graphEnd) SetFormat(f pipeline.Format) error { return nil }

func (g *graphEnd) Push(b *pipeline.Borrowed) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.first = append(g.first, b.Data[0])
	if !even(b.Data) {
		g.torn++
	}
	g.held, g.datas = append(g.held, b.Cell), append(g.datas, b.Data)
	for len(g.held) > g.keep {
		g.drop()
	}
	return nil
}

// drop releases the oldest.
func (g *graphEnd) drop() {
	if d := g.datas[0]; !even(d) || d[0] != g.first[len(g.first)-len(g.datas)] {
		g.moved++
	}
	g.held[0].Release()
	g.held, g.datas = g.held[1:], g.datas[1:]
}

func even(b []byte) bool {
	for _, x := range b {
		if x != b[0] {
			return false
		}
	}
	return true
}

func (g *graphEnd) Fill(_, _ time.Duration) (int64, error) { return 1, nil }

func (g *graphEnd) EOS() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.eos = true
	for len(g.held) > 0 {
		g.drop()
	}
	return nil
}

func (g *graphEnd) count() int { g.mu.Lock(); defer g.mu.Unlock(); return len(g.first) }

// rig is a source with a graph.
type rig struct {
	t            *testing.T
	src          *source
	video, audio *graphEnd
	stop         context.CancelFunc
	done         chan struct{}
	err          error
	log          *strings.Builder
	logMu        sync.Mutex
}

func (r *rig) Write(b []byte) (int, error) {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return r.log.Write(b)
}

// start opens and runs a source; Open waits for a page, so it is run beside.
func start(t *testing.T, dir string, set map[string]any) *rig {
	t.Helper()
	r := &rig{t: t, src: &source{}, video: &graphEnd{}, audio: &graphEnd{}, done: make(chan struct{}), log: &strings.Builder{}}
	for _, s := range pipeline.Specs(r.src) {
		v, ok := set[s.Name]
		switch {
		case s.Name == "user_data_dir":
			v, ok = dir, true
		case s.Name == "capacity" && !ok:
			v, ok = int64(1<<20), true
		}
		if ok {
			if err := s.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.src.Check(); err != nil {
		t.Fatal(err)
	}
	env := &pipeline.SourceEnv{
		Stage: "tab", Log: slog.New(slog.NewTextHandler(r, nil)), Timeline: &pipeline.Timeline{},
		Outlets: map[string]pipeline.Outlet{"video": r.video, "audio": r.audio},
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		if r.err = r.src.Open(ctx, env); r.err == nil {
			r.err = r.src.Run(ctx)
		}
	}()
	t.Cleanup(func() {
		r.stop()
		<-r.done
		if err := r.src.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func (r *rig) ended() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(20 * time.Second):
		r.t.Fatalf("the source did not end: %+v", r.src.Report())
		return nil
	}
}

// whole fails unless n frames came, numbered from 0 on, and unharmed.
func (g *graphEnd) whole(t *testing.T, what string, n int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.first) != n || g.torn+g.moved != 0 || !g.eos {
		t.Errorf("%s: %d frames, %d torn, %d changed while held, EOS %v; want %d and EOS", what, len(g.first), g.torn, g.moved, g.eos, n)
	}
	for i, b := range g.first {
		if b != byte(i) {
			t.Errorf("%s: frame %d holds %d", what, i, b)
			return
		}
	}
}

// Every way of delivery: all that a page handed over arrives once, in order and
// unharmed, behind an encoder that holds a few.
func TestAPage(t *testing.T) {
	for _, c := range []struct {
		trust    string
		keep     int
		capacity int64
	}{{"", 5, 1 << 20}, {"page", 5, 1 << 20}, {"", 40, 16 * 4096}, {"page", 40, 16 * 4096}} {
		trust := c.trust
		t.Run(fmt.Sprintf("trust %q, an encoder that holds %d of %d", trust, c.keep, c.capacity/4096), func(t *testing.T) {
			dir := t.TempDir()
			r := start(t, dir, map[string]any{"trust": trust, "capacity": c.capacity})
			r.video.keep = c.keep
			p := newPage(t, dir, "", "http://localhost")
			p.attach(dir)
			for i := range 1500 {
				p.write(0, byte(i))
				if i%3 == 0 {
					p.write(1, byte(i/3))
				}
			}
			p.end()
			if err := r.ended(); err != nil {
				t.Fatal(err)
			}
			r.video.whole(t, "video", 1500)
			r.audio.whole(t, "audio", 500)
			pad := r.src.Report().Pads["video"]
			if copied := pad.Copied >= pad.Frames; pad.Frames != 1500 || copied != (trust == "" || c.keep > 16) || pad.Lost+pad.Late != 0 {
				t.Errorf("counters are %+v", pad)
			}
			if r.src.Report().ProducerDied {
				t.Error("a page that ended well counts as dead")
			}
		})
	}
}

// A page that dies: what it handed over is delivered, also what nobody had looked
// at yet.
func TestAPageDies(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	p := newPage(t, dir, "", "")
	p.attach(dir)
	for i := range 6 {
		p.write(1, byte(i))
		p.write(0, byte(i))
	}
	p.die()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	r.video.whole(t, "video", 6)
	r.audio.whole(t, "audio", 6)
	if !r.src.Report().ProducerDied {
		t.Error("the page does not count as dead")
	}
}

// The recording goes on with the next page, and counts both.
func TestTheNextPage(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, map[string]any{"on_producer_exit": "wait"})
	n := 0
	for range 3 {
		p := newPage(t, dir, "", "")
		p.attach(dir)
		for range 20 {
			p.write(0, byte(n))
			p.write(1, byte(n))
			n++
		}
		p.die()
	}
	p := newPage(t, dir, "", "")
	p.attach(dir)
	p.end()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	r.video.whole(t, "video", n)
	if pad := r.src.Report().Pads["video"]; pad.Copied != int64(n) || pad.Frames != int64(n) {
		t.Errorf("counters are %+v, want %d frames", pad, n)
	}
}

// Only the page that is meant is taken; the others are not disturbed.
func TestTheRightPage(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MPIPE_TEST_TOKEN", "secret")
	token := map[string]any{"env": "MPIPE_TEST_TOKEN"}
	wrong := []*page{
		newPage(t, dir, "other", "https://a.example"), newPage(t, dir, "mine", "https://b.example"),
		newPage(t, dir, "mine", "https://a.example"), // with another token
		newPage(t, dir, "mine", "https://a.example"), // dead
	}
	wrong[2].put(wrong[2].bell, append([]byte("guess"), 0, 0), intake.BellToken)
	wrong[3].bell.Close()
	r := start(t, dir, map[string]any{"page": "mine", "origin": "https://a.example", "token": token})
	time.Sleep(100 * time.Millisecond) // time to do the wrong thing
	p := newPage(t, dir, "mine", "https://a.example")
	p.attach(dir)
	p.write(0, 0)
	p.write(1, 0)
	p.end()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	r.video.whole(t, "video", 1)
	for i, p := range wrong {
		if s, _ := p.state(); s != intake.None {
			t.Errorf("the wrong page %d is in state %d", i, s)
		}
	}
}

// Two sources and two pages of one browser: each takes one.
func TestTwoPages(t *testing.T) {
	dir := t.TempDir()
	a, b := start(t, dir, map[string]any{"page": "a"}), start(t, dir, map[string]any{"page": "b"})
	for _, c := range []struct {
		r *rig
		p *page
		n int
	}{{b, newPage(t, dir, "b", ""), 7}, {a, newPage(t, dir, "a", ""), 5}} {
		c.p.attach(dir)
		for i := range c.n {
			c.p.write(0, byte(i))
			c.p.write(1, byte(i))
		}
		c.p.end()
		if err := c.r.ended(); err != nil {
			t.Fatal(err)
		}
		c.r.video.whole(t, "video", c.n)
	}
}

// A page that offers something else is told so, and the next one is taken.
func TestAPageWithoutTheStreams(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	p := newPage(t, dir, "silent", "")
	p.put(p.bell, le.AppendUint32(nil, 1), intake.BellStreams)
	if reason := p.until(intake.Refused); !strings.Contains(reason, "the graph uses .audio, but the page offers video (video)") {
		t.Errorf("the page hears %q", reason)
	}
	better := newPage(t, dir, "", "")
	better.attach(dir)
	better.write(0, 0)
	better.write(1, 0)
	better.end()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	r.video.whole(t, "video", 1)
}

func TestNobodyComes(t *testing.T) {
	r := start(t, t.TempDir(), map[string]any{"attach_timeout": "200ms"})
	if err := r.ended(); err == nil || !strings.Contains(err.Error(), "no page came within 200ms; have a page in the browser of") {
		t.Errorf("the source says %v", err)
	}
}

// A stop: what was handed over before is delivered or counted, the page hears of it.
func TestAStop(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	p := newPage(t, dir, "", "")
	p.attach(dir)
	for i := range 10 {
		p.write(0, byte(i))
		p.write(1, byte(i))
	}
	for r.video.count() < 10 {
		time.Sleep(time.Millisecond)
	}
	r.stop()
	if err := r.ended(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.video.whole(t, "video", 10)
	if err := r.src.Close(); err != nil {
		t.Error(err)
	}
	p.until(intake.Closed)
	if _, err := os.Stat(r.src.temp); err == nil || r.src.temp == "" {
		t.Errorf("%q is still there", r.src.temp)
	}
}
