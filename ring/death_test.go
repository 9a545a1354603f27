package ring

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProducerDies: a producer is killed with claims open on one stream and an
// untagged claim in the middle. Everything it committed arrives, byte by byte;
// what it had only claimed is counted.
func TestProducerDies(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			l, err := Listen(addr, Config{VideoBytes: 256 << 10, Slots: 32, startAtWrap: true})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			cmd := helper(ctx, "die", addr)
			start(t, cmd)
			r, err := l.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_ = cmd.Wait() // everything is committed, and the producer dead
			killed := time.Now()
			n := 0
			for !r.Drained(KindVideo) {
				if _, ok := r.Peek(KindVideo); !ok {
					r.Wait(ctx, time.Second)
					if ctx.Err() != nil {
						t.Fatalf("stuck after %d frames: %v %v", n, r.State(), r.Err())
					}
					continue
				}
				f := r.Take(KindVideo)
				if f.Stream != 0 || f.PTS != int64(n) || len(f.Data) != 2000+n || hashOf(f.Data) != patternHash(2000+n, n) {
					t.Fatalf("frame %d: stream %d, pts %d, %d bytes", n, f.Stream, f.PTS, len(f.Data))
				}
				f.Cell.Release()
				n++
			}
			r.Reclaim()
			if n != 12 {
				t.Errorf("%d frames delivered, 12 were committed", n)
			}
			st := r.Stats()
			if r.State() != Dead || r.Err() == nil || st.Abandoned != 4 || st.Streams[1].Abandoned != 3 {
				t.Errorf("state %v (%v), abandoned %d, of them %d in the second stream; want 4 and 3", r.State(), r.Err(), st.Abandoned, st.Streams[1].Abandoned)
			}
			if st.Classes[0].Used != 0 || st.Classes[0].SlotsUsed != 0 {
				t.Errorf("not every byte came back: %+v", st.Classes[0])
			}
			if d := time.Since(killed); d > time.Second {
				t.Errorf("recovery took %v", d)
			}
		})
	}
}

// TestReaderSleepsWhileProducerDies: a death wakes a consumer that waits.
func TestReaderSleepsWhileProducerDies(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			l, err := Listen(addr, Config{VideoBytes: 64 << 10, Slots: 8})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			cmd := helper(ctx, "hang", addr)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out := start(t, cmd)
			r, err := l.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if !out.Scan() {
				t.Fatal("the producer did not attach")
			}
			if got := r.Producer(); got.PID != cmd.Process.Pid || got.UID != os.Getuid() || got.Name != "hang" || time.Since(got.Start) > time.Minute {
				t.Errorf("producer %+v", got)
			}
			time.AfterFunc(100*time.Millisecond, func() { _ = cmd.Process.Kill() })
			begin := time.Now()
			for r.State() == Live && ctx.Err() == nil {
				r.Wait(ctx, 20*time.Second)
			}
			if r.State() != Dead || time.Since(begin) > 5*time.Second {
				t.Errorf("state %v after %v", r.State(), time.Since(begin))
			}
			if !r.Drained(KindVideo) {
				t.Error("not drained")
			}
		})
	}
}

// TestHangUpIsAnEnd: a producer that closes its connection and lives on is
// over, and what it writes afterwards is never looked at.
func TestHangUpIsAnEnd(t *testing.T) {
	ctx := testCtx(t)
	r, p := attachPair(t, "unix:"+filepath.Join(t.TempDir(), "s"), Config{VideoBytes: 64 << 10, Slots: 8}, []StreamSpec{{"v", KindVideo, 8 << 10}})
	w, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	id, err := p.SetVideo(0, grey)
	if err != nil {
		t.Fatal(err)
	}
	write := func() {
		s, err := w.Claim(0, id, 1024, Drop)
		if err != nil {
			t.Fatal(err)
		}
		s.Commit(1, 0, 0)
	}
	write()
	open, err := w.Claim(0, id, 1024, Drop)
	if err != nil {
		t.Fatal(err)
	}
	p.at.Load().link.close()
	for r.State() == Live && ctx.Err() == nil {
		r.Wait(ctx, time.Second)
	}
	open.Commit(2, 0, 0)
	frames := 0
	for !r.Drained(KindVideo) {
		if f := r.Take(KindVideo); f.Cell != nil {
			frames++
			f.Cell.Release()
		}
	}
	// The claim that was open may have been committed before it was looked at,
	// but nothing claimed later counts.
	if r.State() != Dead || frames < 1 || frames > 2 || !strings.Contains(r.Err().Error(), "closed its connection") {
		t.Errorf("state %v, %v, %d frames", r.State(), r.Err(), frames)
	}
	if _, err := w.Claim(0, id, 1024, Drop); !errors.Is(err, ErrGone) {
		t.Errorf("Claim without a connection: %v", err)
	}
}

