package ring

// The layout of the two mappings, as FORMAT.md describes it and c/mpipe_ring.h
// repeats it (TestLayoutAgreesWithC compares the two). All integers are
// little-endian and naturally aligned.
//
// The attachment segment is what the producer writes: an immutable header, one
// page of shared words, the mailbox of named mode, the writer table, the
// producer's counters per stream, the format table, and for each class its
// descriptor slots and its payload arena.
//
// The consumer page is what the consumer alone writes: cursors, counters, the
// state of the attachment.

const (
	abiMajor = 1 // another major is another protocol
	abiMinor = 1 // a higher minor adds fields and optional features only

	segMagic     = 0x474e495245504950 // "PIPERING" in memory
	consMagic    = 0x534e4f4345504950 // "PIPECONS"
	helloMagic   = 0x4c4c454845504950 // "PIPEHELL", opens a HELLO
	welcomeMagic = 0x434c455745504950 // "PIPEWELC", opens a WELCOME

	// featuresRequired are the required feature bits this build understands;
	// there are none yet. A side that meets an unknown required bit refuses.
	featuresRequired = 0
	featuresOptional = 0

	granule   = 64   // bytes; the unit of positions: one cache line
	pageSize  = 4096 // bytes; the alignment of every part of a mapping
	cacheLine = 64

	classCount   = 2
	maxStreams   = 32  // per attachment; a bit set of streams fits a word
	maxWriters   = 64  // threads of one attachment that claim at the same time
	maxFormats   = 256 // per attachment, over its whole life
	maxSlots     = 1 << 16
	minSlots     = 4
	defaultSlots = 1024 // 34 s of 30 fps, 10 s of 100 Hz audio

	defaultVideoBytes = 64 << 20  // 21 pictures of 1080p I420
	defaultAudioBytes = 1 << 20   // 5 s of 48 kHz S16 stereo
	maxArenaBytes     = MaxArena  // keeps the position modulus far above any capacity
	defaultCopyLimit  = 256 << 20 // 82 pictures of 1080p I420, above x264's largest look-ahead

	videoAlign = 64 // granules: pages, so that a lent frame can be evicted page by page
	audioAlign = 1
)

// Segment header.
const (
	segMagicOff     = 0x00 // u64
	segMajor        = 0x08 // u16
	segMinor        = 0x0a // u16
	segHeaderSize   = 0x0c // u32, bytes of the immutable part
	segRequired     = 0x10 // u64 feature bits
	segOptional     = 0x18 // u64 feature bits
	segRingID       = 0x20 // u64, random, the same in the consumer page
	segEpoch        = 0x28 // u64, counts the attachments of a listener from 1
	segSize         = 0x30 // u64, bytes of the segment
	segWordsOff     = 0x38 // u64
	segMailboxOff   = 0x40 // u64
	segWritersOff   = 0x48 // u64
	segWriterCount  = 0x50 // u32
	segWriterSize   = 0x54 // u32
	segStreamsOff   = 0x58 // u64
	segStreamCount  = 0x60 // u32
	segStreamSize   = 0x64 // u32
	segFormatsOff   = 0x68 // u64
	segFormatCount  = 0x70 // u32
	segFormatSize   = 0x74 // u32
	segSlotSize     = 0x78 // u32
	segGranule      = 0x7c // u32
	segConsumerPID  = 0x80 // u32
	segClassCount   = 0x84 // u32
	segConsumerBoot = 0x88 // u64, start time of the consumer, clock ticks since boot
	segClasses      = 0x100
	segClassSize    = 0x80

	classKind     = 0x00 // u32; 0: the class is not in use
	classSlots    = 0x04 // u32, a power of two
	classSlotsOff = 0x08 // u64, of the first slot
	classDataOff  = 0x10 // u64, of the arena
	classCapacity = 0x18 // u64 granules
	classModulus  = 0x20 // u64 granules: positions count modulo this, a multiple of the capacity
	classAlign    = 0x28 // u32 granules: extents are rounded up to it
	classStart    = 0x30 // u64: where all three cursors began
)

// Words page: the only part of the segment that both sides write. Offsets are
// from its start; each word has a cache line of its own.
const (
	wordDataSeq       = 0x000 // u32 futex: the consumer sleeps on it
	wordDataWaiters   = 0x040 // u32: the consumer wants to be woken by a commit
	wordFullWaiters   = 0x080 // u32: the consumer wants to hear of a full ring
	wordProducerState = 0x0c0 // u32
	wordMailbox       = 0x100 // u32 futex of named mode
	wordClasses       = 0x200
	wordClassSize     = 0x100

	wordWrite        = 0x00 // u64 cursor, by class
	wordSpaceWaiters = 0x40 // u32, by class: writers that sleep for space

	producerNone     = 0
	producerAttached = 1
	producerEnded    = 2

	mailboxOpen = 0 // otherwise a pid with its marks: see named.go
)

