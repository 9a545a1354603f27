package ring

// Reclaim looks at the cells of lent frames, advances read over the longest
// prefix that is finished, and wakes writers that wait for space.
func (r *Reader) Reclaim() {
	if r.closed {
		return
	}
	r.reclaimAll()
}

func (r *Reader) reclaimAll() (progress bool) {
	r.clock = Now()
	if len(r.copies) > 0 && r.reclaimCopies() {
		progress = true
	}
	if len(r.evicted) > 0 && r.restore() {
		progress = true
	}
	for _, c := range r.classes {
		if c != nil && r.reclaim(c) {
			progress = true
		}
	}
	return progress
}

// reclaim advances read in one class.
func (r *Reader) reclaim(c *readClass) bool {
	at := c.read
	for at != c.next {
		e := c.entry(at.seq())
		if e.status == entryLent && !r.finished(c, e) {
			break
		}
		at = c.span.next(at, e.extent)
	}
	if at == c.read {
		r.flush(c)
		return false
	}
	c.read = at
	if r.State() == Replaced {
		return true // nothing is claimed there any more
	}
	c.readWord.Store(uint64(at)) // SYNC POINT space: seq_cst, before the look at the waiters
	if c.spaceWaiters.Load() != 0 {
		c.owed = true
		// While the ring is nearly full of small frames that are ready to be
		// taken, the consumer is the slow side, and waking a writer for each
		// slot would cost two system calls a frame. Wait flushes.
		if c.airy() || !r.ready(c) {
			r.flush(c)
		}
	}
	return true
}

// finished notices a release behind a lent entry.
func (r *Reader) finished(c *readClass, e *entry) bool {
	if e.cell.Held.Load() != 0 { // SYNC POINT release
		return false
	}
	c.back(int64(e.length))
	r.freeCell(e.cell)
	e.cell, e.status = nil, entryDone
	return true
}

// sweep notices releases behind frames that are still held, so that the counts
// of held frames are true.
func (r *Reader) sweep() {
	for _, c := range r.classes {
		if c == nil {
			continue
		}
		for at := c.read; at != c.next; {
			e := c.entry(at.seq())
			if e.status == entryLent {
				r.finished(c, e)
			}
			at = c.span.next(at, e.extent)
		}
	}
	r.age()
}

// airy tells that a waiting writer is worth a wake-up: a quarter of the ring is
// free, or frames are so large that a wake-up for each costs nothing in
// comparison.
func (c *readClass) airy() bool {
	if c.largest*64 > c.capacity {
		return true
	}
	w := cursor(c.write.Load())
	return c.capacity-min(c.used(w), c.capacity) >= c.capacity/4 && c.slots-min(seqDist(c.read.seq(), w.seq()), c.slots) >= c.slots/4
}

// ready tells whether the next slot holds something to take.
func (r *Reader) ready(c *readClass) bool {
	seq := c.next.seq()
	word := c.state(seq)
	return c.headOK || tagged(word, seq) && word&0xff == stateCommitted
}

// flush wakes the writers that read's progress was not yet told.
func (r *Reader) flush(c *readClass) {
	if !c.owed {
		return
	}
	c.owed = false
	c.spaceSeq.Add(1)
	futexWake(c.spaceSeq, wakeAll)
}
