package ring

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is USER_HZ, the unit of start times in /proc: 100 on every Linux
// architecture this package supports.
const clockTick = time.Second / 100

// startTicks is the start of a living process in clock ticks since boot: with
// the pid it names a process for good. A zombie has no start: it is dead, and
// only its parent has not looked yet. Fields 3 and 22 of /proc/pid/stat, proc(5).
func startTicks(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command, field 2, may hold spaces and parentheses.
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: no start time", pid)
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return 0, fmt.Errorf("process %d is dead", pid)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// startedAt turns ticks since boot into wall time; the zero time for 0.
func startedAt(ticks uint64) time.Time {
	var ts unix.Timespec
	if ticks == 0 || unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return time.Time{}
	}
	age := time.Duration(ts.Nano()) - time.Duration(ticks)*clockTick
	return time.Now().Add(-age).Truncate(time.Millisecond)
}

// watcher waits for the death of one process.
type watcher struct {
	file *os.File // pidfd, in the poller
	done sync.WaitGroup
}

// watchProcess calls died once, from another goroutine, when the process is
// proven dead. A process that is dead already, or whose pid now belongs to
// another process, counts as dead. ticks 0 skips that comparison.
func watchProcess(pid int, ticks uint64, died func()) (*watcher, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err == unix.ESRCH {
		go died()
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd_open(%d): %w; the ring needs Linux 5.10 or later to see that the other side died", pid, err)
	}
	// The pidfd was opened first: if the start time still fits, it names the
	// right process.
	if now, err := startTicks(pid); ticks != 0 && (err != nil || now != ticks) {
		_ = unix.Close(fd)
		go died()
		return nil, nil
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "pidfd")}
	conn, err := w.file.SyscallConn()
	if err != nil {
		_ = w.file.Close()
		return nil, err
	}
	w.done.Add(1)
	go func() {
		defer w.done.Done()
		err := conn.Read(func(fd uintptr) bool {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, _ := unix.Poll(p, 0)
			return n > 0
		})
		if err == nil {
			died()
		}
	}()
	return w, nil
}

// stop ends the watch. It must not be called from died.
func (w *watcher) stop() {
	if w != nil {
		_ = w.file.Close()
		w.done.Wait()
	}
}
