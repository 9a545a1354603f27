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

// TestNoSyscallsWhileBusy counts every system call of a producer and of its
// consumer, in two processes, over runs of different length: start and end cost
// what they cost, and 100,000 more frames add next to nothing. The producer draws
// 960 bytes for each frame, so that the consumer keeps up.
func TestNoSyscallsWhileBusy(t *testing.T) {
	const short, long = 20_000, 120_000
	p1, c1 := straceRun(t, short)
	p2, c2 := straceRun(t, long)
	more := float64(long - short)
	t.Logf("producer: %d and %d calls, %.5f a frame; consumer: %d and %d, %.5f a frame",
		p1, p2, float64(p2-p1)/more, c1, c2, float64(c2-c1)/more)
	for name, extra := range map[string]int{"producer": p2 - p1, "consumer": c2 - c1} {
		if float64(extra)/more > 1.0/50 {
			t.Errorf("the %s makes %.4f system calls a frame while busy", name, float64(extra)/more)
		}
	}
}

// straceRun sends frames through two traced processes and gives the number of
// system calls of each.
func straceRun(t *testing.T, frames int) (producer, consumer int) {
	t.Helper()
	ctx := testCtx(t)
	dir := t.TempDir()
	addr := "unix:" + filepath.Join(dir, "s")
	trace := func(name, role string, args ...string) *exec.Cmd {
		args = append([]string{"-f", "-c", "-o", filepath.Join(dir, name), os.Args[0]}, args...)
		cmd := exec.CommandContext(ctx, "strace", args...)
		// The runtime's own threads would make calls of their own: no preemption
		// signals, no collection.
		cmd.Env = append(os.Environ(), helperVar+"="+role, "GOGC=off", "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=2")
		return cmd
	}
	c := trace("consumer", "drain", addr)
	out := start(t, c)
	if !out.Scan() {
		t.Fatal("no consumer")
	}
	p := trace("producer", "counted", addr, strconv.Itoa(frames), "960")
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

func straceTotal(t *testing.T, file string) int {
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
