package e2e

import (
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A sink that takes nothing: the doctor says that the ring is full, and that the
// consumer holds it up, not the producer.
func TestDoctorSeesASlowSink(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "slow.mkv")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	holder, err := unix.Open(fifo, unix.O_RDWR|unix.O_CLOEXEC, 0) // so that the sink need not wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(holder)
	r := recordTo(t, graph(t, slow), ringName(), "unused", "--set", "file.path="+fifo, "--drain-timeout", "1s")
	feed := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--no-audio")
	levels := map[string]string{}
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end) && levels["full"] == ""; {
		doctor := start(t, "ring", "doctor", r.ring, "--json", "--for", "500ms")
		doctor.wait(20 * time.Second)
		var out struct {
			Rings []struct {
				Findings []struct{ Level, Code string }
			}
		}
		if err := json.Unmarshal(doctor.out.Bytes(), &out); err != nil || len(out.Rings) != 1 {
			t.Fatalf("%v: %s", err, doctor.out.Bytes())
		}
		levels = map[string]string{}
		for _, f := range out.Rings[0].Findings {
			levels[f.Code] = f.Level
		}
	}
	if levels["full"] != "problem" || levels["held"] != "problem" || levels["producer"] != "ok" || levels["consumer"] != "ok" {
		t.Errorf("%v", levels)
	}
	r.signal(syscall.SIGTERM)
	r.wait(30 * time.Second)
	feed.wait(10 * time.Second)
}
