package rtmp

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// unsent bounds what waits in the kernel beyond what is under way: half a second
// of 2 Mbit/s. By default it takes megabytes, 13 s of such a stream, in which
// nobody notices that the other side takes nothing.
const unsent = 128 << 10

// tuneSocket has the kernel hold back early and notice a dead line. Where it
// cannot, the stream works, only less well.
func tuneSocket(c net.Conn, stall time.Duration) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		if stall > 0 {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stall.Milliseconds()))
		}
	})
}
