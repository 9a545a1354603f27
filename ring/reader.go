package ring

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Cell is how the last user of a lent frame says that it is finished: it stores
// 0 in Held and then, if *WaitersAddr is not 0, adds 1 to *SeqAddr and wakes the
// shared futex there (SYNC POINT release). The reader owns the frame again once
// it has seen Held == 0.
//
// Cells live outside the Go heap and are never unmapped: see parking.
type Cell struct {
	Held        atomic.Uint32
	_           uint32
	WaitersAddr uintptr
	SeqAddr     uintptr
}

const cellSize = int(unsafe.Sizeof(Cell{}))

// Release does in Go what the last user does elsewhere, wake-up included.
func (c *Cell) Release() {
	waiters := (*atomic.Uint32)(addr(c.WaitersAddr))
	seq := (*atomic.Uint32)(addr(c.SeqAddr))
	c.Held.Store(0) // SYNC POINT release: seq_cst, before the look at the waiters
	if waiters.Load() != 0 {
		seq.Add(1)
		futexWake(seq, 1)
	}
}

// addr turns an address outside the Go heap, kept as a number so that C can
// read it, back into a pointer.
func addr(a uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }

// Frame is one frame as the reader found it.
type Frame struct {
	Stream   uint16
	Kind     Kind
	Seq      uint32 // number of the claim in its class, modulo 2^24
	FormatID uint32
	PTS      int64 // ns, CLOCK_MONOTONIC of capture
	Duration int64 // ns, 0 when unknown
	Flags    Flags
	Data     []byte // read-only; nil for FlagEOS
	Cell     *Cell  // nil before Take, and for FlagEOS: there is nothing to release
	Copied   bool   // Data is a copy outside the ring
}

// State of an attachment, as the reader sees it. It only moves forward.
type State uint8

const (
	Live    State = iota // the producer is attached
	Ended                // the producer said that it is finished
	Dead                 // the producer is proven dead, or closed its connection without a word
	Invalid              // the producer broke the protocol; Err says how, and nothing more is delivered
	Closed               // the reader was closed
	// Replaced: a writer of a live producer stood in the way of others for
	// Config.WriterTimeout. What was committed can still be taken; then
	// [Listener.Replace] gives the producer another ring.
	Replaced
)

func (s State) String() string {
	return [...]string{"live", "ended", "dead", "invalid", "closed", "replaced"}[min(s, Replaced)]
}

// Peer is a process at one end of a ring.
type Peer struct {
	PID   int       `json:"pid"`
	UID   int       `json:"uid"` // -1 when unknown
	Name  string    `json:"name"`
	Start time.Time `json:"start"`
}

func (p Peer) String() string { return fmt.Sprintf("%s (pid %d)", p.Name, p.PID) }

// backing is the memory of one attachment on the consumer's side.
type backing struct {
	g     *geometry
	seg   mem // the whole segment, mapped read-only
	words mem // its words page, mapped read-write
	cons  mem // the consumer page, mapped read-write
	local mem // parked memory: the waiters of this process, then the cells
	fd    int // the segment's file; -1 when the memory is Go's, which cannot be remapped
}

// Words at the start of backing.local. They are this process's alone: who
// releases a frame or makes room in the graph lives in the same process.
const (
	localRelease = 0 // u32: a release is to wake Wait
	localRoom    = cacheLine
	localCells   = 2 * cacheLine
)

// copiesPerReader bounds how many copies may be alive, whatever their size: each
// is a mapping, and Linux allows a process 65530.
const copiesPerReader = 4096

// cellsFor is how many cells a reader needs: a class can lend every slot, and
// as many frames may be evicted on top.
func cellsFor(g *geometry) int {
	n := copiesPerReader
	for c := range g.classes {
		n += 2 * int(g.classes[c].slots)
	}
	return n
}

func localSize(g *geometry) int { return roundUp(localCells+cellsFor(g)*cellSize, pageSize) }

