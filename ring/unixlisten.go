package ring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of what strangers can make a listener do.
const (
	pendingMost     = 16 // producers that have said HELLO and wait for Accept
	handshakesMost  = 32 // connections that have not said it yet; the oldest makes room for the next
	chatterMost     = 64 // messages after the HELLO, which a producer has no use for but to say it again
	refusalsLogged  = 8  // in one refusalWindow; the rest are counted
	attachmentsMost = 64 // alive at the same time

	// A process may begin handshakeBurst handshakes at once and then
	// handshakeRate a second: as many as a launcher needs for its children. The
	// rest is hung up on, for tens of microseconds each. Of so many processes the
	// listener keeps count; of the one it heard of least lately it forgets it.
	handshakeBurst   = 64
	handshakeRate    = 32
	handshakersKnown = 256
)

const refusalWindow = time.Second

type unixListener struct {
	cfg     Config
	ln      *net.UnixListener
	pending chan pendingProducer
	slots   chan struct{} // one for each connection that has not said HELLO
	done    chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	epoch   uint64
	readers map[*Reader]int // live attachments, with the fds of their consumer pages
	greet   []*net.UnixConn // in their handshake, the oldest first

	rates map[int32]*rate // by the pid that connected; run's own

	refused struct { // under mu
		since time.Time
		n     int // in this window
	}
}

// pendingProducer has a good HELLO and waits for Accept.
type pendingProducer struct {
	conn *net.UnixConn
	h    hello
	uid  int
}

func listenUnix(a address, cfg Config) (*unixListener, error) {
	ln, err := bindSocket(a, cfg.Mode)
	if err != nil {
		return nil, err
	}
	l := &unixListener{
		cfg: cfg, ln: ln,
		pending: make(chan pendingProducer, pendingMost),
		slots:   make(chan struct{}, handshakesMost),
		done:    make(chan struct{}),
		readers: map[*Reader]int{},
		rates:   map[int32]*rate{},
	}
	l.wg.Add(1)
	go l.run()
	return l, nil
}

// bindSocket binds the path, replacing the socket of a dead consumer. The lock
// on the directory keeps two consumers from both finding it stale.
func bindSocket(a address, mode os.FileMode) (*net.UnixListener, error) {
	dir, err := os.Open(filepath.Dir(a.path))
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	defer dir.Close()
	if err := lockBriefly(int(dir.Fd())); err != nil {
		return nil, fmt.Errorf("ring: lock %s: %w", dir.Name(), err)
	}
	if st, err := os.Lstat(a.path); err == nil {
		if st.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("ring: %s exists and is not a socket; choose another path or remove it", a.path)
		}
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: a.path, Net: "unixpacket"})
		if err == nil {
			_ = conn.Close()
			return nil, &InUseError{Addr: a.text}
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, fmt.Errorf("ring: %s: %w; choose another path or remove it", a.path, err)
		}
		if err := os.Remove(a.path); err != nil {
			return nil, fmt.Errorf("ring: %w", err)
		}
	}
	// Before the socket listens: who connects in between would come unsigned.
	lc := net.ListenConfig{Control: passCredentials}
	sock, err := lc.Listen(context.Background(), "unixpacket", a.path)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	ln := sock.(*net.UnixListener)
	if err := os.Chmod(a.path, mode); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("ring: %w", err)
	}
	return ln, nil
}

// passCredentials has the kernel sign every HELLO. Connections inherit it from
// the listener, so that it holds for a HELLO sent before accept, too.
func passCredentials(_, _ string, raw syscall.RawConn) error {
	var opt error
	err := raw.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	return errors.Join(err, opt)
}

