package browser

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/elements/internal/intake"
)

// Where Chromium keeps the origin private file system is not documented, so what
// is looked for is a magic word, in all that lies below "File System" and
// "WebStorage" of each profile: seen are File System/000/t/00/00000000 and so on.
const (
	deepest = 8    // directories below these two
	most    = 8192 // files looked at in one go
)

// candidate is a page that waits to be taken: its two small files.
type candidate struct {
	bell  *os.File // the page writes, mpipe reads
	ack   *os.File // the other way round; locked
	tree  string   // where the file with the frames will be
	hello *intake.Hello
}

func (c *candidate) close() {
	c.bell.Close()
	c.ack.Close()
}

// refuse tells the page why.
func (c *candidate) refuse(reason string) {
	c.say(intake.Refused, reason)
}

func (c *candidate) say(state intake.State, reason string) {
	b := make([]byte, 256)
	intake.PutText(b, reason)
	_, _ = c.ack.WriteAt(b, intake.AckReason) // a page that is gone need not know
	_, _ = c.ack.WriteAt(binary.LittleEndian.AppendUint32(nil, uint32(state)), intake.AckState)
}

// find looks for a page that is alive, not taken, and the one that is wanted.
func (s *source) find() *candidate {
	for _, profile := range profiles(s.dir) {
		for _, store := range []string{"File System", "WebStorage"} {
			if c := s.search(filepath.Join(profile, store)); c != nil {
				return c
			}
		}
	}
	return nil
}

// profiles are the directories that may hold a profile: those in the user data
// dir, and itself, as Electron has it.
func profiles(dir string) []string {
	out := []string{dir}
	entries, _ := os.ReadDir(dir) // it may not be there yet
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

// files calls see with each regular file of a size below root until it says true.
func files(root string, size int64, see func(path string) bool) {
	n := 0
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // gone meanwhile
		}
		if n++; n > most {
			return fs.SkipAll
		}
		if d.IsDir() {
			if rel, _ := filepath.Rel(root, path); strings.Count(rel, "/") >= deepest {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Size() == size && see(path) {
			return fs.SkipAll
		}
		return nil
	})
}

func (s *source) search(root string) (c *candidate) {
	files(root, intake.BellSize, func(path string) bool {
		c = s.look(path)
		return c != nil
	})
	return c
}

// look opens a file that may be a bell.
func (s *source) look(path string) *candidate {
	bell, err := open(path, unix.O_RDONLY)
	if err != nil {
		return nil
	}
	c := &candidate{bell: bell, tree: filepath.Dir(filepath.Dir(path))}
	if err := s.fits(c); err != nil {
		bell.Close()
		return nil
	}
	files(c.tree, intake.AckSize, func(path string) bool {
		f, err := openPart(path, intake.MagicAck, c.hello.Session)
		if err != nil {
			return false
		}
		c.ack = f
		return true
	})
	if c.ack == nil || !claim(c.ack) {
		bell.Close()
		if c.ack != nil {
			c.ack.Close()
		}
		return nil
	}
	return c
}

// fits tells whether a file is the bell of a page that is wanted.
func (s *source) fits(c *candidate) error {
	head := make([]byte, intake.HelloSize)
	if _, err := c.bell.ReadAt(head, 0); err != nil || string(head[:8]) != intake.MagicBell {
		return fmt.Errorf("no bell")
	}
	h, err := intake.ParseHello(head, intake.MagicBell)
	if err != nil {
		s.pass(fmt.Sprintf("%s: %v", filepath.Base(c.bell.Name()), err))
		return err
	}
	s.mu.Lock()
	gone := s.gone[h.Session]
	s.mu.Unlock()
	switch {
	case gone || binary.LittleEndian.Uint32(head[intake.BellState:]) != intake.SessionOpen:
		return fmt.Errorf("over")
	case s.page != "" && h.Name != s.page:
		return s.pass(fmt.Sprintf("%s, but page = %q is wanted", h, s.page))
	case s.origin != "" && h.Origin != s.origin:
		return s.pass(fmt.Sprintf("%s, but origin = %q is wanted", h, s.origin))
	case s.want != "" && subtle.ConstantTimeCompare([]byte(h.Token), []byte(s.want)) != 1:
		return s.pass(fmt.Sprintf("%s has another token", h))
	case !alive(c.bell):
		return fmt.Errorf("dead")
	}
	c.hello = h
	return nil
}

// pass remembers why a page was passed over.
func (s *source) pass(why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = why
	return fmt.Errorf("%s", why)
}

func open(path string, mode int) (*os.File, error) {
	fd, err := unix.Open(path, mode|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openPart opens the file of a session that begins with a magic word.
func openPart(path, magic string, session [16]byte) (*os.File, error) {
	f, err := open(path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	head := make([]byte, intake.AckSession+16)
	if _, err := f.ReadAt(head, 0); err != nil || string(head[:8]) != magic || [16]byte(head[intake.AckSession:]) != session {
		f.Close()
		return nil, fmt.Errorf("another file")
	}
	return f, nil
}

// claim takes the session for this source; false when somebody else has it, or had
// it. The lock goes with the file.
func claim(ack *os.File) bool {
	if unix.Flock(int(ack.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	var state [4]byte
	_, err := ack.ReadAt(state[:], intake.AckState)
	return err == nil && state == [4]byte{}
}

// alive tells whether anybody has the file open for writing: the kernel gives a
// lease for reading only when nobody has. That is proof, and needs no time-out.
// Where leases cannot be had the page counts as alive.
func alive(f *os.File) bool {
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return true
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	return false
}

// onTmpfs tells whether a directory, or the nearest above it that is there, is in
// memory.
func onTmpfs(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil {
			return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC || st.Type == unix.HUGETLBFS_MAGIC
		} else if dir == "/" || dir == "." {
			return true // not for us to say
		}
	}
}
