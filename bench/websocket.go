package bench

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
)

// webSocketLink is a WebSocket client that sends frames to a server, as a page
// in a browser does: binary messages in fragments of 131,072 bytes, Chromium's
// own size, each masked with a new key (RFC 6455, 5.3: a client must).
//
// It is written for this one use and is faster than the libraries for Go, whose
// readers and writers go through buffers of 4 KiB and give callers a copy: a
// fragment is masked on its way into one buffer and goes out in one write; the
// server takes what there is in one read and unmasks it on its way into the
// frame. Either side touches each byte once, by vector instructions.
type webSocketLink struct{}

const (
	fragment  = 131072
	wsHeadMax = 14 // of a client's frame with a 64-bit length

	wsBinary, wsContinuation, wsClose = 2, 0, 8
	wsFin, wsMasked                   = 0x80, 0x80
)

func (webSocketLink) listen(string, Payload) (string, func() (receiver, error), error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return "ws://" + ln.Addr().String() + "/", func() (receiver, error) {
		defer ln.Close()
		conn, err := ln.Accept()
		if err != nil {
			return nil, err
		}
		req, err := http.ReadRequest(bufio.NewReaderSize(conn, 4096)) // the client says nothing more before the answer
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			acceptKey(req.Header.Get("Sec-WebSocket-Key"))); err != nil {
			return nil, err
		}
		fd, err := blocking(conn, 0)
		if err != nil {
			return nil, err
		}
		return &wsReceiver{fd: fd, in: make([]byte, 2*fragment)}, nil
	}, nil
}

// acceptKey is the server's answer to a client's key: RFC 6455, 4.2.2.
func acceptKey(key string) string {
	h := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(h[:])
}

func (webSocketLink) dial(addr string, p Payload) (sender, error) {
	req, err := http.NewRequest("GET", "http"+addr[len("ws"):], nil)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", req.URL.Host)
	if err != nil {
		return nil, err
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	for k, v := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"} {
		req.Header.Set(k, v)
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	// The server says nothing behind its answer: nothing stays in the buffer.
	answer, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		return nil, fmt.Errorf("the server answered %s", answer.Status)
	}
	fd, err := blocking(conn, 0)
	if err != nil {
		return nil, err
	}
	return &wsSender{fd: fd, b: make([]byte, p.Size), out: make([]byte, wsHeadMax+fragment)}, nil
}

// keyPattern is a masking key repeated, long enough for XORBytes to run at full
// speed and short enough to stay in the first-level cache.
type keyPattern [4096]byte

func (k *keyPattern) set(key [4]byte) {
	copy(k[:], key[:])
	for n := 4; n < len(k); n *= 2 {
		copy(k[n:], k[:n])
	}
}

// mask writes src, masked or unmasked, to dst. phase is how many bytes of the
// fragment came before.
func (k *keyPattern) mask(dst, src []byte, phase int) {
	for len(src) > 0 {
		n := subtle.XORBytes(dst, src, k[phase%4:])
		dst, src, phase = dst[n:], src[n:], phase+n
	}
}

type wsSender struct {
	fd     *os.File
	b, out []byte
	key    keyPattern
}

func (s *wsSender) buffer() ([]byte, error) { return s.b, nil }

func (s *wsSender) send() error {
	op := byte(wsBinary)
	for rest := s.b; len(rest) > 0; op = wsContinuation {
		part := rest[:min(fragment, len(rest))]
		rest = rest[len(part):]
		if len(rest) == 0 {
			op |= wsFin
		}
		if err := writeFull(int(s.fd.Fd()), s.frame(op, part)); err != nil {
			return err
		}
	}
	return nil
}

