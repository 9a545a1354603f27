package e2e

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const twoFiles = `[sinks.other]
type = "file"
inputs = ["v", "a"]
path = "${out}.other.mkv"
`

// smallDisk is a file system of its own with so many bytes, for root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("mpipe", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system of a test's own can be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// A disk that fills up: the file on it is finished in time and plays to its end,
// the error says what to do, and the file on another disk has every frame.
func TestADiskThatFillsUp(t *testing.T) {
	for _, c := range []struct{ ending, minFree string }{{"mkv", "700KiB"}, {"mp4", "0"}, {"ts", "0"}} {
		disk := smallDisk(t, "2m")
		r := recordTo(t, graph(t, record+twoFiles), ringName(), "a", "--set", "v.bitrate=12M", "--set", "file.path="+disk+"/full."+c.ending, "--set", "file.min_free_disk="+c.minFree)
		if code := start(t, "feed", "--ring", r.ring, "--pattern", "1280x720@30", "--frames", "300").wait(time.Minute); code != 0 {
			t.Fatalf("feed ended with %d", code)
		}
		if code := r.wait(time.Minute); code != 1 || !strings.Contains(r.err.String(), "stage file: ") || !strings.Contains(r.err.String(), "free space") {
			t.Errorf("%+v: exit code %d, said %s", c, code, r.err.String())
		}
		whole(t, r.out+".other.mkv", 300)
		got := measure(t, disk+"/full."+c.ending)
		if got.Frames < 30 || got.First != 0 || got.Missing+got.OutOfOrder+got.Unreadable != 0 {
			t.Errorf("%+v: the full disk holds %+v", c, got)
		}
		if m := r.account(); c.minFree != "0" && !m.Outputs[0].Playable && m.Outputs[0].Stage == "file" {
			t.Errorf("%+v: the manifest says %+v", c, m.Outputs[0])
		}
	}
}
