package ring

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// geometry is where everything is in one segment.
type geometry struct {
	ringID  uint64
	epoch   uint64
	size    int
	classes [classCount]classGeometry
}

// classGeometry is one class's part; slots is 0 when the class is not in use.
type classGeometry struct {
	span
	slotsOff int
	dataOff  int
	start    cursor
}

func (c *classGeometry) used() bool { return c.slots != 0 }

// arena cuts a class's payload out of a mapping of the whole segment.
func (c *classGeometry) arena(m mem) mem { return m[c.dataOff : c.dataOff+int(c.capacity)*granule] }

// table cuts a class's slots out.
func (c *classGeometry) table(m mem) mem {
	return m[c.slotsOff : c.slotsOff+int(c.slots)*slotSize]
}

// settle fills in the defaults and refuses what the layout cannot express.
func (cfg *Config) settle() error {
	if cfg.VideoBytes == 0 {
		cfg.VideoBytes = defaultVideoBytes
	}
	if cfg.AudioBytes == 0 {
		cfg.AudioBytes = defaultAudioBytes
	}
	if cfg.Slots == 0 {
		cfg.Slots = defaultSlots
	}
	if cfg.CopyLimit == 0 {
		cfg.CopyLimit = defaultCopyLimit
	}
	if cfg.WriterTimeout == 0 {
		cfg.WriterTimeout = defaultWriterTimeout
	}
	if cfg.AllowUID == nil {
		cfg.AllowUID = slices.Compact([]int{0, os.Getuid()})
	}
	if cfg.Mode == 0 {
		cfg.Mode = 0o600
	}
	if cfg.Mode&^0o777 != 0 || cfg.Mode&0o600 != 0o600 {
		return fmt.Errorf("ring: the mode %#o; allowed are 0600 to 0777", uint32(cfg.Mode))
	}
	for _, a := range []struct {
		kind Kind
		n    int64
	}{{KindVideo, cfg.VideoBytes}, {KindAudio, cfg.AudioBytes}} {
		if a.n < 2*pageSize || a.n > maxArenaBytes {
			return fmt.Errorf("ring: a %s arena of %d bytes; allowed are %d to %d", a.kind, a.n, 2*pageSize, int64(maxArenaBytes))
		}
	}
	if n := cfg.Slots; n < minSlots || n > maxSlots || n&(n-1) != 0 {
		return fmt.Errorf("ring: %d slots; allowed are powers of two from %d to %d", n, minSlots, maxSlots)
	}
	if cfg.CopyLimit < 0 {
		return fmt.Errorf("ring: a copy limit of %d bytes", cfg.CopyLimit)
	}
	return nil
}

// plan lays out a segment. used tells which classes get slots and an arena.
func plan(cfg Config, epoch uint64, used [classCount]bool) *geometry {
	g := &geometry{epoch: epoch, size: controlEnd}
	var id [8]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails
	g.ringID = binary.LittleEndian.Uint64(id[:])
	bytes := [classCount]int64{cfg.VideoBytes, cfg.AudioBytes}
	align := [classCount]uint64{videoAlign, audioAlign}
	for c := range g.classes {
		if !used[c] {
			continue
		}
		p := &g.classes[c]
		p.slots = uint32(cfg.Slots)
		p.align = align[c]
		p.capacity = uint64(roundUp(int(bytes[c]), pageSize)) / granule
		p.modulus = modulusFor(p.capacity)
		if cfg.startAtWrap {
			// A few claims before both the sequence and the position wrap.
			p.start = makeCursor(seqMask-5, p.modulus-p.capacity)
		}
		p.slotsOff = g.size
		g.size += roundUp(cfg.Slots*slotSize, pageSize)
		p.dataOff = g.size
		g.size += int(p.capacity) * granule
	}
	return g
}

