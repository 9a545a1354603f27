package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// link makes the two ends of a transport whose both sides are this binary.
type link interface {
	// listen gives the address for the producer, and what waits for it.
	listen(dir string, p Payload) (addr string, accept func() (receiver, error), err error)
	dial(addr string, p Payload) (sender, error)
}

// drawingLink is no transport: what drawing costs, and, with readToo for an
// address, what reading costs when the frame never leaves the process.
type drawingLink struct{}

const readToo = "read"

func (drawingLink) listen(string, Payload) (string, func() (receiver, error), error) {
	return "", nil, errors.New("drawing has no consumer")
}

func (drawingLink) dial(addr string, p Payload) (sender, error) {
	return &drawing{read: addr == readToo, b: make([]byte, p.Size)}, nil
}

type drawing struct {
	read bool
	b    []byte
}

func (d *drawing) buffer() ([]byte, error) { return d.b, nil }
func (d *drawing) close() error            { return nil }
func (d *drawing) send() error {
	if d.read {
		sink.Store(sum(d.b))
	}
	return nil
}

// streamLink moves frames back to back over a byte stream: both sides know their
// size, as they do with rawvideo in a pipe to ffmpeg, so that nothing has to be
// framed. The producer writes a frame in one call, the consumer reads into one
// buffer that it keeps.
//
// The descriptors block: waking a thread in a system call takes less than Go's
// poller, which needs epoll and another look at the socket for every wake-up.
// There is no copy that could be saved: MSG_ZEROCOPY is copied on a loopback, and
// with vmsplice the producer could never know when it may draw into a page again.
type streamLink struct {
	network string
	// window is the bytes that each socket's buffer is asked to have, which the system
	// bounds by net.core.wmem_max; 0 leaves it to the system, whose own tuning is the
	// best for TCP.
	window int
}

func (l streamLink) listen(dir string, p Payload) (string, func() (receiver, error), error) {
	addr := "127.0.0.1:0"
	if l.network == "unix" {
		addr = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(l.network, addr)
	if err != nil {
		return "", nil, err
	}
	return ln.Addr().String(), func() (receiver, error) {
		defer ln.Close()
		conn, err := ln.Accept()
		if err != nil {
			return nil, err
		}
		fd, err := blocking(conn, l.window)
		if err != nil {
			return nil, err
		}
		return &streamReceiver{fd: fd, b: make([]byte, p.Size)}, nil
	}, nil
}

func (l streamLink) dial(addr string, p Payload) (sender, error) {
	conn, err := net.Dial(l.network, addr)
	if err != nil {
		return nil, err
	}
	fd, err := blocking(conn, l.window)
	if err != nil {
		return nil, err
	}
	return &streamSender{fd: fd, b: make([]byte, p.Size)}, nil
}

// blocking takes a connection out of Go's poller.
func blocking(conn net.Conn, window int) (*os.File, error) {
	defer conn.Close() // File duplicates it
	c, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no file", conn)
	}
	f, err := c.File()
	if err != nil {
		return nil, err
	}
	fd := int(f.Fd()) // makes it block
	if window > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, window)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, window)
	}
	return f, nil
}

// pipeLink is a pipe that the parent made and both inherited as descriptor 3,
// with the largest buffer that an unprivileged process may ask for.
type pipeLink struct{}

const (
	pipeFD   = 3
	pipeSize = 1 << 20 // /proc/sys/fs/pipe-max-size
)

func (pipeLink) listen(_ string, p Payload) (string, func() (receiver, error), error) {
	f := os.NewFile(pipeFD, "pipe")
	_, _ = unix.FcntlInt(pipeFD, unix.F_SETPIPE_SZ, pipeSize)
	return "-", func() (receiver, error) { return &streamReceiver{fd: f, b: make([]byte, p.Size)}, nil }, nil
}

func (pipeLink) dial(_ string, p Payload) (sender, error) {
	return &streamSender{fd: os.NewFile(pipeFD, "pipe"), b: make([]byte, p.Size)}, nil
}

type streamSender struct {
	fd *os.File
	b  []byte
}

func (s *streamSender) buffer() ([]byte, error) { return s.b, nil }
func (s *streamSender) send() error             { return writeFull(int(s.fd.Fd()), s.b) }
func (s *streamSender) close() error            { return s.fd.Close() }

type streamReceiver struct {
	fd *os.File
	b  []byte
}

func (r *streamReceiver) next() ([]byte, error) { return r.b, readFull(int(r.fd.Fd()), r.b) }
func (r *streamReceiver) done() error           { return nil }
func (r *streamReceiver) close() error          { return r.fd.Close() }

func writeFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := readSome(fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func readSome(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			return n, nil
		}
	}
}
