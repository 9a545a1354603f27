package repair

import (
	"errors"
	"math"
)

// IDs of EBML and Matroska elements: RFC 8794, RFC 9559.
const (
	idSegment, idSeekHead, idInfo, idTracks = 0x18538067, 0x114D9B74, 0x1549A966, 0x1654AE6B
	idCluster, idCues, idTags, idChapters   = 0x1F43B675, 0x1C53BB6B, 0x1254C367, 0x1043A770
	idAttachments                           = 0x1941A469
	idDocType                               = 0x4282
	idVoid, idCRC                           = 0xEC, 0xBF
	idScale, idDuration                     = 0x2AD7B1, 0x4489
	idTrackEntry, idTrackNumber, idTrackTyp = 0xAE, 0xD7, 0x83
	idCodec, idDefaultDuration              = 0x86, 0x23E383
	idTime, idPosition, idPrevSize          = 0xE7, 0xA7, 0xAB
	idSimpleBlock, idBlockGroup, idBlock    = 0xA3, 0xA0, 0xA1
	idBlockDuration, idReference            = 0x9B, 0xFB
)

// levelOne are the children of a segment; one of them ends a cluster of unknown
// size.
var levelOne = map[uint32]bool{idSeekHead: true, idInfo: true, idTracks: true, idCluster: true, idCues: true, idTags: true, idChapters: true, idAttachments: true}

// element is an EBML element of the file.
type element struct {
	id      uint32
	off     int64 // of its first byte
	body    int64 // of its content
	end     int64 // behind its content; of the file where unknown
	unknown bool  // its size is not written
	whole   bool  // it ends within the file
}

// element reads the header of the element at an offset; ok is false where there
// is none.
func (in *input) element(off int64) (e element, ok bool, err error) {
	b, err := in.read(off, 12)
	if err != nil {
		return e, false, err
	}
	id, n := vint(b, 4, true)
	if n == 0 {
		return e, false, nil
	}
	size, m := vint(b[n:], 8, false)
	if m == 0 {
		return e, false, nil
	}
	e = element{id: uint32(id), off: off, body: off + int64(n+m)}
	e.unknown = size == 1<<(7*m)-1
	e.end = e.body + int64(size)
	e.whole = !e.unknown && int64(size) <= in.size-e.body
	if e.unknown || !e.whole {
		e.end = in.size
	}
	return e, true, nil
}

// vint reads a number of variable length; marked keeps the bit that tells the
// length, as IDs do. n is 0 when there is none.
func vint(b []byte, longest int, marked bool) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = 1
	for mask := byte(0x80); b[0]&mask == 0; mask >>= 1 {
		if n++; n > longest {
			return 0, 0
		}
	}
	if len(b) < n {
		return 0, 0
	}
	v = uint64(b[0])
	if !marked {
		v &= 1<<(8-n) - 1
	}
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}

// children takes an element in memory apart: header and content of each child.
func children(b []byte, each func(id uint32, all, body []byte)) {
	for len(b) > 0 {
		id, n := vint(b, 4, true)
		if n == 0 {
			return
		}
		size, m := vint(b[n:], 8, false)
		if m == 0 || size > uint64(len(b)-n-m) {
			return
		}
		end := n + m + int(size)
		each(uint32(id), b[:end], b[n+m:end])
		b = b[end:]
	}
}

