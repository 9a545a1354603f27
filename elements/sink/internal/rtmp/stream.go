package rtmp

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Stream is a stream that is being published. Send and End belong to one
// goroutine; Close, Confirmed and Payload may be called from any.
type Stream struct {
	addr Address
	opts Options
	conn net.Conn
	tcp  net.Conn // below TLS, or conn itself
	in   *chunkReader
	id   uint32 // message stream

	published bool          // set before anybody else has the stream
	wire      atomic.Uint64 // bytes written, with the handshake

	// sending guards what writes to the connection. It comes before mu.
	sending sync.Mutex
	out     *chunkWriter
	buf     []byte

	mu        sync.Mutex
	replies   []message // to be sent with the next message
	pings     pings
	window    uint32 // the server wants an acknowledgement this often; 0 never
	acked     uint64 // bytes read when it last got one
	flv       int64  // bytes of tags that were sent
	payload   int64
	confirmed int64
	ending    bool // the server has been told, or is about to
	ended     bool // and says so itself
	closed    bool
	done      chan struct{} // closed when nothing more comes from the server; err is final then
	err       error
}

// piece is how much is written under one deadline: a line that takes this in the
// time it has is slow and not dead.
const piece = 16 << 10

// Send sends a tag as one message. It blocks until the kernel has it, at most as
// long as the server takes nothing, and fails too when a server that has
// confirmed what it read stops doing so.
func (s *Stream) Send(t Tag) error {
	if err := s.ready(); err != nil {
		return err
	}
	chunk, m := byte(chunkData), message{typ: t.Type, stream: s.id, time: t.Time, body: t.Data}
	switch t.Type {
	case typeAudio:
		chunk = chunkAudio
	case typeVideo:
		chunk = chunkVideo
	case typeData: // the server shall keep it for whoever comes later
		m.body = append(appendAMF(nil, "@setDataFrame"), t.Data...)
	default:
		return nil // FLV has nothing else
	}
	if err := s.write(chunk, m); err != nil {
		return s.sendError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flv += int64(t.Size)
	if t.IsMedia() {
		s.payload += int64(len(t.Data))
	}
	return nil
}

// ready tells why no further tag can be sent, and asks the server how far it is
// when it is time for that.
func (s *Stream) ready() error {
	select {
	case <-s.done:
		return s.addr.fail(Sending, s.err, 0)
	default:
	}
	now := time.Now()
	s.mu.Lock()
	late, due := s.pings.late(s.opts.Stall, now), s.pings.due(s.wire.Load(), now)
	s.mu.Unlock()
	switch {
	case late:
		return s.addr.fail(Sending, errQuiet, s.opts.Stall)
	case due:
		if err := s.ping(); err != nil {
			return s.sendError(err)
		}
	}
	return nil
}

// sendError prefers what the server said, which comes a moment before the
// connection breaks.
func (s *Stream) sendError(err error) error {
	select {
	case <-s.done:
		var said *Error
		if errors.As(s.err, &said) {
			return said
		}
	case <-time.After(50 * time.Millisecond):
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = errQuiet
	}
	return s.addr.fail(Sending, err, s.opts.Stall)
}

// ping asks the server how far it has read.
func (s *Stream) ping() error {
	s.mu.Lock()
	if !s.pings.on {
		s.mu.Unlock()
		return nil
	}
	m := s.pings.ask(s.wire.Load(), s.flv, time.Now())
	s.mu.Unlock()
	return s.write(chunkControl, m)
}

// command sends a command on a message stream.
func (s *Stream) command(stream uint32, name string, tx float64, args ...any) error {
	body := appendAMF(appendAMF(nil, name, tx), args...)
	return s.write(chunkCommand, message{typ: typeCommand, stream: stream, body: body})
}

// write sends a message, behind the replies that wait.
func (s *Stream) write(chunk byte, m message) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.buf = s.out.append(s.takeReplies(), chunk, m)
	return s.writeOut()
}

// flush sends the replies that wait, unless a message that is being sent will
// take them along.
func (s *Stream) flush() error {
	if !s.sending.TryLock() {
		return nil
	}
	defer s.sending.Unlock()
	s.buf = s.takeReplies()
	return s.writeOut()
}

func (s *Stream) takeReplies() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buf[:0]
	for _, m := range s.replies {
		b = s.out.append(b, chunkControl, m)
	}
	s.replies = s.replies[:0]
	return b
}

