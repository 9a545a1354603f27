package rtmp

import (
	"encoding/binary"
	"errors"
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

	wire    atomic.Uint64 // bytes written, with the handshake
	writing atomic.Int64  // since when a write has got nowhere, ns; 0 while none is under way
	quiet   atomic.Bool   // the guard closed the connection

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

// piece is how much is written at a time: a line that takes this in the stall
// time is slow and not dead.
const piece = 16 << 10

// Send sends a tag as one message and blocks until the kernel has it. It fails
// when the server has taken and confirmed nothing for the stall time.
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
		return s.addr.fail(Sending, s.err, s.opts.Stall)
	default:
	}
	s.mu.Lock()
	due := s.pings.due(s.wire.Load(), time.Now())
	s.mu.Unlock()
	if due {
		if err := s.ping(); err != nil {
			return s.sendError(err)
		}
	}
	return nil
}

// sendError prefers what the server said a moment before the connection broke,
// or what the guard did.
func (s *Stream) sendError(err error) error {
	select {
	case <-s.done:
		var said *Error
		if errors.As(s.err, &said) || errors.Is(s.err, errQuiet) {
			err = s.err
		}
	case <-time.After(50 * time.Millisecond):
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
	defer s.writing.Store(0)
	for b := s.buf; len(b) > 0; {
		s.writing.Store(time.Now().UnixNano())
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
		if s.quiet.Load() {
			err = errQuiet
		}
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

// guard closes the connection when the server has neither taken nor confirmed
// anything for the stall time though something was sent. A write deadline would
// not do: it breaks TLS, and knows nothing of what the server confirms.
func (s *Stream) guard() {
	if s.opts.Stall <= 0 {
		return
	}
	tick := time.NewTicker(min(max(s.opts.Stall/8, 10*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case now := <-tick.C:
			s.mu.Lock()
			late, heard := s.pings.late(s.opts.Stall, now), s.pings.heard
			s.mu.Unlock()
			since := s.writing.Load()
			blocked := since > 0 && now.Sub(time.Unix(0, max(since, heard.UnixNano()))) > s.opts.Stall
			if late || blocked {
				s.quiet.Store(true)
				s.tcp.Close()
				return
			}
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

// Address is where it is published.
func (s *Stream) Address() Address { return s.addr }

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
