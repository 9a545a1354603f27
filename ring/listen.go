package ring

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config is the consumer's side of every attachment of a listener. Zero fields
// take their defaults.
type Config struct {
	VideoBytes int64        // payload arena of video, rounded up to pages; default 64 MiB
	AudioBytes int64        // payload arena of audio; default 1 MiB
	Slots      int          // frames per class, a power of two from 4 to 65536; default 1024
	CopyLimit  int64        // bytes of copies alive at a time, by TakeCopy and Evict; default 256 MiB
	Log        *slog.Logger // default: silent
	// WriterTimeout is how long a writer of a live producer may keep a claim open
	// while others wait for it, before the ring is replaced; default 5 s, negative
	// for never.
	WriterTimeout time.Duration
	// AllowUID lists the users whose processes may be producers, as the kernel
	// tells them; default: this process's own and root.
	AllowUID []int
	Mode     os.FileMode // permissions of the socket, or of a named ring's files; default 0600
	// Check says whether a producer's streams will do; an error is the reason
	// that it is refused with. May be nil, and must not call the listener.
	Check   func(Peer, []Stream) error
	Refused func(error) // told of each producer that was not taken, and why; may be nil
	Name    string      // who consumes, shown to producers and tools; default "mpipe"

	startAtWrap bool // tests: begin where sequence and position are about to wrap
}

// MaxArena is the most bytes one class's payload can have.
const MaxArena = 1 << 36

// Listener waits for producers at one address.
type Listener struct {
	impl interface {
		accept(ctx context.Context) (*Reader, error)
		replace(ctx context.Context, old *Reader) (*Reader, error)
		close() error
	}
	once sync.Once
	err  error
}

