package ring

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// helperVar makes the test binary run one of helpers instead of the tests: a
// process of its own, at the other end of a ring.
const helperVar = "MPIPE_RING_HELPER"

var helpers = map[string]func(args []string) error{
	"three":   helperThree,
	"counted": helperCounted,
	"die":     helperDie,
	"consume": helperConsume,
	"hang":    helperHang,
	"drain":   helperDrain,
	"paced":   helperPaced,

	"soak-produce": helperSoakProduce,
	"soak-consume": helperSoakConsume,
}

var testDir string // for compiled C programs

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVar); name != "" {
		if err := helpers[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "mpipe-ring")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	if left, _ := filepath.Glob("/dev/shm/mpipe-test-" + strconv.Itoa(os.Getpid()) + "*"); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left over:", left)
		code = 1
	}
	os.Exit(code)
}

// helper prepares this binary as another process.
func helper(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperVar+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// start runs a process that ends with the test at the latest, and gives its
// standard output.
func start(t testing.TB, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	return bufio.NewScanner(out)
}

// compile builds a C source with the ring's header, once per run of the tests.
func compile(t testing.TB, name string, args ...string) string {
	t.Helper()
	out := filepath.Join(testDir, name)
	if _, err := os.Stat(out); err == nil {
		return out
	}
	args = append([]string{"-Wall", "-Wextra", "-Werror", "-O2", "-pthread", "-Ic", "-o", out}, args...)
	if msg, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc %s: %v\n%s", strings.Join(args, " "), err, msg)
	}
	return out
}

// helperThree writes two streams of pictures of different size and one of sound
// from three writers, and prints the hash of each frame, as c/example.c does.
func helperThree(args []string) error {
	addr := args[0]
	frames, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	big, small := I420(640, 360, 30, 1), I420(322, 181, 30, 1)
	specs := []StreamSpec{
		{"video", KindVideo, big.Size()}, {"second", KindVideo, small.Size()}, {"audio", KindAudio, 3840},
	}
	p, err := Attach(context.Background(), addr, specs, AttachOptions{Name: "three"})
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	errs := make(chan error, 3)
	for i, s := range specs {
		go func() {
			errs <- func() error {
				w, err := p.Writer()
				if err != nil {
					return err
				}
				defer w.Close()
				var id uint32
				n := s.MaxFrame
				switch i {
				case 0:
					id, err = p.SetVideo(i, big)
				case 1:
					id, err = p.SetVideo(i, small)
				default:
					id, err = p.SetAudio(i, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
				}
				if err != nil {
					return err
				}
				for f := range frames {
					slot, err := w.Claim(i, id, n, Block(0))
					if err != nil {
						return err
					}
					fillPattern(slot.Data, i<<20+f)
					mu.Lock()
					fmt.Fprintf(out, "%s %d %016x\n", s.Name, f, hashOf(slot.Data))
					mu.Unlock()
					slot.Commit(Now(), 0, FlagKey)
				}
				return p.End(i)
			}()
		}()
	}
	for range 3 {
		if err := <-errs; err != nil {
			return err
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	return out.Flush()
}

// helperCounted writes small frames of one stream as fast as it can, of args[2]
// bytes each.
func helperCounted(args []string) error {
	frames, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	p, err := Attach(context.Background(), args[0], []StreamSpec{{"a", KindAudio, size}}, AttachOptions{Name: "counted"})
	if err != nil {
		return err
	}
	w, err := p.Writer()
	if err != nil {
		return err
	}
	id, err := p.SetAudio(0, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
	if err != nil {
		return err
	}
	for i := range frames {
		s, err := w.Claim(0, id, size, Block(0))
		if err != nil {
			return err
		}
		stamp := int64(i)
		s.Data[0] = byte(i)
		if size > 64 { // something to draw, and to stamp
			fillPattern(s.Data, i)
			stamp = Now()
		}
		s.Commit(stamp, 0, 0)
	}
	_ = w.Close()
	return p.Close()
}

// helperPaced writes a small frame every 2 ms, stamped as it is committed.
func helperPaced(args []string) error {
	frames, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	p, err := Attach(context.Background(), args[0], []StreamSpec{{"a", KindAudio, 960}}, AttachOptions{Name: "paced"})
	if err != nil {
		return err
	}
	w, err := p.Writer()
	if err != nil {
		return err
	}
	id, err := p.SetAudio(0, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
	if err != nil {
		return err
	}
	for range frames {
		time.Sleep(2 * time.Millisecond)
		s, err := w.Claim(0, id, 960, Drop)
		if err != nil {
			return err
		}
		s.Commit(Now(), 0, 0)
	}
	_ = w.Close()
	return p.Close()
}

// helperDie commits frames on two streams, leaves claims open in between, and
// kills itself.
func helperDie(args []string) error {
	p, err := Attach(context.Background(), args[0], []StreamSpec{{"v", KindVideo, 8 << 10}, {"w", KindVideo, 8 << 10}}, AttachOptions{Name: "die"})
	if err != nil {
		return err
	}
	w, err := p.Writer()
	if err != nil {
		return err
	}
	ids := [2]uint32{}
	for i := range ids {
		if ids[i], err = p.SetVideo(i, grey); err != nil {
			return err
		}
	}
	for i := range 12 {
		s, err := w.Claim(0, ids[0], 2000+i, Block(0))
		if err != nil {
			return err
		}
		fillPattern(s.Data, i)
		s.Commit(int64(i), 0, 0)
		if i%4 == 3 { // a claim of the other stream that stays open
			if _, err := w.Claim(1, ids[1], 1500, Block(0)); err != nil {
				return err
			}
		}
		if i == 6 { // and one that was never tagged: the thread died right after its compare-and-swap
			c := &w.at.classes[0]
			if _, _, _, ok := w.advance(c, 0, 1234); !ok {
				return ErrFull
			}
		}
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// helperConsume listens, takes one producer and its first frame, says so, and
// stays until its standard input closes.
func helperConsume(args []string) error {
	l, err := Listen(args[0], Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8, Name: "consume"})
	if err != nil {
		return err
	}
	fmt.Println("listening")
	r, err := l.Accept(context.Background())
	if err != nil {
		return err
	}
	for {
		if _, ok := r.Peek(KindVideo); ok {
			break
		}
		r.Wait(context.Background(), time.Second)
	}
	r.Take(KindVideo)
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// helperHang attaches and stays until it is killed.
func helperHang(args []string) error {
	_, err := Attach(context.Background(), args[0], []StreamSpec{{"v", KindVideo, 1024}}, AttachOptions{Name: "hang"})
	if err != nil {
		return err
	}
	fmt.Println("attached")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// helperDrain consumes everything of one producer without ever sleeping, as a
// busy consumer does, and prints how many frames it saw.
func helperDrain(args []string) error {
	l, err := Listen(args[0], Config{})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("listening")
	r, err := l.Accept(context.Background())
	if err != nil {
		return err
	}
	n := 0
	for {
		f, ok := r.Peek(KindAudio)
		if !ok {
			if r.Drained(KindAudio) {
				break
			}
			continue
		}
		f = r.Take(KindAudio)
		if f.Cell != nil {
			n++
			f.Cell.Held.Store(0)
		}
		if n%64 == 0 {
			r.Reclaim()
		}
	}
	fmt.Println(n)
	return r.Close()
}

// textLog writes log records to a builder. Only one goroutine may log.
func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
