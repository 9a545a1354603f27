package upload

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Publication sends small files, one after the other in the order in which they
// were committed, so that a playlist is never in the store before what it names.
// Of a file that is committed again while it waits only the latest is sent, behind
// all that was committed before; one that is removed meanwhile is not sent at all.
//
// Create, Remove and a file's Write and Commit belong to one goroutine; all else
// may be called from any. It ends with exactly one of Close, Suspend and Abort.
type Publication struct {
	o  Options
	st *store
	sp *spool

	ctx    context.Context // of the sender
	cancel context.CancelCauseFunc
	sender sync.WaitGroup

	mu     sync.Mutex
	change *sync.Cond // anything below has changed
	queue  []pubEntry // the first may be under way
	under  bool
	next   int // the number of the next entry
	failed error
	ended  bool // nothing more will be committed
	n      Stats
	open   int64 // bytes of files that are being written
}

// pubEntry is a file that waits, in the journal and in the queue.
type pubEntry struct {
	N      int    `json:"n"`
	Name   string `json:"name"` // relative to the folder of Place.Key
	Type   string `json:"type,omitempty"`
	Size   int64  `json:"size"`
	CRC    uint32 `json:"crc32"`
	Delete bool   `json:"delete,omitempty"` // it is to be deleted in the store
}

// Publish begins to send small files. The key of o is that of the file which
// stands for all of them, the playlist: it is that which must not be there without
// Overwrite, and the other names are relative to its folder.
func Publish(ctx context.Context, o Options) (*Publication, error) {
	o, schedule, err := o.complete()
	if err != nil {
		return nil, err
	}
	st, err := newStore(o)
	if err != nil {
		return nil, err
	}
	free := newUpload(o, schedule, st, nil, nil, time.Now())
	if err := st.ask(ctx, "asking for the key", free.isFree); err != nil && !(o.Offline && KindOf(err) == Away) {
		st.close()
		return nil, err
	}
	sp, err := newSpool(o.Spool, &begin{Version: journalVersion, Created: time.Now(), PID: os.Getpid(), Place: o.Place, Object: o.Object, Schedule: schedule, Publish: true})
	if err != nil {
		st.close()
		return nil, err
	}
	p := newPublication(o, st, sp)
	p.work()
	return p, nil
}

func newPublication(o Options, st *store, sp *spool) *Publication {
	p := &Publication{o: o, st: st, sp: sp, next: 1}
	p.change = sync.NewCond(&p.mu)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// republish takes up what a dead process had committed; what it was writing is
// not whole, and lost.
func republish(sp *spool, h *history, o Options) (*Publication, error) {
	m := h.merged(o)
	m.PartSize, m.SpoolMax = 0, 0
	m, _, err := m.complete()
	if err != nil {
		sp.close()
		return nil, err
	}
	st, err := newStore(m)
	if err != nil {
		sp.close()
		return nil, err
	}
	p := newPublication(m, st, sp)
	p.queue, p.ended = h.waiting, true
	for _, e := range p.queue {
		p.count(e)
	}
	p.work()
	return p, nil
}

func (p *Publication) work() {
	p.sender.Add(1)
	go func() {
		defer p.sender.Done()
		p.sendAll()
	}()
}

// count adds an entry of the queue to the numbers. The lock is held, or nobody
// else knows of p yet.
func (p *Publication) count(e pubEntry) {
	p.next = max(p.next, e.N+1)
	p.n.Written += e.Size
	p.n.Spooled += e.Size
	p.n.SpooledMost = max(p.n.SpooledMost, p.n.Spooled)
	if !e.Delete {
		p.n.Parts++
	}
}

func (p *Publication) file(n int) string {
	return filepath.Join(p.sp.dir, fmt.Sprintf("file-%06d", n))
}

// PublicFile is a file being written. Exactly one of Commit and Discard ends it.
type PublicFile struct {
	p *Publication
	f *os.File
	e pubEntry
}

// Create begins a file.
func (p *Publication) Create(name, contentType string) (*PublicFile, error) {
	p.mu.Lock()
	n, failed := p.next, p.failed
	p.next++
	p.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	f, err := os.OpenFile(p.file(n), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, localError(p.sp.dir, "the spool cannot be written", err)
	}
	return &PublicFile{p: p, f: f, e: pubEntry{N: n, Name: name, Type: contentType}}, nil
}

// Write appends to the file. When the spool has reached its limit it waits, or
// fails, as Options.WhenFull says.
func (f *PublicFile) Write(b []byte) (int, error) {
	if err := f.p.room(int64(len(b))); err != nil {
		return 0, err
	}
	n, err := f.f.Write(b)
	f.e.Size += int64(n)
	f.e.CRC = crc32.Update(f.e.CRC, crc32.IEEETable, b[:n])
	if err != nil {
		err = localError(f.p.sp.dir, "the spool cannot be written", err)
	}
	return n, err
}

// room waits for space in the spool and takes it.
func (p *Publication) room(n int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var since time.Time
	defer func() {
		if !since.IsZero() {
			p.n.Blocked += time.Since(since).Seconds()
		}
	}()
	// With nothing to be sent waiting would not end.
	for p.n.Spooled+p.open+n > p.o.SpoolMax && len(p.queue) > 0 && p.failed == nil && p.ctx.Err() == nil {
		if p.o.WhenFull == Fail {
			return &Error{Kind: Full, Where: p.o.Place.String(), Msg: fmt.Sprintf("%s wait in the spool, which is its limit", size(p.n.Spooled)), Remedy: "allow for more, or see why the store takes so little"}
		}
		if since.IsZero() {
			since = time.Now()
		}
		p.change.Wait()
	}
	switch {
	case p.failed != nil:
		return p.failed
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx)
	}
	p.open += n
	return nil
}