// lockBriefly takes a lock that others hold for the time of a bind.
func lockBriefly(fd int) error {
	var err error
	for range 200 {
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// run takes connections until the listener closes.
func (l *unixListener) run() {
	defer l.wg.Done()
	for {
		select {
		case l.slots <- struct{}{}:
		default:
			// Connections that are left open must not keep others out.
			l.dropOldest()
			select {
			case l.slots <- struct{}{}:
			case <-l.done:
				return
			}
		}
		conn, err := l.ln.AcceptUnix()
		if err != nil {
			<-l.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.cfg.Log.Warn("ring: accept failed", "error", err)
			time.Sleep(50 * time.Millisecond) // out of fds, most likely
			continue
		}
		if !l.inRate(conn) {
			_ = conn.Close() // busy: it may try again
			<-l.slots
			continue
		}
		if !l.track(conn) {
			_ = conn.Close()
			return
		}
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			defer func() { <-l.slots }()
			l.handshake(conn)
		}()
	}
}

// handshake reads the HELLO and answers it or puts it on the list.
func (l *unixListener) handshake(conn *net.UnixConn) {
	h, uid, err := readHello(conn)
	l.untrack(conn)
	if err == nil && h.role == roleObserver {
		// Whoever may not write may not see either: the frames are the same.
		if err = l.cfg.allow(uid); err == nil {
			l.showObserver(conn)
			_ = conn.Close()
			return
		}
	} else if err == nil {
		// What will not do is refused now, not when somebody calls Accept.
		err = l.cfg.admit(h, uid, plan(l.cfg, 0, usedClasses(h.streams)))
	}
	if err != nil {
		l.refuse(conn, err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	select {
	case <-l.done:
		_ = conn.Close()
	case l.pending <- pendingProducer{conn, h, uid}:
	default:
		l.refuse(conn, &tryLaterError{fmt.Sprintf("%d producers are waiting already", pendingMost)})
	}
}

// track remembers connections in their handshake so that close can end them.
func (l *unixListener) track(conn *net.UnixConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		return false
	default:
	}
	l.greet = append(l.greet, conn)
	return true
}

func (l *unixListener) untrack(conn *net.UnixConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.greet = slices.DeleteFunc(l.greet, func(c *net.UnixConn) bool { return c == conn })
}

// dropOldest hangs up on the connection that has been silent longest.
func (l *unixListener) dropOldest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.greet) > 0 {
		_ = l.greet[0].Close()
		l.greet = slices.Delete(l.greet, 0, 1)
	}
}

// readHello reads one message and who sent it, in the kernel's words: the
// process that connected may have passed the socket on.
func readHello(conn *net.UnixConn) (hello, int, error) {
	_ = conn.SetReadDeadline(time.Now().Add(handshakeLimit))
	buf, oob := make(mem, pageSize), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return hello{}, -1, fmt.Errorf("no HELLO: %w", err)
	}
	return signedHello(buf[:n], oob[:oobn])
}

// signedHello takes a HELLO apart and believes the kernel about its sender.
func signedHello(m mem, oob []byte) (hello, int, error) {
	h, err := parseHello(m)
	if err != nil {
		return hello{}, -1, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return hello{}, -1, errors.New("the HELLO came without credentials")
	}
	cred, err := unix.ParseUnixCredentials(&msgs[0])
	if err != nil || cred.Pid <= 0 {
		return hello{}, -1, errors.New("the HELLO came from a process outside of the consumer's pid namespace")
	}
	h.pid = int(cred.Pid)
	if h.boot, err = startTicks(h.pid); err != nil {
		h.boot = 0
	}
	return h, int(cred.Uid), nil
}

func (l *unixListener) refuse(conn *net.UnixConn, reason error) {
	if n := l.countRefusal(); n <= refusalsLogged {
		l.cfg.Log.Warn("ring: producer refused", "ring", l.ln.Addr().String(), "reason", reason)
	}
	// What passes by itself is answered by hanging up: the producer tries again.
	if later := (*tryLaterError)(nil); !errors.As(reason, &later) {
		l.cfg.Refused(reason)
		w := welcome{refused: true, reason: reason.Error(), name: l.cfg.Name, pid: os.Getpid()}
		_, _ = conn.Write(w.encode()) // nobody to tell when it fails
	}
	_ = conn.Close()
}

// countRefusal numbers the refusals of the current window, and tells of those
// that were too many in the one before.
func (l *unixListener) countRefusal() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.refused.since) > refusalWindow {
		if more := l.refused.n - refusalsLogged; more > 0 {
			l.cfg.Log.Warn("ring: more producers were refused", "ring", l.ln.Addr().String(), "count", more)
		}
		l.refused.since, l.refused.n = time.Now(), 0
	}
	l.refused.n++
	return l.refused.n
}

func (l *unixListener) accept(ctx context.Context) (*Reader, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.done:
			return nil, ErrClosed
		case p := <-l.pending:
			r, err := l.attach(p)
			if err == nil {
				return r, nil
			}
			l.refuse(p.conn, err)
		}
	}
}

