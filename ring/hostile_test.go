package ring

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lineCount is a log that only counts.
type lineCount struct{ n atomic.Int64 }

func (c *lineCount) Write(b []byte) (int, error) {
	c.n.Add(1)
	return len(b), nil
}

// TestHostile lets processes lie to a listener in every way they can while an
// honest producer works: random values at full speed over all they map, holes in
// the file, broken and flooding handshakes, connections left open, fds that nobody
// asked for. Each lie ends its own attachment; the honest one loses nothing, new
// honest ones get in, and neither memory, fds nor log lines pile up.
func TestHostile(t *testing.T) {
	seconds := 8
	if testing.Short() {
		seconds = 3
	}
	rng := testSeed(t)
	program := compile(t, "hostile", "-std=c11", "testdata/hostile.c")
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds+30)*time.Second)
	defer cancel()
	path := filepath.Join(t.TempDir(), "s")
	var lines lineCount
	l, err := Listen("unix:"+path, Config{
		VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8, startAtWrap: true, Log: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := &hostileHost{t: t, l: l}
	begin, fds, maps := time.Now(), countFDs(t), countMaps(t)
	h.run(ctx)

	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Add(1)
	go func() {
		defer wg.Done()
		h.honest(ctx, path, "steady", stop)
	}()
	liars := make([]string, 2)
	for i := range liars {
		cmd := exec.CommandContext(ctx, program, path, strconv.Itoa(seconds), strconv.FormatInt(rng.Int63(), 10))
		out := start(t, cmd)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for out.Scan() {
				liars[i] += out.Text()
			}
			_ = cmd.Wait() // it may have tripped over what it wrote
		}()
	}
	// Honest ones that come while it lasts.
	for i, end := 0, time.Now().Add(time.Duration(seconds)*time.Second); time.Now().Before(end); i++ {
		short := make(chan struct{})
		time.AfterFunc(200*time.Millisecond, func() { close(short) })
		h.honest(ctx, path, fmt.Sprintf("late%d", i), short)
		info, err := Inspect("unix:" + path)
		if err != nil || !slices.ContainsFunc(info.Attachments, func(s Stats) bool { return s.Producer.Name == "steady" }) {
			t.Errorf("Inspect during the flood: %+v, %v", info, err)
		}
	}
	most := countFDs(t)
	close(stop)
	wg.Wait()
	h.finish(t)
	t.Logf("liars: %q; attachments ended: %d invalid, %d otherwise; honest frames: %d; fds: %d before, %d in the middle; log lines: %d",
		liars, h.invalid.Load(), h.other.Load(), h.frames.Load(), fds, most, lines.n.Load())
	fmt.Printf("hostile: %d attachments poisoned, %d ended otherwise; %d honest frames intact, 0 lost; fds at most %d\n", h.invalid.Load(), h.other.Load(), h.frames.Load(), most)
	if h.invalid.Load() == 0 || h.frames.Load() < 1000 {
		t.Errorf("%d attachments were found out, %d honest frames arrived", h.invalid.Load(), h.frames.Load())
	}
	if bound := fds + 6*attachmentsMost; most > bound {
		t.Errorf("%d fds, %d before", most, fds)
	}
	if bound := int64(time.Since(begin)/refusalWindow+2)*(refusalsLogged+1) + h.invalid.Load(); lines.n.Load() > bound {
		t.Errorf("%d log lines, expected at most %d", lines.n.Load(), bound)
	}
	for deadline := time.Now().Add(5 * time.Second); countFDs(t) > fds+2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d fds left, %d before", countFDs(t), fds)
			break
		}
	}
	// What is parked is as much as the most readers that were open at once.
	if now := countMaps(t); now > maps+2*attachmentsMost {
		t.Errorf("%d mappings left, %d before", now, maps)
	}
}

