package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// pythonWithNumpy finds an interpreter that has numpy: the first in PATH need
// not be the one that Debian installs it for. "" when there is none.
var pythonWithNumpy = sync.OnceValue(func() string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import numpy").Run() == nil {
			return name
		}
	}
	return ""
})

func needsPython(*env) string {
	if pythonWithNumpy() == "" {
		return "there is no Python with numpy (Debian: python3-numpy)"
	}
	return ""
}

// pythonServer is the consumer of ws.py.
func pythonServer(ctx context.Context, e *env, s spec) (*exec.Cmd, error) {
	script, err := e.unpack("ws.py")
	if err != nil {
		return nil, err
	}
	w := s.words("", "", false)
	return exec.CommandContext(ctx, pythonWithNumpy(), script, w[2], w[5], w[6]), nil
}

// runPython sends from this binary's WebSocket client to Python.
func runPython(ctx context.Context, e *env, s spec) (sample, error) {
	server, err := pythonServer(ctx, e, s)
	if err != nil {
		return sample{}, err
	}
	return pair(ctx, e,
		func(string) *exec.Cmd { return server },
		func(addr string) *exec.Cmd {
			o := s.order("producer", addr)
			o.Transport = "websocket"
			return e.peer(ctx, o)
		}, false)
}

const chromiumPath = "/usr/bin/chromium"

func needsChromium(e *env) string {
	if _, err := os.Stat(chromiumPath); err != nil {
		return "there is no " + chromiumPath + " (Debian: chromium)"
	}
	return needsPython(e)
}

// runChromium sends from a Worker of a page in headless Chromium to Python. The
// browser's CPU is that of all its processes.
func runChromium(ctx context.Context, e *env, s spec) (sample, error) {
	dir, remove, err := e.runDir()
	if err != nil {
		return sample{}, err
	}
	defer remove()
	command, err := pythonServer(ctx, e, s)
	if err != nil {
		return sample{}, err
	}
	server, err := spawn(command)
	if err != nil {
		return sample{}, err
	}
	defer server.kill()
	addr, err := server.line("at ")
	if err != nil {
		return sample{}, err
	}
	page, err := e.unpack("page.html")
	if err != nil {
		return sample{}, err
	}
	browser, err := spawn(chromiumWith(ctx, dir, page, addr, s))
	if err != nil {
		return sample{}, err
	}
	defer browser.kill()
	var cpu [2]int64
	for i, mark := range []string{"first", "last"} {
		if _, err := server.line(mark); err != nil {
			return sample{}, browser.died(err)
		}
		cpu[i] = TreeCPU(browser.cmd.Process.Pid)
	}
	consumer, err := server.outcome()
	if err != nil {
		return sample{}, err
	}
	return sampleOf(outcome{Frames: consumer.Frames, CPU: cpu[1] - cpu[0]}, consumer)
}

func chromiumWith(ctx context.Context, dir, page, addr string, s spec) *exec.Cmd {
	job, _ := json.Marshal(map[string]any{
		"url": addr, "size": s.payload.Size, "rate": s.payload.Rate, "seconds": s.seconds, "paced": s.paced,
	})
	args := []string{
		"--headless", "--no-first-run", "--disable-gpu", "--disable-quic", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir=" + filepath.Join(dir, "profile"),
	}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // Chromium refuses to run as root with it
	}
	return exec.CommandContext(ctx, chromiumPath, append(args, "file://"+page+"#"+url.PathEscape(string(job)))...)
}

// TreeCPU is the CPU time of a process and of all that descend from it, in ns.
func TreeCPU(root int) (sum int64) {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
			// Field 4, behind the command, which may hold anything: proc(5).
			fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	var walk func(pid int)
	walk = func(pid int) {
		var ts unix.Timespec
		// The CPU clock of another process: clock_getcpuclockid(3).
		if unix.ClockGettime(^int32(pid)<<3|2, &ts) == nil {
			sum += ts.Nano()
		}
		for _, c := range children[pid] {
			walk(c)
		}
	}
	walk(root)
	return sum
}