// attach makes the memory of one attachment and hands it to the producer.
func (l *unixListener) attach(p pendingProducer) (_ *Reader, err error) {
	l.mu.Lock()
	l.epoch++
	epoch, alive := l.epoch, len(l.readers)
	l.mu.Unlock()
	if alive >= attachmentsMost {
		return nil, &tryLaterError{fmt.Sprintf("%d producers are attached already", alive)}
	}
	used := usedClasses(p.h.streams)
	g := plan(l.cfg, epoch, used)
	segFD, consFD, b, err := sealedPair(g, l.cfg, used)
	if err != nil {
		return nil, err
	}
	writeStreams(b.cons, p.h, p.uid)
	r := newReader(b, p.h, p.h.peer(p.uid), l.cfg)
	w := welcome{pairs: 1, pid: os.Getpid(), epoch: epoch, boot: b.cons.u64(consBoot), name: l.cfg.Name}
	if _, _, err = p.conn.WriteMsgUnix(w.encode(), unix.UnixRights(segFD, consFD), nil); err != nil {
		b.discard()
		closeFD(segFD)
		closeFD(consFD)
		return nil, fmt.Errorf("send the WELCOME: %w", err)
	}
	if err = l.watch(r, p, consFD); err != nil {
		b.discard()
		closeFD(segFD)
		closeFD(consFD)
		return nil, err
	}
	return r, nil
}

// watch starts what notices the end of the producer.
func (l *unixListener) watch(r *Reader, p pendingProducer, consFD int) error {
	proc, err := watchProcess(p.h.pid, p.h.boot, func() { r.peerEvent(peerDied) })
	if err != nil {
		return err
	}
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		if l.listenOn(r, p) {
			return // it goes on in the next ring
		}
		r.peerEvent(peerHungUp)
	}()
	l.mu.Lock()
	l.readers[r] = consFD
	l.mu.Unlock()
	r.stopPeer = func() {
		l.mu.Lock()
		delete(l.readers, r)
		l.mu.Unlock()
		closeFD(consFD)
		if !r.moved {
			_ = p.conn.Close()
		}
		<-listening
		proc.stop()
	}
	return nil
}

// listenOn waits for the end of a connection. A producer has nothing more to say,
// and what it says is ignored, but for another HELLO when its ring is replaced:
// then it is true.
func (l *unixListener) listenOn(r *Reader, p pendingProducer) bool {
	buf, oob := make(mem, pageSize), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for range chatterMost {
		n, oobn, _, _, err := p.conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			return false
		}
		if !r.again.Load() {
			continue
		}
		h, uid, err := signedHello(buf[:n], oob[:oobn])
		if err == nil && h.role == roleProducer && h.pid == p.h.pid && h.boot == p.h.boot {
			r.hellos <- pendingProducer{p.conn, h, uid} // there is room for one, and one comes
			return true
		}
	}
	return false
}

// replace waits for the HELLO that a producer says once more.
func (l *unixListener) replace(ctx context.Context, old *Reader) (*Reader, error) {
	select {
	case p := <-old.hellos:
		old.moved = true
		err := l.cfg.admit(p.h, p.uid, plan(l.cfg, 0, usedClasses(p.h.streams)))
		if err == nil {
			var r *Reader
			if r, err = l.attach(p); err == nil {
				return r, nil
			}
		}
		l.refuse(p.conn, err)
		return nil, err
	case <-old.left:
		return nil, &GoneError{old.producer}
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return nil, ErrClosed
	}
}

// showObserver hands read-only fds of the live attachments to a tool.
func (l *unixListener) showObserver(conn *net.UnixConn) {
	var fds []int
	defer func() {
		for _, fd := range fds {
			closeFD(fd)
		}
	}()
	l.mu.Lock()
	for r, consFD := range l.readers {
		seg, err1 := readOnly(r.b.fd)
		cons, err2 := readOnly(consFD)
		if err1 != nil || err2 != nil || len(fds) >= 2*observerPairs {
			closeFD(seg)
			closeFD(cons)
			continue
		}
		fds = append(fds, seg, cons)
	}
	l.mu.Unlock()
	boot, _ := startTicks(os.Getpid())
	w := welcome{pairs: len(fds) / 2, pid: os.Getpid(), boot: boot, name: l.cfg.Name}
	_ = conn.SetWriteDeadline(time.Now().Add(handshakeLimit))
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, _ = conn.WriteMsgUnix(w.encode(), rights, nil) // a tool that left is no concern
}

// readOnly opens a file again such that it cannot be written through.
func readOnly(fd int) (int, error) {
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func (l *unixListener) close() error {
	l.mu.Lock()
	close(l.done)
	for _, conn := range l.greet {
		_ = conn.Close()
	}
	l.mu.Unlock()
	err := l.ln.Close() // removes the socket's name
	l.wg.Wait()
	for {
		select {
		case p := <-l.pending:
			_ = p.conn.Close()
		default:
			return err
		}
	}
}
