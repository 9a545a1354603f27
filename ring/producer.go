package ring

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// AttachOptions are what a producer may say about itself.
type AttachOptions struct {
	Name string // shown to the consumer and to tools: "mpipe feed"
	// Reattach has the producer find the next consumer at the address, or the
	// next ring of the same one, by itself: Claim and End then wait for it as long
	// as their policy lets them and go on there. Formats are published again,
	// ended streams are ended again, the first frame of each stream carries
	// FlagDiscont, and Lost counts what was lost. A frame that finds no consumer in
	// time gets ErrFull. Without it such calls return ErrGone or ErrStopped, and
	// the program may call [Producer.Reattach].
	Reattach bool
}

// Producer is a process's end of a ring: of one attachment, and with Reattach of
// one after the other. All its methods may be called from any goroutine.
type Producer struct {
	addr    address
	hello   hello
	options AttachOptions
	streams []StreamSpec

	at     atomic.Pointer[attachment] // the current one
	closed atomic.Bool
	ended  [maxStreams]atomic.Bool
	fresh  [maxStreams]atomic.Bool // the next commit is the first of its attachment
	lost   atomic.Int64
	epochs atomic.Int64

	endMu   sync.Mutex // End; taken before mu
	control *Writer    // for End

	mu      sync.Mutex // publishing formats, changing at
	formats [maxFormats]atomic.Pointer[streamFormat]
	endSaid uint32 // streams whose end was committed in the current attachment

	search search // for the next attachment
}

func newProducer(a address, h hello, o AttachOptions, at *attachment) *Producer {
	p := &Producer{addr: a, hello: h, options: o, streams: h.streams}
	p.at.Store(at)
	p.epochs.Store(1)
	return p
}

// Streams lists what was declared.
func (p *Producer) Streams() []StreamSpec { return append([]StreamSpec(nil), p.streams...) }

// Consumer tells who reads.
func (p *Producer) Consumer() Peer { return p.at.Load().peer }

// Err says why the consumer takes no frames: [ErrStopped], or [ErrGone] with its
// reason where it gave one. nil while it takes them.
func (p *Producer) Err() error {
	at := p.at.Load()
	at.mu.Lock()
	defer at.mu.Unlock()
	if !at.mapped {
		return ErrClosed
	}
	return at.alive()
}

// SetVideo publishes a format of a stream and gives the id that its frames
// carry. The same format gives the same id. An attachment holds 256 formats in
// all.
func (p *Producer) SetVideo(stream int, f VideoFormat) (uint32, error) {
	if err := p.checkStream(stream, KindVideo); err != nil {
		return 0, err
	}
	if err := f.check(); err != nil {
		return 0, err
	}
	if n, most := f.Size(), p.streams[stream].MaxFrame; n > most {
		return 0, fmt.Errorf("ring: a %s picture of %dx%d takes %d bytes, but stream %q declared at most %d; declare more when attaching", f.FourCC, f.Width, f.Height, n, p.streams[stream].Name, most)
	}
	return p.publish(&streamFormat{Format: Format{Video: &f}, stream: uint16(stream), size: f.Size()})
}

// SetAudio is SetVideo for audio.
func (p *Producer) SetAudio(stream int, f AudioFormat) (uint32, error) {
	if err := p.checkStream(stream, KindAudio); err != nil {
		return 0, err
	}
	if err := f.check(); err != nil {
		return 0, err
	}
	return p.publish(&streamFormat{Format: Format{Audio: &f}, stream: uint16(stream), size: f.frameBytes()})
}

func (p *Producer) checkStream(stream int, k Kind) error {
	if stream < 0 || stream >= len(p.streams) {
		return fmt.Errorf("ring: stream %d of %d", stream, len(p.streams))
	}
	if p.streams[stream].Kind != k {
		return fmt.Errorf("ring: stream %q carries %s, not %s", p.streams[stream].Name, p.streams[stream].Kind, k)
	}
	return nil
}

// publish writes a format into the next free entry, unless the stream has it.
func (p *Producer) publish(f *streamFormat) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return 0, ErrClosed
	}
	for i := range p.formats {
		have := p.formats[i].Load()
		if have == nil {
			f.ID = uint32(i + 1)
			p.at.Load().publish(f)
			p.formats[i].Store(f)
			return f.ID, nil
		}
		if have.stream == f.stream && sameFormat(have, f) {
			return have.ID, nil
		}
	}
	return 0, fmt.Errorf("ring: stream %q needs a new format, but an attachment holds %d; attach again", p.streams[f.stream].Name, maxFormats)
}

