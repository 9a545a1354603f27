package ring

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// rate is how many handshakes a process may still begin.
type rate struct {
	left float64
	at   time.Time // when that was counted
}

// take uses one up, if there is one.
func (r *rate) take(now time.Time) bool {
	r.left = min(handshakeBurst, r.left+now.Sub(r.at).Seconds()*handshakeRate)
	r.at = now
	if r.left < 1 {
		return false
	}
	r.left--
	return true
}

// inRate tells whether a process that has just connected may begin a handshake.
func (l *unixListener) inRate(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil || err != nil {
		return false
	}
	now := time.Now()
	r := l.rates[cred.Pid]
	if r == nil {
		l.forget()
		r = &rate{left: handshakeBurst, at: now}
		l.rates[cred.Pid] = r
	}
	return r.take(now)
}

// forget makes room for another process among those that are counted.
func (l *unixListener) forget() {
	if len(l.rates) < handshakersKnown {
		return
	}
	var oldest int32
	var at time.Time
	for pid, r := range l.rates {
		if at.IsZero() || r.at.Before(at) {
			oldest, at = pid, r.at
		}
	}
	delete(l.rates, oldest)
}