// Offsets within the segment; fixed in this version, and written in the header.
const (
	wordsOff   = 1 * pageSize
	mailboxOff = 2 * pageSize
	writersOff = 3 * pageSize
	writerSize = 256
	streamsOff = writersOff + maxWriters*writerSize
	streamSize = 128
	formatsOff = streamsOff + maxStreams*streamSize
	formatSize = 256
	controlEnd = formatsOff + maxFormats*formatSize // slots and arenas follow
)

// Writer table entry. Everything but the state belongs to its writer alone.
const (
	writerState   = 0x00 // u32: 0 free, 1 live
	writerPID     = 0x04 // u32
	writerTID     = 0x08 // u32: the thread, 0 when the writer is not bound to one
	writerIntent  = 0x40 // u64 by class: the cursor it is about to claim, intentNone otherwise
	writerFrames  = 0x80 // u64, committed
	writerBytes   = 0x88 // u64, committed
	writerFull    = 0x90 // u64, dropped because the ring was full
	writerPolicy  = 0x98 // u64, dropped by the producer's own policy
	writerBlocked = 0xa0 // u64 ns
	writerRetries = 0xa8 // u64, lost compare-and-swaps
	writerAborted = 0xb0 // u64

	writerFree = 0
	writerLive = 1

	// intentNone is no cursor: positions stay below the modulus.
	intentNone = ^uint64(0)
)

// Producer's counters of a stream; any writer adds to them.
const (
	streamFull    = 0x00 // u64
	streamPolicy  = 0x08 // u64
	streamBlocked = 0x10 // u64 ns
)

// Format table entry; immutable once published. Its id is its index plus 1.
const (
	formatState    = 0x00 // u32: 0 free, 1 published
	formatKind     = 0x04 // u8
	formatPlanes   = 0x05 // u8
	formatStream   = 0x06 // u16
	formatWidth    = 0x08 // u32; audio: rate
	formatHeight   = 0x0c // u32; audio: channels
	formatFPSNum   = 0x10 // u32
	formatFPSDen   = 0x14 // u32
	formatMask     = 0x18 // u64, audio
	formatStrides  = 0x20 // u32 [4]
	formatOffsets  = 0x30 // u64 [4]
	formatName     = 0x50 // char [32]: fourcc or sample format, NUL-terminated
	formatColor    = 0x70 // char [32]: colorimetry
	formatChroma   = 0x90 // char [32]: chroma site
	formatTextSize = 32

	formatFree      = 0
	formatPublished = 1
)

// Descriptor slot. The first line is written between claim and CLAIMED, the
// second between CLAIMED and COMMITTED.
const (
	slotSize     = 128
	slotState    = 0x00 // u64: seq<<40 | writer<<8 | state
	slotClaim    = 0x08 // u64: the cursor it was claimed at
	slotExtent   = 0x10 // u64 granules, with the skipped tail
	slotOffset   = 0x18 // u64 bytes from the start of the arena
	slotLength   = 0x20 // u64 bytes
	slotStream   = 0x28 // u16
	slotKind     = 0x2a // u8
	slotFormat   = 0x2c // u32
	slotPTS      = 0x40 // i64 ns
	slotDuration = 0x48 // i64 ns
	slotFlags    = 0x50 // u32
	slotIndex    = 0x58 // u64: how many frames its writer had claimed before

	stateClaimed   = 1
	stateCommitted = 2
	stateAborted   = 3
)