func sameFormat(a, b *streamFormat) bool {
	if a.Video != nil && b.Video != nil {
		return *a.Video == *b.Video
	}
	return a.Audio != nil && b.Audio != nil && *a.Audio == *b.Audio
}

// Fill tells how much of a class's ring is in use, in bytes, and how many frames
// the consumer holds: what a producer needs to slow down before it must drop.
func (p *Producer) Fill(k Kind) (used, capacity int64, heldFrames int) {
	c, ok := k.class()
	at := p.at.Load()
	at.mu.Lock()
	defer at.mu.Unlock()
	if !ok || !at.mapped || !at.classes[c].used() {
		return 0, 0, 0
	}
	w := &at.classes[c]
	read, write := cursor(w.read.Load()), cursor(w.write.Load())
	held := at.cons.a64(consClasses + c*consClassSize + consHeld).Load()
	return int64(min(w.dist(read.pos(), write.pos()), w.capacity)) * granule, int64(w.capacity) * granule, int(held)
}

// End ends a stream, in order behind what was committed of it: the consumer
// takes a frame with FlagEOS. Claims of the stream fail with ErrEnded from then
// on. It waits for a free slot, and returns ErrGone when the consumer is gone.
// Ending a stream twice does nothing.
func (p *Producer) End(stream int) error {
	if stream < 0 || stream >= len(p.streams) {
		return fmt.Errorf("ring: stream %d of %d", stream, len(p.streams))
	}
	if p.closed.Load() {
		return ErrClosed
	}
	return p.end(stream, Block(0))
}

func (p *Producer) end(stream int, policy Policy) error {
	p.endMu.Lock()
	defer p.endMu.Unlock()
	if p.ended[stream].Load() {
		return nil
	}
	if p.control == nil {
		w, err := p.newWriter()
		if err != nil {
			return err
		}
		p.control = w
	}
	p.ended[stream].Store(true)
	for {
		s, err := p.control.reserve(stream, 0, 0, policy, true)
		if err != nil {
			p.ended[stream].Store(false)
			return err
		}
		s.Commit(Now(), 0, FlagEOS)
		if p.said(stream) {
			return nil
		}
	}
}

// said notes that a stream's end stands in the current attachment, so that it is
// said again in the next; false when that has come already.
func (p *Producer) said(stream int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.Load() != p.control.at {
		return false
	}
	p.endSaid |= 1 << stream
	return true
}

// Close ends the streams that are not ended, as far as there are free slots, and
// detaches: the consumer sees the end either way, behind what was committed.
// What is claimed and not committed by then is lost. Writers must not be used
// any more; the memory goes when the last of them is closed.
func (p *Producer) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	p.search.close()
	for i := range p.streams {
		_ = p.end(i, Drop) // a full ring is no reason to wait: the end of the attachment ends them too
	}
	p.endMu.Lock()
	if p.control != nil {
		_ = p.control.Close()
		p.control = nil
	}
	p.endMu.Unlock()
	p.mu.Lock() // after this nobody publishes
	at := p.at.Load()
	p.mu.Unlock()
	at.leave()
	at.release()
	return nil
}

// Writer takes an entry of the writer table: one for each goroutine that claims.
// An attachment has 64.
func (p *Producer) Writer() (*Writer, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	return p.newWriter()
}

func (p *Producer) newWriter() (*Writer, error) {
	w := &Writer{p: p}
	for {
		at := p.at.Load()
		err := w.bind(at)
		if err == nil || at == p.at.Load() {
			if err != nil {
				return nil, err
			}
			return w, nil
		}
	}
}

// bind takes an entry of an attachment's writer table.
func (w *Writer) bind(at *attachment) error {
	at.mu.Lock()
	defer at.mu.Unlock()
	if !at.mapped {
		return ErrClosed
	}
	for i := range maxWriters {
		e := at.seg[writersOff+i*writerSize:][:writerSize]
		if !e.a32(writerState).CompareAndSwap(writerFree, writerLive) {
			continue
		}
		fault(faultWriterEntry)
		e.a32(writerPID).Store(uint32(os.Getpid()))
		e.a32(writerTID).Store(0) // goroutines are not bound to threads
		at.users++
		w.at, w.index, w.entry, w.frames = at, i, e, e.a64(writerFrames).Load()
		return nil
	}
	return fmt.Errorf("ring: %d writers are in use; close one", maxWriters)
}
