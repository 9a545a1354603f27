package ring

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// overlay is the file that a class's payload is read from when it is not the
// segment.
type overlay struct {
	fd  int
	off int64
}

// Overlay has the payload of a class read from another file, from offset, a
// multiple of the page size, on: frames are lent out of that file's own memory.
// It is for a producer inside of this process that hands on what a third party
// wrote into the file, at the same offsets as it claims here; the file's part
// must be as long as the arena and stay so, because reading behind its end is
// SIGBUS. It must come before the class's first claim, from any goroutine.
func (r *Reader) Overlay(k Kind, fd int, offset int64) error {
	c := r.class(k)
	if c == nil || r.b.fd < 0 {
		return fmt.Errorf("ring: no %s class to lay a file over", k)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	if err := c.arena.overlayFile(own, offset, unix.PROT_READ); err != nil {
		unix.Close(own)
		return fmt.Errorf("ring: map a file over the %s arena: %w", k, err)
	}
	populate(c.arena, unix.MADV_POPULATE_READ)
	c.over.Store(&overlay{own, offset})
	// Nobody will use the segment's own memory.
	_ = unix.Fallocate(r.b.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(c.dataOff), int64(len(c.arena)))
	return nil
}

// file is where byte 0 of the class's arena is.
func (r *Reader) file(c *readClass) (fd int, off int64) {
	if o := c.over.Load(); o != nil {
		return o.fd, o.off
	}
	return r.b.fd, int64(c.dataOff)
}

// closeOverlays closes the files when the memory goes.
func (r *Reader) closeOverlays() {
	for _, c := range r.classes {
		if c != nil {
			if o := c.over.Swap(nil); o != nil {
				unix.Close(o.fd)
			}
		}
	}
}

// overlayOf is part of a class: see Overlay.
type overlayOf struct{ over atomic.Pointer[overlay] }
