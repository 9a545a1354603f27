package hls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// Samples of 90 pictures of 30 a second, a key frame every 15, in another order
// than shown, with 3 s of Opus; as mp4mux (fragment-duration=500 streamable=true)
// and mpegtsmux make them.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// memory is a Store that keeps all, and what was done in which order.
type memory struct {
	files map[string][]byte
	log   []string
	fail  string // creating this fails
}

type memoryFile struct {
	bytes.Buffer
	m    *memory
	name string
}

func (m *memory) Create(name string) (File, error) {
	if name == m.fail {
		return nil, errors.New("no room")
	}
	return &memoryFile{m: m, name: name}, nil
}

func (m *memory) Remove(name string) error {
	delete(m.files, name)
	m.log = append(m.log, "-"+name)
	return nil
}

func (f *memoryFile) Commit() error {
	if f.m.files == nil {
		f.m.files = map[string][]byte{}
	}
	f.m.files[f.name] = f.Bytes()
	f.m.log = append(f.m.log, f.name)
	return nil
}
func (f *memoryFile) Discard() { f.m.log = append(f.m.log, "discarded "+f.name) }

func record(t testing.TB, o Options, b []byte, pieces *rand.Rand) (*memory, *Playlist) {
	t.Helper()
	m := &memory{}
	o.Store, o.Playlist = m, "a.m3u8"
	r := New(o)
	for rest := b; len(rest) > 0; {
		n := len(rest)
		if pieces != nil {
			n = min(n, 1+pieces.IntN(400))
		}
		if _, err := r.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	list, err := Parse(string(m.files["a.m3u8"]))
	if err != nil {
		t.Fatal(err)
	}
	return m, list
}

func TestCut(t *testing.T) {
	for _, ts := range []bool{false, true} {
		b := sample(t, map[bool]string{false: "av.mp4", true: "av.ts"}[ts])
		o := Options{Kind: Event, TS: ts, Segment: time.Second}
		m, list := record(t, o, b, nil)
		if len(list.Segments) != 3 || !list.Ended || (list.Length()-3*time.Second).Abs() > time.Millisecond {
			t.Fatalf("ts %v: the playlist is\n%s", ts, list)
		}
		if list.String() != string(m.files["a.m3u8"]) {
			t.Errorf("read and written again it is\n%s", list)
		}
		if list.Target != 2 { // a segment, and 0.5 s from one key frame to the next
			t.Errorf("ts %v: the target duration is %d", ts, list.Target)
		}
		// However the bytes come, the same is made of them.
		m2, _ := record(t, o, b, rand.New(rand.NewPCG(1, 2)))
		for name, want := range m.files {
			if !bytes.Equal(m2.files[name], want) {
				t.Errorf("%s depends on how the bytes come", name)
			}
		}
		if !ts {
			continue
		}
		// All packets are there in their order; in front of all segments but the
		// first stand the tables.
		var all []byte
		for i, s := range list.Segments {
			p := m.files[s.Name]
			if i > 0 {
				if p[1]&0x1f != 0 || p[2] != 0 {
					t.Errorf("%s does not begin with a PAT", s.Name)
				}
				p = p[2*packetSize:]
			}
			all = append(all, p...)
		}
		if !bytes.Equal(all, b) {
			t.Error("the segments are not the stream that was cut")
		}
	}
}

// What is named is always there, in every kind of playlist; a live one slides.
func TestOrder(t *testing.T) {
	b := sample(t, "av.ts")
	for _, kind := range []Kind{Event, Live, VOD} {
		m, list := record(t, Options{Kind: kind, TS: true, Segment: 500 * time.Millisecond, Window: 2}, b, nil)
		there, shown := map[string]bool{}, 0
		for i, what := range m.log {
			if what[0] == '-' {
				delete(there, what[1:])
				continue
			}
			there[what] = true
			if what == "a.m3u8" && kind == VOD && i < len(m.log)-2 {
				t.Error("a VOD's playlist is there before its end")
			}
			if what == "a.m3u8" || what == "a.m3u8.part" {
				shown++
			}
		}
		for _, s := range list.Segments {
			if !there[s.Name] {
				t.Errorf("%s: %s is named and not there: %q", kind, s.Name, m.log)
			}
		}
		if shown != 7 {
			t.Errorf("%s: the playlist was written %d times, want once a segment and at the end", kind, shown)
		}
		if kind == Live && (list.First != 4 || len(list.Segments) != 2 || slices.Index(m.log, "-a-00000.ts") < slices.Index(m.log, "a-00005.ts")) {
			t.Errorf("live: %q\n%s", m.log, list)
		}
	}
}

// A track that begins later than the others does so in the segments too, and what
// is decoded before it is shown does not make pictures late.
func TestStartsAreKept(t *testing.T) {
	b := sample(t, "av.mp4")
	starts := func() []Start { return []Start{{Video, 2 * time.Second}, {Audio, 2300 * time.Millisecond}} }
	m, list := record(t, Options{Kind: Event, Segment: time.Second, Starts: starts, Zero: func() time.Time { return time.Unix(1000, 0) }}, b, nil)
	first, times := map[uint32]uint64{}, map[uint32]int64{}
	err := boxes(m.files["a-00000.m4s"], func(name string, body []byte, _ int) error {
		if name != "moof" {
			return nil
		}
		return boxes(body, func(name string, body []byte, _ int) error {
			if name != "traf" {
				return nil
			}
			var id uint32
			return boxes(body, func(name string, body []byte, _ int) error {
				switch name {
				case "tfhd":
					id = binary.BigEndian.Uint32(body[4:])
				case "tfdt":
					if _, ok := first[id]; !ok {
						first[id] = binary.BigEndian.Uint64(body[4:])
					}
				case "trun":
					if _, ok := times[id]; !ok && body[2]&8 != 0 {
						times[id] = int64(int32(binary.BigEndian.Uint32(body[24:])))
					}
				}
				return nil
			})
		})
	})
	if err != nil || first[1] != 0 || first[2] != 14400 { // 0.3 s of 48 kHz
		t.Errorf("%v: the tracks begin at %v, want 0 and 14400", err, first)
	}
	if got, ok := times[1]; !ok || got != 0 {
		t.Errorf("the first picture is shown %d (%v) after it is decoded, want 0", got, ok)
	}
	if at := list.Segments[0].At; !at.Equal(time.Unix(1002, 0)) {
		t.Errorf("the first segment is of %v", at)
	}
}

func TestBrokenStreams(t *testing.T) {
	for _, ts := range []bool{false, true} {
		b := sample(t, map[bool]string{false: "av.mp4", true: "av.ts"}[ts])
		r := New(Options{Store: &memory{}, Playlist: "a.m3u8", Kind: Event, TS: ts, Segment: time.Second})
		r.Write(b[:len(b)-100])
		if err := r.Finish(); !errors.Is(err, errCut) {
			t.Errorf("a stream that was cut got %v", err)
		}
		r = New(Options{Store: &memory{fail: "a-00001.ts"}, Playlist: "a.m3u8", Kind: Event, TS: ts, Segment: time.Second})
		if _, err := r.Write(b); ts && err == nil {
			t.Error("a store without room got no error")
		}
		if _, err := New(Options{Store: &memory{}, Playlist: "a.m3u8", TS: ts}).Write(make([]byte, 1000)); err == nil {
			t.Error("zeros were taken")
		}
	}
	// A second moov is another format.
	b := sample(t, "av.mp4")
	r := New(Options{Store: &memory{}, Playlist: "a.m3u8", Kind: Event, Segment: time.Second})
	if _, err := r.Write(append(slices.Clone(b), b...)); err == nil {
		t.Error("a second moov was taken")
	}
}

// A clock of 33 bits wraps after 26.5 hours.
func TestTheClockWraps(t *testing.T) {
	m := newTS(time.Second, nil)
	for i := range uint64(4) {
		m.advance((1<<33 - 180_000 + i*90_000) & (1<<33 - 1))
	}
	if m.now != 3*time.Second {
		t.Errorf("after the wrap it is %v, want 3s", m.now)
	}
}

func TestFolder(t *testing.T) {
	dir := Folder(t.TempDir())
	for _, n := range []string{"a.m3u8", "a-init.mp4", "a-00000.m4s", "a-123456.ts", ".a-00001.m4s.tmp", "a.m3u8.part", "a-b-00000.m4s", "a-1.ts", "other.txt"} {
		if err := os.WriteFile(string(dir)+"/"+n, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := dir.Clear("a.m3u8"); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(string(dir))
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if want := []string{"a-1.ts", "a-b-00000.m4s", "a.m3u8", "other.txt"}; !slices.Equal(names, want) {
		t.Errorf("left are %q, want %q", names, want)
	}
}

// Whatever comes, an error or a playlist whose every segment is there.
func fuzz(f *testing.F, ts bool, name string) {
	f.Add(sample(f, name)[:6000], 100)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		m := &memory{}
		r := New(Options{Store: m, Playlist: "a.m3u8", Kind: Event, TS: ts, Segment: time.Second, Starts: func() []Start { return []Start{{Video, 0}, {Audio, 1e9}} }})
		for piece = max(1, piece); len(b) > 0; {
			n := min(piece, len(b))
			if _, err := r.Write(b[:n]); err != nil {
				r.Abandon()
				return
			}
			b = b[n:]
		}
		if r.Finish() != nil || m.files["a.m3u8"] == nil {
			return
		}
		list, err := Parse(string(m.files["a.m3u8"]))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list.Segments {
			if len(m.files[s.Name]) == 0 {
				t.Errorf("%s is named and not there", s.Name)
			}
		}
	})
}

func FuzzFMP4(f *testing.F) { fuzz(f, false, "av.mp4") }
func FuzzTS(f *testing.F)   { fuzz(f, true, "av.ts") }
