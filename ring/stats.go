package ring

import "time"

// Stats are the counters of one attachment: totals since it began, but for what
// says "now".
type Stats struct {
	State       string        `json:"state"`
	Producer    Peer          `json:"producer"`
	Consumer    Peer          `json:"consumer"`
	Epoch       uint64        `json:"epoch"`
	Classes     []ClassStats  `json:"classes"`
	Streams     []StreamStats `json:"streams"`
	Writers     []WriterStats `json:"writers"`
	CopyLimit   int64         `json:"copy_limit_bytes"`
	CopiesAlive int64         `json:"copies_alive_bytes"` // now: pooled copies and evicted frames, in whole pages
	AdvisedFPS  float64       `json:"advised_fps"`        // now: what the consumer says that it can take; 0: any
	OldestHeld  time.Duration `json:"oldest_held_ns"`     // now: how long the oldest frame has been out
	Holder      string        `json:"holder"`             // now: the edge of the graph that holds frames up; "": none
	Abandoned   int64         `json:"abandoned"`          // claims that were never committed and never will be
	Waits       int64         `json:"waits"`              // how often the consumer slept
	WakeUps     int64         `json:"wake_ups"`           // how often it was woken
}

// ClassStats is one class's ring. Held counts frames lent to the graph, in the
// ring or as copies, as of the consumer's last Reclaim.
type ClassStats struct {
	Kind          Kind  `json:"kind"`
	Capacity      int64 `json:"capacity_bytes"`
	Used          int64 `json:"used_bytes"` // now: between read and write
	Slots         int   `json:"slots"`
	SlotsUsed     int   `json:"slots_used"`  // now
	HeldFrames    int64 `json:"held_frames"` // now
	HeldMost      int64 `json:"held_frames_most"`
	HeldBytes     int64 `json:"held_bytes"` // now
	HeldBytesMost int64 `json:"held_bytes_most"`
	Evicted       int64 `json:"evicted_frames"`
	EvictedBytes  int64 `json:"evicted_bytes"`
	Waiters       int   `json:"space_waiters"` // now: writers that wait for space
}

// StreamStats is one stream.
type StreamStats struct {
	ID            uint16        `json:"id"`
	Name          string        `json:"name"`
	Kind          Kind          `json:"kind"`
	Frames        int64         `json:"frames"` // delivered
	Bytes         int64         `json:"bytes"`
	Copied        int64         `json:"copied_frames"` // of Frames, those copied by TakeCopy or Evict, or because of an eviction
	CopiedBytes   int64         `json:"copied_bytes"`
	DroppedFull   int64         `json:"dropped_full"`   // by the producer: no room
	DroppedPolicy int64         `json:"dropped_policy"` // by the producer: its own choice
	Blocked       time.Duration `json:"blocked_ns"`     // how long writers waited for room
	Abandoned     int64         `json:"abandoned"`      // claims of this stream never committed
}

// WriterStats is one live entry of the writer table.
type WriterStats struct {
	Index         int           `json:"index"`
	TID           int           `json:"tid,omitempty"`
	Frames        int64         `json:"frames"` // committed
	Bytes         int64         `json:"bytes"`
	Aborted       int64         `json:"aborted"`
	DroppedFull   int64         `json:"dropped_full"`
	DroppedPolicy int64         `json:"dropped_policy"`
	Blocked       time.Duration `json:"blocked_ns"`
	Retries       int64         `json:"cas_retries"`
}

// Stats gives the counters. Any goroutine may ask at any time, also after Close.
func (r *Reader) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.snapshot != nil {
		s := *r.snapshot
		s.State = r.State().String()
		return s
	}
	return r.stats()
}

func (r *Reader) stats() Stats {
	s := readStats(r.b.g, r.b.seg, r.b.cons)
	s.Producer = r.producer
	s.State = r.State().String()
	return s
}

