package ring

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// AttachOptions are what a producer may say about itself.
type AttachOptions struct {
	Name string // shown to the consumer and to tools: "mpipe feed"
}

// Producer is a process's end of one attachment. All its methods may be called
// from any goroutine.
type Producer struct {
	g       *geometry
	seg     mem // the segment, read-write
	cons    mem // the consumer page, read-only
	streams []StreamSpec
	peer    Peer
	classes [classCount]writeClass

	consState *atomic.Uint32
	gone      atomic.Bool // the consumer is proven dead, or closed its connection
	closed    atomic.Bool
	ended     [maxStreams]atomic.Bool

	endMu   sync.Mutex // End; taken before mu
	control *Writer    // for End

	mu      sync.Mutex // publishing formats, the writer table, the mappings
	formats [maxFormats]atomic.Pointer[streamFormat]
	users   int // writers not closed: the mapping stays while there are any
	mapped  bool
	stop    func() // ends the watchers, closes the connection
}

// writeClass is one class's ring as writers see it.
type writeClass struct {
	classGeometry
	table        mem
	arena        mem
	write        *atomic.Uint64
	spaceWaiters *atomic.Uint32
	read         *atomic.Uint64 // in the consumer page: read-only
	spaceSeq     *atomic.Uint32 // likewise
}

// newProducer takes over the mappings. The caller starts the watchers and sets
// stop.
func newProducer(g *geometry, seg, cons mem, streams []StreamSpec) *Producer {
	p := &Producer{
		g: g, seg: seg, cons: cons, streams: streams, mapped: true, users: 1,
		peer:      readPeer(cons, consPID, consUID, consBoot, consName),
		consState: cons.a32(consState), stop: func() {},
	}
	for c := range g.classes {
		cg := g.classes[c]
		if !cg.used() {
			continue
		}
		words := seg[wordsOff+wordClasses+c*wordClassSize:]
		cc := cons[consClasses+c*consClassSize:]
		p.classes[c] = writeClass{
			classGeometry: cg, table: cg.table(seg), arena: cg.arena(seg),
			write: words.a64(wordWrite), spaceWaiters: words.a32(wordSpaceWaiters),
			read: cc.a64(consRead), spaceSeq: cc.a32(consSpaceSeq),
		}
	}
	fault(faultMapped)
	seg.a32(wordsOff + wordProducerState).Store(producerAttached)
	fault(faultAttached)
	return p
}

// Streams lists what was declared.
func (p *Producer) Streams() []StreamSpec { return append([]StreamSpec(nil), p.streams...) }

// Consumer tells who reads.
func (p *Producer) Consumer() Peer { return p.peer }

// alive tells whether the consumer takes frames, and if not, why.
func (p *Producer) alive() error {
	switch state := p.consState.Load(); state { // SYNC POINT state
	case consLive:
		if p.gone.Load() {
			return ErrGone
		}
		return nil
	case consStopping:
		if p.gone.Load() {
			return ErrGone
		}
		return ErrStopped
	case consInvalid, consRefused:
		return fmt.Errorf("%w: %s", ErrGone, p.cons.text(consReason, consReasonSize))
	default:
		return ErrGone
	}
}

// consumerGone is what a watcher calls.
func (p *Producer) consumerGone() {
	p.gone.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mapped {
		return
	}
	for c := range p.classes {
		if w := &p.classes[c]; w.used() {
			futexWake(w.spaceSeq, wakeAll)
		}
	}
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
	return p.publish(stream, &streamFormat{Format: Format{Video: &f}, stream: uint16(stream), size: f.Size()}, func(m mem) { encodeVideo(m, stream, f) })
}