func uintOf(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

func floatOf(b []byte) float64 {
	switch len(b) {
	case 4:
		return float64(math.Float32frombits(be.Uint32(b)))
	case 8:
		return math.Float64frombits(be.Uint64(b))
	}
	return 0
}

// mkv is a Matroska or WebM file taken apart.
type mkv struct {
	in       *input
	header   []byte // the EBML header
	info     []byte // content of Info, without the duration
	scale    uint64 // ns of a unit of time
	duration float64
	cued     bool
	others   [][]byte // elements that are kept as they are, Tracks among them
	ids      []uint32 // of others
	tracks   map[uint64]*mkvTrack
	order    []*mkvTrack
	clusters []*cluster
	partial  *mkvTrack // the track of the block at the end that is not whole
}

type mkvTrack struct {
	number, kind uint64
	codec        string
	frameTime    uint64 // ns; 0 is unknown
	frames       int64
	last, before int64 // times of the last two blocks, in units
	end          int64
}

// cluster is a cluster, rebuilt of what is whole in it.
type cluster struct {
	time   int64
	pieces spans
	keys   []cue
	size   int64 // of pieces
}

type cue struct {
	time  int64
	track uint64
}

func readMatroska(in *input) (*found, error) {
	m := &mkv{in: in, scale: 1e6, tracks: map[uint64]*mkvTrack{}}
	fd := &found{container: "mkv"}
	seg, err := m.begin(fd)
	if err != nil {
		return nil, err
	}
	damaged, err := m.segment(seg)
	if err != nil {
		return nil, err
	}
	if len(m.clusters) == 0 {
		return nil, errors.New("no frame in it is whole: nothing can be done")
	}
	if m.order == nil {
		return nil, errors.New("its list of tracks is missing: nothing can be done")
	}
	m.judge(fd, seg, damaged)
	return fd, nil
}

// begin reads the EBML header and finds the segment.
func (m *mkv) begin(fd *found) (element, error) {
	none := errors.New("its header is damaged: nothing can be done")
	head, ok, err := m.in.element(0)
	if err != nil || !ok || !head.whole {
		return head, errors.Join(none, err)
	}
	if m.header, err = m.in.read(0, int(min(head.end, 4096))); err != nil {
		return head, err
	}
	children(m.header[head.body:], func(id uint32, _, body []byte) {
		if id == idDocType && string(body) == "webm" {
			fd.container = "webm"
		}
	})
	seg, ok, err := m.in.element(head.end)
	if err != nil || !ok || seg.id != idSegment {
		return seg, errors.Join(none, err)
	}
	return seg, nil
}

// maxHead is the largest element beside clusters that is read; attachments can
// be fonts or a cover.
const maxHead = 256 << 20

// segment reads the segment's children. damaged is the offset from which on
// nothing is whole; 0 when all is.
func (m *mkv) segment(seg element) (damaged int64, err error) {
	for off := seg.body; off < seg.end; {
		e, ok, err := m.in.element(off)
		if err != nil {
			return 0, err
		}
		if !ok || !levelOne[e.id] && e.id != idVoid && e.id != idCRC {
			return off, nil
		}
		if e.id == idCluster {
			next, whole, err := m.cluster(e)
			if err != nil || !whole {
				return next, err
			}
			off = next
			continue
		}
		if !e.whole || e.end-e.off > maxHead {
			return off, nil
		}
		if err := m.head(e); err != nil {
			return 0, err
		}
		off = e.end
	}
	return 0, nil
}

// head reads one of the elements around the clusters.
func (m *mkv) head(e element) error {
	if e.id == idVoid || e.id == idCRC || e.id == idSeekHead {
		return nil
	}
	b, err := m.in.read(e.off, int(e.end-e.off))
	if err != nil {
		return err
	}
	body := b[e.body-e.off:]
	switch e.id {
	case idInfo:
		m.readInfo(body)
		return nil
	case idCues:
		m.cued = true
		return nil
	case idTracks:
		children(body, func(id uint32, _, entry []byte) {
			if id == idTrackEntry {
				m.readTrack(entry)
			}
		})
	}
	m.others, m.ids = append(m.others, b), append(m.ids, e.id)
	return nil
}

func (m *mkv) readInfo(body []byte) {
	m.info = nil
	children(body, func(id uint32, all, v []byte) {
		switch id {
		case idDuration:
			m.duration = floatOf(v)
			return
		case idVoid, idCRC:
			return
		case idScale:
			m.scale = max(1, uintOf(v))
		}
		m.info = append(m.info, all...)
	})
}

func (m *mkv) readTrack(entry []byte) {
	t := &mkvTrack{}
	children(entry, func(id uint32, _, v []byte) {
		switch id {
		case idTrackNumber:
			t.number = uintOf(v)
		case idTrackTyp:
			t.kind = uintOf(v)
		case idCodec:
			t.codec = string(v)
		case idDefaultDuration:
			t.frameTime = uintOf(v)
		}
	})
	if m.tracks[t.number] == nil {
		m.tracks[t.number] = t
		m.order = append(m.order, t)
	}
}