// readStats reads everything out of the two mappings, for Stats and Inspect
// alike. The segment is the producer's: what it says is believed, but bounded.
func readStats(g *geometry, seg, cons mem) Stats {
	s := Stats{
		State:       State(min(cons.a32(consReaderState).Load(), uint32(Replaced))).String(),
		Epoch:       g.epoch,
		Producer:    readPeer(cons, consProducerPID, consProducerUID, consProducerBoot, consProducerName),
		Consumer:    readPeer(cons, consPID, consUID, consBoot, consName),
		CopyLimit:   int64(cons.a64(consCopyLimit).Load()),
		CopiesAlive: int64(cons.a64(consCopies).Load()),
		Abandoned:   int64(cons.a64(consAbandoned).Load()),
		Waits:       int64(cons.a64(consWaits).Load()),
		WakeUps:     int64(cons.a64(consWakeUps).Load()),
	}
	a := readAdvice(cons)
	s.AdvisedFPS, s.OldestHeld, s.Holder = float64(a.FPSNum)/float64(max(a.FPSDen, 1)), a.Held, a.Holder
	inUse := [classCount]bool{}
	for i := range min(int(cons.a32(consStreamCount).Load()), maxStreams) {
		st := readStreamStats(seg, cons, i)
		if c, ok := st.Kind.class(); ok {
			inUse[c] = true
		}
		s.Streams = append(s.Streams, st)
	}
	for c := range g.classes {
		if p := &g.classes[c]; p.used() && inUse[c] {
			s.Classes = append(s.Classes, readClassStats(p, seg, cons, c))
		}
	}
	for i := range maxWriters {
		e := seg[writersOff+i*writerSize:][:writerSize]
		if e.a32(writerState).Load() == writerFree && e.a64(writerFrames).Load() == 0 {
			continue
		}
		s.Writers = append(s.Writers, WriterStats{
			Index: i, TID: int(e.a32(writerTID).Load()),
			Frames: e.i64(writerFrames), Bytes: e.i64(writerBytes), Aborted: e.i64(writerAborted),
			DroppedFull: e.i64(writerFull), DroppedPolicy: e.i64(writerPolicy),
			Blocked: time.Duration(e.i64(writerBlocked)), Retries: e.i64(writerRetries),
		})
	}
	return s
}

func readClassStats(p *classGeometry, seg, cons mem, c int) ClassStats {
	words := seg[wordsOff+wordClasses+c*wordClassSize:][:wordClassSize]
	cc := cons[consClasses+c*consClassSize:][:consClassSize]
	read, write := cursor(cc.a64(consRead).Load()), cursor(words.a64(wordWrite).Load())
	return ClassStats{
		Kind: kinds[c], Capacity: int64(p.capacity) * granule, Slots: int(p.slots),
		Used:       int64(min(p.dist(read.pos(), write.pos()), p.capacity)) * granule,
		SlotsUsed:  int(min(seqDist(read.seq(), write.seq()), p.slots)),
		HeldFrames: cc.i64(consHeld), HeldMost: cc.i64(consHeldMost),
		HeldBytes: cc.i64(consHeldBytes), HeldBytesMost: cc.i64(consBytesMost),
		Evicted: cc.i64(consEvicted), EvictedBytes: cc.i64(consEvictedB),
		Waiters: int(min(words.a32(wordSpaceWaiters).Load(), maxWriters)),
	}
}

func readStreamStats(seg, cons mem, i int) StreamStats {
	cs := cons[consStreams+i*consStreamSize:][:consStreamSize]
	ps := seg[streamsOff+i*streamSize:][:streamSize]
	return StreamStats{
		ID: uint16(i), Name: cs.text(consSName, streamNameSize), Kind: Kind(cs.u32(consSKind)),
		Frames: cs.i64(consSFrames), Bytes: cs.i64(consSBytes),
		Copied: cs.i64(consSCopied), CopiedBytes: cs.i64(consSCopiedB),
		Abandoned:   cs.i64(consSAbandoned),
		DroppedFull: ps.i64(streamFull), DroppedPolicy: ps.i64(streamPolicy),
		Blocked: time.Duration(ps.i64(streamBlocked)),
	}
}

// i64 loads a counter.
func (m mem) i64(off int) int64 { return int64(m.a64(off).Load()) }

func readPeer(cons mem, pid, uid, boot, name int) Peer {
	return Peer{
		PID: int(cons.u32(pid)), UID: int(int32(cons.u32(uid))),
		Name: cons.text(name, nameSize), Start: startedAt(cons.u64(boot)),
	}
}
