package capture

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// The file's layout; FORMAT.md is the contract. All integers are little-endian.
const (
	fileMagic   = "MRINGCAP"
	recordMagic = 0x3143524d // "MRC1"
	major       = 1          // another major is another format
	minor       = 0          // a higher minor adds JSON keys and types of records that may be skipped

	fileHeader   = 64
	recordHeader = 40
	frameHeader  = 32

	flagTapped = 1 // file header: recorded beside a consumer
)

// Type says what a record holds.
type Type uint16

const (
	TypeAttach Type = 1 // a producer attached: Attachment, as JSON
	TypeFormat Type = 2 // a format of one of its streams: FormatRecord, as JSON
	TypeFrame  Type = 3 // a frame, or the end of a stream
	TypeLosses Type = 4 // what was lost so far: Losses, as JSON
	TypeDetach Type = 5 // an attachment is over: Detach, as JSON
	TypeEnd    Type = 6 // the capture ended in good order: End, as JSON
)

// Limits, so that no file makes its reader take more memory than these say.
const (
	jsonMost        = 64 << 10 // bytes of a record that is JSON
	attachmentsMost = 1 << 16  // in one file
	streamsMost     = 32       // of an attachment: ring's own limit
	formatsMost     = 256      // likewise
	frameMost       = ring.MaxArena
)

// Header is what a file says about itself.
type Header struct {
	Created time.Time `json:"created"`
	Clock   int64     `json:"clock_ns"` // CLOCK_MONOTONIC at that moment: the clock of all times in the file
	Tapped  bool      `json:"tapped"`   // recorded beside a consumer: see Losses.Missed
}

// Attachment is a producer that attached.
type Attachment struct {
	Epoch    uint64   `json:"epoch"` // of the listener it attached to
	Producer Process  `json:"producer"`
	Consumer Process  `json:"consumer"`
	Streams  []Stream `json:"streams"`
}

// Process is one end of an attachment.
type Process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	UID  int    `json:"uid"`
}

// Stream is a stream as the producer declared it. Its number is its index.
type Stream struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`            // "video" or "audio"
	MaxFrame int64  `json:"max_frame_bytes"` // largest frame
}

// FormatRecord is a format under the id that frames of its stream carry.
type FormatRecord struct {
	Stream int    `json:"stream"`
	ID     uint32 `json:"id"`
	Video  *Video `json:"video,omitempty"`
	Audio  *Audio `json:"audio,omitempty"`
}

// Video is [ring.VideoFormat] as it stands in the file.
type Video struct {
	FourCC      string `json:"fourcc"`
	Width       int    `json:"width"`
	Height      int    `json:"height"`
	Planes      int    `json:"planes"`
	Strides     [4]int `json:"strides"`
	Offsets     [4]int `json:"offsets"`
	FPSNum      int    `json:"fps_num"`
	FPSDen      int    `json:"fps_den"`
	Colorimetry string `json:"colorimetry,omitempty"`
	ChromaSite  string `json:"chroma_site,omitempty"`
}

// Audio is [ring.AudioFormat] as it stands in the file.
type Audio struct {
	Sample   string `json:"sample"`
	Rate     int    `json:"rate"`
	Channels int    `json:"channels"`
	Mask     uint64 `json:"channel_mask,omitempty"`
}

func formatRecord(stream uint16, f ring.Format) FormatRecord {
	return FormatRecord{Stream: int(stream), ID: f.ID, Video: (*Video)(f.Video), Audio: (*Audio)(f.Audio)}
}

// Ring gives the format as package ring has it.
func (f *FormatRecord) Ring() ring.Format {
	return ring.Format{ID: f.ID, Video: (*ring.VideoFormat)(f.Video), Audio: (*ring.AudioFormat)(f.Audio)}
}

// Losses are totals since the attachment began.
type Losses struct {
	Streams []StreamLosses `json:"streams"`
	// Missed counts the claims of each kind that a tap never saw, whatever stream
	// they were of.
	Missed map[string]int64 `json:"missed,omitempty"`
}

// StreamLosses are one stream's.
type StreamLosses struct {
	DroppedFull   int64         `json:"dropped_full"`   // by the producer: no room
	DroppedPolicy int64         `json:"dropped_policy"` // by the producer: its own choice
	Abandoned     int64         `json:"abandoned"`      // claimed and never committed
	Blocked       time.Duration `json:"blocked_ns"`     // how long its writers waited for room
}

// Detach is how an attachment ended.
type Detach struct {
	State  string `json:"state"` // ring's: "ended", "dead", "invalid", "closed"; or "recording stopped"
	Reason string `json:"reason,omitempty"`
}

// Stopped is the state of an attachment that went on when the recording ended.
const Stopped = "recording stopped"

// End closes a file that was ended in good order.
type End struct {
	Frames int64  `json:"frames"`
	Bytes  int64  `json:"bytes"` // of payload
	Reason string `json:"reason"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeHeader makes the first bytes of a file.
