package upload

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Publisher sends files as objects of their own below one key, such as the
// segments and playlists of an HLS recording: files in parallel, an index only
// after all files that were added before it, so that a player never finds a name
// in it that is not there yet. It holds what was added in its spool, and can be
// taken up by Open, as an Upload can.
type Publisher struct {
	o    Options
	st   *store
	sp   *spool
	born time.Time

	ctx     context.Context
	cancel  context.CancelCauseFunc
	workers sync.WaitGroup
	adding  sync.Mutex // held by Add and AddIndex

	mu        sync.Mutex
	change    *sync.Cond
	items     []*item // that are not sent, in the order in which they were added
	added     int
	published map[string]bool // names of indexes that were sent once
	ended     error
	failed    error
	n         numbers
}

// item is one file.
type item struct {
	itemEntry
	under bool
}

// Publish begins; o.Key is what the objects' keys begin with, a slash and the
// file's name follow. Without Options.Overwrite there may be no object below it.
func Publish(ctx context.Context, o Options) (*Publisher, error) {
	o.Key = strings.TrimSuffix(o.Key, "/")
	o, schedule, err := o.complete()
	if err != nil {
		return nil, err
	}
	st, err := newStore(o)
	if err != nil {
		return nil, err
	}
	if err := st.ask(ctx, "looking for objects", st.noneBelow(o)); err != nil && !(o.Offline && KindOf(err) == Away) {
		st.close()
		return nil, err
	}
	born := time.Now()
	sp, err := newSpool(o.Spool, &begin{
		Version: journalVersion, Created: born, PID: os.Getpid(), Place: o.Place, Object: o.Object, Schedule: schedule, Folder: true,
	})
	if err != nil {
		st.close()
		return nil, err
	}
	p := newPublisher(o, st, sp, born)
	p.work()
	return p, nil
}

func newPublisher(o Options, st *store, sp *spool, born time.Time) *Publisher {
	p := &Publisher{o: o, st: st, sp: sp, born: born, published: map[string]bool{}}
	p.change = sync.NewCond(&p.mu)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// openedFolder takes up what a Publisher left.
func openedFolder(o Options, st *store, sp *spool, h *history) *Publisher {
	p := newPublisher(o, st, sp, h.Created)
	p.ended, p.added = errClosed, len(h.items)
	for _, e := range h.items {
		p.n.written += e.Size
		if h.sent[e.N] {
			p.n.done++
			p.n.confirmed += e.Size
			p.published[e.Name] = p.published[e.Name] || e.Index
			continue
		}
		p.n.spooled += e.Size
		p.items = append(p.items, &item{itemEntry: e})
	}
	if !h.aborting {
		p.work()
	}
	return p
}

// noneBelow refuses a key below which there is something. Credentials that may
// not list are not stopped: each object is sent on condition that it is new.
func (s *store) noneBelow(o Options) func(context.Context, attempt) error {
	return func(ctx context.Context, a attempt) error {
		l, err := a.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &o.Bucket, Prefix: aws.String(o.Key + "/"), MaxKeys: aws.Int32(1)})
		if err == nil && len(l.Contents) > 0 && !o.Overwrite {
			return &Error{Kind: Exists, Where: o.Place.String() + "/", Msg: "there are objects already", Remedy: remedies["PreconditionFailed"]}
		}
		if err != nil && codeOf(s.classify("", err)) == "AccessDenied" {
			return nil
		}
		return err
	}
}

// Add takes a file that is complete, under a name that is new. It is linked or
// copied into the spool: whoever made it may delete it.
func (p *Publisher) Add(path, name, contentType string) error {
	return p.add(path, itemEntry{Name: name, ContentType: contentType}, link)
}

// AddIndex takes a file that names files added before it, as it is now. It is
// sent after them. While one of its name waits, only the newest waits behind it.
func (p *Publisher) AddIndex(path, name, contentType string) error {
	return p.add(path, itemEntry{Name: name, ContentType: contentType, Index: true}, copyFile)
}