// Listen makes the address: the two files of a named ring, or the socket. What a
// dead consumer left there is replaced; an address that another live consumer
// uses is refused with an [InUseError]. A file or socket that is something else
// is never touched.
func Listen(addr string, cfg Config) (*Listener, error) {
	a, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	if a.fd >= 0 {
		return nil, fmt.Errorf("ring: a consumer cannot listen at %q: %s", addr, addressHelp)
	}
	if err := checkPages(); err != nil {
		return nil, err
	}
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Refused == nil {
		cfg.Refused = func(error) {}
	}
	if cfg.Check == nil {
		cfg.Check = func(Peer, []Stream) error { return nil }
	}
	if cfg.Name == "" {
		cfg.Name = "mpipe"
	}
	l := &Listener{}
	if a.sock {
		l.impl, err = listenUnix(a, cfg)
	} else {
		l.impl, err = listenNamed(a, cfg)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Accept waits for the next producer. A producer that cannot be taken is told
// why, and Accept goes on. A named ring has one attachment at a time: Accept
// waits until the one before is over; over a socket any number can be attached.
// It returns ctx's error when ctx ends, and ErrClosed after Close. One goroutine
// may call it at a time.
func (l *Listener) Accept(ctx context.Context) (*Reader, error) { return l.impl.accept(ctx) }

// Replace waits for the producer of a reader whose state is Replaced, with a new
// ring for it; what was committed in the old one is to be taken before. A producer
// that ends, dies or hangs up instead gives a [GoneError]. Frames of the old reader
// stay valid; close it when Replace has returned.
func (l *Listener) Replace(ctx context.Context, old *Reader) (*Reader, error) {
	if old.State() != Replaced {
		return nil, fmt.Errorf("ring: the ring of producer %s was not replaced: it is %v", old.producer, old.State())
	}
	if n := old.ringsHeld(); n >= oldRingsMost {
		return nil, fmt.Errorf("ring: producer %s got stuck %d times, and frames of every ring are still held; it is left alone", old.producer, n)
	}
	r, err := l.impl.replace(ctx, old)
	if err == nil {
		r.older = append(old.older, old)
	}
	return r, err
}

// oldRingsMost is how many replaced rings of one producer may still be mapped
// because of frames that are held: each has the size of the first.
const oldRingsMost = 4

// ringsHeld counts the rings before this one that are still mapped.
func (r *Reader) ringsHeld() int {
	r.older = slices.DeleteFunc(r.older, func(o *Reader) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.snapshot != nil
	})
	return len(r.older)
}

// GoneError: the producer went away instead of taking another ring.
type GoneError struct{ Producer Peer }

func (e *GoneError) Error() string {
	return fmt.Sprintf("ring: producer %s is gone", e.Producer)
}

// Close removes the address and makes Accept return. Attachments go on.
func (l *Listener) Close() error {
	l.once.Do(func() { l.err = l.impl.close() })
	return l.err
}

// openBacking maps an attachment's memory on the consumer's side. It takes over
// segFD on success; the consumer page's fd stays the caller's.
func openBacking(g *geometry, segFD, consFD int) (b backing, err error) {
	b = backing{g: g, fd: segFD}
	defer func() {
		if err != nil {
			b.discard()
		}
	}()
	if b.seg, err = mapFile(segFD, 0, g.size, unix.PROT_READ); err != nil {
		return b, err
	}
	if b.cons, err = mapFile(consFD, 0, consSize, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return b, err
	}
	if b.local, err = parkGet(localSize(g)); err != nil {
		return b, err
	}
	words, err := parkGet(pageSize)
	if err != nil {
		return b, err
	}
	if err = words.overlayFile(segFD, wordsOff, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		parkPut(words)
		return b, err
	}
	b.words = words
	return b, nil
}

// discard unmaps a backing that never lent a frame, but leaves its fd alone.
func (b *backing) discard() {
	_ = b.seg.unmap()
	_ = b.cons.unmap()
	parkPut(b.local)
	if b.words != nil && b.words.overlayAnon() == nil {
		parkPut(b.words)
	}
}

// usedClasses tells which classes a list of streams needs.
func usedClasses(streams []StreamSpec) (used [classCount]bool) {
	for _, s := range streams {
		if c, ok := s.Kind.class(); ok {
			used[c] = true
		}
	}
	return used
}

// admit tells why a producer is not taken, in words for it.
func (cfg *Config) admit(h hello, uid int, g *geometry) error {
	if err := cfg.allow(uid); err != nil {
		return err
	}
	if err := fitStreams(h.streams, g); err != nil {
		return err
	}
	return cfg.Check(h.peer(uid), streamsOf(h))
}

// allow refuses processes of users that the ring is not for.
func (cfg *Config) allow(uid int) error {
	if !slices.Contains(cfg.AllowUID, uid) {
		return fmt.Errorf("user %d may not write here; the consumer takes producers of the users %v (its allow_uid)", uid, cfg.AllowUID)
	}
	return nil
}

// streamsOf numbers the streams of a HELLO.
func streamsOf(h hello) (out []Stream) {
	for i, s := range h.streams {
		out = append(out, Stream{ID: uint16(i), StreamSpec: s})
	}
	return out
}

// peerOf describes the producer of a HELLO.
func (h hello) peer(uid int) Peer {
	name := h.name
	if name == "" {
		name = "producer"
	}
	return Peer{PID: h.pid, UID: uid, Name: name, Start: startedAt(h.boot)}
}

// uidOf gives the effective user of a process; -1 when /proc cannot tell. The
// owner of its folder there would not do: that is root for a process that changed
// its user.
func uidOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return -1
	}
	_, after, _ := strings.Cut(string(b), "\nUid:")
	if fields := strings.Fields(after); len(fields) > 1 {
		if uid, err := strconv.Atoi(fields[1]); err == nil { // real, effective, saved, of files
			return uid
		}
	}
	return -1
}

// closeFD closes a file that is only written through mappings.
func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// sameFile tells whether a path still names the file behind an fd.
func sameFile(path string, fd int) bool {
	var a, b unix.Stat_t
	return unix.Stat(path, &a) == nil && unix.Fstat(fd, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