// frame masks one fragment into the buffer.
func (s *wsSender) frame(op byte, part []byte) []byte {
	h := append(s.out[:0], op)
	switch n := len(part); {
	case n < 126:
		h = append(h, wsMasked|byte(n))
	case n < 1<<16:
		h = binary.BigEndian.AppendUint16(append(h, wsMasked|126), uint16(n))
	default:
		h = binary.BigEndian.AppendUint64(append(h, wsMasked|127), uint64(n))
	}
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], mrand.Uint32()) // ChaCha8, as hard to foresee as the RFC asks for
	h = append(h, key[:]...)
	// Setting the pattern up for a short packet would cost more than it saves.
	if len(part) < 256 {
		for i, c := range part {
			h = append(h, c^key[i&3])
		}
		return h
	}
	s.key.set(key)
	s.key.mask(h[len(h):len(h)+len(part)], part, 0)
	return h[:len(h)+len(part)]
}

func (s *wsSender) close() error {
	_ = writeFull(int(s.fd.Fd()), s.frame(wsClose|wsFin, []byte{3, 232})) // 1000: normal
	_, _ = readSome(int(s.fd.Fd()), make([]byte, 16))                     // the server's own close, or its end
	return s.fd.Close()
}

type wsReceiver struct {
	fd       *os.File
	in       []byte
	from, to int // of in: read and not used yet
	frame    []byte
	key      keyPattern
}

var errWebSocket = errors.New("not the WebSocket frames that were agreed on")

func (r *wsReceiver) next() ([]byte, error) {
	r.frame = r.frame[:0]
	for {
		op, key, n, err := r.header()
		if err != nil {
			return nil, err
		}
		if op&^wsFin == wsClose {
			return nil, io.EOF
		}
		if op&^wsFin != wsBinary && op&^wsFin != wsContinuation {
			return nil, errWebSocket
		}
		if err := r.payload(key, n); err != nil {
			return nil, err
		}
		if op&wsFin != 0 {
			return r.frame, nil
		}
	}
}

func (r *wsReceiver) header() (op byte, key [4]byte, n int, err error) {
	if err = r.need(2); err != nil {
		return
	}
	op, n = r.in[r.from], int(r.in[r.from+1]&0x7f)
	if r.in[r.from+1]&wsMasked == 0 {
		return op, key, 0, errWebSocket
	}
	size := 2
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if err = r.need(size + 4); err != nil {
		return
	}
	h := r.in[r.from:]
	switch n {
	case 126:
		n = int(binary.BigEndian.Uint16(h[2:]))
	case 127:
		n = int(binary.BigEndian.Uint64(h[2:]))
	}
	copy(key[:], h[size:])
	r.from += size + 4
	return op, key, n, nil
}

// need makes sure that n bytes are there.
func (r *wsReceiver) need(n int) error {
	for r.to-r.from < n {
		if err := r.fill(); err != nil {
			return err
		}
	}
	return nil
}

func (r *wsReceiver) fill() error {
	r.to = copy(r.in, r.in[r.from:r.to])
	r.from = 0
	n, err := readSome(int(r.fd.Fd()), r.in[r.to:])
	r.to += n
	return err
}

// payload unmasks n bytes into the frame.
func (r *wsReceiver) payload(key [4]byte, n int) error {
	at := len(r.frame)
	if cap(r.frame) < at+n {
		r.frame = append(make([]byte, 0, 2*(at+n)), r.frame...)
	}
	r.frame = r.frame[:at+n]
	if n >= 256 {
		r.key.set(key)
	}
	for done := 0; done < n; {
		if r.from == r.to {
			if err := r.fill(); err != nil {
				return err
			}
		}
		part := r.in[r.from:min(r.to, r.from+n-done)]
		if n >= 256 {
			r.key.mask(r.frame[at+done:], part, done)
		} else {
			for i, c := range part {
				r.frame[at+done+i] = c ^ key[(done+i)&3]
			}
		}
		r.from += len(part)
		done += len(part)
	}
	return nil
}

func (r *wsReceiver) done() error { return nil }

func (r *wsReceiver) close() error {
	_ = writeFull(int(r.fd.Fd()), bytes.Join([][]byte{{wsClose | wsFin, 2}, {3, 232}}, nil))
	return r.fd.Close()
}