func (p *Publisher) add(path string, e itemEntry, take func(from, to string) error) error {
	if e.Name == "" || strings.HasPrefix(e.Name, "/") {
		return &Error{Kind: Settings, Where: p.o.Place.String(), Msg: fmt.Sprintf("%q is no name for an object", e.Name)}
	}
	p.adding.Lock()
	defer p.adding.Unlock()
	e.N = p.added + 1
	to := p.sp.partPath(e.N)
	if err := take(path, to); err != nil {
		os.Remove(to)
		return localError(path, "the file cannot be taken into the spool", err)
	}
	st, err := os.Stat(to)
	if err == nil {
		e.Size = st.Size()
		err = p.waitForRoom(e.Size)
	}
	if err == nil {
		err = p.sp.append(entry{Item: &e})
	}
	if err != nil {
		os.Remove(to)
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.added++
	p.n.written += e.Size
	p.n.spooled += e.Size
	p.n.spooledMost = max(p.n.spooledMost, p.n.spooled)
	p.overtake(e)
	p.items = append(p.items, &item{itemEntry: e})
	p.change.Broadcast()
	return nil
}

// overtake leaves out what e makes useless: an index between the oldest of its
// name that waits, which a player may be in need of, and e. p.mu is held.
func (p *Publisher) overtake(e itemEntry) {
	if !e.Index {
		return
	}
	var waiting []*item
	for _, it := range p.items {
		if it.Index && it.Name == e.Name && !it.under {
			waiting = append(waiting, it)
		}
	}
	if len(waiting) > 1 {
		p.finished(waiting[1])
	}
}

func (p *Publisher) waitForRoom(size int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.ended != nil:
			return p.ended
		case p.n.spooled == 0 || p.n.spooled+size <= p.o.SpoolMax:
			return nil
		case p.failed != nil || p.o.WhenFull == Fail:
			return spoolFull(p.o, p.sp, p.failed, p.st)
		}
		p.n.blockedSince = time.Now()
		p.change.Wait()
		p.n.blocked += time.Since(p.n.blockedSince)
		p.n.blockedSince = time.Time{}
	}
}

// link is for files that stay as they are.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to) // another file system
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (p *Publisher) work() {
	for range p.o.Parallel {
		p.workers.Add(1)
		go func() {
			defer p.workers.Done()
			for it := p.next(); it != nil; it = p.next() {
				p.send(it)
			}
		}()
	}
}

// next waits for an item that may be sent; nil: there is nothing more to do.
func (p *Publisher) next() *item {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.ctx.Err() != nil || p.failed != nil || p.ended != nil && len(p.items) == 0 {
			return nil
		}
		for i, it := range p.items {
			if it.under || it.Index && i > 0 { // an index waits for all that is older
				continue
			}
			it.under = true
			p.n.under++
			return it
		}
		p.change.Wait()
	}
}

func (p *Publisher) send(it *item) {
	err := p.sendFile(it)
	p.mu.Lock()
	defer p.mu.Unlock()
	it.under = false
	p.n.under--
	switch {
	case err == nil:
		p.published[it.Name] = it.Index
		p.finished(it)
	case p.ctx.Err() == nil && p.failed == nil:
		p.failed = err
		p.o.Log.Error("sending has ended", "target", p.o.Place.String(), "error", err)
	}
	p.change.Broadcast()
}

func (p *Publisher) sendFile(it *item) error {
	f, err := os.Open(p.sp.partPath(it.N))
	if err != nil {
		return localError(p.sp.partPath(it.N), "a file cannot be read", errors.Unwrap(err))
	}
	defer f.Close()
	sum := crc32.NewIEEE()
	whole := &part{n: 1, size: it.Size, known: true}
	if err := readPart(f, whole, sum); err != nil {
		return err
	}
	whole.crc = sum.Sum32()
	o := p.o
	o.Key += "/" + it.Name
	o.ContentType = it.ContentType
	p.mu.Lock()
	again := p.published[it.Name]
	p.mu.Unlock()
	return put{o, p.st, p.born}.send(p.ctx, f, whole, o.Overwrite || again)
}

// finished notes that an item needs no more sending, and deletes its file; p.mu is
// held.
func (p *Publisher) finished(it *item) {
	if err := p.sp.append(entry{Sent: it.N}); err != nil {
		p.o.Log.Warn("a file that is sent is not in the journal", "error", err)
	}
	for i, other := range p.items {
		if other == it {
			p.items = append(p.items[:i:i], p.items[i+1:]...)
			break
		}
	}
	p.n.done++
	p.n.confirmed += it.Size
	p.n.spooled -= it.Size
	if err := os.Remove(p.sp.partPath(it.N)); err != nil && !errors.Is(err, os.ErrNotExist) {
		p.o.Log.Warn("a file that is sent stays in the spool", "error", err)
	}
}