func (s *Stream) writeOut() error {
	for b := s.buf; len(b) > 0; {
		if s.opts.Stall > 0 && s.published { // before, one deadline is for all
			if err := s.conn.SetWriteDeadline(time.Now().Add(s.opts.Stall)); err != nil {
				return err
			}
		}
		n, err := s.conn.Write(b[:min(piece, len(b))])
		s.wire.Add(uint64(n))
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// repliesMost bounds how many answers wait for a line that takes nothing.
const repliesMost = 64

// take deals with a message of the server; a command is given back.
func (s *Stream) take(m message) (c command, isCommand bool, err error) {
	if m.typ == typeCommand {
		c, err = parseCommand(m.body)
		return c, err == nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := func(m message) {
		if len(s.replies) < repliesMost {
			s.replies = append(s.replies, m)
		}
	}
	switch {
	case len(m.body) < 4:
	case m.typ == typeAck:
		s.acknowledged(binary.BigEndian.Uint32(m.body))
	case m.typ == typeWindowAck:
		s.window = binary.BigEndian.Uint32(m.body)
	case m.typ == typePeerBandwidth: // 5.4.5: answered with a window of the same size
		reply(message{typ: typeWindowAck, body: append([]byte(nil), m.body[:4]...)})
	case m.typ == typeUserControl && len(m.body) >= 6:
		value := binary.BigEndian.Uint32(m.body[2:])
		switch binary.BigEndian.Uint16(m.body) {
		case eventPing:
			reply(userControl(eventPong, value))
		case eventPong:
			s.answered(value)
		}
	}
	if s.window > 0 && s.in.read-s.acked >= uint64(s.window) {
		s.acked = s.in.read
		reply(message{typ: typeAck, body: binary.BigEndian.AppendUint32(nil, uint32(s.in.read))})
	}
	return command{}, false, nil
}

// acknowledged takes how many bytes the server has read, modulo 2^32. One that
// does not count the handshake is believed a little less.
func (s *Stream) acknowledged(sequence uint32) {
	flv, ok := s.pings.confirmed(func(m mark) bool {
		return int32(sequence-uint32(m.wire)) >= 0
	}, time.Now())
	if ok {
		s.confirmed = max(s.confirmed, flv)
	}
}

func (s *Stream) answered(id uint32) {
	flv, ok := s.pings.confirmed(func(m mark) bool { return m.id <= id }, time.Now())
	if ok {
		s.pings.answers = true
		s.confirmed = max(s.confirmed, flv)
	}
}

// listen reads what the server says while the stream is sent.
func (s *Stream) listen() {
	defer close(s.done)
	for {
		m, err := s.in.next()
		if err != nil {
			s.err = err
			return
		}
		c, isCommand, err := s.take(m)
		if err == nil && isCommand {
			err = s.heed(c)
		}
		if err == nil {
			err = s.flush()
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

// heed looks at a command that comes while the stream is sent.
func (s *Stream) heed(c command) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch over := c.code() == "NetStream.Unpublish.Success"; {
	case over && s.ending:
		s.ended = true
	case over || c.name == "onStatus" && c.refuses():
		return s.addr.refused(Sending, c.info())
	}
	return nil
}

// Confirmed counts the bytes of tags, as in the FLV stream, that the server has
// said it has read.
func (s *Stream) Confirmed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed
}

// Payload counts the bytes of sound and pictures that were sent, without any
// headers: what nginx calls a stream's bytes_in.
func (s *Stream) Payload() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.payload
}

// Sent counts the bytes of tags that were sent, as in the FLV stream.
func (s *Stream) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flv
}

const (
	// endPoll is how often the end is looked at while the server works on it.
	endPoll = 10 * time.Millisecond
	// endPatience is how long a server that never confirms may take to answer the
	// end before the connection is half closed, which most understand.
	endPatience = time.Second
)

// End ends the stream and returns when the server has confirmed that it has read
// all of it: by its answer to deleteStream or to a ping, by an acknowledgement,
// or, if it does none of these, by closing the connection in good order. It
// waits as long as there is progress; nothing confirmed for longer than the
// stall time is an error, like the end of ctx. The connection is closed then.
func (s *Stream) End(ctx context.Context) error {
	defer s.Close()
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	err := s.ping()
	if err == nil {
		err = s.command(0, "FCUnpublish", txUnpublish, nil, s.addr.Stream)
	}
	if err == nil {
		err = s.command(0, "deleteStream", txDelete, nil, float64(s.id))
	}
	if err != nil && !s.confirmedAll() {
		return s.sendError(err)
	}
	return s.awaitEnd(ctx)
}

func (s *Stream) awaitEnd(ctx context.Context) error {
	began, progress, seen := time.Now(), time.Now(), s.Confirmed()
	halfClosed := false
	for {
		if s.confirmedAll() {
			return nil
		}
		select {
		case <-ctx.Done():
			return s.addr.fail(Ending, ctx.Err(), 0)
		case <-s.done:
			if s.confirmedAll() || errors.Is(s.err, io.EOF) && !s.answers() {
				return nil
			}
			return s.addr.fail(Ending, s.err, 0)
		case <-time.After(endPoll):
		}
		now := time.Now()
		if n := s.Confirmed(); n != seen {
			seen, progress = n, now
		}
		if s.opts.Stall > 0 && now.Sub(progress) > s.opts.Stall {
			return s.addr.fail(Ending, errQuiet, s.opts.Stall)
		}
		if half, ok := s.conn.(interface{ CloseWrite() error }); ok && !halfClosed && !s.answers() && now.Sub(began) > endPatience {
			halfClosed = true
			_ = half.CloseWrite() // what went wrong is seen when reading
		}
	}
}

func (s *Stream) answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pings.answers
}

// confirmedAll tells that the server has read everything, and notes it.
func (s *Stream) confirmedAll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		s.confirmed = s.flv
	}
	return s.ended || s.pings.answers && len(s.pings.marks) == 0 && s.confirmed == s.flv
}

// Close ends the connection at once; it ends a Send or End that blocks. What the
// server has not read may be lost. It returns when nothing of the stream is left.
func (s *Stream) Close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		s.tcp.Close() // TLS would first wait to say goodbye
	}
	<-s.done
}
