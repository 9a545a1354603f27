package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/mpipe/mpipe/ring"
)

// ErrCut: the capture ends within a record, as one does whose writer was killed.
// All before is good.
var ErrCut = errors.New("the capture ends within a record")

// DamagedError: bytes of the capture are not what was written.
type DamagedError struct {
	Offset int64 // of the record, bytes from the beginning
	Err    error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the capture is damaged at byte %d: %v", e.Offset, e.Err)
}
func (e *DamagedError) Unwrap() error { return e.Err }

// File is a capture opened for reading. Any number of goroutines may read it.
type File struct {
	Header Header
	r      io.ReaderAt
	size   int64
	file   *os.File
}

// Open opens a capture.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a file: a capture cannot be read from a pipe or a device")
	}
	var c *File
	if err == nil {
		c, err = New(f, st.Size())
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.file = f
	return c, nil
}

// New reads a capture of a size from anywhere.
func New(r io.ReaderAt, size int64) (*File, error) {
	b := make([]byte, min(size, fileHeader))
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	return &File{Header: h, r: r, size: size}, nil
}

// Close closes what Open opened.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// Record is one record. Of the pointers, the one of its type is set.
type Record struct {
	Type       Type
	Attachment uint32
	At         int64 // ns of CLOCK_MONOTONIC: when it was recorded

	Attach *Attachment
	Format *FormatRecord
	Frame  *ring.Frame // without its Data: Payload reads that
	Length int         // bytes of its payload
	Losses *Losses
	Detach *Detach
	End    *End

	offset, next int64
	head         [frameHeader]byte // a frame's, as it stands in the file
	crc          uint32
}

// Offset is where the record begins: what Records takes.
func (r *Record) Offset() int64 { return r.offset }

// Records gives the records from an offset on; 0 is the beginning.
func (f *File) Records(from int64) *Cursor { return &Cursor{f: f, at: max(from, fileHeader)} }

// Cursor goes through a capture. It belongs to one goroutine.
type Cursor struct {
	f    *File
	at   int64
	buf  []byte
	last Record
}

// Next gives the next record, good until the next call. It returns [io.EOF] at
// the end, [ErrCut] where the capture was cut short, and a [DamagedError]. Of
// frames it checks the header alone; the rest is for Payload.
func (c *Cursor) Next() (*Record, error) {
	if c.at == c.f.size {
		return nil, io.EOF
	}
	var head [recordHeader + frameHeader]byte
	n, err := c.f.r.ReadAt(head[:min(int64(len(head)), c.f.size-c.at)], c.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < recordHeader {
		return nil, ErrCut
	}
	h, err := parseRecordHead(head[:])
	if err != nil {
		return nil, &DamagedError{c.at, err}
	}
	if h.length > c.f.size-c.at-recordHeader {
		return nil, ErrCut
	}
	c.last = Record{Type: h.typ, Attachment: h.attachment, At: h.at, offset: c.at, next: c.at + recordHeader + h.length, crc: h.crc}
	if h.typ == TypeFrame {
		copy(c.last.head[:], head[recordHeader:])
		f := parseFrame(c.last.head[:])
		c.last.Frame, c.last.Length = &f, int(h.length-frameHeader)
	} else if err := c.body(int(h.length)); err != nil {
		return nil, &DamagedError{c.at, err}
	}
	c.at = c.last.next
	return &c.last, nil
}

// body reads a record that is JSON.
func (c *Cursor) body(n int) error {
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	b := c.buf[:n]
	if _, err := c.f.r.ReadAt(b, c.at+recordHeader); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if crc32.Checksum(b, castagnoli) != c.last.crc {
		return errors.New("its checksum is wrong")
	}
	r := &c.last
	switch r.Type {
	case TypeAttach:
		r.Attach = new(Attachment)
		return json.Unmarshal(b, r.Attach)
	case TypeFormat:
		r.Format = new(FormatRecord)
		return json.Unmarshal(b, r.Format)
	case TypeLosses:
		r.Losses = new(Losses)
		return json.Unmarshal(b, r.Losses)
	case TypeDetach:
		r.Detach = new(Detach)
		return json.Unmarshal(b, r.Detach)
	case TypeEnd:
		r.End = new(End)
		return json.Unmarshal(b, r.End)
	}
	return nil // a later minor version's
}

// Payload reads a frame's payload into dst, which has the record's Length, and
// checks it with all that the record says about it.
func (f *File) Payload(r *Record, dst []byte) error {
	crc := crc32.Checksum(r.head[:], castagnoli)
	if _, err := f.r.ReadAt(dst[:r.Length], r.offset+recordHeader+frameHeader); err != nil && !(errors.Is(err, io.EOF) && r.next == f.size) {
		return err
	}
	return r.check(crc32.Update(crc, castagnoli, dst[:r.Length]))
}

// Check is Payload without a place to put it.
func (f *File) Check(r *Record) error {
	if r.Type != TypeFrame {
		return nil
	}
	crc := crc32.Checksum(r.head[:], castagnoli)
	var b [64 << 10]byte
	for at, left := r.offset+recordHeader+frameHeader, r.Length; left > 0; {
		n := min(left, len(b))
		if _, err := f.r.ReadAt(b[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		crc = crc32.Update(crc, castagnoli, b[:n])
		at, left = at+int64(n), left-n
	}
	return r.check(crc)
}

func (r *Record) check(crc uint32) error {
	if crc != r.crc {
		return &DamagedError{r.offset, errors.New("the checksum of the frame is wrong")}
	}
	return nil
}
