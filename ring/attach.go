package ring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// attachRetry is how often Attach looks for a consumer.
const attachRetry = 20 * time.Millisecond

// Attach waits until a consumer at addr takes this producer, or ctx ends. The
// order of streams gives their numbers. A consumer that takes streams of other
// sizes only, or speaks another version, answers with a [RefusedError].
//
// addr is a ring's name, a path, unix:PATH, or fd:N for a connected socket that
// this process inherited.
func Attach(ctx context.Context, addr string, streams []StreamSpec, o AttachOptions) (*Producer, error) {
	a, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	if err := checkPages(); err != nil {
		return nil, err
	}
	if err := checkStreams(streams); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	h := hello{role: roleProducer, pid: os.Getpid(), name: o.Name, streams: append([]StreamSpec(nil), streams...)}
	h.boot, _ = startTicks(h.pid) // 0 without /proc
	at, err := attach(ctx, a, h)
	if err != nil {
		return nil, err
	}
	return newProducer(a, h, o, at), nil
}

// attach waits for a consumer at the address.
func attach(ctx context.Context, a address, h hello) (*attachment, error) {
	try := attachNamed
	if a.sock {
		try = attachUnix
	}
	for {
		at, err := try(ctx, a, h)
		var later *tryLaterError
		switch {
		case err == nil:
			return at, nil
		case !errors.As(err, &later) || a.fd >= 0:
			return nil, fmt.Errorf("ring: %s: %w", a.text, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ring: no consumer took the producer at %s (%w): %w", a.text, err, ctx.Err())
		case <-time.After(attachRetry):
		}
	}
}

// tryLaterError is a state that passes by itself.
type tryLaterError struct{ reason string }

func (e *tryLaterError) Error() string { return e.reason }

func attachUnix(ctx context.Context, a address, h hello) (*attachment, error) {
	conn, err := dial(ctx, a)
	if err != nil {
		return nil, err
	}
	fault(faultFound)
	if _, err := conn.Write(h.encode()); err != nil {
		_ = conn.Close()
		return nil, &tryLaterError{"the consumer hung up"}
	}
	fault(faultPosted)
	at, err := welcomed(ctx, conn, h)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return at, nil
}

func dial(ctx context.Context, a address) (*net.UnixConn, error) {
	if a.fd >= 0 {
		f := os.NewFile(uintptr(a.fd), a.text)
		defer f.Close() // FileConn duplicates it
		conn, err := net.FileConn(f)
		if err != nil {
			return nil, err
		}
		if c, ok := conn.(*net.UnixConn); ok {
			return c, nil
		}
		_ = conn.Close()
		return nil, errors.New("not a unix socket")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", a.path)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EAGAIN), ctx.Err() != nil:
		return nil, &tryLaterError{"nobody listens"}
	case err != nil:
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// welcomed waits for the answer to a HELLO, which comes when the consumer calls
// Accept or Replace, and maps what comes with it.
func welcomed(ctx context.Context, conn *net.UnixConn, h hello) (*attachment, error) {
	_ = conn.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	buf, oob := make(mem, pageSize), make([]byte, unix.CmsgSpace(2*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	fds := receivedFDs(oob[:oobn])
	if late := !stop(); late || err != nil || n == 0 {
		closeFDs(fds)
		if late {
			return nil, &tryLaterError{"the consumer did not accept in time"}
		}
		return nil, &tryLaterError{"the consumer hung up"}
	}
	w, err := parseWelcome(buf[:n])
	switch {
	case err == nil && w.refused:
		err = &RefusedError{Reason: w.reason}
	case err == nil && len(fds) != 2:
		err = fmt.Errorf("a WELCOME with %d fds, want 2", len(fds))
	}
	if err != nil {
		closeFDs(fds)
		return nil, err
	}
	defer closeFDs(fds)
	fault(faultWelcome)
	at, err := mapProducer(fds[0], fds[1], h.streams)
	if err != nil {
		return nil, err
	}
	at.link = &link{conn: conn, seen: make(chan struct{})}
	go at.link.watch(at.consumerGone)
	return at, nil
}

// receivedFDs takes the fds out of control messages.
func receivedFDs(oob []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		if got, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		closeFD(fd)
	}
}

// mapProducer maps and checks both files on the producer's side.
func mapProducer(segFD, consFD int, streams []StreamSpec) (*attachment, error) {
	seg, cons, g, err := mapPair(segFD, consFD, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, err
	}
	if err := fitStreams(streams, g); err != nil {
		_ = seg.unmap()
		_ = cons.unmap()
		return nil, err
	}
	g.populate(seg, usedClasses(streams), unix.MADV_POPULATE_WRITE)
	return newAttachment(g, seg, cons), nil
}

// mapPair maps a segment and its consumer page for anyone but the consumer.
func mapPair(segFD, consFD int, prot int) (seg, cons mem, g *geometry, err error) {
	defer func() {
		if err != nil {
			_ = seg.unmap()
			_ = cons.unmap()
		}
	}()
	for _, f := range []struct {
		fd   int
		prot int
		into *mem
		size int64 // the least
		most int64
	}{{segFD, prot, &seg, controlEnd, 1 << 40}, {consFD, unix.PROT_READ, &cons, consSize, consSize}} {
		var st unix.Stat_t
		if err := unix.Fstat(f.fd, &st); err != nil {
			return nil, nil, nil, err
		}
		if st.Size < f.size || st.Size > f.most {
			return seg, cons, nil, fmt.Errorf("not a ring: a file of %d bytes", st.Size)
		}
		if *f.into, err = mapFile(f.fd, 0, int(st.Size), f.prot); err != nil {
			return seg, cons, nil, err
		}
	}
	if g, err = readHeader(seg); err != nil {
		return seg, cons, nil, err
	}
	return seg, cons, g, checkConsumerPage(cons, g)
}
