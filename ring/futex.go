package ring

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waitSlice bounds every sleep, so that a shutdown or a death whose wake-up got
// lost with its sender is noticed all the same.
const waitSlice = 100 * time.Millisecond

const (
	futexWaitOp = 0 // FUTEX_WAIT, shared: without FUTEX_PRIVATE_FLAG
	futexWakeOp = 1 // FUTEX_WAKE
)

// futexWait sleeps while *word is val, at most for d (capped at waitSlice). It
// tells whether it was woken, or found another value, rather than timed out.
// It parks the OS thread, hence Syscall6, which lets the scheduler go on.
func futexWait(word *atomic.Uint32, val uint32, d time.Duration) bool {
	ts := unix.NsecToTimespec(int64(min(max(d, 0), waitSlice)))
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitOp, uintptr(val), uintptr(unsafe.Pointer(&ts)), 0, 0)
	return errno != unix.ETIMEDOUT
}

// futexWake wakes up to n sleepers. The word may be mapped read-only. It never
// blocks, hence RawSyscall6: Syscall6 tells the scheduler first, and that wakes
// the runtime's monitor thread before the reader (one more wake-up of an idle
// CPU, in front of every frame of an idle ring).
func futexWake(word *atomic.Uint32, n int) {
	// The error has no remedy: the word is mapped and aligned.
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWakeOp, uintptr(n), 0, 0, 0)
}

const wakeAll = 1<<31 - 1