// SetAudio is SetVideo for audio.
func (p *Producer) SetAudio(stream int, f AudioFormat) (uint32, error) {
	if err := p.checkStream(stream, KindAudio); err != nil {
		return 0, err
	}
	if err := f.check(); err != nil {
		return 0, err
	}
	return p.publish(stream, &streamFormat{Format: Format{Audio: &f}, stream: uint16(stream), size: f.frameBytes()}, func(m mem) { encodeAudio(m, stream, f) })
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
func (p *Producer) publish(stream int, f *streamFormat, encode func(mem)) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mapped || p.closed.Load() {
		return 0, ErrClosed
	}
	for i := range p.formats {
		have := p.formats[i].Load()
		if have == nil {
			f.ID = uint32(i + 1)
			entry := p.seg[formatsOff+i*formatSize:][:formatSize]
			encode(entry)
			fault(faultFormat)
			entry.a32(formatState).Store(formatPublished) // SYNC POINT format
			fault(faultPublished)
			p.formats[i].Store(f)
			return f.ID, nil
		}
		if have.stream == uint16(stream) && sameFormat(have, f) {
			return have.ID, nil
		}
	}
	return 0, fmt.Errorf("ring: stream %q needs a new format, but an attachment holds %d; attach again", p.streams[stream].Name, maxFormats)
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
	if !ok || !p.classes[c].used() {
		return 0, 0, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mapped {
		return 0, 0, 0
	}
	w := &p.classes[c]
	read, write := cursor(w.read.Load()), cursor(w.write.Load())
	held := p.cons.a64(consClasses + c*consClassSize + consHeld).Load()
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
		w, err := p.takeEntry()
		if err != nil {
			return err
		}
		p.control = w
	}
	p.ended[stream].Store(true)
	s, err := p.control.reserve(stream, 0, 0, policy, true)
	if err != nil {
		p.ended[stream].Store(false)
		return err
	}
	s.Commit(Now(), 0, FlagEOS)
	return nil
}

// Close ends the streams that are not ended, as far as there are free slots, and
// detaches: the consumer sees the end either way, behind what was committed.
// What is claimed and not committed by then is lost. Writers must not be used
// any more; the memory goes when the last of them is closed.
func (p *Producer) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	for i := range p.streams {
		_ = p.end(i, Drop) // a full ring is no reason to wait: the end of the attachment ends them too
	}
	p.endMu.Lock()
	if p.control != nil {
		_ = p.control.Close()
		p.control = nil
	}
	p.endMu.Unlock()
	p.mu.Lock()
	p.seg.a32(wordsOff + wordProducerState).Store(producerEnded) // SYNC POINT end
	fault(faultEnded)
	seq := p.seg.a32(wordsOff + wordDataSeq)
	seq.Add(1)
	futexWake(seq, 1)
	fault(faultUnsaid)
	p.mu.Unlock()
	p.stop() // without the lock: it waits for watchers, which take it
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave()
	return nil
}

// leave unmaps when the last user goes. p.mu is held.
func (p *Producer) leave() {
	p.users--
	if p.users == 0 {
		p.mapped = false
		_ = p.seg.unmap()
		_ = p.cons.unmap()
	}
}

// Writer takes an entry of the writer table: one for each goroutine that claims.
// An attachment has 64.
func (p *Producer) Writer() (*Writer, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	return p.takeEntry()
}

func (p *Producer) takeEntry() (*Writer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mapped {
		return nil, ErrClosed
	}
	for i := range maxWriters {
		e := p.seg[writersOff+i*writerSize:][:writerSize]
		if !e.a32(writerState).CompareAndSwap(writerFree, writerLive) {
			continue
		}
		fault(faultWriterEntry)
		e.a32(writerPID).Store(uint32(os.Getpid()))
		e.a32(writerTID).Store(0) // goroutines are not bound to threads
		p.users++
		return &Writer{p: p, index: i, entry: e, frames: e.a64(writerFrames).Load()}, nil
	}
	return nil, fmt.Errorf("ring: %d writers are in use; close one", maxWriters)
}

// goneAfter bounds how long a writer sleeps before it looks again whether the
// consumer lives: its watcher does so at once, this is for what it misses.
const goneAfter = 100 * time.Millisecond
