package upload

import (
	"context"
	"time"
)

// Close sends what is left. The result's Parts is the number of files; each was
// compared by the store with its checksum as it came in. When it fails, the spool
// holds what the store lacks, as with Upload.Close.
func (p *Publisher) Close(ctx context.Context) (*Result, error) {
	r, err := p.close(ctx)
	p.stop(errClosed)
	if err != nil {
		p.sp.close()
		return nil, resumable(err, p.sp.dir)
	}
	if err := p.sp.remove(); err != nil {
		p.o.Log.Warn("all files are sent, their spool stays", "error", err)
		p.sp.close()
	}
	return r, nil
}

func (p *Publisher) close(ctx context.Context) (*Result, error) {
	p.end(errClosed)
	stop := context.AfterFunc(ctx, func() { p.interrupt(stoppedBy(ctx)) })
	defer stop()
	p.st.hurry()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.items) > 0 {
		switch {
		case p.failed != nil:
			return nil, p.failed
		case p.ctx.Err() != nil:
			return nil, context.Cause(p.ctx)
		}
		p.change.Wait()
	}
	r := &Result{Location: p.o.Place.String() + "/", Size: p.n.written, Parts: p.added, Verified: "crc32"}
	if p.o.NoChecksum {
		r.Verified = ""
	}
	return r, nil
}

// end lets no further file in and frees an Add that waits.
func (p *Publisher) end(why error) {
	p.mu.Lock()
	if p.ended == nil {
		p.ended = why
	}
	p.change.Broadcast()
	p.mu.Unlock()
	p.adding.Lock() // one that did not wait is in
	defer p.adding.Unlock()
}

func (p *Publisher) interrupt(why error) {
	p.cancel(why)
	p.mu.Lock()
	p.change.Broadcast()
	p.mu.Unlock()
}

func (p *Publisher) stop(why error) {
	p.end(why)
	p.interrupt(why)
	p.workers.Wait()
	p.st.close()
}

// Suspend ends sending and leaves a spool that can be taken up.
func (p *Publisher) Suspend() error {
	p.stop(&Error{Kind: Stopped, Where: p.o.Place.String(), Msg: "the upload was suspended"})
	return p.sp.close()
}

// Abort gives up what is not sent yet; what was sent stays, since the index that
// is there names it.
func (p *Publisher) Abort(context.Context) error {
	p.stop(&Error{Kind: Stopped, Where: p.o.Place.String(), Msg: "the upload was given up"})
	now := time.Now()
	if err := p.sp.append(entry{Abort: &now}); err != nil {
		return err
	}
	return p.sp.remove()
}

// Stats may be asked at any time; its parts are files.
func (p *Publisher) Stats() Stats {
	p.mu.Lock()
	s := p.n.stats()
	s.Parts, s.Failed = p.added, p.failed
	p.mu.Unlock()
	s.add(p.st.state())
	return s
}

// Spool is the folder that holds what the store lacks.
func (p *Publisher) Spool() string { return p.sp.dir }
