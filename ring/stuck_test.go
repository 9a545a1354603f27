package ring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() { helpers["stuck"] = helperStuck }

// replacing is a consumer that gives a stuck producer another ring, and knows
// which frames of which stream it took out of which.
type replacing struct {
	t     *testing.T
	l     *Listener
	r     *Reader
	old   []*Reader
	held  []Frame // lent out of rings that are gone, checked at the end
	got   [2][]int64
	flags [2][]Flags
}

// take delivers until cond holds, into the next ring where there is one.
func (c *replacing) take(ctx context.Context, cond func() bool) {
	c.t.Helper()
	for !cond() {
		if ctx.Err() != nil {
			c.t.Fatalf("stuck: %v, %v, %v, %+v", c.r.State(), c.r.Err(), c.got, c.r.Stats())
		}
		f := c.r.Take(KindVideo)
		switch {
		case f.Cell != nil:
			if err := killCheck(f.Data, uint64(f.Stream), int(f.Stream), int(f.PTS)); err != nil {
				c.t.Fatal(err)
			}
			c.got[f.Stream] = append(c.got[f.Stream], f.PTS)
			c.flags[f.Stream] = append(c.flags[f.Stream], f.Flags)
			if f.Stream == 0 && f.PTS == 2 {
				c.held = append(c.held, f) // the latest picture stays out, as in a graph
				continue
			}
			f.Cell.Release()
		case f.Kind != 0:
		case c.r.State() == Replaced && c.r.Drained(KindVideo):
			next, err := c.l.Replace(ctx, c.r)
			if err != nil {
				c.t.Fatal(err)
			}
			c.old = append(c.old, c.r)
			_ = c.r.Close()
			c.r = next
		default:
			c.r.Reclaim()
			c.r.Wait(ctx, 100*time.Millisecond)
		}
	}
}

func (c *replacing) finish() {
	for _, f := range c.held {
		if err := killCheck(f.Data, uint64(f.Stream), int(f.Stream), int(f.PTS)); err != nil {
			c.t.Errorf("a frame that was lent all the time: %v", err)
		}
		f.Cell.Release()
	}
	_ = c.r.Close()
	_ = c.l.Close()
	for _, r := range append(c.old, c.r) {
		for end := time.Now().Add(5 * time.Second); r.ringsMapped() && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		if r.ringsMapped() {
			c.t.Error("the memory of a ring was not given back")
		}
	}
}

// ringsMapped tells whether the reader's memory is still there.
func (r *Reader) ringsMapped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot == nil
}

// stuckRig is a producer with two writers and streams.
func stuckRig(t *testing.T, addr string, timeout time.Duration) (*replacing, *Producer, [2]*Writer, uint32) {
	ctx := testCtx(t)
	l, err := Listen(addr, Config{VideoBytes: 128 << 10, Slots: 16, WriterTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan *Producer, 1)
	go func() {
		p, err := Attach(ctx, addr, twoVideos, AttachOptions{Name: "stuck", Reattach: true})
		if err != nil {
			t.Error(err)
		}
		made <- p
	}()
	r, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := <-made
	if p == nil {
		t.FailNow()
	}
	t.Cleanup(func() { l.Close() })
	c := &replacing{t: t, l: l, r: r}
	t.Cleanup(func() { p.Close() })
	var w [2]*Writer
	var id uint32
	for i := range w {
		if w[i], err = p.Writer(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w[i].Close() })
		if id, err = p.SetVideo(i, grey); err != nil {
			t.Fatal(err)
		}
	}
	return c, p, w, id
}

var twoVideos = []StreamSpec{{"v", KindVideo, killVideoMost}, {"w", KindVideo, killVideoMost}}

// writeNumbered claims, draws and commits frame n of a stream.
func writeNumbered(w *Writer, stream int, id uint32, n int, policy Policy) error {
	key, size := killFrame(uint64(stream), stream, n)
	s, err := w.Claim(stream, id, size, policy)
	if err == nil {
		killDraw(s.Data, key)
		s.Commit(int64(n), 0, 0)
	}
	return err
}

