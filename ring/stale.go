package ring

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Leftover is a name that a consumer which is dead left behind.
type Leftover struct {
	Path  string    `json:"path"`
	Bytes int64     `json:"bytes"` // that removing it frees, once nobody maps it any more
	PID   int       `json:"pid"`   // of the dead consumer; 0 when unknown
	Name  string    `json:"name,omitempty"`
	Left  time.Time `json:"left"` // when it was last put in place
	Why   string    `json:"why"`  // what proves that nobody uses it
}

// Leftovers lists the files of rings in a directory, such as /dev/shm, whose
// consumer is dead: segments, consumer pages, and what a consumer leaves that is
// killed while it puts them in place. What cannot be opened is left out.
//
// A segment counts as left only when the lock that its consumer holds all its life
// is free, and no process has the consumer's pid and start time.
func Leftovers(dir string) ([]Leftover, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return leftovers(paths), nil
}

// leftovers looks at names. Consumer pages come before the segments, by which they
// are proved.
func leftovers(paths []string) (out []Leftover) {
	for _, page := range []bool{true, false} {
		for _, p := range paths {
			if strings.HasSuffix(p, consumerSuffix) != page {
				continue
			}
			if l, err := leftover(p, false); err == nil {
				out = append(out, l)
			}
		}
	}
	return out
}

// LeftoversAt lists what a dead consumer left at one address.
func LeftoversAt(addr string) ([]Leftover, error) {
	a, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	paths := []string{a.path}
	if !a.sock {
		paths = append(paths, a.path+consumerSuffix)
		more, _ := filepath.Glob(a.path + ".new-*") // an odd path has none
		paths = append(paths, more...)
	}
	return leftovers(paths), nil
}

// Remove removes the name if it is still a dead consumer's: all is proved once
// more, and no consumer can take the name over meanwhile.
func (l Leftover) Remove() error {
	_, err := leftover(l.Path, true)
	return err
}

// errUsed: the name is in use, or no ring's.
var errUsed = errors.New("it is in use, or is none of a ring's")

// orphanAge is how old a consumer page without its segment has to be: consumers
// put the two in place one after the other.
const orphanAge = time.Minute

// leftover proves that a name is left over, and removes it while the proof holds
// if it is to.
func leftover(path string, remove bool) (Leftover, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return Leftover{}, err
	}
	l := Leftover{Path: path, Left: st.ModTime()}
	if st.Mode()&os.ModeSocket != 0 {
		return l, l.leftSocket(remove)
	}
	if !st.Mode().IsRegular() {
		return l, errUsed
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return l, err
	}
	defer closeFD(fd) // and with it goes the lock
	head := make(mem, pageSize)
	n, _ := unix.Pread(fd, head, 0)
	l.Bytes = allocated(fd)
	switch magic := head.u64(0); {
	case n < pageSize || magic != segMagic && magic != consMagic:
		return l, errUsed
	case newOf(path) != "":
		return l, l.leftTemp(fd, remove)
	case magic == segMagic:
		l.PID, l.Name = int(head.u32(segConsumerPID)), consumerOf(path)
		return l, l.leftSegment(fd, head.u64(segConsumerBoot), remove)
	default:
		l.PID, l.Name = int(head.u32(consPID)), head.text(consName, nameSize)
		return l, l.leftPage(fd, head.u64(consBoot), remove)
	}
}

// gone removes the name of an open file, if it is to and still is that file's. The
// caller holds what keeps consumers from putting another in its place.
func (l *Leftover) gone(fd int, remove bool) error {
	if !sameFile(l.Path, fd) {
		return errUsed
	}
	if !remove {
		return nil
	}
	return os.Remove(l.Path)
}

// allocated is the memory behind a file.
func allocated(fd int) int64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// consumerOf reads who consumed from the page beside a segment.
func consumerOf(path string) string {
	f, err := os.Open(path + consumerSuffix)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make(mem, pageSize)
	if _, err := f.ReadAt(head, 0); err != nil || head.u64(0) != consMagic {
		return ""
	}
	return head.text(consName, nameSize)
}

// leftSegment needs the lock and the death of the process: the lock alone could be
// free for a moment, a pid alone could be of another pid namespace.
func (l *Leftover) leftSegment(fd int, boot uint64, remove bool) error {
	if processIs(l.PID, boot) || unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return errUsed
	}
	l.Why = fmt.Sprintf("its lock is free and its consumer, pid %d, is dead", l.PID)
	return l.gone(fd, remove)
}

// leftPage decides about a consumer page by its segment, which has the lock.
func (l *Leftover) leftPage(fd int, boot uint64, remove bool) error {
	segment, ok := strings.CutSuffix(l.Path, consumerSuffix)
	if !ok || processIs(l.PID, boot) {
		return errUsed
	}
	l.Why = fmt.Sprintf("its consumer, pid %d, is dead", l.PID)
	segFD, err := unix.Open(segment, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		return l.leftOrphan(fd, remove)
	}
	if err != nil {
		return err
	}
	defer closeFD(segFD)
	s := Leftover{Path: segment, PID: l.PID}
	if err := s.leftSegment(segFD, boot, false); err != nil {
		return err
	}
	l.Why = s.Why
	return l.gone(fd, remove)
}

// leftOrphan: a page without a segment has no lock. It is removed under another
// name, so that one which a new consumer puts in place at this moment survives.
func (l *Leftover) leftOrphan(fd int, remove bool) error {
	if time.Since(l.Left) < orphanAge {
		return errUsed
	}
	l.Why += ", and it has no segment"
	if !remove {
		return nil
	}
	other := fmt.Sprintf("%s.stale-%d", l.Path, os.Getpid())
	if err := os.Rename(l.Path, other); err != nil {
		return err
	}
	if !sameFile(other, fd) {
		_ = unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, l.Path, unix.RENAME_NOREPLACE)
		return errUsed
	}
	return os.Remove(other)
}

// newOf gives the ending of a file that is being put in place.
func newOf(path string) string {
	if i := strings.LastIndex(path, ".new-"); i >= 0 {
		return path[i:]
	}
	return ""
}

// leftTemp decides about a file that was being put in place by the pid in its
// name; it locks the segment's as soon as it has made it.
func (l *Leftover) leftTemp(fd int, remove bool) error {
	text, page := strings.CutSuffix(strings.TrimPrefix(newOf(l.Path), ".new-"), consumerSuffix)
	pid, err := strconv.Atoi(text)
	if err != nil || pid < 1 || time.Since(l.Left) < orphanAge || unix.Kill(pid, 0) != unix.ESRCH {
		return errUsed
	}
	if !page && unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return errUsed
	}
	l.PID, l.Why = pid, fmt.Sprintf("pid %d was killed while it made it", pid)
	return l.gone(fd, remove)
}

// leftSocket: nobody accepts at a socket whose listener is gone. The lock on the
// directory is the one that consumers bind under.
func (l *Leftover) leftSocket(remove bool) error {
	dir, err := os.Open(filepath.Dir(l.Path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := lockBriefly(int(dir.Fd())); err != nil {
		return errUsed
	}
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: l.Path, Net: "unixpacket"})
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return errUsed
	}
	l.Why = "nobody listens at it"
	if !remove {
		return nil
	}
	return os.Remove(l.Path)
}
