package wire

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/elements/shmsrc"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

const (
	helloLimit = 5 * time.Second
	// clients is how many may be connected, of which one is heard.
	clients = 16
)

// source is what the three have in common: one client after the other.
type source struct {
	shmsrc.Delivery
	page  string
	token pipeline.Secret

	env      *pipeline.SourceEnv
	want     string
	where    string // the address, for people
	sock     string // of the ring
	temp     string
	ctx      context.Context
	cancel   context.CancelFunc
	handlers sync.WaitGroup
	turn     chan struct{} // holds one token: whose turn it is
	places   chan struct{}

	mu     sync.Mutex
	past   map[string]dropped
	now    *session
	found  map[string]string // pad: stream
	reason string            // why the latest client was not taken
}

// dropped is what clients say they left out.
type dropped struct{ full, policy int64 }

func (s *source) declare(p *pipeline.Props) {
	p.String(&s.page, "page", "", "Take only a client that calls itself so; without it any.")
	p.Secret(&s.token, "token", "Take only a client that has this token.")
	s.Declare(p, "client")
}

// openWith opens the ring; listen starts to accept clients and hands them to serve.
func (s *source) openWith(ctx context.Context, env *pipeline.SourceEnv, listen func() (where string, err error)) (err error) {
	s.env, s.past = env, map[string]dropped{}
	s.turn, s.places = make(chan struct{}, 1), make(chan struct{}, clients)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.token.IsSet() {
		if s.want, err = s.token.Reveal(); err != nil {
			return pipeline.At("token", "%w", err)
		}
	}
	if s.sock, s.temp, err = intake.Address(s.RingAddr()); err != nil {
		return err
	}
	if s.where, err = listen(); err != nil {
		return err
	}
	env.Log.Info("waiting for a client", "at", s.where)
	return s.OpenAt(ctx, env, "unix:"+s.sock, s.absent)
}

func (s *source) absent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != "" {
		return "the latest one was not taken: " + s.reason
	}
	return "have one connect to " + s.where
}

// stop ends what openWith began, behind the listener.
func (s *source) stop() error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	s.handlers.Wait()
	return errors.Join(s.Delivery.Close(), os.RemoveAll(s.temp))
}

// link is a connection that carries messages.
type link interface {
	// next begins the next message.
	next() error
	// read reads bytes of the message that was begun, all of b.
	read(b []byte) error
	// send sends one message.
	send(b []byte) error
	// limit bounds the time for what is read; 0 is for ever.
	limit(d time.Duration)
	// close ends the connection with a reason, "" when all is well.
	close(reason string)
}

// serve hears one client until it is over.
func (s *source) serve(l link, origin string) {
	s.handlers.Add(1)
	defer s.handlers.Done()
	stop := context.AfterFunc(s.ctx, func() { l.close("the recording has ended") })
	defer stop()
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		l.close("too many clients")
		return
	}
	h, err := s.greet(l, origin)
	if err == nil {
		err = s.hear(l, h)
	}
	if err == nil || s.ctx.Err() != nil {
		l.close("")
		return
	}
	name := "client"
	if h != nil {
		name = h.String()
	}
	s.env.Log.Warn("a client was left", "client", name, "reason", err)
	l.close(err.Error())
}

// greet reads who comes, and tells whether it is wanted.
func (s *source) greet(l link, origin string) (*intake.Hello, error) {
	l.limit(helloLimit)
	b := make([]byte, intake.HelloSize)
	if err := l.next(); err != nil {
		return nil, err
	}
	if err := l.read(b); err != nil {
		return nil, fmt.Errorf("no greeting: %w", err)
	}
	h, err := intake.ParseHello(b, intake.MagicWire)
	if err != nil {
		return nil, err
	}
	if origin != "" {
		h.Origin = origin
	}
	switch {
	case s.want != "" && subtle.ConstantTimeCompare([]byte(h.Token), []byte(s.want)) != 1:
		err = errors.New("it has another token")
	case s.page != "" && h.Name != s.page:
		err = fmt.Errorf("it calls itself %q, but page = %q is wanted", h.Name, s.page)
	}
	if err == nil {
		var found map[string]string
		if found, err = s.Match(s.env.Outlets, h.Streams); err == nil {
			s.mu.Lock()
			s.found = found
			s.mu.Unlock()
		}
	}
	if err != nil {
		s.refused(l, err)
	}
	return h, err
}

func (s *source) refused(l link, err error) {
	s.mu.Lock()
	s.reason = err.Error()
	s.mu.Unlock()
	_ = l.send(stateMessage(intake.Refused, [2]int64{}, err.Error())) // it may be gone
}

// hear takes a client when it is its turn.
func (s *source) hear(l link, h *intake.Hello) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.ctx.Done():
		return nil
	}
	before := s.Reader()
	in, err := intake.Enter(s.ctx, s.sock, h)
	if err != nil {
		if s.ctx.Err() == nil {
			s.refused(l, err)
		}
		return err
	}
	ses := &session{l: l, in: in, hello: h}
	s.mu.Lock()
	s.now = ses
	s.mu.Unlock()
	l.limit(0)
	video, audio := s.Capacities()
	s.env.Log.Info("client attached", "client", h.String())
	err = ses.run([2]int64{video / 2, audio / 2})
	s.mu.Lock()
	for i, st := range h.Streams {
		d := s.past[st.Name]
		s.past[st.Name] = dropped{d.full + ses.full[i].Load(), d.policy + ses.policy[i].Load()}
	}
	s.now = nil
	s.mu.Unlock()
	if ses.ended {
		in.Close()
		return nil
	}
	in.Abandon(func() bool {
		r := s.Reader()
		return s.ctx.Err() != nil || r != before && r.State() != ring.Live
	})
	if errors.Is(err, net.ErrClosed) || intake.Stopped(err) {
		return nil
	}
	return err
}

// Report adds what clients left out.
func (s *source) Report() pipeline.SourceReport {
	rep := s.Delivery.Report()
	s.mu.Lock()
	defer s.mu.Unlock()
	pads := make(map[string]pipeline.PadReport, len(rep.Pads))
	for name, p := range rep.Pads {
		d := s.past[s.found[name]]
		p.DroppedFull += d.full
		p.Dropped += d.policy
		if s.now != nil {
			for i, st := range s.now.hello.Streams {
				if st.Name == s.found[name] {
					p.DroppedFull += s.now.full[i].Load()
					p.Dropped += s.now.policy[i].Load()
				}
			}
		}
		pads[name] = p
	}
	rep.Pads = pads
	return rep
}