// TestStuckWriterGetsAnotherRing: one of two threads stops between claim and
// commit. The other one fills the ring, is given another and goes on by itself;
// when the first wakes, it writes into the old ring, hurts nobody, and goes on in
// the new one. Every frame is delivered or counted.
func TestStuckWriterGetsAnotherRing(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			c, p, w, id := stuckRig(t, addr, 300*time.Millisecond)
			for n := range 3 {
				if err := writeNumbered(w[0], 0, id-1, n, Drop); err != nil {
					t.Fatal(err)
				}
			}
			c.take(ctx, func() bool { return len(c.got[0]) == 3 })
			key, size := killFrame(0, 0, 3)
			stuck, err := w[0].Claim(0, id-1, size, Drop)
			if err != nil {
				t.Fatal(err)
			}
			const frames = 60
			done := make(chan error, 1)
			go func() {
				for n := range frames {
					if err := writeNumbered(w[1], 1, id, n, Block(20*time.Second)); err != nil {
						done <- fmt.Errorf("frame %d: %w", n, err)
						return
					}
				}
				done <- nil
			}()
			begin := time.Now()
			c.take(ctx, func() bool { return len(c.got[1]) == frames })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begin); d < 300*time.Millisecond {
				t.Errorf("replaced after %v", d)
			}
			old := c.old[0]
			if len(c.old) != 1 || !strings.Contains(old.Err().Error(), `open for`) || !strings.Contains(old.Err().Error(), `"v"`) {
				t.Errorf("%d rings; the first: %v", len(c.old)+1, old.Err())
			}
			// It wakes.
			killDraw(stuck.Data, ^key)
			if _, err := w[0].Claim(0, id-1, size, Drop); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "commit or abort") {
				t.Errorf("a claim beside a slot of the last ring: %v", err)
			}
			stuck.Commit(3, 0, 0)
			c.r.Reclaim()
			for n := 4; n < 7; n++ {
				if err := writeNumbered(w[0], 0, id-1, n, Drop); err != nil {
					t.Fatal(err)
				}
			}
			c.take(ctx, func() bool { return len(c.got[0]) == 6 })
			if want := "[0 1 2 4 5 6]"; fmt.Sprint(c.got[0]) != want || c.flags[0][3] != FlagDiscont || c.flags[0][4] != 0 {
				t.Errorf("the first stream: %v, flags %v; want %s", c.got[0], c.flags[0], want)
			}
			for n, pts := range c.got[1] {
				if pts != int64(n) {
					t.Fatalf("the second stream: %v", c.got[1])
				}
			}
			if st := old.Stats(); st.Abandoned != 1 || st.Streams[0].Abandoned != 1 || st.State != "replaced" || p.Lost() != 1 || p.Epochs() != 2 {
				t.Errorf("the consumer counts %+v, the producer %d lost in %d epochs; want 1 frame", st, p.Lost(), p.Epochs())
			}
			c.finish()
		})
	}
}

