package ring

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// attachment is one epoch as its producer sees it: the memory that one consumer
// made, and how that consumer is watched. It stays mapped while it is the
// producer's current one and while a writer is bound to it, so that a thread
// that was stopped in the middle of a frame finds its memory when it wakes.
type attachment struct {
	g       *geometry
	seg     mem // the segment, read-write
	cons    mem // the consumer page, read-only
	peer    Peer
	classes [classCount]writeClass

	consState *atomic.Uint32
	gone      atomic.Bool // the consumer is proven dead, or closed its connection
	link      *link       // nil in named mode

	mu     sync.Mutex // the writer table, the mappings
	users  int        // 1 for being current, 1 for each writer: the mapping stays while there are any
	over   bool       // another one is current
	lost   int64      // claims that were counted as lost, once over
	mapped bool
	left   bool
	stop   func() // ends what watches the consumer
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

// newAttachment takes over the mappings. The caller starts what watches the
// consumer and sets stop.
func newAttachment(g *geometry, seg, cons mem) *attachment {
	at := &attachment{
		g: g, seg: seg, cons: cons, mapped: true, users: 1,
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
		at.classes[c] = writeClass{
			classGeometry: cg, table: cg.table(seg), arena: cg.arena(seg),
			write: words.a64(wordWrite), spaceWaiters: words.a32(wordSpaceWaiters),
			read: cc.a64(consRead), spaceSeq: cc.a32(consSpaceSeq),
		}
	}
	fault(faultMapped)
	seg.a32(wordsOff + wordProducerState).Store(producerAttached)
	fault(faultAttached)
	return at
}

// alive tells whether the consumer takes frames, and if not, why.
func (at *attachment) alive() error {
	state := at.consState.Load() // SYNC POINT state
	switch {
	case state == consStopping && !at.gone.Load():
		return ErrStopped
	case state == consLive && !at.gone.Load():
		return nil
	case state == consLive || state == consStopping:
		return ErrGone
	}
	if reason := at.cons.text(consReason, consReasonSize); reason != "" {
		return fmt.Errorf("%w: %s", ErrGone, reason)
	}
	return ErrGone
}

// replaced tells that the consumer waits for this producer with another ring.
func (at *attachment) replaced() bool {
	return at.consState.Load() == consReplaced && !at.gone.Load()
}

// consumerGone is what a watcher calls.
func (at *attachment) consumerGone() {
	at.gone.Store(true)
	at.mu.Lock()
	defer at.mu.Unlock()
	if !at.mapped {
		return
	}
	for c := range at.classes {
		if w := &at.classes[c]; w.used() {
			futexWake(w.spaceSeq, wakeAll)
		}
	}
}

// publish writes a format into its entry.
func (at *attachment) publish(f *streamFormat) {
	entry := at.seg[formatsOff+int(f.ID-1)*formatSize:][:formatSize]
	if f.Video != nil {
		encodeVideo(entry, int(f.stream), *f.Video)
	} else {
		encodeAudio(entry, int(f.stream), *f.Audio)
	}
	fault(faultFormat)
	entry.a32(formatState).Store(formatPublished) // SYNC POINT format
	fault(faultPublished)
}

// leave tells the consumer that nothing more comes and closes the connection.
// The memory stays for who still uses it.
func (at *attachment) leave() {
	at.mu.Lock()
	if at.left {
		at.mu.Unlock()
		return
	}
	at.left = true
	if at.consState.Load() != consReplaced { // there, other threads may still finish frames
		at.seg.a32(wordsOff + wordProducerState).Store(producerEnded) // SYNC POINT end
		fault(faultEnded)
		seq := at.seg.a32(wordsOff + wordDataSeq)
		seq.Add(1)
		futexWake(seq, 1)
		fault(faultUnsaid)
	}
	at.mu.Unlock()
	// Without the lock: these wait for watchers, which take it.
	at.stop()
	at.link.close()
}

// release takes one user away and unmaps with the last. Of an attachment that is
// over it gives how many claims were lost since the last count: a writer that was
// stuck may still have claimed.
func (at *attachment) release() (lost int64) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.over {
		n := at.unused()
		lost, at.lost = n-at.lost, n
	}
	at.users--
	if at.users == 0 {
		at.mapped = false
		_ = at.seg.unmap()
		_ = at.cons.unmap()
	}
	return lost
}

// unused counts the claims that the consumer did not use up: those it never came
// to, and those it gave up. A consumer that is gone may have lost what it still
// held; one that replaced its ring delivers what it had taken.
func (at *attachment) unused() (n int64) {
	for c := range at.classes {
		w := &at.classes[c]
		if !w.used() {
			continue
		}
		from := cursor(w.read.Load())
		if at.consState.Load() == consReplaced {
			from = cursor(at.cons.a64(consClasses + c*consClassSize + consPeek).Load())
		}
		n += int64(seqDist(from.seq(), cursor(w.write.Load()).seq()))
	}
	return n + at.cons.i64(consAbandoned)
}

// wake wakes the consumer if it waits by the given word.
func (at *attachment) wake(word int) {
	words := at.seg[wordsOff:]
	if waiters := words.a32(word); waiters.Load() != 0 && waiters.Swap(0) != 0 {
		fault(faultTookWait)
		seq := words.a32(wordDataSeq)
		seq.Add(1)
		fault(faultMovedSeq)
		futexWake(seq, 1)
	}
}
