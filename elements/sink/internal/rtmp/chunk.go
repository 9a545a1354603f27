package rtmp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Message types (5.4, 6.2, 7.1).
const (
	typeChunkSize     = 1
	typeAbort         = 2
	typeAck           = 3
	typeUserControl   = 4
	typeWindowAck     = 5
	typePeerBandwidth = 6
	typeAudio         = 8
	typeVideo         = 9
	typeData          = 18 // AMF0
	typeCommand       = 20 // AMF0
)

// User control events (7.1.7).
const (
	eventPing = 6
	eventPong = 7
)

// Chunk stream ids we send on; below 64, so that a basic header is one byte.
const (
	chunkControl = 2 // by 5.4
	chunkCommand = 3
	chunkAudio   = 4
	chunkData    = 5
	chunkVideo   = 6
)

const (
	// firstChunkSize is what both sides begin with (5.4.1).
	firstChunkSize = 128
	// chunkSize is what we send with: OBS's value, which every server knows. A
	// chunk costs one byte more.
	chunkSize = 4096
	// noTimestamp in the 24 bits of a time stamp says that 32 follow.
	noTimestamp = 0xffffff
	// inMessage bounds what a server may send in one message; answers have
	// hundreds of bytes.
	inMessage = 256 << 10
	// inStreams bounds on how many chunk streams a server may send.
	inStreams = 64
)

// message is one RTMP message.
type message struct {
	typ    byte
	stream uint32 // message stream id
	time   uint32 // ms
	body   []byte
}

// chunkWriter cuts messages into chunks (5.3.1).
type chunkWriter struct {
	size int
	last map[byte]uint32 // by chunk stream: time of its last message, in stream
	on   map[byte]uint32 // by chunk stream: message stream of its last message
}

func newChunkWriter() *chunkWriter {
	return &chunkWriter{size: firstChunkSize, last: map[byte]uint32{}, on: map[byte]uint32{}}
}

// append adds the chunks of m to b.
func (w *chunkWriter) append(b []byte, chunk byte, m message) []byte {
	last, begun := w.last[chunk]
	stamp, format := m.time, byte(0)
	if delta := m.time - last; begun && w.on[chunk] == m.stream && int32(delta) >= 0 && delta < noTimestamp {
		stamp, format = delta, 1
	}
	w.last[chunk], w.on[chunk] = m.time, m.stream
	extended := stamp >= noTimestamp
	b = append(b, format<<6|chunk)
	b = appendUint24(b, min(stamp, noTimestamp))
	b = append(appendUint24(b, uint32(len(m.body))), m.typ)
	if format == 0 {
		b = binary.LittleEndian.AppendUint32(b, m.stream) // by 5.3.1.2.1 the only little-endian field
	}
	for first := true; first || len(m.body) > 0; first = false {
		if !first {
			b = append(b, 3<<6|chunk)
		}
		if extended {
			b = binary.BigEndian.AppendUint32(b, stamp)
		}
		n := min(w.size, len(m.body))
		b = append(b, m.body[:n]...)
		m.body = m.body[n:]
	}
	return b
}

func appendUint24(b []byte, v uint32) []byte { return append(b, byte(v>>16), byte(v>>8), byte(v)) }

// chunkReader puts messages together from chunks.
type chunkReader struct {
	r       *bufio.Reader
	size    int
	read    uint64 // bytes
	streams map[uint32]*inbound
}

// inbound is the state of one chunk stream.
type inbound struct {
	message
	length   int
	extended bool
	stamp    uint32 // as the latest header gave it
	delta    bool   // stamp is a difference
	started  bool   // a header with a length came
}

func newChunkReader(r io.Reader) *chunkReader {
	return &chunkReader{r: bufio.NewReader(r), size: firstChunkSize, streams: map[uint32]*inbound{}}
}

var errChunk = errors.New("the server's answer is no RTMP")

// next reads one message. Messages about chunks themselves are taken care of.
func (c *chunkReader) next() (message, error) {
	for {
		s, whole, err := c.chunk()
		if err != nil {
			return message{}, err
		}
		if !whole {
			continue
		}
		m := s.message
		s.body = nil
		switch m.typ {
		case typeChunkSize:
			if len(m.body) < 4 || binary.BigEndian.Uint32(m.body)&0x7fffffff == 0 {
				return message{}, fmt.Errorf("%w: a chunk size of 0", errChunk)
			}
			c.size = int(min(binary.BigEndian.Uint32(m.body)&0x7fffffff, 1<<24))
		case typeAbort:
			if len(m.body) >= 4 {
				if s := c.streams[binary.BigEndian.Uint32(m.body)]; s != nil {
					s.body = nil
				}
			}
		default:
			return m, nil
		}
	}
}

// chunk reads one chunk; whole tells that it ends its message.
func (c *chunkReader) chunk() (s *inbound, whole bool, err error) {
	first, err := c.bytes(1)
	if err != nil {
		return nil, false, err
	}
	format := first[0] >> 6
	id := uint32(first[0] & 0x3f)
	if id < 2 { // 5.3.1.1: the id follows
		b, err := c.bytes(int(id) + 1)
		if err != nil {
			return nil, false, unexpected(err)
		}
		id = uint32(b[0]) + 64
		if len(b) == 2 {
			id += uint32(b[1]) << 8
		}
	}
	if s = c.streams[id]; s == nil {
		if len(c.streams) == inStreams {
			return nil, false, fmt.Errorf("%w: too many chunk streams", errChunk)
		}
		s = &inbound{}
		c.streams[id] = s
	}
	if err := c.header(s, format); err != nil {
		return nil, false, unexpected(err)
	}
	n := min(c.size, s.length-len(s.body))
	part, err := c.bytes(n)
	if err != nil {
		return nil, false, unexpected(err)
	}
	s.body = append(s.body, part...)
	return s, len(s.body) == s.length, nil
}

// header reads a message header of the given format (5.3.1.2).
func (c *chunkReader) header(s *inbound, format byte) error {
	b, err := c.bytes([4]int{11, 7, 3, 0}[format])
	if err != nil {
		return err
	}
	if format < 3 && len(s.body) > 0 || format > 1 && !s.started {
		return fmt.Errorf("%w: a header out of place", errChunk)
	}
	if format < 3 {
		s.stamp = uint24(b)
		s.delta, s.extended = format > 0, s.stamp == noTimestamp
	}
	if format < 2 {
		s.length, s.typ, s.started = int(uint24(b[3:])), b[6], true
		if s.length > inMessage {
			return fmt.Errorf("%w: a message of %d bytes", errChunk, s.length)
		}
	}
	if format == 0 {
		s.stream = binary.LittleEndian.Uint32(b[7:])
	}
	if s.extended {
		ext, err := c.bytes(4)
		if err != nil {
			return err
		}
		s.stamp = binary.BigEndian.Uint32(ext)
	}
	switch {
	case len(s.body) > 0: // the message goes on
	case s.delta:
		s.time += s.stamp
	default:
		s.time = s.stamp
	}
	return nil
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

// bytes reads n bytes.
func (c *chunkReader) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := io.ReadFull(c.r, b)
	c.read += uint64(got)
	return b, err
}

// unexpected turns an end in the middle of something into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
