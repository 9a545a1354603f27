package upload

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// writer is the part that is being filled; guarded by Upload.writing.
type writer struct {
	f    *os.File
	part *part
}

// Write appends to the object. It returns when the bytes are in a file of the
// spool, where the death of this process does not reach them. When the spool has
// reached its limit it waits, or fails, as Options.WhenFull says; it never waits
// for the store otherwise. An error is final: what was written until then can
// still be finished.
func (u *Upload) Write(b []byte) (n int, err error) {
	u.writing.Lock()
	defer u.writing.Unlock()
	for len(b) > 0 {
		room, err := u.room(int64(len(b)))
		if err != nil {
			return n, err
		}
		done, err := u.w.f.Write(b[:room])
		u.wrote(b[:done])
		n, b = n+done, b[done:]
		if err != nil {
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
				err = errors.New("the disk is full")
			}
			return n, u.endWith(localError(u.w.f.Name(), "the spool cannot be written", err))
		}
		if u.w.part.size == u.schedule.Size(u.w.part.n) {
			if err := u.cut(); err != nil {
				return n, u.endWith(err)
			}
		}
	}
	return n, nil
}

// room gives how many bytes may be written to the current part, at most want, and
// waits for space in the spool.
func (u *Upload) room(want int64) (int64, error) {
	if u.w.f == nil {
		if err := u.openPart(); err != nil {
			return 0, err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		free := u.o.SpoolMax - u.n.spooled
		switch {
		case u.ended != nil:
			return 0, u.ended
		case free > 0:
			return min(want, free, u.schedule.Size(u.w.part.n)-u.w.part.size), nil
		case u.failed != nil || u.o.WhenFull == Fail:
			u.ended = u.full()
			return 0, u.ended
		}
		u.wait()
	}
}

// wait waits for space and counts the time.
func (u *Upload) wait() {
	u.n.blockedSince = time.Now()
	u.change.Wait()
	u.n.blocked += time.Since(u.n.blockedSince)
	u.n.blockedSince = time.Time{}
}

// full says that the spool is so and why.
func (u *Upload) full() error {
	err := u.failed
	if err == nil {
		err = u.st.state().lastError
	}
	return &Error{Kind: Full, Where: u.o.Place.String(), Msg: fmt.Sprintf("the spool has reached its limit of %s", size(u.o.SpoolMax)), Err: err, Spool: u.sp.dir}
}

func (u *Upload) openPart() error {
	u.mu.Lock()
	n, ended := len(u.parts)+1, u.ended
	u.mu.Unlock()
	switch {
	case ended != nil:
		return ended
	case n > MaxParts:
		return u.endWith(&Error{Kind: Settings, Where: u.o.Place.String(),
			Msg:    fmt.Sprintf("it is longer than %s, what %d parts hold that begin with %s", size(u.schedule.Capacity()), MaxParts, size(u.schedule.First)),
			Remedy: "use larger parts"})
	}
	return u.newPart(n)
}

func (u *Upload) newPart(n int) error {
	f, err := os.OpenFile(u.sp.partPath(n), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return u.endWith(localError(u.sp.dir, "the spool cannot be written", errors.Unwrap(err)))
	}
	u.w.f, u.w.part = f, &part{n: n, known: true, local: true}
	u.mu.Lock()
	u.parts = append(u.parts, u.w.part)
	u.mu.Unlock()
	return nil
}

func (u *Upload) wrote(b []byte) {
	crc := crc32.Update(u.w.part.crc, crc32.IEEETable, b)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.w.part.crc = crc
	u.w.part.size += int64(len(b))
	u.n.written += int64(len(b))
	u.n.spooled += int64(len(b))
	u.n.spooledMost = max(u.n.spooledMost, u.n.spooled)
}

// cut ends the current part and hands it to the workers.
func (u *Upload) cut() error {
	err := u.w.f.Close()
	p := u.w.part
	u.w = writer{}
	u.mu.Lock()
	u.queue = append(u.queue, p)
	u.change.Broadcast()
	u.mu.Unlock()
	if err != nil {
		return localError(u.sp.partPath(p.n), "the spool cannot be written", err)
	}
	return nil
}

// endWith makes err final for writing.
func (u *Upload) endWith(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended == nil {
		u.ended = err
	}
	return u.ended
}

// endWriting lets no further byte in and hands over the last part.
func (u *Upload) endWriting(why error) error {
	u.endWith(why)
	u.mu.Lock()
	u.change.Broadcast() // frees a Write that waits for space
	u.mu.Unlock()
	u.writing.Lock()
	defer u.writing.Unlock()
	switch {
	case u.w.f == nil:
		return nil
	case u.w.part.size == 0 && u.w.part.n > 1:
		return u.dropEmpty()
	}
	return u.cut()
}

// dropEmpty takes back a part that was opened and got no byte.
func (u *Upload) dropEmpty() error {
	name := u.w.f.Name()
	u.w.f.Close()
	u.w = writer{}
	u.mu.Lock()
	u.parts = u.parts[:len(u.parts)-1]
	u.mu.Unlock()
	if err := os.Remove(name); err != nil {
		return localError(name, "the spool cannot be written", errors.Unwrap(err))
	}
	return nil
}
