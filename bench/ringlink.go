package bench

import (
	"context"
	"io"
	"path/filepath"
	"time"

	"github.com/mpipe/mpipe/ring"
)

// ringLink is mpipe's own ring over a socket, as a graph's source uses it. With
// copied set the frame is drawn elsewhere and copied in, which is what a
// producer does whose frames come from a library; otherwise it is drawn in place.
type ringLink struct{ copied bool }

// ringFrames is how many pictures the ring holds: few, so that the memory stays
// in the cache, and enough that neither side waits for the other's every step.
const ringFrames = 4

func (l ringLink) listen(dir string, p Payload) (string, func() (receiver, error), error) {
	addr := "unix:" + filepath.Join(dir, "ring")
	page := (p.Size + 4095) &^ 4095
	ln, err := ring.Listen(addr, ring.Config{VideoBytes: int64(max(ringFrames*page, 8192)), Name: "mpipe bench"})
	if err != nil {
		return "", nil, err
	}
	return addr, func() (receiver, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		r, err := ln.Accept(ctx)
		if err != nil {
			return nil, err
		}
		_ = ln.Close()
		return &ringReceiver{r: r, kind: p.kind(), batch: batchOf(p)}, nil
	}, nil
}

func (p Payload) kind() ring.Kind {
	if p.Audio {
		return ring.KindAudio
	}
	return ring.KindVideo
}

// batchOf is how many small frames are released before the read cursor is moved
// over them; a picture's space goes back at once.
func batchOf(p Payload) int {
	if p.Size < 4096 {
		return 64
	}
	return 1
}

func (l ringLink) dial(addr string, p Payload) (sender, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	spec := ring.StreamSpec{Name: "bench", Kind: p.kind(), MaxFrame: p.Size}
	producer, err := ring.Attach(ctx, addr, []ring.StreamSpec{spec}, ring.AttachOptions{Name: "mpipe bench"})
	if err != nil {
		return nil, err
	}
	s := &ringSender{p: producer, size: p.Size}
	if p.Audio {
		s.format, err = producer.SetAudio(0, ring.AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 1})
	} else {
		s.format, err = producer.SetVideo(0, ring.I420(p.width, p.high, p.Rate, 1))
	}
	if err == nil {
		s.w, err = producer.Writer()
	}
	if err != nil {
		_ = producer.Close()
		return nil, err
	}
	if l.copied {
		s.private = make([]byte, p.Size)
	}
	return s, nil
}

type ringSender struct {
	p       *ring.Producer
	w       *ring.Writer
	format  uint32
	size    int
	slot    ring.Slot
	private []byte // nil when drawn in place
}

func (s *ringSender) buffer() ([]byte, error) {
	if s.private != nil {
		return s.private, nil
	}
	err := s.claim()
	return s.slot.Data, err
}

func (s *ringSender) claim() (err error) {
	s.slot, err = s.w.Claim(0, s.format, s.size, ring.Block(0))
	return err
}

func (s *ringSender) send() error {
	if s.private != nil {
		if err := s.claim(); err != nil {
			return err
		}
		ring.Copy(s.slot.Data, s.private)
	}
	s.slot.Commit(1, 0, 0)
	return nil
}

func (s *ringSender) close() error {
	_ = s.w.Close()
	return s.p.Close()
}

type ringReceiver struct {
	r        *ring.Reader
	kind     ring.Kind
	f        ring.Frame
	batch, n int
}

func (r *ringReceiver) next() ([]byte, error) {
	for {
		if r.f = r.r.Take(r.kind); r.f.Cell != nil {
			return r.f.Data, nil
		}
		if r.r.Drained(r.kind) {
			if err := r.r.Err(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		r.r.Wait(context.Background(), time.Second)
	}
}

func (r *ringReceiver) done() error {
	r.f.Cell.Release()
	if r.n++; r.n%r.batch == 0 {
		r.r.Reclaim()
	}
	return nil
}

func (r *ringReceiver) close() error { return r.r.Close() }