// Consumer page.
const (
	consSize = 2 * pageSize

	consMagicOff     = 0x00 // u64
	consMajor        = 0x08 // u16
	consMinor        = 0x0a // u16
	consBytes        = 0x0c // u32, bytes of the page
	consRingID       = 0x10 // u64
	consEpoch        = 0x18 // u64
	consState        = 0x20 // u32
	consStateSeq     = 0x24 // u32 futex: counts changes of the state
	consPID          = 0x28 // u32
	consUID          = 0x2c // u32
	consBoot         = 0x30 // u64, start time, clock ticks since boot
	consProducerPID  = 0x38 // u32
	consProducerUID  = 0x3c // u32
	consProducerBoot = 0x40 // u64
	consStreamCount  = 0x48 // u32
	consReaderState  = 0x4c // u32: State, for tools
	consAdviceNum    = 0x50 // u32: frame rate the consumer advises; 0: none
	consAdviceDen    = 0x54 // u32
	consName         = 0x80 // char [64]
	consProducerName = 0xc0 // char [64]
	consReason       = 0x100
	consReasonSize   = 256

	consCopyLimit = 0x200 // u64 bytes
	consCopies    = 0x208 // u64 bytes alive
	consAbandoned = 0x210 // u64 claims
	consWaits     = 0x218 // u64
	consWakeUps   = 0x220 // u64
	consHeldSince = 0x228 // u64 ns: since when the oldest frame that is out is out; 0: none
	consHolder    = 0x230 // char [64]: the edge of the graph that holds frames up; "": none

	consClasses   = 0x300
	consClassSize = 0x100
	consRead      = 0x00 // u64 cursor
	consSpaceSeq  = 0x40 // u32 futex: writers sleep on it
	consPeek      = 0x80 // u64 cursor
	consHeld      = 0x88 // u64 frames
	consHeldMost  = 0x90
	consHeldBytes = 0x98
	consBytesMost = 0xa0
	consEvicted   = 0xa8 // u64 frames
	consEvictedB  = 0xb0 // u64 bytes

	consStreams    = 0x600
	consStreamSize = 0x80
	consSKind      = 0x00 // u32
	consSMaxFrame  = 0x08 // u64
	consSName      = 0x10 // char [48]
	consSFrames    = 0x40 // u64
	consSBytes     = 0x48
	consSCopied    = 0x50
	consSCopiedB   = 0x58
	consSAbandoned = 0x60

	consWaiting  = 0 // named mode: no producer yet
	consLive     = 1
	consStopping = 2 // claims are refused, committed frames still delivered
	consClosed   = 3
	consRefused  = 4 // the HELLO was refused: see the reason
	consInvalid  = 5 // the producer broke the protocol: see the reason
	consReplaced = 6 // another ring waits for the producer: see the reason
)

const (
	nameSize       = 64 // bytes of a peer's name, with its NUL
	streamNameSize = 48
)

// A constant index out of range fails to compile: these are the layout's
// assertions.
var (
	_ = [1]struct{}{}[controlEnd%pageSize]
	_ = [1]struct{}{}[streamsOff%pageSize]
	_ = [1]struct{}{}[formatsOff%pageSize]
	_ = [1]struct{}{}[pageSize%granule]
	_ = [1]struct{}{}[controlEnd-0x18000]
	_ = [wordClasses + classCount*wordClassSize]struct{}{}[wordMailbox]
	_ = [pageSize]struct{}{}[wordClasses+classCount*wordClassSize-1]
	_ = [consStreams]struct{}{}[consClasses+classCount*consClassSize-1]
	_ = [consSize]struct{}{}[consStreams+maxStreams*consStreamSize-1]
	_ = [consCopyLimit]struct{}{}[consReason+consReasonSize-1]
	_ = [consClasses]struct{}{}[consHolder+nameSize-1]
	_ = [slotSize]struct{}{}[slotIndex+7]
	_ = [formatSize]struct{}{}[formatChroma+formatTextSize-1]
	_ = [pageSize]struct{}{}[helloSize+maxStreams*helloStreamSize-1]
)

// cursor packs seq:24 | position:40, the position in granules modulo the
// class's modulus, so that one compare-and-swap claims a slot and its payload.
type cursor uint64

const (
	posBits = 40
	posMask = 1<<posBits - 1
	seqMask = 1<<24 - 1
)

func makeCursor(seq uint32, pos uint64) cursor {
	return cursor(uint64(seq&seqMask)<<posBits | pos&posMask)
}

func (c cursor) seq() uint32 { return uint32(c >> posBits) }
func (c cursor) pos() uint64 { return uint64(c) & posMask }

// seqDist is how many claims lie between two sequence numbers.
func seqDist(from, to uint32) uint32 { return (to - from) & seqMask }

// span is the geometry of one class that both sides compute with.
type span struct {
	slots    uint32
	capacity uint64 // granules
	modulus  uint64 // granules
	align    uint64 // granules
}

// modulusFor is the largest multiple of the capacity below 2^40-1, so that no
// cursor is intentNone and positions wrap without a seam: 64 TiB, eight days of
// 1080p30.
func modulusFor(capacity uint64) uint64 { return (posMask - 1) / capacity * capacity }

// dist is the granules from one position to a later one.
func (s span) dist(from, to uint64) uint64 {
	if to >= from {
		return to - from
	}
	return to + s.modulus - from
}

// place computes where n bytes claimed at pos go: the extent with the skipped
// tail, and the offset of the payload in the arena. A frame never wraps.
func (s span) place(pos uint64, n uint64) (extent, offset uint64) {
	need := (n + granule - 1) / granule
	need = (need + s.align - 1) / s.align * s.align
	at := pos % s.capacity
	if at+need > s.capacity {
		return s.capacity - at + need, 0
	}
	return need, at * granule
}

// next is the cursor behind a claim of extent granules at c.
func (s span) next(c cursor, extent uint64) cursor {
	pos := c.pos() + extent
	if pos >= s.modulus {
		pos -= s.modulus
	}
	return makeCursor(c.seq()+1, pos)
}
