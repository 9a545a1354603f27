package repair

// cluster reads the blocks of a cluster. next is where the following element
// begins; whole is false when the cluster's last child is not all there.
func (m *mkv) cluster(e element) (next int64, whole bool, err error) {
	c := &cluster{}
	blocks := 0
	defer func() {
		if blocks > 0 { // else it was begun and holds nothing
			m.clusters = append(m.clusters, c)
		}
	}()
	for off := e.body; off < e.end; {
		ch, ok, err := m.in.element(off)
		switch {
		case err != nil:
			return 0, false, err
		case !ok:
			return off, false, nil
		case e.unknown && levelOne[ch.id]:
			return off, true, nil
		case !ch.whole || ch.unknown || !e.unknown && ch.end > e.end:
			m.notePartial(ch)
			return off, false, nil
		}
		keep := true
		switch ch.id {
		case idTime:
			b, err := m.in.read(ch.body, 8)
			if err != nil {
				return 0, false, err
			}
			c.time = int64(uintOf(b[:min(len(b), int(ch.end-ch.body))]))
		case idSimpleBlock, idBlockGroup:
			if keep, err = m.block(c, ch); err != nil {
				return 0, false, err
			}
			blocks++
		case idPosition, idPrevSize, idVoid, idCRC:
			keep = false // they speak of the old file
		}
		if keep {
			c.pieces.add(ch.off, ch.end-ch.off)
			c.size += ch.end - ch.off
		}
		off = ch.end
	}
	return e.end, e.whole || e.unknown, nil
}

// groupHead is how much of a block group is read: its block's data may be large,
// and what tells of it comes before or behind.
const groupHead = 64

// block takes a block into account; false when it belongs to no track.
func (m *mkv) block(c *cluster, e element) (bool, error) {
	simple := e.id == idSimpleBlock
	body, refers, lasts := e.body, false, uint64(0)
	if !simple {
		body = 0
		for off := e.body; off < e.end; {
			ch, ok, err := m.in.element(off)
			if err != nil || !ok || ch.end > e.end {
				return false, err
			}
			switch ch.id {
			case idBlock:
				body = ch.body
			case idReference:
				refers = true
			case idBlockDuration:
				b, err := m.in.read(ch.body, int(min(8, ch.end-ch.body)))
				if err != nil {
					return false, err
				}
				lasts = uintOf(b)
			}
			off = ch.end
		}
		if body == 0 {
			return false, nil
		}
	}
	b, err := m.in.read(body, groupHead)
	if err != nil {
		return false, err
	}
	number, n := vint(b, 8, false)
	t := m.tracks[number]
	if n == 0 || len(b) < n+3 || t == nil {
		return false, nil
	}
	flags := b[n+2]
	key := simple && flags&0x80 != 0 || !simple && !refers
	frames := int64(1)
	if flags&0x06 != 0 && len(b) > n+3 {
		frames += int64(b[n+3])
	}
	t.take(c.time+int64(int16(be.Uint16(b[n:]))), frames, int64(lasts), m.scale)
	if key {
		c.keys = append(c.keys, cue{t.last, number})
	}
	return true, nil
}

// take notes a block of a track. Where nothing says how long it lasts, it lasts
// as long as the one before it.
func (t *mkvTrack) take(at, frames, lasts int64, scale uint64) {
	t.before, t.last = t.last, at
	t.frames += frames
	if lasts == 0 && t.frameTime > 0 {
		lasts = int64((t.frameTime*uint64(frames) + scale/2) / scale)
	}
	if lasts == 0 && t.frames > frames {
		lasts = max(0, t.last-t.before)
	}
	t.end = max(t.end, at+lasts)
}

// notePartial remembers which track lost a block at the end of the file.
func (m *mkv) notePartial(e element) {
	if e.id != idSimpleBlock {
		return
	}
	if b, err := m.in.read(e.body, 8); err == nil {
		if number, n := vint(b, 8, false); n > 0 {
			m.partial = m.tracks[number]
		}
	}
}