// writeHeader fills a zeroed segment's immutable part and starts the cursors.
func (g *geometry) writeHeader(m mem) {
	m.put16(segMajor, abiMajor)
	m.put16(segMinor, abiMinor)
	m.put32(segHeaderSize, segClasses+classCount*segClassSize)
	m.put64(segRequired, featuresRequired)
	m.put64(segOptional, featuresOptional)
	m.put64(segRingID, g.ringID)
	m.put64(segEpoch, g.epoch)
	m.put64(segSize, uint64(g.size))
	m.put64(segWordsOff, wordsOff)
	m.put64(segMailboxOff, mailboxOff)
	m.put64(segWritersOff, writersOff)
	m.put32(segWriterCount, maxWriters)
	m.put32(segWriterSize, writerSize)
	m.put64(segStreamsOff, streamsOff)
	m.put32(segStreamCount, maxStreams)
	m.put32(segStreamSize, streamSize)
	m.put64(segFormatsOff, formatsOff)
	m.put32(segFormatCount, maxFormats)
	m.put32(segFormatSize, formatSize)
	m.put32(segSlotSize, slotSize)
	m.put32(segGranule, granule)
	m.put32(segConsumerPID, uint32(os.Getpid()))
	m.put32(segClassCount, classCount)
	boot, _ := startTicks(os.Getpid()) // 0 without /proc: the comparison is skipped
	m.put64(segConsumerBoot, boot)
	for i := range maxWriters {
		for c := range classCount {
			m.a64(writersOff + i*writerSize + writerIntent + 8*c).Store(intentNone)
		}
	}
	for c := range g.classes {
		p, at := &g.classes[c], segClasses+c*segClassSize
		if !p.used() {
			continue
		}
		m.put32(at+classKind, uint32(kinds[c]))
		m.put32(at+classSlots, p.slots)
		m.put64(at+classSlotsOff, uint64(p.slotsOff))
		m.put64(at+classDataOff, uint64(p.dataOff))
		m.put64(at+classCapacity, p.capacity)
		m.put64(at+classModulus, p.modulus)
		m.put32(at+classAlign, uint32(p.align))
		m.put64(at+classStart, uint64(p.start))
		m.a64(wordsOff + wordClasses + c*wordClassSize + wordWrite).Store(uint64(p.start))
	}
	// The magic comes last: a header that has it is complete.
	m.a64(segMagicOff).Store(segMagic)
}

