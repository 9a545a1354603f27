package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A clean end turns the fragments of an MP4 into a plain file. Killed between any
// two of its last writes, the file plays: whole, or to the last fragment.
func TestAnMP4IsNeverWithoutAMoov(t *testing.T) {
	r := recordTo(t, graph(t, record), ringName(), "a.mp4")
	r.says("waiting for a producer")
	log := filepath.Join(t.TempDir(), "strace")
	trace := exec.Command("strace", "-f", "-p", strconv.Itoa(r.cmd.Process.Pid), "-P", r.out, "-e", "trace=write,writev,lseek",
		"-e", "signal=none", "-xx", "-s", "99999999", "-o", log)
	if err := trace.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // attached
	start(t, "feed", "--ring", r.ring, "--pattern", "320x180@30", "--frames", "75").wait(30 * time.Second)
	r.finish(30 * time.Second)
	trace.Wait()
	whole(t, r.out, 75)

	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	var pos int64
	cuts := 0
	lines := calls.FindAllStringSubmatch(unbroken(string(text)), -1)
	left := 0 // writes still to come
	for _, call := range lines {
		if call[2] != "" {
			left++
		}
	}
	for _, call := range lines {
		if to := call[1]; to != "" {
			pos, _ = strconv.ParseInt(to, 10, 64)
			continue
		}
		for _, p := range payload.FindAllStringSubmatch(call[2], -1) {
			b := unhex(t, p[1])
			if need := pos + int64(len(b)); need > int64(len(data)) {
				data = append(data, make([]byte, need-int64(len(data)))...)
			}
			copy(data[pos:], b)
			pos += int64(len(b))
		}
		if left--; left > 6 {
			continue
		}
		cuts++
		cut := filepath.Join(t.TempDir(), fmt.Sprintf("cut-%d.mp4", left))
		if err := os.WriteFile(cut, data, 0o600); err != nil {
			t.Fatal(err)
		}
		got := measure(t, cut)
		if got.VideoEnd < 1.5 || got.First != 0 || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
			t.Errorf("cut %d writes before the end it plays to %.2f s of 2.50 and holds %+v", left, got.VideoEnd, got)
		}
	}
	if onDisk, _ := os.ReadFile(r.out); string(onDisk) != string(data) {
		t.Fatalf("what was traced (%d bytes) is not what the file holds (%d)", len(data), len(onDisk))
	}
	if cuts < 4 {
		t.Fatalf("only %d writes were seen near the end", cuts)
	}
}

var (
	calls   = regexp.MustCompile(`(?m)^\d+ +(?:lseek\(\d+, (\d+), SEEK_SET\)|writev?\(\d+, (.*)\)) += \d+$`)
	payload = regexp.MustCompile(`"([^"]*)"`)
)

// unbroken puts the two halves of a call together that another thread's came between.
func unbroken(trace string) string {
	begun := map[string]string{} // by thread
	var b strings.Builder
	for line := range strings.Lines(trace) {
		if half, ok := strings.CutSuffix(strings.TrimRight(line, "\n"), " <unfinished ...>"); ok {
			thread, _, _ := strings.Cut(half, " ")
			begun[thread] = half
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = begun[m[1]] + m[2]
		}
		b.WriteString(line)
	}
	return b.String()
}

var resumed = regexp.MustCompile(`(?s)^(\d+) +<\.\.\. \w+ resumed>(.*)`)

func unhex(t *testing.T, s string) []byte {
	var b []byte
	for _, h := range strings.Split(s, `\x`)[1:] {
		n, err := strconv.ParseUint(h, 16, 8)
		if err != nil {
			t.Fatalf("strace wrote %.20q: %v", h, err)
		}
		b = append(b, byte(n))
	}
	return b
}
