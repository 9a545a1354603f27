package repair

import (
	"io"
	"math"
)

// judge says whether the file is whole, and what is wrong if it is not.
func (m *mkv) judge(fd *found, seg element, damaged int64) {
	var end int64
	for _, t := range m.order {
		s := &Stream{Codec: t.codec, Frames: t.frames, readBack: -1}
		if t.kind == 1 || t.kind == 2 { // video, audio
			s.readBack = t.frames
		}
		if t == m.partial {
			s.Cut = 1
			if t.frames > 1 {
				s.CutSeconds = float64((t.last-t.before)*int64(m.scale)) / 1e9
			}
		}
		fd.streams = append(fd.streams, s)
		end = max(end, t.end)
	}
	switch {
	case damaged > 0:
		fd.note("the file ends within a frame, or what follows is damaged, at byte %d of %d", damaged, m.in.size)
		fd.cutBytes = m.in.size - damaged
	case seg.unknown || !seg.whole:
		fd.note("the recording was never finished: its length is not written")
	}
	if m.duration <= 0 {
		fd.note("it has no duration")
	}
	if !m.cued {
		fd.note("it has no index (Cues), so it cannot be seeked in")
	}
	if fd.whole = len(fd.notes) == 0; fd.whole {
		return
	}
	head, tail := m.layOut(float64(max(end, 1))) // one frame alone lasts a unit
	fd.size = int64(len(head) + len(tail))
	for _, c := range m.clusters {
		fd.size += clusterHead + c.size
	}
	fd.write = func(w io.Writer) error { return m.write(w, head, tail) }
}

// ebml writes an element with its size in 8 bytes, which holds any and makes
// sizes known before contents.
func ebml(id uint32, body []byte) []byte {
	return append(ebmlHead(id, int64(len(body))), body...)
}

func ebmlHead(id uint32, size int64) []byte {
	b := be.AppendUint32(nil, id)
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return be.AppendUint64(b, 1<<56|uint64(size))
}

func ebmlUint(id uint32, v uint64) []byte { return ebml(id, be.AppendUint64(nil, v)) }

// clusterHead is the size of what ebmlHead writes for a cluster.
const clusterHead = 4 + 8

// layOut gives what comes before and behind the clusters: header, seek head,
// info, tracks and the like; cues.
func (m *mkv) layOut(end float64) (head, tail []byte) {
	info := ebml(idInfo, append(m.info, ebml(idDuration, be.AppendUint64(nil, math.Float64bits(end)))...))
	parts := append([][]byte{info}, m.others...)
	ids := append([]uint32{idInfo}, m.ids...)

	// Positions count from the content of the segment. The seek head's own size
	// does not depend on what is in it.
	seekSize := int64(len(seekHead(append(ids, idCues), make([]int64, len(ids)+1))))
	at := seekSize
	positions := make([]int64, 0, len(ids)+1)
	for _, p := range parts {
		positions = append(positions, at)
		at += int64(len(p))
	}
	var clusters []int64
	for _, c := range m.clusters {
		clusters = append(clusters, at)
		at += clusterHead + c.size
	}
	tail = m.cues(clusters)
	head = append(m.header[:len(m.header):len(m.header)], ebmlHead(idSegment, at+int64(len(tail)))...)
	head = append(head, seekHead(append(ids, idCues), append(positions, at))...)
	for _, p := range parts {
		head = append(head, p...)
	}
	return head, tail
}

const idSeek, idSeekID, idSeekPosition = 0x4DBB, 0x53AB, 0x53AC

func seekHead(ids []uint32, positions []int64) []byte {
	var list []byte
	for i, id := range ids {
		list = append(list, ebml(idSeek, append(ebml(idSeekID, be.AppendUint32(nil, id)), ebmlUint(idSeekPosition, uint64(positions[i]))...))...)
	}
	return ebml(idSeekHead, list)
}

const (
	idCuePoint, idCueTime, idCuePositions = 0xBB, 0xB3, 0xB7
	idCueTrack, idCueCluster              = 0xF7, 0xF1
)

// cues index each key frame of video. Without video, each cluster's first block
// will do: all of them decode on their own.
func (m *mkv) cues(clusters []int64) []byte {
	const video = 1
	hasVideo := false
	for _, t := range m.order {
		hasVideo = hasVideo || t.kind == video && t.frames > 0
	}
	var list []byte
	for i, c := range m.clusters {
		for _, k := range c.keys {
			if hasVideo && m.tracks[k.track].kind != video {
				continue
			}
			list = append(list, ebml(idCuePoint, append(ebmlUint(idCueTime, uint64(max(0, k.time))),
				ebml(idCuePositions, append(ebmlUint(idCueTrack, k.track), ebmlUint(idCueCluster, uint64(clusters[i]))...))...))...)
			if !hasVideo {
				break
			}
		}
	}
	return ebml(idCues, list)
}

func (m *mkv) write(w io.Writer, head, tail []byte) error {
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, c := range m.clusters {
		if _, err := w.Write(ebmlHead(idCluster, c.size)); err != nil {
			return err
		}
		for _, p := range c.pieces {
			if err := m.in.copy(w, p.off, p.n); err != nil {
				return err
			}
		}
	}
	_, err := w.Write(tail)
	return err
}
