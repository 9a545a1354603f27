package ring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// hashes of a frame, as the examples of the languages print them.
func fnvText(b []byte) string { return fmt.Sprintf("%016x", hashOf(b)) }
func shaText(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

// withNumpy is the interpreter that has numpy: the first in PATH need not be the
// one that scripts/setup installs it for.
var withNumpy = sync.OnceValue(func() string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import numpy").Run() == nil {
			return name
		}
	}
	return "python3"
})

// python prepares an interpreter that finds the library.
func python(ctx context.Context, interpreter string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, interpreter, args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH=python", "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	return cmd
}

func node(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// nodeModule builds the addon as its users do, by node-gyp against the headers
// that came with node, once per run of the tests, outside of the source.
func nodeModule(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(testDir, "node")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"node/addon.c", "node/values.h", "node/binding.gyp", "node/package.json", "node/index.js", "node/example.js", "node/test.js", "c/mpipe_ring.h"} {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(testCtx(t), "../scripts/node-gyp", "rebuild", "-C", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("node-gyp: %v\n%s", err, out)
	}
	return dir
}

func compileCPP(t *testing.T, file string) string {
	return compile(t, filepath.Base(file)+".out", "-x", "c++", "-std=c++17", file, "-lstdc++")
}

// TestCPlusPlusLibrary runs cpp/test.cpp.
func TestCPlusPlusLibrary(t *testing.T) {
	exe := compileCPP(t, "cpp/test.cpp")
	playPolicies(t, func(ctx context.Context, addr string) *exec.Cmd { return exec.CommandContext(ctx, exe, addr) })
}

// TestNodeLibrary runs node/test.js.
func TestNodeLibrary(t *testing.T) {
	test := filepath.Join(nodeModule(t), "test.js")
	playPolicies(t, func(ctx context.Context, addr string) *exec.Cmd { return node(ctx, test, addr) })
}

// TestExamplesOfLanguages runs the example of each language, which feeds two
// pictures of different size and a sound from threads of its own or in turns:
// every frame arrives with the bytes that were hashed before they were written,
// in order, and a frame that is lent stays as it is.
func TestExamplesOfLanguages(t *testing.T) {
	const frames = 60
	for _, lang := range languages {
		for mode, addr := range testAddrs(t) {
			if mode == "shm" || lang.only != "" && lang.only != mode {
				continue
			}
			t.Run(lang.name+"/"+mode, func(t *testing.T) {
				ctx := testCtx(t)
				l, err := Listen(addr, Config{VideoBytes: 2 << 20, AudioBytes: 64 << 10, Slots: 16, startAtWrap: true})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				cmd := lang.cmd(t, ctx, "--ring", addr, "--frames", strconv.Itoa(frames),
					"--size", "640x360", "--second", "322x181", "--fps", "0", "--hash")
				checkExample(t, ctx, l, cmd, lang.hash, 3, frames)
			})
		}
	}
}

// language is an example producer.
type language struct {
	name, only string // only: the one mode it is run in; "": all
	hash       func([]byte) string
	cmd        func(t *testing.T, ctx context.Context, args ...string) *exec.Cmd
}

var languages = []language{
	{"python-numpy", "unix", shaText, func(_ *testing.T, ctx context.Context, args ...string) *exec.Cmd {
		return python(ctx, withNumpy(), append([]string{"python/example.py"}, args...)...)
	}},
	{"python-plain", "named", shaText, func(_ *testing.T, ctx context.Context, args ...string) *exec.Cmd {
		return python(ctx, "python3", append([]string{"python/example.py", "--plain"}, args...)...)
	}},
	{"python-kernel", "unix", shaText, func(_ *testing.T, ctx context.Context, args ...string) *exec.Cmd {
		return python(ctx, withNumpy(), append([]string{"python/example.py", "--atomics", "kernel"}, args...)...)
	}},
	{"c++", "", fnvText, func(t *testing.T, ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, compileCPP(t, "cpp/example.cpp"), args...)
		cmd.Stderr = os.Stderr
		return cmd
	}},
	{"node", "", shaText, func(t *testing.T, ctx context.Context, args ...string) *exec.Cmd {
		return node(ctx, append([]string{filepath.Join(nodeModule(t), "example.js")}, args...)...)
	}},
}

