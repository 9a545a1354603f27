package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const slow = `version = 1
[params]
ring = { required = true }
out = { required = true }
[sources.app]
type = "shmsrc"
ring = "${ring}"
capacity = "16MiB"
[stages.v]
type = "x264"
inputs = ["app.video"]
preset = "ultrafast"
tune = "zerolatency"
bitrate = "8M"
[sinks.file]
type = "file"
inputs = ["v"]
path = "${out}"
queue = { time = "500ms" }
`

// A sink that stops taking: the queue fills, read stands still, the producer
// finds the ring full and blocks or drops, as it was told, and every frame is
// accounted for. When the sink takes again, recording goes on.
func TestASlowSink(t *testing.T) {
	for _, policy := range []string{"drop", "block"} {
		t.Run(policy, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "slow.mkv")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			// Open for both, so that the sink need not wait for a reader.
			holder, err := unix.Open(fifo, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := unix.FcntlInt(uintptr(holder), unix.F_SETPIPE_SZ, 65536); err != nil {
				t.Fatal(err)
			}

			r := recordTo(t, graph(t, slow), ringName(), "unused", "--set", "file.path="+fifo)
			feed := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--no-audio", "--frames", "300", "--when-full", policy, "--json")
			// Nothing is read for a while: 64 KiB of pipe, 500 ms of queue and a
			// ring of 48 frames are full after about 3 s.
			time.Sleep(5 * time.Second)
			full := memory(t, r.cmd.Process.Pid)
			saved := filepath.Join(t.TempDir(), "saved.mkv")
			cat := exec.Command("sh", "-c", `cat "$0" > "$1"`, fifo, saved)
			if err := cat.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond) // it opens the pipe
			unix.Close(holder)

			if code := feed.wait(30 * time.Second); code != 0 {
				t.Fatalf("feed ended with %d", code)
			}
			m := r.finish(30 * time.Second)
			if err := cat.Wait(); err != nil {
				t.Fatal(err)
			}

			v := m.Sources["app"].Pads["video"]
			fed := feedStats(t, feed)
			t.Logf("delivered %d, dropped %d, blocked %v, resident %d MiB when full", v.Frames, v.DroppedFull, v.Blocked, full>>20)
			if v.DroppedFull != fed.Dropped || v.Frames != fed.Frames || v.Frames+v.DroppedFull != 300 || v.Copied != 0 {
				t.Errorf("the manifest says %+v, the producer %+v; want 300 frames accounted for, none copied", v, fed)
			}
			if policy == "drop" && v.DroppedFull == 0 || policy == "block" && (v.DroppedFull > 0 || v.Blocked < time.Second) {
				t.Errorf("policy %s: dropped %d, blocked %v", policy, v.DroppedFull, v.Blocked)
			}
			got := measure(t, saved)
			if int64(got.Frames) != v.Frames || got.Last != 299 || got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
				t.Errorf("the file holds %+v, %d frames were delivered", got, v.Frames)
			}
			// The bound: the program with its libraries, the ring (16 MiB and
			// 1 MiB), the encoder's own frames and 64 MiB of queue.
			if limit := int64(300 << 20); full > limit {
				t.Errorf("%d MiB resident with the sink stopped, want less than %d", full>>20, limit>>20)
			}
		})
	}
}

// memory is a process's resident set in bytes, shared memory included.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kb << 10
}

type fedStream struct{ Frames, Dropped int64 }

// feedStats reads the last line of a feed's JSON.
func feedStats(t *testing.T, feed *proc) fedStream {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(feed.out.String()), "\n")
	var last struct {
		Result struct {
			Streams []struct {
				Name            string
				Frames, Dropped int64
			}
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(last.Result.Streams) == 0 {
		t.Fatalf("feed printed %q (%v)", lines[len(lines)-1], err)
	}
	return fedStream{last.Result.Streams[0].Frames, last.Result.Streams[0].Dropped}
}
