package repair

import (
	"bytes"
	"errors"
	"io"
)

// MPEG-1 and 2 audio, layer III: ISO/IEC 11172-3, 13818-3.

var mp3Rates = [2][16]int{ // kbit/s: MPEG-1; MPEG-2 and 2.5
	{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0},
	{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0},
}

// mp3Frame gives the length in bytes of the frame that b begins with, and of its
// side information; 0 when it begins with none.
func mp3Frame(b []byte) (n, side int) {
	if len(b) < 4 || b[0] != 0xff || b[1]&0xe6 != 0xe2 { // sync, layer III
		return 0, 0
	}
	version := b[1] >> 3 & 3 // 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
	rate := [4]int{44100, 48000, 32000, 0}[b[2]>>2&3]
	if version == 1 || rate == 0 {
		return 0, 0
	}
	mono := b[3]>>6 == 3
	if version == 3 {
		n = 144000 * mp3Rates[0][b[2]>>4] / rate
		side = map[bool]int{true: 17, false: 32}[mono]
	} else {
		n = 72000 * mp3Rates[1][b[2]>>4] / (rate / map[byte]int{2: 2, 0: 4}[version])
		side = map[bool]int{true: 9, false: 17}[mono]
	}
	if n > 0 {
		n += int(b[2] >> 1 & 1) // padding
	}
	return n, side
}

// isMP3 tells whether b begins with two frames.
func isMP3(b []byte) bool {
	n, _ := mp3Frame(b)
	if n == 0 || n >= len(b) {
		return false
	}
	next, _ := mp3Frame(b[n:])
	return next > 0
}

// id3Size gives the length of an ID3v2 tag at the beginning of b; 0 without.
func id3Size(b []byte) int64 {
	if len(b) < 10 || !bytes.HasPrefix(b, []byte("ID3")) {
		return 0
	}
	var n int64
	for _, c := range b[6:10] {
		n = n<<7 | int64(c&0x7f)
	}
	if b[5]&0x10 != 0 { // a footer
		n += 10
	}
	return 10 + n
}

func readMP3(in *input, start int64) (*found, error) {
	fd := &found{container: "mp3"}
	end, frames := start, int64(0)
	info, told := int64(0), int64(-1) // where a Xing or Info frame ends; the frames it tells of
	for end < in.size {
		b, err := in.read(end, 64)
		if err != nil {
			return nil, err
		}
		n, side := mp3Frame(b)
		if n == 0 || end+int64(n) > in.size {
			break
		}
		end += int64(n)
		if frames == 0 && info == 0 && len(b) >= side+12 {
			if id := string(b[4+side : 8+side]); id == "Xing" || id == "Info" {
				info = end
				if b[11+side]&1 != 0 && len(b) >= side+16 {
					told = int64(be.Uint32(b[12+side:]))
				}
				continue
			}
		}
		frames++
	}
	if frames == 0 {
		return nil, errors.New("no frame of MP3 in it is whole: nothing can be done")
	}
	tail, err := in.read(end, 8)
	if err != nil {
		return nil, err
	}
	s := &Stream{Codec: "mp3", Frames: frames, readBack: frames}
	fd.streams = []*Stream{s}
	atTag := len(tail) == 0 || bytes.HasPrefix(tail, []byte("TAG")) || bytes.HasPrefix(tail, []byte("APETAGEX")) || bytes.HasPrefix(tail, []byte("LYRICS"))
	// xingmux counts its own frame, others do not.
	if off := told - frames; info > 0 && off != 0 && off != 1 {
		fd.note("its header tells of another number of frames than there are: it was never finished")
	}
	if !atTag {
		fd.note("the file ends within a frame, or what follows is damaged, at byte %d of %d", end, in.size)
		fd.cutBytes = in.size - end
		if n, _ := mp3Frame(tail); n > 0 {
			s.Cut = 1
		}
	}
	if fd.whole = len(fd.notes) == 0; fd.whole {
		if info > 0 {
			s.readBack++ // GStreamer takes that frame for sound
		}
		return fd, nil
	}
	// The Xing frame speaks of a whole file that this one is no more, or of none
	// yet; without it players count for themselves.
	from := max(info, start)
	if atTag {
		end = in.size
	}
	fd.size = start + end - from
	fd.write = func(w io.Writer) error {
		if err := in.copy(w, 0, start); err != nil {
			return err
		}
		return in.copy(w, from, end-from)
	}
	return fd, nil
}
