package ring

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// link is a producer's connection to its consumer. It outlives an attachment whose
// ring is replaced: the next HELLO goes over it.
type link struct {
	conn *net.UnixConn
	seen chan struct{} // closed when the consumer has answered or hung up

	mu    sync.Mutex
	asked bool // a HELLO is on its way
}

// watch waits for the end of the connection. A message, which can only be the
// answer to another HELLO, is left to who waits for that.
func (l *link) watch(gone func()) {
	defer close(l.seen)
	raw, err := l.conn.SyscallConn()
	if err != nil {
		gone()
		return
	}
	ended := true
	_ = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err == unix.EAGAIN || err == unix.EINTR {
			return false
		}
		ended = err != nil || n == 0
		return true
	})
	if ended {
		gone()
	}
}

// again says HELLO once more and waits for the answer. When ctx ends first, the
// next call goes on waiting.
func (l *link) again(ctx context.Context, h hello) (*attachment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.asked {
		fault(faultFound)
		if _, err := l.conn.Write(h.encode()); err != nil {
			return nil, &tryLaterError{"the consumer hung up"}
		}
		fault(faultPosted)
		l.asked = true
	}
	select {
	case <-l.seen:
	case <-ctx.Done():
		return nil, &tryLaterError{"the consumer did not accept in time"}
	}
	return welcomed(ctx, l.conn, h)
}

// close hangs up.
func (l *link) close() {
	if l != nil {
		_ = l.conn.Close()
		<-l.seen
	}
}
