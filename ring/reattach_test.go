package ring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func init() { helpers["numbers"] = helperNumbers }

// helperNumbers is a consumer that writes down the number of each frame it takes,
// and the flags, until it is killed, or takes an end of stream.
func helperNumbers(args []string) error {
	l, err := Listen(args[0], Config{VideoBytes: 128 << 10, Slots: 16, Name: "numbers"})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("listening")
	r, err := l.Accept(context.Background())
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		f := r.Take(KindVideo)
		switch {
		case f.Cell != nil:
			if err := killCheck(f.Data, uint64(f.Stream), int(f.Stream), int(f.PTS)); err != nil {
				return err
			}
			fmt.Println(f.Stream, f.PTS, f.Flags)
			f.Cell.Release()
			r.Reclaim()
		case f.Kind != 0:
			fmt.Println("end", f.Stream)
		case r.Drained(KindVideo):
			return nil
		default:
			r.Wait(context.Background(), time.Second)
		}
	}
}

// TestConsumerRestarts kills the consumer again and again, at any moment, while a
// producer of two threads goes on: every frame was taken by one of the consumers
// or is counted as lost, in order and once, and nothing is left behind.
func TestConsumerRestarts(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	rng := testSeed(t)
	program := compile(t, "goeson", "-std=c11", "testdata/goeson.c")
	producers := map[string]func(*testing.T, context.Context, string) func() (int, int, int){
		"go": goOnInGo,
		"c": func(t *testing.T, ctx context.Context, addr string) func() (int, int, int) {
			return goOnElsewhere(t, exec.CommandContext(ctx, program, addr))
		},
		"python": func(t *testing.T, ctx context.Context, addr string) func() (int, int, int) {
			return goOnElsewhere(t, python(ctx, withNumpy(), "python/test_goeson.py", addr))
		},
	}
	for mode, addr := range testAddrs(t) {
		for lang, goOn := range producers {
			t.Run(mode+"/"+lang, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				t.Cleanup(func() { removeRing(addr) })
				fds := countFDs(t)
				consumer := restarting(t, ctx, addr)
				out, began, kill := consumer()
				finish := goOn(t, ctx, addr)
				<-began // a slow start is not what this is about
				var lines [][]string
				for round := range rounds {
					time.Sleep(time.Duration(5+rng.Intn(60)) * time.Millisecond)
					if round == rounds-1 {
						break
					}
					kill()
					lines = append(lines, <-out)
					time.Sleep(time.Duration(rng.Intn(20)) * time.Millisecond)
					out, _, kill = consumer()
				}
				total, lost, epochs := finish()
				lines = append(lines, <-out)
				checkNumbers(t, lines, total, lost)
				if epochs > rounds || epochs < 2 {
					t.Errorf("%d epochs with %d consumers", epochs, rounds)
				}
				for end := time.Now().Add(5 * time.Second); countFDs(t) > fds && time.Now().Before(end); {
					time.Sleep(10 * time.Millisecond)
				}
				if now := countFDs(t); now > fds {
					t.Errorf("%d fds, %d before", now, fds)
				}
			})
		}
	}
}

// goOnInGo writes two streams with two goroutines, until the function that it gives
// is called, which tells how many frames were written, lost, and in how many
// attachments.
func goOnInGo(t *testing.T, ctx context.Context, addr string) func() (total, lost, epochs int) {
	p, err := Attach(ctx, addr, twoVideos, AttachOptions{Name: "goes on", Reattach: true})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	sent := make(chan int, 2)
	for s := range twoVideos {
		go func() { sent <- keepWriting(t, p, s, stop) }()
	}
	return func() (total, lost, epochs int) {
		close(stop)
		total = <-sent + <-sent
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		return total, int(p.Lost()), int(p.Epochs())
	}
}

