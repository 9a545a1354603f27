package browser

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// watch follows one file with inotify: the kernel tells of each write, and merges
// what was not fetched yet.
type watch struct{ f *os.File }

func newWatch(path string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY|unix.IN_CLOSE_WRITE); err != nil && !errors.Is(err, unix.ENOENT) {
		unix.Close(fd)
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return &watch{os.NewFile(uintptr(fd), "inotify")}, nil
}

// loop calls rang for each batch of events, and says whether a writer closed the
// file, until close. It calls it once before.
func (w *watch) loop(rang func(closed bool)) {
	rang(false)
	buf := make([]byte, 4096)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		closed := false
		// struct inotify_event: wd, mask, cookie, len, then len bytes of name.
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			closed = closed || binary.LittleEndian.Uint32(b[4:])&(unix.IN_CLOSE_WRITE|unix.IN_IGNORED) != 0
			b = b[min(len(b), unix.SizeofInotifyEvent+int(binary.LittleEndian.Uint32(b[12:]))):]
		}
		rang(closed)
	}
}

func (w *watch) close() { w.f.Close() }