// checkExample takes all frames of one producer and compares them with what it
// told of them.
func checkExample(t *testing.T, ctx context.Context, l *Listener, cmd *exec.Cmd, hash func([]byte) string, streams, frames int) {
	t.Helper()
	out := start(t, cmd)
	told := make(chan map[string]string, 1)
	go func() {
		m := map[string]string{}
		for out.Scan() {
			if f := strings.Fields(out.Text()); len(f) == 3 {
				m[f[0]+" "+f[1]] = f[2]
			}
		}
		told <- m
	}()
	r, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := takeAll(t, ctx, r, hash)
	want := <-told
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(want) != streams*frames || len(got) != len(want) {
		t.Fatalf("%d frames were told of, %d arrived, want %d", len(want), len(got), streams*frames)
	}
	for name, h := range want {
		if got[name] != h {
			t.Errorf("frame %s: hash %q, want %q", name, got[name], h)
		}
	}
	st := r.Stats()
	if st.Abandoned != 0 || st.CopiesAlive != 0 || st.State != "ended" {
		t.Errorf("at the end: %+v", st)
	}
	for _, s := range st.Streams {
		if s.Frames != int64(frames) || s.DroppedFull != 0 {
			t.Errorf("at the end: %+v", s)
		}
	}
}

// takeAll hashes each frame when it is taken and again when it is released, two
// frames later.
func takeAll(t *testing.T, ctx context.Context, r *Reader, hash func([]byte) string) map[string]string {
	t.Helper()
	got, next := map[string]string{}, map[uint16]int{}
	type lent struct {
		f Frame
		h string
	}
	var held []lent
	giveBack := func(keep int) {
		for ; len(held) > keep; held = held[1:] {
			if hash(held[0].f.Data) != held[0].h {
				t.Errorf("a frame changed while it was lent")
			}
			held[0].f.Cell.Release()
		}
	}
	for !r.Drained(KindVideo) || !r.Drained(KindAudio) {
		idle := true
		for _, k := range kinds {
			if _, ok := r.Peek(k); !ok {
				continue
			}
			idle = false
			f := r.Take(k)
			if f.Flags&FlagEOS != 0 {
				continue
			}
			h := hash(f.Data)
			got[fmt.Sprintf("%s %d", r.Streams()[f.Stream].Name, next[f.Stream])] = h
			next[f.Stream]++
			held = append(held, lent{f, h})
		}
		giveBack(2)
		r.Reclaim()
		if idle {
			giveBack(0)
			r.Wait(ctx, time.Second)
		}
		if ctx.Err() != nil || r.State() == Invalid {
			t.Fatalf("stuck: frames %v, %v: %v\n%+v", next, r.State(), r.Err(), r.Stats())
		}
	}
	giveBack(0)
	return got
}

