package ring

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mem is shared memory. Words that two sides touch at the same time are reached
// through a32 and a64 alone, the rest through the plain accessors, always with a
// synchronising word between the writer and the reader.
type mem []byte

func (m mem) a32(off int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&m[off : off+4][0])) }
func (m mem) a64(off int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&m[off : off+8][0])) }

func (m mem) u16(off int) uint16 { return binary.LittleEndian.Uint16(m[off:]) }
func (m mem) u32(off int) uint32 { return binary.LittleEndian.Uint32(m[off:]) }
func (m mem) u64(off int) uint64 { return binary.LittleEndian.Uint64(m[off:]) }

func (m mem) put16(off int, v uint16) { binary.LittleEndian.PutUint16(m[off:], v) }
func (m mem) put32(off int, v uint32) { binary.LittleEndian.PutUint32(m[off:], v) }
func (m mem) put64(off int, v uint64) { binary.LittleEndian.PutUint64(m[off:], v) }

// text reads a NUL-terminated field, whose last byte is never text; anything but
// printable ASCII becomes '?', because the other side may have written anything.
func (m mem) text(off, size int) string {
	b := make([]byte, 0, size)
	for _, c := range m[off : off+size-1] {
		if c == 0 {
			break
		}
		if c < ' ' || c > '~' {
			c = '?'
		}
		b = append(b, c)
	}
	return string(b)
}

// putText writes s with a closing NUL, cut to fit, and clears the rest.
func (m mem) putText(off, size int, s string) {
	field := m[off : off+size]
	clear(field)
	copy(field[:size-1], s)
}

// mapFile maps n bytes of a file.
func mapFile(fd int, off int64, n int, prot int) (mem, error) {
	p, err := unix.MmapPtr(fd, off, nil, uintptr(n), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, err)
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// mapAnon gives n bytes of private memory outside the Go heap.
func mapAnon(n int) (mem, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of private memory: %w", n, err)
	}
	return unsafe.Slice((*byte)(p), n), nil
}

func (m mem) base() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(m)) }

func (m mem) unmap() error {
	if len(m) == 0 {
		return nil
	}
	return unix.MunmapPtr(m.base(), uintptr(len(m)))
}

// parking is where memory goes that a foreign thread may still touch.
//
// A release is "Held = 0, then look at the waiters, then perhaps add to the
// sequence and wake". The reader may see Held == 0 and close between the steps.
// So the cells, and the addresses at which words pages are mapped, are never
// unmapped but parked here and used again by the next reader of the process: a
// straggler then touches a valid page and at worst causes a spurious wake-up,
// which every waiter expects. The park is as large as the most readers that
// were ever open at the same time.
var parking = struct {
	sync.Mutex
	free map[int][]mem
}{free: map[int][]mem{}}

// parkGet gives n bytes of anonymous memory, perhaps with old content.
func parkGet(n int) (mem, error) {
	parking.Lock()
	defer parking.Unlock()
	if l := parking.free[n]; len(l) > 0 {
		m := l[len(l)-1]
		parking.free[n] = l[:len(l)-1]
		return m, nil
	}
	return mapAnon(n)
}

func parkPut(m mem) {
	if len(m) == 0 {
		return
	}
	parking.Lock()
	defer parking.Unlock()
	parking.free[len(m)] = append(parking.free[len(m)], m)
}

// overlayFile maps a file over parked memory, in place.
func (m mem) overlayFile(fd int, off int64, prot int) error {
	_, err := unix.MmapPtr(fd, off, m.base(), uintptr(len(m)), prot, unix.MAP_SHARED|unix.MAP_FIXED)
	return err
}

// overlayAnon puts fresh private memory in the place of whatever is mapped.
func (m mem) overlayAnon() error {
	_, err := unix.MmapPtr(-1, 0, m.base(), uintptr(len(m)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	return err
}
