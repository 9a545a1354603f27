package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[tcp]("tcpsrc", "Frames and sound that a program sends over TCP, in the messages of browser/FORMAT.md.")
	pipeline.Register[unixSocket]("unixsrc", "Frames and sound that a program sends over a Unix socket, in the messages of browser/FORMAT.md.")
}

type tcp struct {
	source
	addr string
	l    net.Listener
}

func (s *tcp) Props(p *pipeline.Props) {
	p.String(&s.addr, "listen", "127.0.0.1:9720", "Address to listen at. One that other machines reach needs a token.")
	s.declare(p)
}

func (s *tcp) Check() error { return s.checkAddr(s.addr) }

// checkAddr tells whether an address may be listened at.
func (s *source) checkAddr(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return pipeline.At("listen", `%q is no address; want "127.0.0.1:9720", or ":0" for any free port`, addr)
	}
	if !loopback(host) && !s.token.IsSet() {
		return pipeline.At("listen", `other machines can reach %q: add token = { env = "NAME" }, or listen at 127.0.0.1`, addr)
	}
	return s.Delivery.Check()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *tcp) Open(ctx context.Context, env *pipeline.SourceEnv) error {
	return s.openWith(ctx, env, func() (string, error) {
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			return "", pipeline.At("listen", "%w", err)
		}
		s.l = l
		go s.accept(l)
		return "tcp://" + l.Addr().String(), nil
	})
}

func (s *tcp) Close() error {
	if s.l != nil {
		_ = s.l.Close()
	}
	return s.stop()
}

// accept serves whoever comes until the listener is closed.
func (s *source) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no file descriptors left, for one
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if u, ok := c.(*net.UnixConn); ok && !friend(u) {
			_ = c.Close()
			continue
		}
		go s.serve(&stream{c: c, r: bufio.NewReaderSize(c, 4096)}, "")
	}
}

type unixSocket struct {
	source
	path string
	l    net.Listener
}

func (s *unixSocket) Props(p *pipeline.Props) {
	p.String(&s.path, "path", "", "The socket's path. Programs of this user, and root, may connect.", pipeline.Required)
	s.declare(p)
}

func (s *unixSocket) Check() error {
	if len(s.path) > 107 { // sun_path, unix(7)
		return pipeline.At("path", "%d bytes are too long for a socket's path; at most 107", len(s.path))
	}
	return s.Delivery.Check()
}

func (s *unixSocket) Open(ctx context.Context, env *pipeline.SourceEnv) error {
	return s.openWith(ctx, env, func() (string, error) {
		l, err := listenUnix(s.path)
		if err != nil {
			return "", pipeline.At("path", "%w", err)
		}
		s.l = l
		go s.accept(l)
		return "unix:" + s.path, nil
	})
}

// listenUnix takes the place of a socket that nobody listens at any more.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("somebody listens at %s already", path)
		}
		_ = os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil { // friend looks at each client besides
		l.Close()
		return nil, err
	}
	return l, nil
}

func (s *unixSocket) Close() error {
	if s.l != nil {
		_ = s.l.Close()
	}
	return s.stop()
}

// friend tells whether a process of this user, or root's, is at the other end.
func friend(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ok = err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
	})
	return ok
}

// stream is a link over a connection without messages of its own.
type stream struct {
	c net.Conn
	r *bufio.Reader // small: payload passes it by
}

func (l *stream) next() error { return nil }

func (l *stream) read(b []byte) error {
	for len(b) > 0 {
		n, err := l.r.Read(b) // reads past its buffer when b is larger
		b = b[n:]
		if err != nil && len(b) > 0 {
			return err
		}
	}
	return nil
}

func (l *stream) send(b []byte) error {
	_ = l.c.SetWriteDeadline(time.Now().Add(helloLimit)) // a client that does not listen holds nobody up
	_, err := l.c.Write(b)
	return err
}

func (l *stream) limit(d time.Duration) {
	if d == 0 {
		_ = l.c.SetReadDeadline(time.Time{})
		return
	}
	_ = l.c.SetReadDeadline(time.Now().Add(d))
}

func (l *stream) close(string) { _ = l.c.Close() }

// allowed tells whether a page of an origin may connect.
func allowed(origin string, patterns []string) bool {
	if origin == "" {
		return true // no browser
	}
	for _, p := range patterns {
		if p == "*" || strings.EqualFold(p, origin) {
			return true
		}
	}
	if len(patterns) > 0 {
		return false
	}
	_, host, ok := strings.Cut(origin, "://")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return ok && loopback(strings.Trim(host, "[]"))
}
