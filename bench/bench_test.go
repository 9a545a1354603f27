package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/ring"
)

const peerWord = "peer"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == peerWord {
		if err := Peer(os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func self() []string { return []string{os.Args[0], peerWord} }

func testEnv(t *testing.T) *env {
	t.Helper()
	dir, err := os.MkdirTemp("", "mpipe-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &env{self: self(), dir: dir, built: map[string]builtProgram{}}
}

// TestEveryTransportDelivers runs each transport for a moment, flat out and
// paced, with large, small and smallest frames. The consumers themselves check that every frame is
// there once, in order and whole.
func TestEveryTransportDelivers(t *testing.T) {
	e := testEnv(t)
	for _, tr := range transports() {
		t.Run(tr.name, func(t *testing.T) {
			if tr.missing != nil {
				if why := tr.missing(e); why != "" {
					t.Skip(why)
				}
			}
			for _, p := range []Payload{Payloads[0], Payloads[2], small} {
				// A browser takes seconds to start.
				if p.Name != "1080p" && (testing.Short() || strings.HasSuffix(tr.name, "-python")) {
					continue
				}
				for _, paced := range []bool{false, true} {
					got, err := e.run(t.Context(), spec{transport: tr, payload: p, paced: paced, read: paced, seconds: 0.05})
					if err != nil {
						t.Fatal(err)
					}
					latencies := 0
					if paced && tr.base != "" && !strings.HasPrefix(tr.name, "chromium-") {
						latencies = int(got.frames)
					}
					if got.frames < 2 || got.rate <= 0 || got.producer <= 0 || len(got.latency) != latencies || tr.base != "" && got.consumer <= 0 {
						t.Errorf("%s, paced %v: %+v", p.Name, paced, got)
					}
					for _, ns := range got.latency {
						if ns < 0 || ns > int64(time.Second) {
							t.Errorf("%s: a latency of %d ns", p.Name, ns)
						}
					}
				}
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(e.dir, "run*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// script is a receiver that gives what a test says.
type script struct{ frames [][]byte }

func (s *script) next() ([]byte, error) {
	if len(s.frames) == 0 {
		return nil, errors.New("no more")
	}
	f := s.frames[0]
	s.frames = s.frames[1:]
	return f, nil
}
func (s *script) done() error  { return nil }
func (s *script) close() error { return nil }

// TestWrongFramesAreNoticed: a comparison of transports that lose or tear frames
// would compare nothing.
func TestWrongFramesAreNoticed(t *testing.T) {
	frame := func(number, marks uint64) []byte {
		b := make([]byte, small.Size)
		draw(b, number)
		head(b, number, 0, marks)
		return b
	}
	torn := frame(1, 0)
	torn[len(torn)-1]++
	for name, c := range map[string]struct {
		second []byte
		ok     bool
	}{
		"right": {frame(1, 0), true}, "lost": {frame(2, 0), false}, "repeated": {frame(0, 0), false},
		"torn": {torn, false}, "short": {frame(1, 0)[:40], false},
	} {
		out, err := consume(&script{[][]byte{frame(0, markFirst), c.second, frame(2, markLast)}}, order{}, small)
		if (err == nil) != c.ok || c.ok && out.Frames != 2 {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

// TestFiguresArePairedByRound: a slow round slows drawing too, and must not count
// against the transport.
func TestFiguresArePairedByRound(t *testing.T) {
	run := func(cpu float64, ns ...int64) sample {
		return sample{producer: cpu, consumer: 1, rate: 10, latency: ns}
	}
	f := figures([]sample{run(10, 3000, 1000), run(110, 2000), run(12)}, []sample{{producer: 5}, {producer: 105}, {producer: 7}})
	if f.Beyond != 6 || f.CPU != 13 || f.Consumer != 1 || f.P50 != 2 || f.Samples != 3 {
		t.Errorf("%+v", f)
	}
}

func TestSavings(t *testing.T) {
	row := func(name string, cpu float64) Row {
		return Row{Transport: name, Paced: &Figures{CPU: 1000, Beyond: cpu}}
	}
	r := &Report{Payloads: []PayloadReport{
		{Payloads[0], []Row{row(drawingGo, 1), row("ring", 100), row("tcp", 1100)}},
		{Payloads[1], []Row{row(drawingGo, 1), row("ring", 1), row("tcp", 1)}}, // a second picture is not in it
		{Payloads[2], []Row{row(drawingGo, 1), row("ring", 20), row("tcp", 120)}},
	}}
	what, list := r.Savings(2)
	// 1,000 us more for each of 30 pictures and 100 us more for each of 100 packets
	// are 0.04 cores: 40 core-hours in 1,000 hours.
	if what != "1080p I420 with sound" || len(list) != 1 || list[0].Transport != "tcp" ||
		math.Abs(list[0].Saved-40) > 1e-9 || math.Abs(list[0].Money-80) > 1e-9 || math.Abs(list[0].CoreHours-45) > 1e-9 {
		t.Errorf("%q %+v", what, list)
	}
	r.Payloads[0].Rows = r.Payloads[0].Rows[2:]
	if _, list = r.Savings(2); len(list) != 0 {
		t.Errorf("savings without the ring: %+v", list)
	}
}

// TestStopLeavesNothing cancels a comparison while both sides run.
func TestStopLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Transports(ctx, Options{
		Self: self(), Only: []string{"ring", "tcp"}, Payloads: []string{"1080p"},
		Progress: func(done, _ int, what string) {
			if strings.Contains(what, "TCP") {
				time.AfterFunc(100*time.Millisecond, cancel)
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if n := children(t); n != 0 {
		t.Errorf("%d processes left", n)
	}
}

func children(t *testing.T) (n int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		n += len(strings.Fields(string(text)))
	}
	return n
}

// TestAPeerThatDiesEndsTheRun, with what it said.
func TestAPeerThatDiesEndsTheRun(t *testing.T) {
	e := testEnv(t)
	e.self = []string{"/bin/sh", "-c", "echo no luck >&2; exit 3"}
	_, err := e.run(t.Context(), spec{transport: findTransport("tcp"), payload: Payloads[2], seconds: 0.1})
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("error %v", err)
	}
}

func TestCPUOfAnotherProcess(t *testing.T) {
	before := int64(cpuTime())
	for end := ring.Now() + int64(30*time.Millisecond); ring.Now() < end; {
		sink.Add(1)
	}
	tree, own := TreeCPU(os.Getpid()), int64(cpuTime())
	if tree < before+int64(time.Millisecond) || tree > own {
		t.Errorf("the clock of pid %d says %d ns; before %d, after %d", os.Getpid(), tree, before, own)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range Names() {
		tr := findTransport(name)
		if seen[name] || tr == nil || tr.base == "" || findTransport(tr.base) == nil {
			t.Error(strconv.Quote(name))
		}
		seen[name] = true
	}
	if len(seen) != len(transports())-2 {
		t.Errorf("%d names", len(seen))
	}
}