// TestStuckBeforeTheTag: the thread stops between its compare-and-swap and the
// tag, so that nothing behind it can even be looked at.
func TestStuckBeforeTheTag(t *testing.T) {
	ctx := testCtx(t)
	c, p, w, id := stuckRig(t, "unix:"+filepath.Join(t.TempDir(), "s"), 200*time.Millisecond)
	if err := writeNumbered(w[1], 1, id, 0, Drop); err != nil {
		t.Fatal(err)
	}
	c.take(ctx, func() bool { return len(c.got[1]) == 1 })
	if _, _, _, ok := w[0].advance(&w[0].at.classes[0], 0, 3000); !ok {
		t.Fatal("no room")
	}
	for n := 1; n < 4; n++ {
		if err := writeNumbered(w[1], 1, id, n, Drop); err != nil {
			t.Fatal(err)
		}
	}
	c.take(ctx, func() bool { return c.r.State() == Replaced })
	if !strings.Contains(c.r.Err().Error(), "writer 0 has had a claim in the making") {
		t.Errorf("the reason: %v", c.r.Err())
	}
	done := make(chan error, 1)
	go func() {
		for n := 4; n < 8; n++ {
			if err := writeNumbered(w[1], 1, id, n, Block(10*time.Second)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	c.take(ctx, func() bool { return len(c.got[1]) == 8 })
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c.old[0].Stats().Abandoned != 1 || p.Lost() != 1 {
		t.Errorf("abandoned %d, lost %d; want 1", c.old[0].Stats().Abandoned, p.Lost())
	}
	// What it claims there after that, having looked at the state before, is counted
	// when it comes to the new ring.
	if _, _, _, ok := w[0].advance(&w[0].at.classes[0], 0, 3000); !ok {
		t.Fatal("no room in the old ring")
	}
	if err := writeNumbered(w[0], 0, id-1, 0, Drop); err != nil {
		t.Error(err)
	}
	if p.Lost() != 2 {
		t.Errorf("lost %d, want 2", p.Lost())
	}
	c.finish()
}

// TestSlowWriterIsLeftAlone: as long as nobody is behind it, a writer takes
// longer than the time-out and loses nothing.
func TestSlowWriterIsLeftAlone(t *testing.T) {
	ctx := testCtx(t)
	c, _, w, id := stuckRig(t, "unix:"+filepath.Join(t.TempDir(), "s"), 50*time.Millisecond)
	key, size := killFrame(0, 0, 0)
	s, err := w[0].Claim(0, id-1, size, Drop)
	if err != nil {
		t.Fatal(err)
	}
	n, end := 0, time.Now().Add(500*time.Millisecond)
	c.take(ctx, func() bool {
		if n == len(c.got[1]) && n < 6 { // another stream passes it by
			if err := writeNumbered(w[1], 1, id, n, Drop); err != nil {
				t.Error(err)
			}
			n++
		}
		return time.Now().After(end)
	})
	killDraw(s.Data, key)
	s.Commit(0, 0, 0)
	c.take(ctx, func() bool { return len(c.got[0]) == 1 && len(c.got[1]) == n })
	if len(c.old) != 0 || c.r.State() != Live {
		t.Errorf("the ring was replaced: %v", c.r.Err())
	}
	c.finish()
}

// helperStuck attaches, commits three frames of one stream, opens a fourth, and
// commits a fifth behind it. Then it waits to be stopped and woken: what it writes
// after that goes into the next ring.
func helperStuck(args []string) error {
	p, err := Attach(context.Background(), args[0], twoVideos, AttachOptions{Name: "stopped", Reattach: true})
	if err != nil {
		return err
	}
	w, err := p.Writer()
	if err != nil {
		return err
	}
	other, err := p.Writer()
	if err != nil {
		return err
	}
	id, err := p.SetVideo(0, grey)
	if err != nil {
		return err
	}
	for n := range 3 {
		if err := writeNumbered(w, 0, id, n, Drop); err != nil {
			return err
		}
	}
	key, size := killFrame(0, 0, 3)
	s, err := w.Claim(0, id, size, Drop)
	if err != nil {
		return err
	}
	killDraw(s.Data[:size/16*8], key)
	if err := writeNumbered(other, 0, id, 4, Drop); err != nil {
		return err
	}
	fmt.Println("stop me")
	for p.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(p.Err())
	killDraw(s.Data, key)
	s.Commit(3, 0, 0)
	for n := 5; n < 30; n++ {
		if err := writeNumbered(w, 0, id, n, Block(10*time.Second)); err != nil {
			return err
		}
	}
	if err := p.End(0); err != nil {
		return err
	}
	fmt.Println(p.Lost(), p.Epochs())
	return p.Close()
}

// TestStoppedProducer: a whole process is stopped in the middle of a frame, with a
// frame committed behind it, and goes on later: over a socket and by name.
func TestStoppedProducer(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			l, err := Listen(addr, Config{VideoBytes: 128 << 10, Slots: 16, WriterTimeout: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			cmd := helper(ctx, "stuck", addr)
			out := start(t, cmd)
			r, err := l.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			c := &replacing{t: t, l: l, r: r}
			if !out.Scan() || out.Text() != "stop me" {
				t.Fatal(out.Text())
			}
			if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			c.take(ctx, func() bool { return c.r.State() == Replaced })
			time.AfterFunc(200*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGCONT) })
			c.take(ctx, func() bool { return len(c.old) == 1 && c.r.State() == Ended && c.r.Drained(KindVideo) })
			var said []string
			for out.Scan() {
				said = append(said, out.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			// The fourth frame is lost; the one behind it is not.
			want := []int64{0, 1, 2, 4}
			for n := int64(5); n < 30; n++ {
				want = append(want, n)
			}
			if fmt.Sprint(c.got[0]) != fmt.Sprint(want) {
				t.Errorf("delivered %v, want %v", c.got[0], want)
			}
			if len(said) != 2 || !strings.Contains(said[0], "open for") || said[1] != "1 2" {
				t.Errorf("the producer says %q; want the reason, 1 frame lost and 2 epochs", said)
			}
			c.finish()
		})
	}
}

// TestReplacedProducerThatDies: nobody waits for a producer that dies instead of
// coming back.
func TestReplacedProducerThatDies(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			l, err := Listen(addr, Config{VideoBytes: 128 << 10, Slots: 16, WriterTimeout: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			cmd := helper(ctx, "stuck", addr)
			out := start(t, cmd)
			r, err := l.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			out.Scan()
			_ = cmd.Process.Signal(syscall.SIGSTOP)
			for r.State() == Live || !r.Drained(KindVideo) {
				if f := r.Take(KindVideo); f.Cell != nil {
					f.Cell.Release()
				}
				r.Reclaim()
				r.Wait(ctx, 50*time.Millisecond)
				if ctx.Err() != nil {
					t.Fatal(r.State())
				}
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", cmd.Process.Pid)); err != nil || r.State() != Replaced {
				t.Fatalf("%v, %v", r.State(), err)
			}
			time.AfterFunc(100*time.Millisecond, func() { _ = cmd.Process.Kill() })
			var gone *GoneError
			if _, err := l.Replace(ctx, r); !errors.As(err, &gone) {
				t.Errorf("Replace gave %v", err)
			}
			if _, err := l.Replace(ctx, r); !errors.As(err, &gone) {
				t.Errorf("Replace gave %v the second time", err)
			}
		})
	}
}

// TestStuckThread: the same by the C header and in Python, over a socket, by name,
// and over a socket that was handed in, where nothing can be connected to any more.
func TestStuckThread(t *testing.T) {
	program := compile(t, "goeson", "-std=c11", "testdata/goeson.c")
	addrs := testAddrs(t)
	delete(addrs, "shm")
	addrs["handed in"] = "unix:" + filepath.Join(t.TempDir(), "s")
	for lang, cmd := range map[string]func(ctx context.Context, addr string) *exec.Cmd{
		"c": func(ctx context.Context, addr string) *exec.Cmd { return exec.CommandContext(ctx, program, addr, "3") },
		"python": func(ctx context.Context, addr string) *exec.Cmd {
			return python(ctx, withNumpy(), "python/test_goeson.py", addr, "3")
		},
	} {
		for mode, addr := range addrs {
			t.Run(lang+"/"+mode, func(t *testing.T) {
				ctx := testCtx(t)
				l, err := Listen(addr, Config{VideoBytes: 512 << 10, Slots: 64, WriterTimeout: 300 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				c := cmd(ctx, addr)
				if mode == "handed in" {
					c = cmd(ctx, "fd:3")
					c.ExtraFiles = []*os.File{connected(t, strings.TrimPrefix(addr, "unix:"))}
				}
				stuckThread(t, ctx, l, c)
			})
		}
	}
}

func stuckThread(t *testing.T, ctx context.Context, l *Listener, cmd *exec.Cmd) {
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, cmd)
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	r, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &replacing{t: t, l: l, r: r}
	c.take(ctx, func() bool { return len(c.old) == 1 && len(c.got[1]) > 80 })
	if !out.Scan() || out.Text() != "stuck" {
		t.Fatalf("it says %q", out.Text())
	}
	fmt.Fprintln(in, "wake up")
	most := len(c.got[1]) + 20
	c.take(ctx, func() bool { return len(c.got[1]) > most && len(c.got[0]) > 10 })
	_ = in.Close()
	c.take(ctx, func() bool { return c.r.State() == Ended && c.r.Drained(KindVideo) })
	var total, lost, epochs int
	out.Scan()
	if _, err := fmt.Sscan(out.Text(), &total, &lost, &epochs); err != nil {
		t.Fatalf("%v: %q", err, out.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	// The frame in which it stopped, and no other.
	if n := len(c.got[0]) + len(c.got[1]); n != total-1 || lost != 1 || epochs != 2 {
		t.Errorf("%d frames arrived of %d, %d counted as lost, %d epochs; want one lost", n, total, lost, epochs)
	}
	if !strings.Contains(c.old[0].Err().Error(), "(thread ") {
		t.Errorf("the reason: %v", c.old[0].Err())
	}
	c.finish()
}