func encodeHeader(h Header) []byte {
	b := make([]byte, fileHeader)
	le := binary.LittleEndian
	copy(b, fileMagic)
	le.PutUint16(b[0x08:], major)
	le.PutUint16(b[0x0a:], minor)
	le.PutUint32(b[0x0c:], fileHeader)
	le.PutUint64(b[0x10:], uint64(h.Created.UnixNano()))
	le.PutUint64(b[0x18:], uint64(h.Clock))
	if h.Tapped {
		le.PutUint32(b[0x20:], flagTapped)
	}
	le.PutUint32(b[0x3c:], crc32.Checksum(b[:0x3c], castagnoli))
	return b
}

func parseHeader(b []byte) (Header, error) {
	le := binary.LittleEndian
	if len(b) < fileHeader || string(b[:8]) != fileMagic {
		return Header{}, fmt.Errorf("not a capture of a ring")
	}
	if v := le.Uint16(b[0x08:]); v != major {
		return Header{}, fmt.Errorf("a capture of version %d; this program reads version %d", v, major)
	}
	if le.Uint32(b[0x3c:]) != crc32.Checksum(b[:0x3c], castagnoli) || le.Uint32(b[0x0c:]) != fileHeader {
		return Header{}, fmt.Errorf("the header of the capture is damaged")
	}
	return Header{
		Created: time.Unix(0, int64(le.Uint64(b[0x10:]))), Clock: int64(le.Uint64(b[0x18:])),
		Tapped: le.Uint32(b[0x20:])&flagTapped != 0,
	}, nil
}

// recordHead is the fixed part of a record.
type recordHead struct {
	typ        Type
	attachment uint32 // counts from 1; 0 for what belongs to none
	length     int64  // of the body
	at         int64  // ns of CLOCK_MONOTONIC: when it was recorded
	crc        uint32 // of the body
}

func (h recordHead) encode(b []byte) {
	le := binary.LittleEndian
	clear(b[:recordHeader])
	le.PutUint32(b[0x00:], recordMagic)
	le.PutUint16(b[0x04:], uint16(h.typ))
	le.PutUint32(b[0x08:], h.attachment)
	le.PutUint64(b[0x10:], uint64(h.length))
	le.PutUint64(b[0x18:], uint64(h.at))
	le.PutUint32(b[0x20:], h.crc)
	le.PutUint32(b[0x24:], crc32.Checksum(b[:0x24], castagnoli))
}

func parseRecordHead(b []byte) (recordHead, error) {
	le := binary.LittleEndian
	if le.Uint32(b) != recordMagic || le.Uint32(b[0x24:]) != crc32.Checksum(b[:0x24], castagnoli) {
		return recordHead{}, fmt.Errorf("no record where one should begin")
	}
	h := recordHead{
		typ: Type(le.Uint16(b[0x04:])), attachment: le.Uint32(b[0x08:]), at: int64(le.Uint64(b[0x18:])),
		length: int64(le.Uint64(b[0x10:])), crc: le.Uint32(b[0x20:]),
	}
	most := int64(jsonMost)
	if h.typ == TypeFrame {
		most = frameHeader + frameMost
	}
	if h.length < 0 || h.length > most || h.typ == TypeFrame && h.length < frameHeader {
		return h, fmt.Errorf("a record of type %d with %d bytes", h.typ, h.length)
	}
	if h.at < 0 || h.at > timeMost {
		return h, fmt.Errorf("a record of the time %d ns", h.at)
	}
	return h, nil
}

// timeMost bounds times and stamps as the ring does: no sum of two overflows.
const timeMost = 1 << 62

// encodeFrame writes what stands before a frame's payload.
func encodeFrame(b []byte, f ring.Frame) {
	le := binary.LittleEndian
	clear(b[:frameHeader])
	le.PutUint16(b[0x00:], f.Stream)
	b[0x02] = byte(f.Kind)
	le.PutUint32(b[0x04:], f.FormatID)
	le.PutUint32(b[0x08:], f.Seq)
	le.PutUint32(b[0x0c:], uint32(f.Flags))
	le.PutUint64(b[0x10:], uint64(f.PTS))
	le.PutUint64(b[0x18:], uint64(f.Duration))
}

func parseFrame(b []byte) ring.Frame {
	le := binary.LittleEndian
	return ring.Frame{
		Stream: le.Uint16(b[0x00:]), Kind: ring.Kind(b[0x02]), FormatID: le.Uint32(b[0x04:]), Seq: le.Uint32(b[0x08:]),
		Flags: ring.Flags(le.Uint32(b[0x0c:])), PTS: int64(le.Uint64(b[0x10:])), Duration: int64(le.Uint64(b[0x18:])),
	}
}
