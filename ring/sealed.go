package ring

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// sealedPair makes both memfds and maps them.
func sealedPair(g *geometry, cfg Config, used [classCount]bool) (segFD, consFD int, b backing, err error) {
	segFD, consFD = -1, -1
	defer func() {
		if err != nil {
			b.discard()
			closeFD(segFD)
			closeFD(consFD)
		}
	}()
	if segFD, err = sealedFile("mpipe-ring", g.size, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return
	}
	if err = g.touch(segFD, used); err != nil {
		return
	}
	if consFD, err = sealedFile("mpipe-consumer", consSize, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		return
	}
	if err = unix.Fallocate(consFD, 0, 0, consSize); err != nil {
		return
	}
	if b, err = openBacking(g, segFD, consFD); err != nil {
		b = backing{}
		return
	}
	// The consumer's own mapping stays writable; no other can be made.
	if _, err = unix.FcntlInt(uintptr(consFD), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SEAL); err != nil {
		err = fmt.Errorf("seal the consumer page: %w; the ring needs Linux 5.1 or later", err)
		return
	}
	m, err := mapFile(segFD, 0, controlEnd, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return
	}
	g.writeHeader(m)
	_ = m.unmap()
	g.writeConsumerPage(b.cons, cfg.Name, cfg.CopyLimit, consLive)
	g.populate(b.seg, used, unix.MADV_POPULATE_READ)
	return
}

func sealedFile(name string, size, seals int) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		closeFD(fd)
		return -1, fmt.Errorf("size a memfd: %w", err)
	}
	// A memfd is born with mode 0777: an observer of another user could open its
	// read-only fd again for writing.
	if err := unix.Fchmod(fd, 0o400); err != nil {
		closeFD(fd)
		return -1, fmt.Errorf("restrict a memfd: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		closeFD(fd)
		return -1, fmt.Errorf("seal a memfd: %w", err)
	}
	return fd, nil
}
