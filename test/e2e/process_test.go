package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inverter builds the program of graphs/process.toml.
func inverter(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "invert")
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/invert").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// turnedBack undoes what the inverter did, with ffmpeg, so that the pictures can
// be read.
func turnedBack(t *testing.T, file string) string {
	t.Helper()
	back := filepath.Join(t.TempDir(), "back.mkv")
	out, err := exec.Command("ffmpeg", "-loglevel", "error", "-i", file, "-vf", "lutyuv=y=251-val", "-fps_mode", "passthrough",
		"-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-c:a", "copy", back).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return back
}

// children lists the processes that a process has started.
func children(pid int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var pids []int
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(child)
			pids = append(pids, n)
		}
	}
	return pids
}

// The filter is killed in mid-recording: another goes on, and what is missing is
// what was counted as lost.
func TestAProcessThatIsKilled(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	r := recordTo(t, "../../graphs/process.toml", ringName(), "a.mkv", "--param", "filter="+inverter(t), "--set", "h264.preset=ultrafast")
	const frames = 240
	start(t, "feed", "--ring", r.ring, "--pattern", "320x180@30", "--frames", strconv.Itoa(frames))
	for range 3 {
		r.says("process attached")
		time.Sleep(1500 * time.Millisecond)
		for _, pid := range children(r.cmd.Process.Pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	m := r.finish(time.Minute)
	st := m.Stages["mine"]
	lost := int(st.Counters["lost"])
	if st.Counters["restarts"] != 3 || lost > 3 || st.Dropped != int64(lost) {
		t.Errorf("the stage says %+v, want 3 restarts and a frame lost at each at most", st)
	}
	// One that dies between two frames loses none.
	got := measure(t, turnedBack(t, r.out))
	if got.Frames != frames-lost || got.Missing != lost || got.Repeated+got.OutOfOrder+got.Unreadable > 0 {
		t.Errorf("the recording holds %+v, want %d pictures but for %d", got, frames, lost)
	}
	if left, _ := filepath.Glob(dir + "/mpipe-*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A filter in any language, that knows of nothing but frames on its standard input:
// one that does its work, and one that gives up in the middle of it.
func TestAProgramBehindPipes(t *testing.T) {
	const frames = 90
	record := func(command string, args ...string) *recording {
		r := recordTo(t, "../../graphs/process.toml", ringName(), "a.mkv", append([]string{"--param", "filter=" + mpipe,
			"--set", "mine.command=" + command, "--set", "h264.preset=ultrafast"}, args...)...)
		start(t, "feed", "--ring", r.ring, "--pattern", "318x180@30", "--frames", strconv.Itoa(frames))
		return r
	}
	r := record(fmt.Sprintf("[%q, \"pipe\", \"--\", \"python3\", \"../../examples/negate/negate.py\"]", mpipe))
	r.finish(time.Minute)
	if got := measure(t, turnedBack(t, r.out)); got.Frames != frames || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable > 0 {
		t.Errorf("the recording holds %+v, want %d pictures", got, frames)
	}
	once := filepath.Join(t.TempDir(), "once.py")
	if err := os.WriteFile(once, []byte("import os, sys\nsys.stdout.buffer.write(sys.stdin.buffer.read(int(os.environ['MPIPE_FRAME_BYTES'])))\nsys.exit(3)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = record(fmt.Sprintf("[%q, \"pipe\", \"--\", \"python3\", %q]", mpipe, once), "--set", "mine.on_exit=fail")
	if code := r.wait(time.Minute); code == 0 {
		t.Error("a filter that gave up went unnoticed")
	}
	r.says("of frame 1: exit status 3")
}

// A process does not outlive an mpipe that is killed.
func TestAProcessDiesWithItsMpipe(t *testing.T) {
	r := recordTo(t, "../../graphs/process.toml", "unix:"+filepath.Join(t.TempDir(), "s"), "a.mkv", "--param", "filter="+inverter(t))
	start(t, "feed", "--ring", r.ring, "--pattern", "320x180@30", "--duration", "1m")
	r.says("process attached")
	pids := children(r.cmd.Process.Pid)
	if len(pids) != 1 {
		t.Fatalf("mpipe has the children %v", pids)
	}
	r.signal(syscall.SIGKILL)
	r.wait(10 * time.Second)
	for end := time.Now().Add(5 * time.Second); syscall.Kill(pids[0], 0) == nil && !zombie(pids[0]); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the process still runs")
		}
	}
}

// zombie: it is dead, and whoever inherited it has not looked.
func zombie(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(stat), ") Z ")
}

func TestAProcessThatMayNotFail(t *testing.T) {
	r := recordTo(t, "../../graphs/process.toml", ringName(), "a.mkv", "--param", "filter="+inverter(t), "--set", "mine.on_exit=fail")
	start(t, "feed", "--ring", r.ring, "--pattern", "320x180@30", "--duration", "1m")
	r.says("process attached")
	time.Sleep(time.Second)
	for _, pid := range children(r.cmd.Process.Pid) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	if code := r.wait(time.Minute); code == 0 || !strings.Contains(r.err.String(), "process.toml:18:1: stage mine: invert: ") {
		t.Errorf("exit code %d: %s", code, tail(r.err.String()))
	}
	if got := measure(t, turnedBack(t, r.out)); got.Frames < 10 || got.Missing+got.Unreadable > 0 {
		t.Errorf("what came before is %+v", got)
	}
}
