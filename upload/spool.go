package upload

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// spool is the folder of one upload, held by this process alone: its journal is
// locked (flock), and the system unlocks it when the process dies.
type spool struct {
	dir string

	mu      sync.Mutex
	journal journal
	syncing sync.WaitGroup
}

// DefaultSpool is the folder that spools are made in when nobody says another: in
// MPIPE_SPOOL, or where the XDG base directories put what programs keep.
func DefaultSpool() string {
	if dir := os.Getenv("MPIPE_SPOOL"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mpipe", "spool")
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) && home != "/" {
		return filepath.Join(home, ".local", "state", "mpipe", "spool")
	}
	return filepath.Join("/var/tmp", fmt.Sprintf("mpipe-spool-%d", os.Getuid())) // a service without a home
}

// halfMade is how folders are called until their journal is whole.
const halfMade = ".new-"

// newSpool makes a folder below root that others see with its first line written
// and locked, or not at all.
func newSpool(root string, b *begin) (*spool, error) {
	if root == "" {
		return nil, &Error{Kind: Settings, Where: b.Place.String(), Msg: "no folder for the spool is given"}
	}
	root, err := filepath.Abs(root)
	if err == nil {
		err = os.MkdirAll(root, 0o700)
	}
	if err != nil {
		return nil, localError(root, "the spool cannot be made", err)
	}
	sweepHalfMade(root)
	name := spoolName(b)
	half := filepath.Join(root, halfMade+name)
	s, err := makeSpool(half, filepath.Join(root, name), b)
	if err != nil {
		os.RemoveAll(half)
		return nil, localError(root, "the spool cannot be made", err)
	}
	return s, nil
}

func makeSpool(half, dir string, b *begin) (*spool, error) {
	if err := os.Mkdir(half, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(half, journalName), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s := &spool{dir: dir, journal: journal{f: f}}
	err = lock(f)
	if err == nil {
		err = s.append(entry{Begin: b})
	}
	if err == nil {
		err = os.Rename(half, dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// sweepHalfMade removes what processes left that died while they made a folder:
// nobody holds its journal, and it is not of just now.
func sweepHalfMade(root string) {
	list, _ := filepath.Glob(filepath.Join(root, halfMade+"*"))
	for _, dir := range list {
		if st, err := os.Stat(dir); err != nil || time.Since(st.ModTime()) < time.Minute {
			continue
		}
		if f, err := os.Open(filepath.Join(dir, journalName)); err == nil {
			if lock(f) == nil {
				os.RemoveAll(dir)
			}
			f.Close()
		} else {
			os.RemoveAll(dir)
		}
	}
}

var odd = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// spoolName is unique, sorts by time, and tells people what it is of.
func spoolName(b *begin) string {
	var r [4]byte
	rand.Read(r[:])
	key := odd.ReplaceAllString(b.Place.Key, "_")
	if len(key) > 60 {
		key = key[len(key)-60:]
	}
	return b.Created.UTC().Format("20060102T150405Z") + "-" + strings.Trim(key, "._-") + "-" + hex.EncodeToString(r[:])
}

// openSpool takes over a folder that its process has left; path is the folder or
// its journal.
func openSpool(path string) (*spool, *history, error) {
	dir, err := spoolDir(path)
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(dir, journalName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &Error{Kind: Local, Where: path, Msg: "there is no upload to resume here", Remedy: "`mpipe upload --list` shows what there is"}
	}
	if err != nil {
		return nil, nil, localError(name, "the journal cannot be opened", err)
	}
	s := &spool{dir: dir, journal: journal{f: f}}
	h, err := s.takeOver()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return s, h, nil
}

func spoolDir(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", localError(path, "the folder cannot be found", err)
	}
	if filepath.Base(path) == journalName {
		return filepath.Dir(path), nil
	}
	return path, nil
}

func (s *spool) takeOver() (*history, error) {
	name := s.journal.f.Name()
	err := lock(s.journal.f)
	for range 20 { // List holds it for a moment
		if !errors.Is(err, errInUse) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		err = lock(s.journal.f)
	}
	if err != nil {
		if errors.Is(err, errInUse) {
			return nil, &Error{Kind: Busy, Where: s.dir, Msg: "a live process is at work on it", Remedy: "let it finish, or stop it first"}
		}
		return nil, localError(name, "the journal cannot be locked", err)
	}
	// Somebody may have finished it and removed it in between.
	mine, err := s.journal.f.Stat()
	there, err2 := os.Stat(name)
	if err != nil || err2 != nil || !os.SameFile(mine, there) {
		return nil, &Error{Kind: Local, Where: s.dir, Msg: "somebody else has just finished it"}
	}
	text, err := io.ReadAll(s.journal.f)
	if err != nil {
		return nil, localError(name, "the journal cannot be read", err)
	}
	h, err := readHistory(name, text)
	if err == nil {
		s.journal.mend(text)
	}
	return h, err
}

func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errInUse
	}
	return err
}

// sync has what the journal says so far outlive the machine, in its own time: a
// disk that is busy may take long. Whoever finds the journal after that can at
// least complete or abort what the store has.
func (s *spool) sync() {
	f := s.journal.f
	s.syncing.Add(1)
	go func() {
		defer s.syncing.Done()
		f.Sync()
		for _, dir := range []string{s.dir, filepath.Dir(s.dir)} {
			if d, err := os.Open(dir); err == nil {
				d.Sync()
				d.Close()
			}
		}
	}()
}

func (s *spool) append(e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.append(e)
}

const partPrefix = "part-"

func (s *spool) partPath(n int) string {
	return filepath.Join(s.dir, fmt.Sprintf("%s%05d", partPrefix, n))
}

// partSizes are the part files that are there, by number.
func (s *spool) partSizes() (map[int]int64, error) {
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, localError(s.dir, "the spool cannot be read", err)
	}
	sizes := map[int]int64{}
	for _, e := range list {
		digits, ok := strings.CutPrefix(e.Name(), partPrefix)
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 1 || n > MaxParts {
			continue
		}
		st, err := e.Info()
		if err != nil {
			return nil, localError(s.dir, "the spool cannot be read", err)
		}
		sizes[n] = st.Size()
	}
	return sizes, nil
}

// remove deletes the folder, the journal last: whoever is killed in between has
// left an upload that can be taken up and found complete.
func (s *spool) remove() error {
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return localError(s.dir, "the spool cannot be removed", err)
	}
	sort.Slice(list, func(i, k int) bool { return list[k].Name() == journalName && list[i].Name() != journalName })
	for _, e := range list {
		if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
			return localError(s.dir, "the spool cannot be removed", err)
		}
	}
	if err := os.Remove(s.dir); err != nil {
		return localError(s.dir, "the spool cannot be removed", err)
	}
	return s.release()
}

// close gives up the lock, at once when it returns.
func (s *spool) close() error {
	s.syncing.Wait()
	return s.release()
}

func (s *spool) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal.f == nil {
		return nil
	}
	err := s.journal.f.Close()
	s.journal.f = nil
	return err
}
