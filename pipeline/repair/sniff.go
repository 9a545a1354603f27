package repair

import (
	"bytes"
	"errors"
	"slices"
)

// takeApart finds out what a file is, by its first bytes, and reads it.
func takeApart(in *input) (*found, error) {
	head, err := in.read(0, 4096)
	if err != nil {
		return nil, err
	}
	switch {
	case len(head) >= 8 && slices.Contains(firstBoxes, string(head[4:8])):
		return readMP4(in)
	case bytes.HasPrefix(head, []byte{0x1a, 0x45, 0xdf, 0xa3}):
		return readMatroska(in)
	case bytes.HasPrefix(head, []byte("OggS")):
		return readOgg(in)
	case bytes.HasPrefix(head, []byte("RIFF")) || bytes.HasPrefix(head, []byte("RF64")):
		return readWAV(in)
	case bytes.HasPrefix(head, []byte("fLaC")):
		return readFLAC(in)
	}
	if packet, skip := tsPacket(head); packet > 0 {
		return readTS(in, packet, skip)
	}
	if start := id3Size(head); start > 0 || isMP3(head) {
		return readMP3(in, start)
	}
	return nil, errors.New("this is no MP4, MKV, WebM, Ogg, MPEG-TS, WAV, FLAC or MP3 file, or its beginning is damaged; nothing can be done here")
}