// TestConsumerDies: the producer's claims end with ErrGone, also those that wait.
func TestConsumerDies(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			cmd := helper(ctx, "consume", addr)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out := start(t, cmd)
			if !out.Scan() {
				t.Fatal("no consumer")
			}
			p, err := Attach(ctx, addr, []StreamSpec{{"v", KindVideo, 8 << 10}}, AttachOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if p.Consumer().PID != cmd.Process.Pid || p.Consumer().Name != "consume" {
				t.Errorf("consumer %+v", p.Consumer())
			}
			w, err := p.Writer()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			id, err := p.SetVideo(0, grey)
			if err != nil {
				t.Fatal(err)
			}
			full := func(policy Policy) (err error) {
				for range 20 {
					s, err := w.Claim(0, id, 8000, policy)
					if err != nil {
						return err
					}
					s.Commit(Now(), 0, 0)
				}
				return nil
			}
			if err := full(Drop); err != ErrFull {
				t.Fatalf("filling the ring: %v", err)
			}
			time.AfterFunc(100*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
			begin := time.Now()
			if err := full(Block(20 * time.Second)); !errors.Is(err, ErrGone) {
				t.Errorf("waiting for a dead consumer: %v", err)
			}
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
			if err := full(Drop); !errors.Is(err, ErrGone) {
				t.Errorf("claiming from a dead consumer: %v", err)
			}
			// What it left behind is replaced by the next consumer.
			if info, err := Inspect(addr); mode != "unix" && (err != nil || info.Listening) {
				t.Errorf("Inspect of a dead consumer's files: %+v, %v", info, err)
			}
			l, err := Listen(addr, Config{VideoBytes: 64 << 10, Slots: 8})
			if err != nil {
				t.Fatalf("taking over: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStopAndClose: a consumer that stops takes what was committed and lets
// streams end; one that closes is gone.
func TestStopAndClose(t *testing.T) {
	ctx := testCtx(t)
	r, p := attachPair(t, filepath.Join(t.TempDir(), "r"), Config{VideoBytes: 64 << 10, Slots: 8}, []StreamSpec{{"v", KindVideo, 8 << 10}})
	w, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	id, err := p.SetVideo(0, grey)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(policy Policy) error {
		for {
			s, err := w.Claim(0, id, 8000, policy)
			if err != nil {
				return err
			}
			s.Commit(Now(), 0, 0)
		}
	}
	if err := fill(Drop); err != ErrFull {
		t.Fatal(err)
	}
	// A writer that waits hears of the stop at once.
	stopped := make(chan error, 1)
	go func() { stopped <- fill(Block(0)) }()
	for r.Stats().Classes[0].Waiters == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	r.StopProducer()
	if err := <-stopped; err != ErrStopped {
		t.Errorf("a waiting Claim of a stopped ring: %v", err)
	}
	go func() { stopped <- p.End(0) }()
	frames := 0
	for {
		f := r.Take(KindVideo)
		if f.Flags&FlagEOS != 0 {
			break
		}
		if f.Cell == nil {
			r.Wait(ctx, time.Second)
			if ctx.Err() != nil {
				t.Fatal("no end of stream")
			}
			continue
		}
		frames++
		f.Cell.Release()
		r.Reclaim()
	}
	if err := <-stopped; err != nil {
		t.Errorf("End of a stopped ring: %v", err)
	}
	if frames != 8 {
		t.Errorf("%d frames after the stop, want 8", frames)
	}
	if _, err := w.Claim(0, id, 8000, Drop); err != ErrEnded {
		t.Errorf("Claim of an ended stream: %v", err)
	}
	r.Close()
	if err := p.Err(); !errors.Is(err, ErrGone) {
		t.Errorf("after Close: %v", err)
	}
}

// TestCloseKeepsLentFrames: a frame outlives its reader until it is released,
// and then the memory goes.
func TestCloseKeepsLentFrames(t *testing.T) {
	ctx := testCtx(t)
	r, p := attachPair(t, "unix:"+filepath.Join(t.TempDir(), "s"), Config{VideoBytes: 64 << 10, Slots: 8}, []StreamSpec{{"v", KindVideo, 8 << 10}})
	w, err := p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	id, err := p.SetVideo(0, grey)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		s, err := w.Claim(0, id, 8000, Drop)
		if err != nil {
			t.Fatal(err)
		}
		fillPattern(s.Data, i)
		s.Commit(int64(i), 0, 0)
	}
	lent := r.Take(KindVideo)
	copied, ok := r.TakeCopy(KindVideo)
	if !ok {
		t.Fatal("no copy")
	}
	fd := r.b.fd
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(120 * time.Millisecond)
	if hashOf(lent.Data) != patternHash(8000, 0) || hashOf(copied.Data) != patternHash(8000, 1) {
		t.Error("a lent frame changed after Close")
	}
	if st := r.Stats(); st.Streams[0].Frames != 2 {
		t.Errorf("after Close: %+v", st.Streams[0])
	}
	lent.Cell.Release()
	copied.Cell.Release()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		gone := r.snapshot != nil
		r.mu.Unlock()
		if gone {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			t.Fatal("the memory was not given back")
		}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
		t.Error("the segment's fd is still open")
	}
	if st := r.Stats(); st.Streams[0].Frames != 2 || st.State != "closed" {
		t.Errorf("after the last release: %+v", st)
	}
}