// Reader is the consumer's end of one attachment. Its methods belong to one
// goroutine, except State, Err, Stats, Streams, Producer, Format, Wake and
// StopProducer, which any may call. Close must be the owner's last call.
type Reader struct {
	b        backing
	log      *slog.Logger
	streams  []Stream
	producer Peer
	classes  [classCount]*readClass
	formats  [maxFormats]atomic.Pointer[streamFormat]

	dataSeq, dataWaiters, fullWaiters *atomic.Uint32
	release, room                     *atomic.Uint32

	// Owner only.
	cells     []*Cell   // free
	older     []*Reader // of rings this one replaces, perhaps still held
	evicted   []evictedRange
	copies    []*copyBuf // out
	spare     []*copyBuf // free to be used again
	copyLimit int64
	alive     int64  // bytes of copies out and of evicted ranges
	ended     uint32 // streams whose FlagEOS was taken
	final     bool   // the write cursors are final: the attachment is over
	graceEnd  int64  // Replaced: when they become so, ns
	clock     int64  // ns, as of the last Reclaim
	lastSeq   uint32 // dataSeq when the owner last looked at its own conditions
	lastState State
	spins     int
	closed    bool

	writerTimeout time.Duration // 0: never

	state  atomic.Uint32
	hellos chan pendingProducer // over a socket: the HELLO said once more
	moved  bool                 // its connection is another reader's now
	again  atomic.Bool          // the producer may say HELLO once more: the ring is replaced
	peer   atomic.Uint32        // what the watchers saw: peerDied, peerHungUp
	over   chan struct{}        // closed when the attachment is over, however
	left   chan struct{}        // closed when the producer died or hung up

	mu       sync.Mutex // guards what follows, and the mappings against Stats
	err      error
	snapshot *Stats // the last word, once unmapped
	overOnce sync.Once
	leftOnce sync.Once
	stopPeer func() // ends the watchers, closes the connection
}

const (
	peerDied   = 1
	peerHungUp = 2
)

// newReader takes over the backing. The caller starts the watchers and sets
// stopPeer.
func newReader(b backing, h hello, producer Peer, cfg Config) *Reader {
	r := &Reader{
		b: b, log: cfg.Log, producer: producer, copyLimit: cfg.CopyLimit, writerTimeout: cfg.WriterTimeout,
		dataSeq:     b.words.a32(wordDataSeq),
		dataWaiters: b.words.a32(wordDataWaiters),
		fullWaiters: b.words.a32(wordFullWaiters),
		release:     b.local.a32(localRelease),
		room:        b.local.a32(localRoom),
		over:        make(chan struct{}),
		left:        make(chan struct{}),
		hellos:      make(chan pendingProducer, 1),
		stopPeer:    func() {},
	}
	r.streams = streamsOf(h)
	r.release.Store(0)
	r.room.Store(1) // room in the graph is rare and always worth a wake-up
	n := cellsFor(b.g)
	r.cells = make([]*Cell, 0, n)
	for i := range n {
		c := (*Cell)(unsafe.Pointer(&b.local[localCells+i*cellSize]))
		c.Held.Store(0)
		c.WaitersAddr = uintptr(unsafe.Pointer(r.release))
		c.SeqAddr = uintptr(unsafe.Pointer(r.dataSeq))
		r.cells = append(r.cells, c)
	}
	for c := range b.g.classes {
		for _, s := range h.streams {
			if s.Kind == kinds[c] {
				r.classes[c] = newReadClass(b, c)
				break
			}
		}
	}
	r.lastSeq = r.dataSeq.Load()
	r.clock = Now()
	return r
}

// Streams lists what the producer declared.
func (r *Reader) Streams() []Stream { return append([]Stream(nil), r.streams...) }

// Producer tells who writes.
func (r *Reader) Producer() Peer { return r.producer }

// class gives the ring of a kind, nil when no stream uses it.
func (r *Reader) class(k Kind) *readClass {
	c, ok := k.class()
	if !ok {
		return nil
	}
	return r.classes[c]
}

// State tells how the attachment stood when the owner last called Peek, Drained
// or Wait. What was committed before an end can still be taken after it.
func (r *Reader) State() State { return State(r.state.Load()) }

// Err says why the state is Dead, Invalid or Replaced; nil otherwise.
func (r *Reader) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Drained tells that nothing of the class can ever be delivered any more:
// the attachment is over and everything committed was taken. It is true for a
// class that no stream uses.
func (r *Reader) Drained(k Kind) bool {
	c := r.class(k)
	if c == nil || r.closed {
		return true
	}
	if r.State() == Invalid {
		return true
	}
	r.refresh()
	return r.final && !r.find(c) && c.next == c.end
}