// TestPythonLibrary runs python/test_atomics.py and python/test_ring.py, the
// latter against a reader that plays its part: it takes nothing until the ring
// was full, goes away, and comes back.
func TestPythonLibrary(t *testing.T) {
	ctx := testCtx(t)
	if out, err := func() ([]byte, error) {
		cmd := python(ctx, withNumpy(), "python/test_atomics.py")
		cmd.Stderr = nil
		return cmd.CombinedOutput()
	}(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, atomics := range []string{"library", "kernel"} {
		t.Run(atomics, func(t *testing.T) {
			playPolicies(t, func(ctx context.Context, addr string) *exec.Cmd {
				return python(ctx, withNumpy(), "python/test_ring.py", addr, atomics)
			})
		})
	}
}

// playPolicies is the consumer of a test program that says what it wants next
// on its standard output, and is told on its standard input when there is a
// second epoch of the ring.
func playPolicies(t *testing.T, cmd func(ctx context.Context, addr string) *exec.Cmd) {
	ctx := testCtx(t)
	addr := "unix:" + filepath.Join(t.TempDir(), "ring.sock")
	listen := func() *Listener {
		l, err := Listen(addr, Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := listen()
	program := cmd(ctx, addr)
	in, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, program)
	accept := func() *Reader {
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r, err := l.Accept(soon)
		if err != nil {
			out.Scan() // what it said before it gave up
			t.Fatalf("%v: %s", err, out.Text())
		}
		return r
	}
	r := accept()
	done := false
	for out.Scan() {
		switch line := out.Text(); line {
		case "full": // it saw Full, and waits for a block of space now
			time.Sleep(20 * time.Millisecond)
			f := r.Take(KindVideo)
			if f.Data[0] != 1 || f.PTS != 1000 || f.Duration != 5 || f.Flags != FlagKey|FlagDiscont {
				t.Errorf("first frame: %+v", f)
			}
			f.Cell.Release()
			r.Advise(15, 1, "bot.video")
			r.Reclaim()
		case "counted":
			st := r.Stats().Streams[0]
			if st.DroppedFull != 2 || st.DroppedPolicy != 1 || st.Blocked < 50*time.Millisecond {
				t.Errorf("counters: %+v", st)
			}
			r.StopProducer()
		case "stopped": // the consumer goes, with frames left, and another one comes
			_ = r.Close()
			_ = l.Close()
			l = listen()
			if _, err := in.Write([]byte("again\n")); err != nil {
				t.Fatal(err)
			}
			r = accept()
			got := takeAll(t, ctx, r, fnvText)
			if len(got) != 5 || got["v 4"] == "" {
				t.Errorf("the second epoch delivered %v", got)
			}
			if st := r.Stats(); st.Streams[0].Frames != 5 {
				t.Errorf("the second epoch: %+v", st)
			}
		case "done":
			done = true
		default:
			t.Error(line)
		}
	}
	if !done {
		t.Error("the program did not come to its end")
	}
	_ = r.Close()
	_ = l.Close()
}

// TestEveryLanguageHearsTheReason: a producer that is not taken says why, in the
// consumer's words, and does not wait any longer.
func TestEveryLanguageHearsTheReason(t *testing.T) {
	const reason = "the graph wants a stream of smells"
	for _, lang := range append(languages, language{name: "c", cmd: func(t *testing.T, ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, compile(t, "example", "-std=c11", "c/example.c"), args...)
	}}) {
		for mode, addr := range testAddrs(t) {
			if mode == "shm" || lang.only != "" && lang.only != mode {
				continue
			}
			t.Run(lang.name+"/"+mode, func(t *testing.T) {
				ctx := testCtx(t)
				l, err := Listen(addr, Config{VideoBytes: 4 << 20, Check: func(Peer, []Stream) error { return errors.New(reason) }})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				accepted := make(chan struct{})
				go func() {
					defer close(accepted)
					if r, err := l.Accept(ctx); err == nil {
						t.Error("it was taken")
						r.Close()
					}
				}()
				var said strings.Builder
				cmd := lang.cmd(t, ctx, "--ring", addr, "--frames", "1")
				cmd.Stderr = &said
				begin := time.Now()
				if err := cmd.Run(); err == nil || !strings.Contains(said.String(), reason) {
					t.Errorf("%v; it says %q", err, said.String())
				}
				if d := time.Since(begin); d > 8*time.Second {
					t.Errorf("it took %v", d)
				}
				cancel()
				<-accepted
			})
		}
	}
}

// TestExamplesAdapt: told of half its rate, each example leaves out about half of its
// pictures, and counts them.
func TestExamplesAdapt(t *testing.T) {
	const frames = 60
	for _, lang := range append(languages, language{name: "c", cmd: func(t *testing.T, ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, compile(t, "example", "-std=c11", "c/example.c"), args...)
	}}) {
		if lang.name == "python-kernel" || lang.name == "python-plain" {
			continue
		}
		t.Run(lang.name, func(t *testing.T) {
			ctx := testCtx(t)
			addr := "unix:" + filepath.Join(t.TempDir(), "s")
			l, err := Listen(addr, Config{VideoBytes: 4 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			cmd := lang.cmd(t, ctx, "--ring", addr, "--frames", strconv.Itoa(frames), "--size", "160x90", "--fps", "60", "--adapt")
			start(t, cmd)
			r, err := l.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.Advise(30000, 1000, "")
			takeAll(t, ctx, r, fnvText)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			st := r.Stats().Streams[0]
			if st.Frames+st.DroppedPolicy != frames || st.DroppedPolicy < 20 || st.DroppedPolicy > 30 {
				t.Errorf("%d pictures, %d left out, of %d", st.Frames, st.DroppedPolicy, frames)
			}
		})
	}
}
