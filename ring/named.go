package ring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Named mode: the segment is a file that producers open, the consumer page a
// second one beside it. The consumer holds a flock on the segment's file as long
// as it lives, which is how a stale file is told from one in use. Every
// attachment gets fresh files, put in place by rename.

// handshakeLimit is how long a producer may take between taking the mailbox and
// posting its HELLO, or between connecting and sending it.
const handshakeLimit = 5 * time.Second

// mailboxSlice is how often the process that took the mailbox is looked at until
// it posts its HELLO: nobody else can attach in the meantime.
const mailboxSlice = 5 * time.Millisecond

// Mailbox word: 0 open, otherwise the producer's pid with one of these marks.
const (
	mailboxPIDMask  = 1<<24 - 1 // pids end at 2^22, proc(5)
	mailboxPosted   = 1 << 30   // the HELLO is complete
	mailboxAccepted = 1 << 31   // the consumer has read it
)

type namedListener struct {
	path string
	cfg  Config

	mu     sync.Mutex
	cur    *namedPair // nil before the first
	epoch  uint64
	prev   *Reader // the attachment that uses cur, if any
	closed bool
	done   chan struct{} // closed by close
}

// namedPair is one pair of files.
type namedPair struct {
	g      *geometry
	segFD  int // holds the flock
	consFD int
	b      backing
	taken  bool // a Reader owns b
}

func listenNamed(a address, cfg Config) (*namedListener, error) {
	l := &namedListener{path: a.path, cfg: cfg, done: make(chan struct{})}
	stale, err := l.claimPath()
	if err != nil {
		return nil, err
	}
	defer closeFD(stale)
	l.removeLeftovers()
	if err := l.renew(stale >= 0); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, &InUseError{Addr: a.path} // another consumer was faster
		}
		return nil, err
	}
	return l, nil
}

// claimPath makes sure that nobody else listens at the path. It returns a locked
// fd of a dead consumer's file, which is then to be replaced, or -1.
func (l *namedListener) claimPath() (stale int, err error) {
	for {
		fd, err := unix.Open(l.path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == unix.ENOENT {
			return -1, nil
		}
		if err != nil {
			return -1, fmt.Errorf("ring: open %s: %w", l.path, err)
		}
		head := make(mem, segConsumerBoot+8)
		if n, _ := unix.Pread(fd, head, 0); n != len(head) || head.u64(segMagicOff) != segMagic {
			closeFD(fd)
			return -1, fmt.Errorf("ring: %s exists and is not a ring; choose another name or remove it", l.path)
		}
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil && !processIs(int(head.u32(segConsumerPID)), head.u64(segConsumerBoot)) {
			err = lockBriefly(fd) // a tool makes sure that it is left over
		}
		if err != nil {
			closeFD(fd)
			return -1, &InUseError{Addr: l.path}
		}
		if sameFile(l.path, fd) {
			return fd, nil
		}
		closeFD(fd) // its owner replaced or removed it in between
	}
}

// removeLeftovers removes what a consumer leaves that is killed while it puts
// new files in place.
func (l *namedListener) removeLeftovers() {
	found, err := filepath.Glob(l.path + ".new-*")
	if err != nil {
		return // a path with glob characters: nothing is removed
	}
	for _, name := range found {
		text := strings.TrimPrefix(name, l.path+".new-")
		text, _, _ = strings.Cut(text, ".")
		if pid, err := strconv.Atoi(text); err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			_ = os.Remove(name)
		}
	}
}

// renew puts a fresh pair of files in place. Without replace it fails when the
// path exists.
func (l *namedListener) renew(replace bool) (err error) {
	l.epoch++
	g := plan(l.cfg, l.epoch, [classCount]bool{true, true})
	temp := fmt.Sprintf("%s.new-%d", l.path, os.Getpid())
	p := &namedPair{g: g, segFD: -1, consFD: -1}
	defer func() {
		if err != nil {
			p.close()
			_ = os.Remove(temp)
			_ = os.Remove(temp + consumerSuffix)
		}
	}()
	if p.segFD, err = createFile(temp, g.size, l.cfg.Mode); err != nil {
		return err
	}
	if err := unix.Flock(p.segFD, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("ring: lock %s: %w", temp, err)
	}
	if p.consFD, err = createFile(temp+consumerSuffix, consSize, l.cfg.Mode&0o444|0o600); err != nil {
		return err
	}
	if err := p.fill(l.cfg); err != nil {
		return fmt.Errorf("ring: %s: %w", l.path, err)
	}
	if !replace {
		// link fails where rename would replace: two consumers that start at the
		// same time must not both succeed.
		if err := os.Link(temp, l.path); err != nil {
			return fmt.Errorf("ring: %w", err)
		}
		if err := os.Rename(temp+consumerSuffix, l.path+consumerSuffix); err != nil {
			return fmt.Errorf("ring: %w", err)
		}
		_ = os.Remove(temp)
	} else {
		if err := os.Rename(temp+consumerSuffix, l.path+consumerSuffix); err != nil {
			return fmt.Errorf("ring: %w", err)
		}
		if err := os.Rename(temp, l.path); err != nil {
			return fmt.Errorf("ring: %w", err)
		}
	}
	old := l.cur
	l.cur = p
	if old != nil {
		old.retire()
	}
	return nil
}

func createFile(path string, size int, mode os.FileMode) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, fmt.Errorf("ring: create %s: %w", path, err)
	}
	err = unix.Ftruncate(fd, int64(size))
	if err == nil {
		err = unix.Fchmod(fd, uint32(mode)) // whatever the umask
	}
	if err != nil {
		closeFD(fd)
		return -1, fmt.Errorf("ring: %s: %w", path, err)
	}
	return fd, nil
}