// readHeader checks a segment's header against its size, for the side that did
// not make it.
func readHeader(m mem) (*geometry, error) {
	if len(m) < controlEnd || m.a64(segMagicOff).Load() != segMagic {
		return nil, fmt.Errorf("not a ring")
	}
	if v := m.u16(segMajor); v != abiMajor {
		return nil, fmt.Errorf("the ring has version %d, this program speaks version %d", v, abiMajor)
	}
	if bits := m.u64(segRequired) &^ featuresRequired; bits != 0 {
		return nil, fmt.Errorf("the ring requires the features %#x, which this program does not have", bits)
	}
	for _, f := range []struct {
		name string
		got  uint64
		want uint64
	}{
		{"size", m.u64(segSize), uint64(len(m))},
		{"words offset", m.u64(segWordsOff), wordsOff},
		{"mailbox offset", m.u64(segMailboxOff), mailboxOff},
		{"writer table", m.u64(segWritersOff), writersOff},
		{"writer count", uint64(m.u32(segWriterCount)), maxWriters},
		{"writer size", uint64(m.u32(segWriterSize)), writerSize},
		{"stream table", m.u64(segStreamsOff), streamsOff},
		{"stream count", uint64(m.u32(segStreamCount)), maxStreams},
		{"stream size", uint64(m.u32(segStreamSize)), streamSize},
		{"format table", m.u64(segFormatsOff), formatsOff},
		{"format count", uint64(m.u32(segFormatCount)), maxFormats},
		{"format size", uint64(m.u32(segFormatSize)), formatSize},
		{"slot size", uint64(m.u32(segSlotSize)), slotSize},
		{"granule", uint64(m.u32(segGranule)), granule},
		{"class count", uint64(m.u32(segClassCount)), classCount},
	} {
		if f.got != f.want {
			return nil, fmt.Errorf("the ring's %s is %d, want %d", f.name, f.got, f.want)
		}
	}
	g := &geometry{ringID: m.u64(segRingID), epoch: m.u64(segEpoch), size: len(m)}
	for c := range g.classes {
		if err := g.readClass(m, c); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *geometry) readClass(m mem, c int) error {
	at := segClasses + c*segClassSize
	kind := m.u32(at + classKind)
	if kind == 0 {
		return nil
	}
	p := &g.classes[c]
	slotsOff, dataOff := m.u64(at+classSlotsOff), m.u64(at+classDataOff)
	n, capacity := uint64(m.u32(at+classSlots)), m.u64(at+classCapacity)
	size := uint64(g.size)
	align := uint64(m.u32(at + classAlign))
	switch {
	case kind != uint32(kinds[c]):
		return fmt.Errorf("class %d of the ring has the kind %d", c, kind)
	case n < minSlots || n > maxSlots || n&(n-1) != 0:
		return fmt.Errorf("the ring has %d %s slots", n, kinds[c])
	case capacity == 0 || capacity > maxArenaBytes/granule || align == 0 || align > capacity || capacity%align != 0:
		return fmt.Errorf("the ring's %s arena has %d granules in steps of %d", kinds[c], capacity, align)
	case slotsOff < controlEnd || slotsOff%pageSize != 0 || slotsOff > size || n*slotSize > size-slotsOff,
		dataOff < controlEnd || dataOff%pageSize != 0 || dataOff > size || capacity*granule > size-dataOff:
		return fmt.Errorf("the ring's %s class lies outside of it", kinds[c])
	case m.u64(at+classModulus) != modulusFor(capacity):
		return fmt.Errorf("the ring's %s positions count modulo %d, want %d", kinds[c], m.u64(at+classModulus), modulusFor(capacity))
	}
	p.slots, p.align, p.capacity, p.modulus = uint32(n), align, capacity, m.u64(at+classModulus)
	p.slotsOff, p.dataOff = int(slotsOff), int(dataOff)
	p.start = cursor(m.u64(at + classStart))
	return nil
}

// writeConsumerPage fills a zeroed consumer page.
func (g *geometry) writeConsumerPage(m mem, name string, copyLimit int64, state uint32) {
	m.put16(consMajor, abiMajor)
	m.put16(consMinor, abiMinor)
	m.put32(consBytes, consSize)
	m.put64(consRingID, g.ringID)
	m.put64(consEpoch, g.epoch)
	m.put32(consPID, uint32(os.Getpid()))
	m.put32(consUID, uint32(os.Getuid()))
	boot, _ := startTicks(os.Getpid())
	m.put64(consBoot, boot)
	m.putText(consName, nameSize, name)
	m.put64(consCopyLimit, uint64(copyLimit))
	for c := range g.classes {
		m.a64(consClasses + c*consClassSize + consRead).Store(uint64(g.classes[c].start))
		m.a64(consClasses + c*consClassSize + consPeek).Store(uint64(g.classes[c].start))
	}
	m.a32(consState).Store(state)
	m.a64(consMagicOff).Store(consMagic)
}

// writeStreams records in the consumer page who was taken, with which streams.
func writeStreams(m mem, h hello, uid int) {
	m.put32(consProducerPID, uint32(h.pid))
	m.put32(consProducerUID, uint32(uid))
	m.put64(consProducerBoot, h.boot)
	m.putText(consProducerName, nameSize, h.name)
	for i, s := range h.streams {
		at := consStreams + i*consStreamSize
		m.put32(at+consSKind, uint32(s.Kind))
		m.put64(at+consSMaxFrame, uint64(s.MaxFrame))
		m.putText(at+consSName, streamNameSize, s.Name)
	}
	m.a32(consStreamCount).Store(uint32(len(h.streams)))
}

// errOtherRing: the two files of a named ring were opened while the consumer was
// replacing them.
var errOtherRing = errors.New("the consumer page belongs to another ring")

// checkConsumerPage is readHeader for the consumer page.
func checkConsumerPage(m mem, g *geometry) error {
	switch {
	case len(m) < consSize || m.a64(consMagicOff).Load() != consMagic:
		return fmt.Errorf("not a consumer page")
	case m.u16(consMajor) != abiMajor:
		return fmt.Errorf("the consumer page has version %d, this program speaks version %d", m.u16(consMajor), abiMajor)
	case m.u64(consRingID) != g.ringID || m.u64(consEpoch) != g.epoch:
		return errOtherRing
	}
	return nil
}

// part is a range of the segment's file.
type part struct{ off, n int }

// parts lists what the classes in use need; the file may have holes elsewhere.
func (g *geometry) parts(used [classCount]bool) []part {
	out := []part{{0, controlEnd}}
	for c := range g.classes {
		if p := &g.classes[c]; used[c] && p.used() {
			out = append(out, part{p.slotsOff, p.dataOff + int(p.capacity)*granule - p.slotsOff})
		}
	}
	return out
}

// touch allocates the parts and makes every page present: the first touch of a
// 1080p picture otherwise costs 1.4 to 3.5 ms at the worst moment.
func (g *geometry) touch(fd int, used [classCount]bool) error {
	for _, p := range g.parts(used) {
		// Without room for the whole ring, fail now and not by SIGBUS later.
		if err := unix.Fallocate(fd, 0, int64(p.off), int64(p.n)); err != nil {
			return fmt.Errorf("allocate %d bytes of shared memory: %w", p.n, err)
		}
		m, err := mapFile(fd, int64(p.off), p.n, unix.PROT_READ|unix.PROT_WRITE)
		if err != nil {
			return err
		}
		populate(m, unix.MADV_POPULATE_WRITE)
		_ = m.unmap()
	}
	return nil
}

// populate fills in the page tables of a mapping for the parts.
func (g *geometry) populate(m mem, used [classCount]bool, advice int) {
	for _, p := range g.parts(used) {
		populate(m[p.off:p.off+p.n], advice)
	}
}

// populate fills in page tables ahead of use. Before Linux 5.14 there is no such
// advice; the pages then come one by one.
func populate(m mem, advice int) { _ = unix.Madvise(m, advice) }