// Discard drops the file.
func (f *PublicFile) Discard() {
	f.f.Close()
	os.Remove(f.f.Name())
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	f.p.open -= f.e.Size
	f.p.change.Broadcast()
}

// Commit hands the file over. From here on the death of this process does not
// lose it.
func (f *PublicFile) Commit() error {
	if err := f.f.Close(); err != nil {
		f.Discard()
		return localError(f.p.sp.dir, "the spool cannot be written", err)
	}
	f.p.mu.Lock()
	f.p.open -= f.e.Size
	f.p.mu.Unlock()
	return f.p.add(f.e)
}

// Remove has a file deleted in the store, behind what was committed so far.
func (p *Publication) Remove(name string) error {
	p.mu.Lock()
	n := p.next
	p.next++
	p.mu.Unlock()
	return p.add(pubEntry{N: n, Name: name, Delete: true})
}

func (p *Publication) add(e pubEntry) error {
	if err := p.sp.append(entry{Publish: &e}); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return errClosed
	}
	// What waits under the same name is out of date; the one under way is not
	// taken back.
	from := 0
	if p.under {
		from = 1
	}
	for i := from; i < len(p.queue); i++ {
		if p.queue[i].Name == e.Name {
			p.dropped(p.queue[i])
			p.queue = slices.Delete(p.queue, i, i+1)
			break
		}
	}
	p.queue = append(p.queue, e)
	p.count(e)
	p.change.Broadcast()
	return nil
}

// dropped lets go of an entry that needs nothing more. The lock is held.
func (p *Publication) dropped(e pubEntry) {
	if err := p.sp.append(entry{Sent: e.N}); err != nil {
		p.o.Log.Warn("a file is not in the journal; it may be sent again", "name", e.Name, "error", err)
	}
	if !e.Delete {
		os.Remove(p.file(e.N))
	}
	p.n.Spooled -= e.Size
}

// sendAll is the sender.
func (p *Publication) sendAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.queue) == 0 && p.ctx.Err() == nil {
			p.change.Wait()
		}
		if p.ctx.Err() != nil {
			return
		}
		e := p.queue[0]
		p.under = true
		p.mu.Unlock()
		err := p.send(e)
		p.mu.Lock()
		p.under = false
		if err != nil {
			if p.ctx.Err() == nil {
				p.failed = err
			}
			p.change.Broadcast()
			return
		}
		p.queue = p.queue[1:]
		p.dropped(e)
		p.n.Confirmed += e.Size
		if !e.Delete {
			p.n.PartsConfirmed++
		}
		p.change.Broadcast()
	}
}

// place is where one of the files goes.
func (p *Publication) place(name string) Place {
	pl := p.o.Place
	if pl.Key = name; path.Dir(p.o.Key) != "." {
		pl.Key = path.Dir(p.o.Key) + "/" + name
	}
	return pl
}

// Close sends what is left, until ctx ends or the store stays away for
// Options.GiveUp. The spool is removed only when the store has confirmed all.
func (p *Publication) Close(ctx context.Context) (*Result, error) {
	stop := context.AfterFunc(ctx, func() { p.interrupt(stoppedBy(ctx)) })
	defer stop()
	p.st.hurry()
	p.mu.Lock()
	p.ended = true
	for len(p.queue) > 0 && p.failed == nil && p.ctx.Err() == nil {
		p.change.Wait()
	}
	err := p.failed
	if err == nil && len(p.queue) > 0 {
		err = context.Cause(p.ctx)
	}
	n := p.n
	p.mu.Unlock()
	p.end(errClosed)
	if err != nil {
		p.sp.close()
		return nil, resumable(err, p.sp.dir)
	}
	if err := p.sp.remove(); err != nil {
		p.o.Log.Warn("all files are in the store, their spool stays", "error", err)
		p.sp.close()
	}
	r := &Result{Location: p.o.Place.String(), Size: n.Confirmed, Parts: n.PartsConfirmed, Nothing: n.Parts == 0}
	if !p.o.NoChecksum {
		r.Verified = "crc32" // the store compares it before it answers
	}
	return r, nil
}

func (p *Publication) interrupt(why error) {
	p.cancel(why)
	p.mu.Lock()
	p.change.Broadcast()
	p.mu.Unlock()
}

func (p *Publication) end(why error) {
	p.interrupt(why)
	p.sender.Wait()
	p.st.close()
}

// Suspend ends sending and leaves a spool that can be taken up. It frees a Write
// that waits.
func (p *Publication) Suspend() error {
	p.end(&Error{Kind: Stopped, Where: p.o.Place.String(), Msg: "publishing was suspended"})
	return p.sp.close()
}

// Abort drops what was not sent; what was stays in the store.
func (p *Publication) Abort(context.Context) error {
	p.end(&Error{Kind: Stopped, Where: p.o.Place.String(), Msg: "publishing was given up"})
	return errors.Join(p.sp.remove(), p.sp.close())
}

// Spool is the folder that holds what the store lacks.
func (p *Publication) Spool() string { return p.sp.dir }

// Stats may be asked at any time. Parts are files.
func (p *Publication) Stats() Stats {
	p.mu.Lock()
	s := p.n
	s.Failed = p.failed
	p.mu.Unlock()
	h := p.st.state()
	s.Retries, s.AwaySince = h.retries, h.awaySince
	if h.lastError != nil {
		s.LastError = h.lastError.Error()
	}
	return s
}
