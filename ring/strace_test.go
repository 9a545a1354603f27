package ring

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestNoSyscallsWhileBusy counts every system call of a producer, in Go and in C,
// and of its consumer, in two processes, over runs of different length: start and
// end cost what they cost, and 100,000 more frames, each with its stamp, add next
// to nothing. The producer draws 960 bytes for each frame, so that the consumer
// keeps up.
func TestNoSyscallsWhileBusy(t *testing.T) {
	for _, lang := range []string{"go", "c"} {
		t.Run(lang, func(t *testing.T) {
			producer, consumer := syscallsPerFrame(t, lang)
			for name, calls := range map[string]float64{"producer": producer, "consumer": consumer} {
				if calls > 1.0/20 {
					t.Errorf("the %s makes %.4f system calls a frame while busy", name, calls)
				}
			}
		})
	}
}

// BenchmarkSyscalls is for `make bench`: what the test holds the ring to.
func BenchmarkSyscalls(b *testing.B) {
	for _, lang := range []string{"go", "c"} {
		b.Run(lang, func(b *testing.B) {
			for b.Loop() {
				producer, consumer := syscallsPerFrame(b, lang)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(producer, "calls/produced")
				b.ReportMetric(consumer, "calls/consumed")
			}
		})
	}
}

func syscallsPerFrame(t testing.TB, lang string) (producer, consumer float64) {
	t.Helper()
	const short, long = 20_000, 120_000
	p1, c1 := straceRun(t, lang, short)
	p2, c2 := straceRun(t, lang, long)
	t.Logf("%s: producer %d and %d calls, consumer %d and %d", lang, p1, p2, c1, c2)
	return float64(p2-p1) / (long - short), float64(c2-c1) / (long - short)
}

// straceRun sends frames through two traced processes and gives the number of
// system calls of each.
func straceRun(t testing.TB, lang string, frames int) (producer, consumer int) {
	t.Helper()
	ctx := testCtx(t)
	dir := t.TempDir()
	addr := "unix:" + filepath.Join(dir, "s")
	trace := func(name string, program ...string) *exec.Cmd {
		args := append([]string{"-f", "-c", "-o", filepath.Join(dir, name)}, program...)
		return exec.CommandContext(ctx, "strace", args...)
	}
	self := func(name, role string, args ...string) *exec.Cmd {
		cmd := trace(name, append([]string{os.Args[0]}, args...)...)
		// The runtime's own threads would make calls of their own: no preemption
		// signals, no collection.
		cmd.Env = append(os.Environ(), helperVar+"="+role, "GOGC=off", "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=2")
		return cmd
	}
	c := self("consumer", "drain", addr)
	out := start(t, c)
	if !out.Scan() {
		t.Fatal("no consumer")
	}
	p := self("producer", "counted", addr, strconv.Itoa(frames), "960")
	if lang == "c" {
		p = trace("producer", compile(t, "counted", "-std=c11", "testdata/counted.c"), addr, strconv.Itoa(frames), "960")
	}
	if msg, err := p.CombinedOutput(); err != nil {
		t.Fatalf("producer: %v\n%s", err, msg)
	}
	if !out.Scan() || out.Text() != strconv.Itoa(frames) {
		t.Fatalf("the consumer saw %q frames, want %d", out.Text(), frames)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	return straceTotal(t, filepath.Join(dir, "producer")), straceTotal(t, filepath.Join(dir, "consumer"))
}

var totalLine = regexp.MustCompile(`(?m)^\s*100\.00\s+\S+\s+(?:\d+\s+)?(\d+)\s+(?:\d+\s+)?total$`)

func straceTotal(t testing.TB, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := totalLine.FindSubmatch(b)
	if m == nil {
		t.Fatalf("no total in %s:\n%s", file, b)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	if calls := strings.Fields(string(bytes.TrimSpace(b))); len(calls) == 0 || n == 0 {
		t.Fatalf("strace counted nothing:\n%s", b)
	}
	return n
}