// countMaps counts the mappings of this process: each attachment has four.
func countMaps(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func countFDs(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// hostileHost is a consumer that takes every producer that comes.
type hostileHost struct {
	t                      *testing.T
	l                      *Listener
	wg                     sync.WaitGroup
	cancel                 context.CancelFunc
	frames, invalid, other atomic.Int64
	ended                  sync.Map // name of an honest producer → frames delivered
}

func (h *hostileHost) run(ctx context.Context) {
	ctx, h.cancel = context.WithCancel(ctx)
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		for {
			r, err := h.l.Accept(ctx)
			if err != nil {
				return
			}
			h.wg.Add(1)
			go func() {
				defer h.wg.Done()
				defer r.Close()
				h.consume(ctx, r)
			}()
		}
	}()
}

func (h *hostileHost) finish(t *testing.T) {
	h.cancel()
	if err := h.l.Close(); err != nil {
		t.Error(err)
	}
	h.wg.Wait()
}

// consume takes what comes, holds some of it, reads all of it.
func (h *hostileHost) consume(ctx context.Context, r *Reader) {
	name := r.Producer().Name
	honest := name == "steady" || strings.HasPrefix(name, "late") // a HELLO may be garbled in its name alone
	n := 0
	var held []Frame
	var sum byte
	for !r.Drained(KindVideo) || !r.Drained(KindAudio) {
		idle := true
		for _, k := range kinds {
			f := r.Take(k)
			if f.Cell == nil {
				continue
			}
			idle = false
			if honest {
				if err := killCheck(f.Data, 1, 0, int(f.PTS)); err != nil || f.PTS != int64(n) {
					h.t.Errorf("%s: frame %d, pts %d: %v", name, n, f.PTS, err)
					f.Cell.Release()
					return
				}
				h.frames.Add(1)
			}
			for _, b := range f.Data {
				sum += b
			}
			n++
			held = append(held, f)
		}
		if len(held) > 2 || idle {
			if n%7 == 3 && !idle {
				r.Evict(KindVideo)
			}
			for _, f := range held {
				f.Cell.Release()
			}
			held = held[:0]
		}
		r.Reclaim()
		if idle {
			r.Wait(ctx, 100*time.Millisecond)
			r.Stats()
		}
		if ctx.Err() != nil {
			break
		}
	}
	for _, f := range held {
		f.Cell.Release()
	}
	runtime.KeepAlive(sum)
	switch state := r.State(); {
	case honest && state != Ended:
		h.t.Errorf("%s: %v (%v) after %d frames", name, state, r.Err(), n)
	case honest:
		h.ended.Store(name, n)
	case state == Invalid:
		h.invalid.Add(1)
	default:
		h.other.Add(1)
	}
}

// honest writes frames, of which none may be lost, until stop.
func (h *hostileHost) honest(ctx context.Context, path, name string, stop chan struct{}) {
	p, err := Attach(ctx, "unix:"+path, []StreamSpec{{"v", KindVideo, killVideoMost}}, AttachOptions{Name: name})
	if err != nil {
		h.t.Errorf("%s: %v", name, err)
		return
	}
	defer p.Close()
	w, err := p.Writer()
	if err != nil {
		h.t.Error(err)
		return
	}
	defer w.Close()
	id, err := p.SetVideo(0, grey)
	if err != nil {
		h.t.Error(err)
		return
	}
	sent := 0
	for ; ; sent++ {
		select {
		case <-stop:
			if err := p.End(0); err != nil {
				h.t.Errorf("%s: %v", name, err)
			}
			h.waitFor(ctx, name, sent, p)
			return
		default:
		}
		key, size := killFrame(1, 0, sent)
		s, err := w.Claim(0, id, size, Block(0))
		if err != nil {
			h.t.Errorf("%s: frame %d: %v", name, sent, err)
			return
		}
		killDraw(s.Data, key)
		s.Commit(int64(sent), 0, 0)
	}
}

// waitFor makes sure that everything arrived.
func (h *hostileHost) waitFor(ctx context.Context, name string, sent int, p *Producer) {
	if err := p.Close(); err != nil {
		h.t.Error(err)
	}
	for ctx.Err() == nil {
		if got, ok := h.ended.Load(name); ok {
			if got != sent {
				h.t.Errorf("%s: %v frames delivered, %d sent", name, got, sent)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
	h.t.Errorf("%s never ended", name)
}
