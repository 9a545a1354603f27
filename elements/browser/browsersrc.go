package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/elements/shmsrc"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

func init() {
	pipeline.Register[source]("browsersrc", "Frames and sound that a page of an unpatched Chromium draws and plays.")
}

type source struct {
	shmsrc.Delivery

	// properties
	dir    string
	page   string
	origin string
	token  pipeline.Secret
	trust  string

	env    *pipeline.SourceEnv
	want   string // the token
	temp   string // directory of the ring's socket
	sock   string
	cancel context.CancelFunc
	done   chan struct{} // the feeder has ended

	mu     sync.Mutex
	past   map[string]tally // what pages that are gone counted, by stream
	now    *session
	reason string // why the latest page was not taken, or was left
	gone   map[[16]byte]bool
	found  map[string]string // pad: stream, of the latest page
}

func (s *source) Props(p *pipeline.Props) {
	p.String(&s.dir, "user_data_dir", "", "Chromium's --user-data-dir, on tmpfs, such as /dev/shm/chromium-1. It may come later than mpipe.", pipeline.Required)
	p.String(&s.page, "page", "", "Take only a page that gave its writer this name; without it any.")
	p.String(&s.origin, "origin", "", "Take only a page that says it is of this origin, such as https://meet.example.org; without it any.")
	p.Secret(&s.token, "token", "Take only a page whose writer has this token.")
	p.String(&s.trust, "trust", "", `"page" hands frames on where the page wrote them, without a copy: a page that shortens its file then ends mpipe. Without it, frames are copied once.`, pipeline.OneOf("", "page"))
	s.Declare(p, "page")
}

func (s *source) Check() error {
	if !filepath.IsAbs(s.dir) && s.dir != "" {
		abs, err := filepath.Abs(s.dir)
		if err != nil {
			return pipeline.At("user_data_dir", "%w", err)
		}
		s.dir = abs
	}
	return s.Delivery.Check()
}

func (s *source) Open(ctx context.Context, env *pipeline.SourceEnv) error {
	s.env, s.gone, s.past = env, map[[16]byte]bool{}, map[string]tally{}
	if s.token.IsSet() {
		var err error
		if s.want, err = s.token.Reveal(); err != nil {
			return pipeline.At("token", "%w", err)
		}
	}
	var err error
	if s.sock, s.temp, err = intake.Address(s.RingAddr()); err != nil {
		return err
	}
	if !onTmpfs(s.dir) {
		env.Log.Warn("user_data_dir is not on tmpfs: frames may be written to a disk", "user_data_dir", s.dir)
	}
	feed, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	go s.feed(feed)
	env.Log.Info("waiting for a page", "user_data_dir", s.dir)
	return s.OpenAt(ctx, env, "unix:"+s.sock, s.absent)
}

// absent says what to do when no page came.
func (s *source) absent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != "" {
		return "the latest one was not taken: " + s.reason
	}
	if _, err := os.Stat(s.dir); err != nil {
		return fmt.Sprintf("there is no %s: start Chromium with --user-data-dir=%s", s.dir, s.dir)
	}
	return fmt.Sprintf("have a page in the browser of %s call mpipe.writer() or mpipe.capture(); a page in an incognito window leaves no file", s.dir)
}

// feed takes one page after the other, as long as the graph takes producers.
func (s *source) feed(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		c := s.next(ctx)
		if c == nil {
			return
		}
		if err := s.follow(ctx, c); err != nil && ctx.Err() == nil {
			s.env.Log.Warn("a page was left", "page", c.hello.String(), "reason", err)
			s.mu.Lock()
			s.reason = err.Error()
			s.mu.Unlock()
		}
	}
}

// next waits for a page that fits.
func (s *source) next(ctx context.Context) *candidate {
	start := time.Now()
	for ctx.Err() == nil {
		if c := s.find(); c != nil {
			return c
		}
		every := 20 * time.Millisecond
		if time.Since(start) > 10*time.Second {
			every = 200 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
	return nil
}

// follow attaches a page and moves its frames until it is over.
func (s *source) follow(ctx context.Context, c *candidate) error {
	defer c.close()
	s.mu.Lock()
	s.gone[c.hello.Session] = true
	s.mu.Unlock()
	found, err := s.Match(s.env.Outlets, c.hello.Streams)
	if err != nil {
		c.refuse(err.Error())
		return err
	}
	before := s.Reader()
	in, err := intake.Enter(ctx, s.sock, c.hello)
	if err != nil {
		c.refuse(err.Error())
		return err
	}
	ses := newSession(s, c, in)
	s.mu.Lock()
	s.now, s.found, s.reason = ses, found, ""
	s.mu.Unlock()
	ses.reader = func() *ring.Reader {
		if r := s.Reader(); r != before {
			return r
		}
		return nil // it has not come back from taking the page
	}
	err = ses.run(ctx)
	s.mu.Lock()
	for i, st := range c.hello.Streams {
		s.past[st.Name] = s.past[st.Name].plus(ses.tally(i))
	}
	s.now = nil
	s.mu.Unlock()
	return err
}

// Close ends the feeder before the ring.
func (s *source) Close() error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	<-s.done
	return errors.Join(s.Delivery.Close(), os.RemoveAll(s.temp))
}

// tally is what is counted of a stream outside of the ring.
type tally struct{ copied, copiedBytes, full, policy, lost int64 }

func (t tally) plus(o tally) tally {
	return tally{t.copied + o.copied, t.copiedBytes + o.copiedBytes, t.full + o.full, t.policy + o.policy, t.lost + o.lost}
}

// Report adds what the pages and the copies out of their files count.
func (s *source) Report() pipeline.SourceReport {
	rep := s.Delivery.Report()
	s.mu.Lock()
	defer s.mu.Unlock()
	pads := make(map[string]pipeline.PadReport, len(rep.Pads))
	for name, p := range rep.Pads {
		stream := s.found[name]
		t := s.past[stream]
		if s.now != nil {
			for i, st := range s.now.c.hello.Streams {
				if st.Name == stream {
					t = t.plus(s.now.tally(i))
				}
			}
		}
		p.Copied += t.copied
		p.CopiedBytes += t.copiedBytes
		p.DroppedFull += t.full
		p.Dropped += t.policy
		p.Lost += t.lost
		pads[name] = p
	}
	rep.Pads = pads
	return rep
}
