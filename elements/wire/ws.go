package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.Register[ws]("wssrc", "Frames and sound of a page, or another client, over a WebSocket: for browsers whose files mpipe cannot see.")
}

type ws struct {
	source
	addr    string
	origins []string
	server  *http.Server
}

func (s *ws) Props(p *pipeline.Props) {
	p.String(&s.addr, "listen", "127.0.0.1:9721", "Address to listen at. One that other machines reach needs a token.")
	p.Strings(&s.origins, "origins", `Origins whose pages may connect, such as "https://meet.example.org"; without it those of this machine, http://localhost at any port.`)
	s.declare(p)
}

func (s *ws) Check() error {
	for _, o := range s.origins {
		if o != "*" && (!strings.Contains(o, "://") || strings.HasSuffix(o, "/")) {
			return pipeline.At("origins", `%q is no origin; want scheme and host, and a port if it has one, such as "https://meet.example.org"`, o)
		}
	}
	return s.checkAddr(s.addr)
}

func (s *ws) Open(ctx context.Context, env *pipeline.SourceEnv) error {
	return s.openWith(ctx, env, func() (string, error) {
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			return "", pipeline.At("listen", "%w", err)
		}
		s.server = &http.Server{Handler: s, ReadHeaderTimeout: helloLimit, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = s.server.Serve(l) }()
		return "ws://" + l.Addr().String() + "/", nil
	})
}

func (s *ws) Close() error {
	if s.server != nil {
		_ = s.server.Close()
	}
	return s.stop()
}

// ServeHTTP takes one client.
func (s *ws) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if !allowed(origin, s.origins) {
		s.mu.Lock()
		s.reason = fmt.Sprintf("a page of %s; add it to origins = [ … ]", origin)
		s.mu.Unlock()
		http.Error(w, "this origin may not connect", http.StatusForbidden)
		return
	}
	// The origin was looked at; raw pictures do not shrink.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"mpipe.v1"}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // it was told
	}
	c.SetReadLimit(-1) // every read is bounded by its buffer
	s.serve(&messages{c: c, ctx: s.ctx}, origin)
}

// messages is a link over a WebSocket.
type messages struct {
	c      *websocket.Conn
	ctx    context.Context
	until  time.Time
	r      io.Reader
	cancel context.CancelFunc
}

func (l *messages) next() error {
	if l.r != nil {
		// What was read of the message before must have been all of it.
		if n, err := io.Copy(io.Discard, io.LimitReader(l.r, intake.Record)); err != nil {
			return err
		} else if n > 0 {
			return errors.New("a message is too long")
		}
	}
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
	ctx := l.ctx
	if !l.until.IsZero() {
		ctx, l.cancel = context.WithDeadline(ctx, l.until)
	}
	kind, r, err := l.c.Reader(ctx)
	if err != nil {
		return err
	}
	if kind != websocket.MessageBinary {
		return errors.New("a message of text")
	}
	l.r = r
	return nil
}

func (l *messages) read(b []byte) error {
	_, err := io.ReadFull(l.r, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("a message is too short")
	}
	return err
}

func (l *messages) send(b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), helloLimit)
	defer cancel()
	return l.c.Write(ctx, websocket.MessageBinary, b)
}

func (l *messages) limit(d time.Duration) {
	l.until = time.Time{}
	if d > 0 {
		l.until = time.Now().Add(d)
	}
}

func (l *messages) close(reason string) {
	if reason == "" {
		_ = l.c.Close(websocket.StatusNormalClosure, "")
		return
	}
	if len(reason) > 120 { // RFC 6455: 123 bytes
		reason = reason[:120]
	}
	_ = l.c.Close(websocket.StatusPolicyViolation, reason)
}