// goOnElsewhere has a process do so, such as testdata/goeson.c.
func goOnElsewhere(t *testing.T, cmd *exec.Cmd) func() (total, lost, epochs int) {
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, cmd)
	return func() (total, lost, epochs int) {
		_ = in.Close()
		out.Scan()
		if _, err := fmt.Sscan(out.Text(), &total, &lost, &epochs); err != nil {
			t.Fatalf("%v: %q", err, out.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		return total, lost, epochs
	}
}

// removeRing removes what a killed consumer leaves.
func removeRing(addr string) {
	a, _ := parseAddr(addr)
	_ = os.Remove(a.path)
	_ = os.Remove(a.path + consumerSuffix)
}

// restarting gives a function that starts one consumer after the other.
func restarting(t *testing.T, ctx context.Context, addr string) func() (out <-chan []string, began <-chan bool, kill func()) {
	return func() (<-chan []string, <-chan bool, func()) {
		cmd := helper(ctx, "numbers", addr)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		scan := bufio.NewScanner(pipe)
		if !scan.Scan() {
			t.Fatal("no consumer")
		}
		out, began := make(chan []string, 1), make(chan bool, 1)
		go func() {
			var lines []string
			for scan.Scan() {
				if lines = append(lines, scan.Text()); len(lines) == 1 {
					began <- true
				}
			}
			_ = cmd.Wait()
			out <- lines
		}()
		return out, began, func() { _ = cmd.Process.Kill() }
	}
}

// keepWriting writes numbered frames until stop and ends the stream; it gives how
// many it wrote.
func keepWriting(t *testing.T, p *Producer, stream int, stop chan struct{}) (n int) {
	w, err := p.Writer()
	if err != nil {
		t.Error(err)
		return 0
	}
	defer w.Close()
	id, err := p.SetVideo(stream, grey)
	if err != nil {
		t.Error(err)
		return 0
	}
	for ; ; n++ {
		select {
		case <-stop:
			if err := p.End(stream); err != nil {
				t.Error(err)
			}
			return n
		default:
		}
		if err := writeNumbered(w, stream, id, n, Block(20*time.Second)); err != nil {
			t.Errorf("stream %d, frame %d: %v", stream, n, err)
			return n
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// checkNumbers: within a consumer frames are whole and in order, the first of each
// stream after a change is marked, and what is missing was counted. A frame that
// was taken but not given back when its consumer died counts on both sides.
func checkNumbers(t *testing.T, lines [][]string, total, lost int) {
	t.Helper()
	taken, ends := 0, 0
	last := [2]int{-1, -1}
	for i, out := range lines {
		first := [2]bool{true, true}
		for _, line := range out {
			f := strings.Fields(line)
			s, err := strconv.Atoi(f[0])
			if f[0] == "end" {
				ends++
				continue
			}
			n, _ := strconv.Atoi(f[1])
			if err != nil || n <= last[s] || !first[s] && n != last[s]+1 {
				t.Fatalf("consumer %d: %q after frame %d", i, line, last[s])
			}
			if marked := f[2] == strconv.Itoa(int(FlagDiscont)); n > 0 && marked != (first[s] && i > 0) {
				t.Errorf("consumer %d: %q, first of its stream %v", i, line, first[s])
			}
			first[s], last[s] = false, n
			taken++
		}
	}
	t.Logf("%d frames, %d taken, %d counted as lost, by %d consumers", total, taken, lost, len(lines))
	if both := taken + lost - total; both < 0 || both > 3*len(lines) || ends < 2 {
		t.Errorf("%d frames written, %d taken, %d lost, %d ends of streams", total, taken, lost, ends)
	}
}

// TestNoConsumerYet: between two consumers a writer that does not wait drops, one
// with a deadline waits for it; both go on with the next one, and a stream that
// was ended is ended there too.
func TestNoConsumerYet(t *testing.T) {
	ctx := testCtx(t)
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	c, p, w, id := stuckRig(t, addr, 0)
	if err := p.End(1); err != nil {
		t.Fatal(err)
	}
	if err := writeNumbered(w[0], 0, id-1, 0, Drop); err != nil {
		t.Fatal(err)
	}
	_ = c.r.Close()
	_ = c.l.Close()
	for p.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	if err := writeNumbered(w[0], 0, id-1, 1, Drop); !errors.Is(err, ErrFull) || time.Since(begin) > time.Second {
		t.Errorf("Drop: %v after %v", err, time.Since(begin))
	}
	begin = time.Now()
	if err := writeNumbered(w[0], 0, id-1, 2, Block(80*time.Millisecond)); !errors.Is(err, ErrFull) || time.Since(begin) < 80*time.Millisecond {
		t.Errorf("Block: %v after %v", err, time.Since(begin))
	}
	later := make(chan error, 1)
	go func() { later <- writeNumbered(w[0], 0, id-1, 3, Block(20*time.Second)) }()
	l, err := Listen(addr, Config{VideoBytes: 128 << 10, Slots: 16})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := <-later; err != nil {
		t.Error(err)
	}
	var got []string
	for len(got) < 2 && ctx.Err() == nil {
		if f := r.Take(KindVideo); f.Kind != 0 {
			got = append(got, fmt.Sprint(f.Stream, f.PTS > 0, f.Flags))
			if f.Cell != nil {
				f.Cell.Release()
			}
			continue
		}
		r.Wait(ctx, time.Second)
	}
	if want := []string{fmt.Sprint(1, true, FlagEOS), fmt.Sprint(0, true, FlagDiscont)}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the next consumer got %v, want %v", got, want)
	}
	if p.Lost() != 4 { // one and an end of stream left in the ring, two that found no consumer
		t.Errorf("lost %d, want 4", p.Lost())
	}
	if err := writeNumbered(w[1], 1, id, 0, Drop); err != ErrEnded {
		t.Errorf("a stream that was ended: %v", err)
	}
}

// TestReattachIsRefused: a producer that does not suit the next consumer is told
// so by every claim, and is not a flood of handshakes.
func TestReattachIsRefused(t *testing.T) {
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	c, p, w, id := stuckRig(t, addr, 0)
	_ = c.r.Close()
	_ = c.l.Close()
	var refusals atomic.Int32
	l, err := Listen(addr, Config{VideoBytes: 128 << 10, Slots: 16, Check: func(who Peer, streams []Stream) error {
		if who.Name != "stuck" || len(streams) != 2 || streams[1].Name != "w" {
			t.Errorf("%v, %v", who, streams)
		}
		refusals.Add(1)
		return errors.New("the stream is too blue")
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var refused *RefusedError
	for range 5 {
		err := writeNumbered(w[0], 0, id-1, 0, Block(10*time.Second))
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "too blue") {
			t.Errorf("a claim: %v", err)
		}
	}
	if n := refusals.Load(); n != 1 {
		t.Errorf("refused %d times", n)
	}
	if _, err := p.Reattach(testCtx(t)); !errors.As(err, &refused) {
		t.Errorf("Reattach: %v", err)
	}
}

// TestReattachByHand: without the option the program decides, and streams that
// were ended are open again.
func TestReattachByHand(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			c, p, w, id := stuckRig(t, addr, 0)
			p.options.Reattach = false
			for n := range 3 {
				if err := writeNumbered(w[0], 0, id-1, n, Drop); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.End(0); err != nil {
				t.Fatal(err)
			}
			_ = c.r.Close()
			if err := writeNumbered(w[1], 1, id, 0, Drop); !errors.Is(err, ErrGone) {
				t.Errorf("a claim of a ring that is closed: %v", err)
			}
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			if _, err := p.Reattach(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("nobody accepts: %v", err)
			}
			lost := make(chan int64, 1)
			go func() {
				n, err := p.Reattach(ctx)
				if err != nil {
					t.Error(err)
				}
				lost <- n
			}()
			r, err := c.l.Accept(ctx)
			for err == nil && !r.settled(ctx, lost) { // over a socket, the one that gave up may come first
				_ = r.Close()
				r, err = c.l.Accept(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.r = r
			if n := <-lost; n != 4 { // with the end of the stream
				t.Errorf("lost %d, want 4", n)
			}
			if err := writeNumbered(w[0], 0, id-1, 3, Drop); err != nil {
				t.Error(err)
			}
			c.take(ctx, func() bool { return len(c.got[0]) == 1 })
			c.finish()
		})
	}
}

// settled waits until a producer has this ring, or has left it.
func (r *Reader) settled(ctx context.Context, lost chan int64) bool {
	for ctx.Err() == nil && len(lost) == 0 {
		if r.Drained(KindVideo) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}