// refresh notices the end of the producer, and writers that are stuck.
func (r *Reader) refresh() {
	switch {
	case r.final:
	case r.State() == Live:
		r.refreshLive()
	case r.State() == Replaced:
		r.settleReplaced()
	}
}

func (r *Reader) refreshLive() {
	// The watchers are looked at first: a producer that ends and then hangs up
	// stores its word before it closes the connection.
	peer := r.peer.Load()
	switch said := r.b.words.a32(wordProducerState).Load(); { // SYNC POINT end
	case said == producerEnded:
		if r.seal() {
			r.conclude(Ended, nil)
		}
	case peer&peerDied != 0:
		if r.seal() {
			r.conclude(Dead, fmt.Errorf("ring: producer %s died", r.producer))
		}
	case peer&peerHungUp != 0:
		if r.seal() {
			r.conclude(Dead, fmt.Errorf("ring: producer %s closed its connection without ending its streams", r.producer))
		}
	default:
		r.watchWriters()
	}
}

// seal takes the write cursors as they stand for final: whatever a process that
// only hung up, or got another ring, still writes is never looked at.
func (r *Reader) seal() bool {
	for _, c := range r.classes {
		if c == nil {
			continue
		}
		c.end = cursor(c.write.Load())
		if !c.plausible(c.end) {
			r.invalid(fmt.Errorf("the write cursor of the %s ring is %#x, which lies outside of it", c.kind, uint64(c.end)))
			return false
		}
	}
	r.final = true
	return true
}

// conclude moves the state forward and lets waiting writers know.
func (r *Reader) conclude(s State, err error) {
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	r.state.Store(uint32(s))
	r.b.cons.a32(consReaderState).Store(uint32(s))
	r.overOnce.Do(func() { close(r.over) })
}

// invalid ends the attachment because of what the producer wrote.
func (r *Reader) invalid(err error) {
	if r.State() == Invalid {
		return
	}
	for _, c := range r.classes {
		if c != nil {
			c.headOK = false
		}
	}
	r.conclude(Invalid, fmt.Errorf("ring: producer %s broke the protocol: %w", r.producer, err))
	r.log.Warn("ring: attachment ended", "producer", r.producer.String(), "reason", err)
	r.b.cons.putText(consReason, consReasonSize, err.Error())
	r.announce(consInvalid)
}

// announce tells every writer of the consumer's new state.
func (r *Reader) announce(state uint32) { announce(r.b.cons, state) }

// announce stores a state in the consumer page and tells.
func announce(cons mem, state uint32) {
	cons.a32(consState).Store(state) // SYNC POINT state
	wakeWriters(cons)
}

// wakeWriters wakes whoever could wait for a change of the state.
func wakeWriters(cons mem) {
	seq := cons.a32(consStateSeq)
	seq.Add(1)
	futexWake(seq, wakeAll)
	for c := range classCount {
		w := cons.a32(consClasses + c*consClassSize + consSpaceSeq)
		w.Add(1)
		futexWake(w, wakeAll)
	}
}

// StopProducer announces that nothing new is taken: Claim returns ErrStopped.
// What was claimed may still be committed and is delivered.
func (r *Reader) StopProducer() {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Not over a state that the owner sets at the same time: those are final.
	if r.snapshot == nil && r.b.cons.a32(consState).CompareAndSwap(consLive, consStopping) { // SYNC POINT state
		wakeWriters(r.b.cons)
	}
}

// Refuse ends a live attachment and tells the producer why. Nothing more is
// delivered; Close comes later.
func (r *Reader) Refuse(reason error) {
	if r.closed || r.State() != Live {
		return
	}
	r.conclude(Closed, nil)
	r.b.cons.putText(consReason, consReasonSize, reason.Error())
	r.announce(consRefused)
}

// peerEvent is what a watcher calls: it notes the fact and wakes Wait.
func (r *Reader) peerEvent(what uint32) {
	r.peer.Or(what)
	r.leftOnce.Do(func() { close(r.left) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.snapshot != nil {
		return
	}
	r.dataSeq.Add(1)
	futexWake(r.dataSeq, 1)
	r.overOnce.Do(func() { close(r.over) })
}
