package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// Writer writes a capture. Each record is written at once, so that a process that
// is killed leaves all but the last. Any goroutine may call its methods; the first
// error is returned by all that follow.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	file   *os.File // of Create
	err    error
	count  uint32 // attachments
	end    End
	onDisk int64
	buf    []byte
}

// Create makes a new file for a capture; one that is there already is an error.
func Create(path string, tapped bool) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already; choose another name or remove it", path)
	}
	if err != nil {
		return nil, err
	}
	w, err := NewWriter(f, tapped)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	w.file = f
	return w, nil
}

// NewWriter writes the header.
func NewWriter(to io.Writer, tapped bool) (*Writer, error) {
	w := &Writer{w: to}
	w.write(encodeHeader(Header{Created: time.Now(), Clock: ring.Now(), Tapped: tapped}))
	return w, w.err
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.onDisk += int64(n)
	if err != nil {
		w.err = fmt.Errorf("write the capture: %w; what was written before can be replayed", err)
	}
}

// Attach begins an attachment and gives the number of its records.
func (w *Writer) Attach(a Attachment) (uint32, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count >= attachmentsMost {
		return 0, fmt.Errorf("a capture holds %d attachments; begin another", attachmentsMost)
	}
	w.count++
	w.json(TypeAttach, w.count, a)
	return w.count, w.err
}

// Format comes before the first frame that has it.
func (w *Writer) Format(attachment uint32, f FormatRecord) error {
	return w.record(TypeFormat, attachment, f)
}

// Losses are written when they have changed.
func (w *Writer) Losses(attachment uint32, l Losses) error {
	return w.record(TypeLosses, attachment, l)
}

// Detach ends an attachment.
func (w *Writer) Detach(attachment uint32, d Detach) error {
	return w.record(TypeDetach, attachment, d)
}

func (w *Writer) record(t Type, attachment uint32, v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.json(t, attachment, v)
	return w.err
}

func (w *Writer) json(t Type, attachment uint32, v any) {
	body, err := json.Marshal(v)
	if err == nil && len(body) > jsonMost {
		err = fmt.Errorf("a record of %d bytes", len(body))
	}
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	h := recordHead{typ: t, attachment: attachment, length: int64(len(body)), at: ring.Now(), crc: crc32.Checksum(body, castagnoli)}
	w.buf = append(w.buf[:0], make([]byte, recordHeader)...)
	h.encode(w.buf)
	w.write(append(w.buf, body...))
}

// together is how large a payload may be that is copied to be written in one go
// with its header.
const together = 32 << 10

// Frame appends a frame, or the end of a stream. Its Data must not change
// meanwhile: what a producer can still write to is to be copied first.
func (w *Writer) Frame(attachment uint32, f ring.Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	head := append(w.buf[:0], make([]byte, recordHeader+frameHeader)...)
	encodeFrame(head[recordHeader:], f)
	crc := crc32.Update(crc32.Checksum(head[recordHeader:], castagnoli), castagnoli, f.Data)
	h := recordHead{typ: TypeFrame, attachment: attachment, length: frameHeader + int64(len(f.Data)), at: ring.Now(), crc: crc}
	h.encode(head)
	if len(f.Data) <= together {
		w.write(append(head, f.Data...))
	} else {
		w.write(head)
		w.write(f.Data)
	}
	w.buf = head
	if w.err == nil {
		w.end.Bytes += int64(len(f.Data))
		if f.Flags&ring.FlagEOS == 0 {
			w.end.Frames++
		}
	}
	return w.err
}

// Written is how many bytes the capture has so far.
func (w *Writer) Written() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.onDisk
}

// Close writes the last record, which tells that the capture is whole, and closes
// the file.
func (w *Writer) Close(reason string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.end.Reason = reason
		w.json(TypeEnd, 0, w.end)
	}
	err := w.err
	if w.file != nil {
		if cerr := w.file.Close(); err == nil {
			err = cerr
		}
		w.file = nil
	}
	if w.err == nil {
		w.err = os.ErrClosed
	}
	return err
}
