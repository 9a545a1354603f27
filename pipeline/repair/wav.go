package repair

import (
	"errors"
	"io"
	"math"
)

// readWAV reads RIFF/WAVE, and RF64 (EBU Tech 3306), which is for more than 4 GiB.
func readWAV(in *input) (*found, error) {
	fd := &found{container: "wav"}
	head, err := in.read(0, 12)
	if err != nil {
		return nil, err
	}
	if len(head) < 12 || string(head[8:12]) != "WAVE" {
		return nil, errors.New("this RIFF file is no WAV; nothing can be done here")
	}
	var format []byte // the chunks before the data
	var long int64    // the size of the data that RF64 gives
	for off := int64(12); ; {
		h, err := in.read(off, 8+28)
		if err != nil {
			return nil, err
		}
		if len(h) < 8 {
			return nil, errors.New("it ends before its sound begins: nothing can be done")
		}
		n := int64(le.Uint32(h[4:]))
		if string(h[:4]) == "data" {
			if n == math.MaxUint32 && long > 0 {
				n = long
			}
			return fd, fd.judgeWAV(in, format, off+8, n, int64(le.Uint32(head[4:])))
		}
		if string(h[:4]) == "ds64" && len(h) >= 24 {
			long = int64(le.Uint64(h[16:]))
		} else if n < 1<<20 {
			b, err := in.read(off, int(8+n+n&1))
			if err != nil {
				return nil, err
			}
			format = append(format, b...)
		}
		off += 8 + n + n&1
	}
}

// judgeWAV compares what the header says with what is there. Recorders write a
// size they make up and correct it at the end; behind the data other chunks may
// follow.
func (fd *found) judgeWAV(in *input, format []byte, data, declared, riff int64) error {
	frame, rate := wavFormat(format)
	if frame == 0 || rate == 0 {
		return errors.New("its format is missing or damaged: nothing can be done")
	}
	there := in.size - data
	s := &Stream{Codec: "pcm", Frames: declared / frame, readBack: -1}
	fd.streams = []*Stream{s}
	tail := data + declared + declared&1
	fits := declared > 0 && declared <= there
	if fits && tail < in.size {
		h, err := in.read(tail, 8)
		if err != nil {
			return err
		}
		fits = len(h) == 8 && plausibleKind(string(h[:4])) && tail+8+int64(le.Uint32(h[4:])) <= in.size
	}
	huge := there > math.MaxUint32
	if fits && (riff == math.MaxUint32 || riff+8 >= tail-1) || huge && declared == 0 && there%frame == 0 {
		fd.whole, fd.unread = true, huge && declared > 0
		if declared == 0 {
			s.Frames, s.bytes = there/frame, there
		}
		return nil
	}
	fd.note("the header says %d bytes of sound, the file has %d: it was never finished", declared, there)
	size := there / frame * frame
	s.Frames, s.bytes = size/frame, size
	fd.cutBytes = there - size
	head := wavHead(format, size)
	fd.size = int64(len(head)) + size
	fd.write = func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		return in.copy(w, data, size)
	}
	return nil
}

// wavFormat gives the bytes of one sample of all channels and the sample rate.
func wavFormat(chunks []byte) (frame, rate int64) {
	for len(chunks) >= 24 {
		n := int64(le.Uint32(chunks[4:]))
		if string(chunks[:4]) == "fmt " {
			return int64(le.Uint16(chunks[20:])), int64(le.Uint32(chunks[12:]))
		}
		chunks = chunks[min(8+n+n&1, int64(len(chunks))):]
	}
	return 0, 0
}

// wavHead is what stands before size bytes of sound. Where 32 bits do not hold
// the size it is 0, which readers take for "all there is", as in what mpipe
// records; RF64 would say it, but wavparse 1.22 never ends with it.
func wavHead(format []byte, size int64) []byte {
	riff, data := uint32(math.MaxUint32), uint32(0)
	if n := 4 + int64(len(format)) + 8 + size; n < math.MaxUint32 {
		riff, data = uint32(n), uint32(size)
	}
	b := append(append(le.AppendUint32([]byte("RIFF"), riff), "WAVE"...), format...)
	return le.AppendUint32(append(b, "data"...), data)
}
