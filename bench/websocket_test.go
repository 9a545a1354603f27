package bench

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWebSocketMessages sends messages of every length field's limits through
// both ends, and takes the frames apart by the letter of RFC 6455, 5.2.
func TestWebSocketMessages(t *testing.T) {
	for _, size := range []int{1, 24, 125, 126, 255, 256, 4095, 4096, 4097, 65535, 65536, fragment - 1, fragment, fragment + 1, 3*fragment + 77} {
		message := make([]byte, size)
		for i := range message {
			message[i] = byte(rand.Uint32())
		}
		wire := sent(t, message)
		if got := apart(t, wire); !bytes.Equal(got, message) {
			t.Errorf("%d bytes: the frames do not hold what was sent", size)
		}
		a, b := socketPair(t)
		go func() {
			_, _ = a.Write(wire)
			_, _ = a.Write(wire)
			_ = a.Close()
		}()
		r := &wsReceiver{fd: b, in: make([]byte, 2*fragment)}
		for range 2 {
			got, err := r.next()
			if err != nil || !bytes.Equal(got, message) {
				t.Errorf("%d bytes: %d received: %v", size, len(got), err)
			}
		}
		if _, err := r.next(); err != io.ErrUnexpectedEOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

func socketPair(t *testing.T) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// sent gives what the sender writes for a message.
func sent(t *testing.T, message []byte) []byte {
	t.Helper()
	a, b := socketPair(t)
	s := &wsSender{fd: a, b: message, out: make([]byte, wsHeadMax+fragment)}
	done := make(chan error, 1)
	go func() {
		err := s.send()
		_ = a.Close()
		done <- err
	}()
	wire, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return wire
}

// apart is another reading of the RFC, a byte at a time.
func apart(t *testing.T, wire []byte) (message []byte) {
	t.Helper()
	for first := true; ; first = false {
		if len(wire) < 2 || wire[1]&0x80 == 0 || wire[0]&0x70 != 0 {
			t.Fatalf("not a masked frame: % x", wire[:min(2, len(wire))])
		}
		if op := wire[0] & 0x0f; first && op != 2 || !first && op != 0 {
			t.Fatalf("opcode %d", op)
		}
		n, at := uint64(wire[1]&0x7f), 2
		switch n {
		case 126:
			n, at = uint64(binary.BigEndian.Uint16(wire[2:])), 4
		case 127:
			n, at = binary.BigEndian.Uint64(wire[2:]), 10
		}
		if n > fragment {
			t.Fatalf("a fragment of %d bytes", n)
		}
		key, payload := wire[at:at+4], wire[at+4:][:n]
		for i, c := range payload {
			message = append(message, c^key[i%4])
		}
		fin := wire[0]&0x80 != 0
		wire = wire[at+4+int(n):]
		if fin {
			if len(wire) != 0 {
				t.Fatalf("%d bytes behind the message", len(wire))
			}
			return message
		}
	}
}