// fill writes both headers and maps the pair.
func (p *namedPair) fill(cfg Config) error {
	if err := p.g.touch(p.segFD, [classCount]bool{}); err != nil {
		return err
	}
	m, err := mapFile(p.segFD, 0, controlEnd, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return err
	}
	p.g.writeHeader(m)
	_ = m.unmap()
	if err := unix.Fallocate(p.consFD, 0, 0, consSize); err != nil {
		return err
	}
	if p.b, err = openBacking(p.g, p.segFD, p.consFD); err != nil {
		return err
	}
	p.g.writeConsumerPage(p.b.cons, cfg.Name, cfg.CopyLimit, consWaiting)
	return nil
}

// retire gives a replaced pair back. A producer that is still looking at it
// learns that it is closed and tries the new one.
func (p *namedPair) retire() {
	if !p.taken && p.b.cons.a32(consState).Load() == consWaiting {
		announce(p.b.cons, consClosed)
	}
	p.close()
}

func (p *namedPair) close() {
	if !p.taken && p.b.seg != nil {
		p.b.discard()
	}
	closeFD(p.segFD)
	closeFD(p.consFD)
}

func (l *namedListener) accept(ctx context.Context) (*Reader, error) {
	if l.prev != nil { // one attachment at a time
		select {
		case <-l.prev.over:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.done:
			return nil, ErrClosed
		}
	}
	for {
		if l.cur.taken {
			if err := l.locked(func() error { return l.renew(true) }); err != nil {
				return nil, err
			}
			l.prev = nil
		}
		word, err := l.awaitPost(ctx)
		if err != nil {
			return nil, err
		}
		r, err := l.take(word)
		if err == nil {
			l.prev = r
			return r, nil
		}
		l.cfg.Log.Warn("ring: producer refused", "ring", l.path, "reason", err)
		l.cfg.Refused(err)
		if err := l.locked(func() error { return l.renew(true) }); err != nil {
			return nil, err
		}
	}
}

// replace waits for the next HELLO: a producer finds the new files at the path.
func (l *namedListener) replace(ctx context.Context, old *Reader) (*Reader, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-old.left:
			cancel()
		case <-wait.Done():
		}
	}()
	r, err := l.accept(wait)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil, &GoneError{old.producer}
	}
	return r, err
}

// locked runs f unless the listener is closed.
func (l *namedListener) locked(f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	return f()
}

// awaitPost waits for a HELLO in the mailbox. A producer that takes the mailbox
// and then dies or dawdles is shaken off with a new pair of files.
func (l *namedListener) awaitPost(ctx context.Context) (uint32, error) {
	var since time.Time
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		var word uint32
		err := l.locked(func() error {
			box := l.cur.b.words.a32(wordMailbox)
			word = box.Load() // SYNC POINT hello
			switch {
			case word == mailboxOpen:
				since = time.Time{}
			case word&mailboxPosted != 0:
			case since.IsZero():
				since = time.Now()
			case time.Since(since) > handshakeLimit || !processIs(int(word&mailboxPIDMask), 0):
				since = time.Time{}
				return l.renew(true)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		if word&mailboxPosted != 0 {
			return word, nil
		}
		// Closing parks the page, so the address stays good without the lock.
		slice := waitSlice
		if word != mailboxOpen {
			slice = mailboxSlice
		}
		futexWait(l.cur.b.words.a32(wordMailbox), word, slice)
	}
}

// take answers the HELLO in the mailbox.
func (l *namedListener) take(word uint32) (r *Reader, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	p := l.cur
	box := p.b.words.a32(wordMailbox)
	pid := int(word & mailboxPIDMask)
	if !box.CompareAndSwap(word, uint32(pid)|mailboxAccepted) {
		return nil, fmt.Errorf("pid %d gave up waiting", pid)
	}
	defer func() {
		if err != nil {
			p.b.cons.putText(consReason, consReasonSize, err.Error())
			announce(p.b.cons, consRefused)
		}
	}()
	private := make(mem, pageSize)
	copy(private, p.b.seg[mailboxOff:mailboxOff+pageSize])
	h, err := parseHello(private)
	if err == nil && (h.role != roleProducer || h.pid != pid) {
		err = fmt.Errorf("a HELLO of role %d from pid %d in the mailbox of pid %d", h.role, h.pid, pid)
	}
	if err == nil {
		err = l.cfg.admit(h, uidOf(pid), p.g)
	}
	if err == nil {
		err = p.g.touch(p.segFD, usedClasses(h.streams))
	}
	if err != nil {
		return nil, err
	}
	return l.attach(p, h)
}

func (l *namedListener) attach(p *namedPair, h hello) (*Reader, error) {
	own, err := unix.FcntlInt(uintptr(p.segFD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate an fd: %w", err)
	}
	uid := uidOf(h.pid)
	p.b.fd = own
	p.g.populate(p.b.seg, usedClasses(h.streams), unix.MADV_POPULATE_READ)
	writeStreams(p.b.cons, h, uid)
	r := newReader(p.b, h, h.peer(uid), l.cfg)
	w, err := watchProcess(h.pid, h.boot, func() { r.peerEvent(peerDied) })
	if err != nil {
		closeFD(own)
		p.b.fd = p.segFD
		return nil, err
	}
	r.stopPeer = w.stop
	p.taken = true
	announce(p.b.cons, consLive)
	return r, nil
}

func (l *namedListener) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.done)
	if sameFile(l.path, l.cur.segFD) {
		_ = os.Remove(l.path)
	}
	if sameFile(l.path+consumerSuffix, l.cur.consFD) {
		_ = os.Remove(l.path + consumerSuffix)
	}
	l.cur.retire()
	return nil
}
