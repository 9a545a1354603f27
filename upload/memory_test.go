package upload

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

// maxResident is what a process that does nothing but upload may take, whatever
// the size of its parts: a Go program with the client library, and the transfer
// buffers of the parts under way.
const maxResident = 48 << 20

// TestMemory weighs a process that pushes through a slow store far more than its
// spool holds, in parts much larger than the memory that it may take.
func TestMemory(t *testing.T) {
	total, rate := int64(1<<30), int64(40<<20)
	if testing.Short() {
		total, rate = 192<<20, 20<<20
	}
	b := newBench(t, servers.StartS3(t))
	l := servers.StartToxiproxy(t).Proxy(b.Addr)
	l.Bandwidth(rate) // for each of the four connections
	o := b.through("http://"+l.Addr, "k")
	o.PartSize, o.SpoolMax = 32<<20, 128<<20
	w := task{Options: o, Seed: 1, Bytes: total, Progress: filepath.Join(t.TempDir(), "progress")}
	k := &killer{bench: b, t: t}
	c := k.start(w)
	peak := int64(0)
	done := make(chan error)
	go func() { done <- c.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s in parts of %s: resident at most %s", size(total), size(o.PartSize), size(peak))
			if peak > maxResident || peak == 0 {
				t.Errorf("resident %s, want at most %s", size(peak), size(maxResident))
			}
			b.check("k", 1, total)
			b.clean()
			return
		case <-time.After(50 * time.Millisecond):
			peak = max(peak, highWater(c.Process.Pid))
		}
	}
}

// highWater is the most a process has had resident, in bytes.
func highWater(pid int) (n int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fmt.Sscan(rest, &n)
	return n << 10
}
