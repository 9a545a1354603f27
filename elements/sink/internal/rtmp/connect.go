package rtmp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Options of a stream. The zero value is usable.
type Options struct {
	// TLS is for rtmps; nil trusts the system's CAs. Its ServerName is set.
	TLS *tls.Config
	// Stall is how long the server may take, or confirm, nothing; 0 is for ever.
	Stall time.Duration
	// Pings has the server asked now and then how far it has read, with the
	// protocol's own ping. Most servers answer; one that does not is left alone.
	Pings bool
}

// Open connects and publishes; all of it has until ctx ends. An error is an
// *[Error].
func Open(ctx context.Context, a Address, o Options) (*Stream, error) {
	limit := time.Duration(0)
	if end, ok := ctx.Deadline(); ok {
		limit = time.Until(end)
	}
	tcp, conn, step, err := dial(ctx, a, o)
	if err != nil {
		return nil, a.fail(step, err, limit)
	}
	s := &Stream{addr: a, opts: o, conn: conn, tcp: tcp, out: newChunkWriter(), done: make(chan struct{})}
	s.in = newChunkReader(conn)
	s.pings.on = o.Pings
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	step, err = s.negotiate()
	if !stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		tcp.Close()
		if ctx.Err() != nil { // which closed the connection
			err = ctx.Err()
		}
		return nil, a.fail(step, err, limit)
	}
	s.pings.heard = time.Now()
	go s.listen()
	go s.guard()
	return s, nil
}

// dial makes the connection, with a deadline that is still set; conn is tcp or
// TLS on it.
func dial(ctx context.Context, a Address, o Options) (tcp, conn net.Conn, step Step, err error) {
	var d net.Dialer
	tcp, err = d.DialContext(ctx, "tcp", a.dialAddress())
	if err != nil {
		return nil, nil, Dial, err
	}
	tuneSocket(tcp, o.Stall)
	if end, ok := ctx.Deadline(); ok {
		_ = tcp.SetDeadline(end) // of an open connection it cannot fail
	}
	if !a.TLS {
		return tcp, tcp, Dial, nil
	}
	c := &tls.Config{}
	if o.TLS != nil {
		c = o.TLS.Clone()
	}
	c.ServerName = a.serverName()
	secure := tls.Client(tcp, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, nil, TLS, err
	}
	return tcp, secure, TLS, nil
}

const (
	version       = 3
	handshakeSize = 1536 // of C1, C2, S1, S2 (5.2.3, 5.2.4)
)

// handshake is the simple one of 5.2: C0 and C1 at once, then C2.
func handshake(rw io.ReadWriter) error {
	hello := make([]byte, 1+handshakeSize)
	hello[0] = version
	_, _ = rand.Read(hello[1+8:]) // never fails; time and the next four bytes are 0
	if _, err := rw.Write(hello); err != nil {
		return err
	}
	answer := make([]byte, 1+handshakeSize)
	if _, err := io.ReadFull(rw, answer); err != nil {
		return err
	}
	if answer[0] != version {
		return fmt.Errorf("the server answers with version %d: it is no RTMP server", answer[0])
	}
	if _, err := rw.Write(answer[1:]); err != nil {
		return err
	}
	_, err := io.ReadFull(rw, answer[1:])
	return err
}

// Transaction ids of the commands that are answered; onStatus has 0.
const (
	txConnect = 1 + iota
	txRelease
	txFCPublish
	txCreate
	txPublish
	txUnpublish
	txDelete
)

// negotiate goes from the handshake to the answer to publish.
func (s *Stream) negotiate() (Step, error) {
	if err := handshake(readWriter{s.in.r, s.conn}); err != nil {
		return Handshake, err
	}
	s.wire.Store(1 + 2*handshakeSize)
	size := binary.BigEndian.AppendUint32(nil, chunkSize)
	if err := s.write(chunkControl, message{typ: typeChunkSize, body: size}); err != nil {
		return Connect, err
	}
	s.out.size = chunkSize
	err := s.command(0, "connect", txConnect, Object{
		{"app", s.addr.App}, {"type", "nonprivate"}, {"flashVer", "FMLE/3.0 (compatible; mpipe)"}, {"tcUrl", s.addr.tcURL()},
	})
	if err == nil {
		_, err = s.await(Connect, func(c command) bool { return c.tx == txConnect })
	}
	if err != nil {
		return Connect, err
	}
	// What Flash Media Encoder sends first frees the name at servers that know it;
	// others answer with errors that mean nothing.
	if err = s.command(0, "releaseStream", txRelease, nil, s.addr.Stream); err == nil {
		err = s.command(0, "FCPublish", txFCPublish, nil, s.addr.Stream)
	}
	var created command
	if err == nil {
		err = s.command(0, "createStream", txCreate, nil)
	}
	if err == nil {
		created, err = s.await(Create, func(c command) bool { return c.tx == txCreate })
	}
	if err != nil {
		return Create, err
	}
	id, _ := created.arg(1).(float64)
	s.id = uint32(id)
	// So that it is known, before anything can go wrong, whether it answers.
	if err = s.ping(); err == nil {
		err = s.command(s.id, "publish", txPublish, nil, s.addr.Stream, "live")
	}
	if err == nil {
		_, err = s.await(Publish, func(c command) bool {
			return c.name == "onStatus" && c.code() == "NetStream.Publish.Start"
		})
	}
	return Publish, err
}

// readWriter reads through the buffer that chunks are read from later.
type readWriter struct {
	io.Reader
	io.Writer
}

// command is a command message: name, transaction id, arguments.
type command struct {
	name string
	tx   float64
	args []any
}

func parseCommand(body []byte) (command, error) {
	values, err := readAMF(body)
	if len(values) < 2 {
		return command{}, errors.Join(errChunk, err)
	}
	var c command
	c.name, _ = values[0].(string)
	c.tx, _ = values[1].(float64)
	c.args = values[2:]
	return c, nil
}

func (c command) arg(i int) any {
	if i < len(c.args) {
		return c.args[i]
	}
	return nil
}

// info is the object in which an answer says more.
func (c command) info() Object {
	for _, v := range c.args {
		if o, ok := v.(Object); ok && o.Get("code") != nil {
			return o
		}
	}
	return nil
}

func (c command) code() string {
	code, _ := c.info().Get("code").(string)
	return code
}

// refuses tells that the command says no.
func (c command) refuses() bool {
	level, _ := c.info().Get("level").(string)
	return c.name == "_error" || level == "error"
}

// await reads until the answer that is meant, or a refusal.
func (s *Stream) await(step Step, meant func(command) bool) (command, error) {
	for {
		m, err := s.in.next()
		if err != nil {
			return command{}, err
		}
		c, isCommand, err := s.take(m)
		switch {
		case err != nil:
			return command{}, err
		case !isCommand:
		case c.refuses() && (c.tx == txRelease || c.tx == txFCPublish): // see above
		case c.refuses():
			return command{}, s.addr.refused(step, c.info())
		case meant(c):
			return c, nil
		}
		if err := s.flush(); err != nil {
			return command{}, err
		}
	}
}
