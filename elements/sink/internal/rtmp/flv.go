package rtmp

import (
	"errors"
	"fmt"
)

// Tag is one FLV tag: what one RTMP message carries.
type Tag struct {
	Type byte // 8 audio, 9 video, 18 script data
	Time uint32
	Data []byte // borrowed: valid during the call it is given to
	Size int    // in the FLV stream, with its header and trailer
}

// IsMedia tells sound and pictures from data about them.
func (t Tag) IsMedia() bool { return t.Type == typeAudio || t.Type == typeVideo }

const (
	flvHeader  = 9 + 4    // E.2, and the size of "the tag before"
	tagHeader  = 11       // E.4.1
	tagTrailer = 4        // the size of the tag once more
	tagMost    = 16 << 20 // its size has 24 bits
)

// Tags parses an FLV stream that comes in pieces. The zero value is at its
// beginning.
type Tags struct {
	begun   bool
	pending []byte // the beginning of what is not yet whole
	err     error
}

var errFLV = errors.New("malformed FLV")

// Write takes the next bytes and gives each tag that is whole to f. A stream
// that was malformed once stays so; an error of f comes back and loses the tag.
func (t *Tags) Write(p []byte, f func(Tag) error) error {
	if t.err != nil {
		return t.err
	}
	b := p
	if len(t.pending) > 0 {
		t.pending = append(t.pending, p...)
		b = t.pending
	}
	for {
		n, tag, err := t.next(b)
		if err != nil {
			t.err = err
			return err
		}
		if n == 0 {
			// Copied in one piece or moved to the front of what it is in.
			t.pending = append(t.pending[:0], b...)
			return nil
		}
		b = b[n:]
		if tag.Size == 0 {
			continue
		}
		if err := f(tag); err != nil {
			t.pending = append(t.pending[:0], b...)
			return err
		}
	}
}

// next parses what b begins with: n bytes, 0 when they are not all there. The
// file header is no tag and has no Size.
func (t *Tags) next(b []byte) (n int, tag Tag, err error) {
	if !t.begun {
		if len(b) < flvHeader {
			return 0, Tag{}, nil
		}
		if string(b[:3]) != "FLV" || b[5] != 0 || b[6] != 0 || b[7] != 0 || b[8] != 9 {
			return 0, Tag{}, fmt.Errorf("%w: no header", errFLV)
		}
		t.begun = true
		return flvHeader, Tag{}, nil
	}
	if len(b) < tagHeader {
		return 0, Tag{}, nil
	}
	size := int(uint24(b[1:]))
	n = tagHeader + size + tagTrailer
	if n > tagMost || b[0]&^0x1f != 0 { // filtered, that is encrypted, or reserved
		return 0, Tag{}, fmt.Errorf("%w: a tag of type %#x and %d bytes", errFLV, b[0], size)
	}
	if len(b) < n {
		return 0, Tag{}, nil
	}
	return n, Tag{
		Type: b[0], Time: uint24(b[4:]) | uint32(b[7])<<24,
		Data: b[tagHeader : tagHeader+size], Size: n,
	}, nil
}
