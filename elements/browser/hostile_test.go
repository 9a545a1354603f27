package browser

import (
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/ring"
)

// What a page must not do ends its session, with a reason that the page can read;
// what it had handed over before stays.
func TestAHostilePage(t *testing.T) {
	type change = func(p *page, f *intake.Frame)
	for _, c := range []struct {
		name, reason string
		change       change
	}{
		{"an unknown stream", "which is none of its class", func(_ *page, f *intake.Frame) { f.Stream = 31 }},
		{"a stream beyond the table", "which is none of its class", func(_ *page, f *intake.Frame) { f.Stream = 65535 }},
		{"a stream of the other class", "which is none of its class", func(_ *page, f *intake.Frame) { f.Stream = 1 }},
		{"more bytes than declared", "which declared at most", func(_ *page, f *intake.Frame) { f.Length = picture + 1 }},
		{"four gigabytes", "which declared at most", func(_ *page, f *intake.Frame) { f.Length = 1<<32 - 1 }},
		{"no bytes", "a frame of 0 bytes", func(_ *page, f *intake.Frame) { f.Length = 0 }},
		{"an end with bytes", "with the flags", func(_ *page, f *intake.Frame) { f.Flags = ring.FlagEOS }},
		{"unknown flags", "with the flags", func(_ *page, f *intake.Frame) { f.Flags = 0x40 }},
		{"another position", "at position", func(_ *page, f *intake.Frame) { f.Pos += 64 }},
		{"a position far away", "at position", func(_ *page, f *intake.Frame) { f.Pos = 1<<64 - 1 }},
		{"a stamp at boot", "that was captured", func(_ *page, f *intake.Frame) { f.PTS = 1 }},
		{"a stamp in the future", "that was captured", func(_ *page, f *intake.Frame) { f.PTS += int64(time.Hour) }},
		{"a negative stamp", "that was captured", func(_ *page, f *intake.Frame) { f.PTS = -1 }},
		{"a day long", "that was captured", func(_ *page, f *intake.Frame) { f.Duration = int64(24 * time.Hour) }},
		{"no format", "formats are 1 to 256", func(_ *page, f *intake.Frame) { f.Format = 0 }},
		{"a format beyond the table", "formats are 1 to 256", func(_ *page, f *intake.Frame) { f.Format = 257 }},
		{"a format not published", "not published", func(_ *page, f *intake.Frame) { f.Format = 9 }},
		{"a format of another stream", "not published for it", func(_ *page, f *intake.Frame) { f.Format = 2 }},
		{"too few bytes for the format", "bytes", func(_ *page, f *intake.Frame) { f.Length = 64 }},
		{"a format that is none", "unknown picture layout", func(p *page, f *intake.Frame) {
			p.put(p.bell, []byte("EVIL\x00"), intake.BellFormats+2*intake.FormatSize+0x18)
			p.format(3, 0, 1, pw, ph, "I420")
			p.put(p.bell, []byte("EVIL\x00"), intake.BellFormats+2*intake.FormatSize+0x18)
			f.Format = 3
		}},
		{"caps in a format", "colorimetry", func(p *page, f *intake.Frame) {
			p.format(3, 0, 1, pw, ph, "I420")
			p.put(p.bell, []byte("x,format=RGB\x00"), intake.BellFormats+2*intake.FormatSize+0x58)
			f.Format = 3
		}},
		{"strides that overflow", "stride", func(p *page, f *intake.Frame) {
			p.format(3, 0, 1, pw, ph, "I420")
			p.put(p.bell, []byte{255, 255, 255, 255}, intake.BellFormats+2*intake.FormatSize+0x28)
			f.Format = 3
		}},
		{"a picture larger than declared", "declared at most", func(p *page, f *intake.Frame) {
			p.format(3, 0, 1, 32000, 32000, "BGRA")
			f.Format = 3
		}},
		{"a shortened file", "of which its file holds", func(p *page, _ *intake.Frame) {
			if err := p.data.Truncate(100); err != nil {
				p.t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := start(t, dir, nil)
			p := newPage(t, dir, "", "")
			p.attach(dir)
			for i := range 5 {
				p.write(1, byte(i))
				p.write(0, byte(i))
			}
			for r.video.count() < 5 {
				time.Sleep(time.Millisecond)
			}
			f := p.record(0)
			c.change(p, &f)
			p.commit(0, f)
			if reason := p.until(intake.Invalid); !strings.Contains(reason, c.reason) {
				t.Errorf("the page hears %q, want %q in it", reason, c.reason)
			}
			if err := r.ended(); err != nil {
				t.Fatal(err)
			}
			r.video.whole(t, "video", 5)
			if !r.src.Report().ProducerDied {
				t.Error("the page does not count as dead")
			}
		})
	}
}

// A new format with each frame: 256 are taken, then the page is left.
func TestAFloodOfFormats(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	p := newPage(t, dir, "", "")
	p.attach(dir)
	p.write(1, 0)
	n := 0
	for id := 3; id <= intake.Formats; id++ {
		p.format(id, 0, 1, pw-id%32, ph-id/16, "I420")
		f := p.record(0)
		f.Format = uint32(id)
		extent, _ := intake.Place(0, p.capacity[0], f.Pos, f.Length)
		p.commit(0, f)
		p.pos[0] += extent
		n++
		for r.video.count() < n {
			if s, reason := p.state(); s != intake.Live {
				t.Fatalf("left after %d formats: %s", n, reason)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	// Numbers beyond the table, and a change of a published one, which is not seen.
	p.format(3, 0, 1, 16, 16, "BGRA")
	p.write(0, 0)
	f := p.record(0)
	f.Format = intake.Formats + 1
	p.commit(0, f)
	p.until(intake.Invalid)
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	if r.video.count() != n+1 {
		t.Errorf("%d frames arrived, want %d", r.video.count(), n+1)
	}
}

// Random bytes all over a page's files, and files cut short at any moment, for a
// while: mpipe lives, and another page of the same directory is whole.
func TestRandomBytes(t *testing.T) {
	seed := time.Now().UnixNano()
	if n, err := strconv.ParseInt(os.Getenv("MPIPE_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("MPIPE_SEED=%d", seed)
	rnd := rand.New(rand.NewSource(seed))
	dir := t.TempDir()
	good := start(t, dir, map[string]any{"page": "good"})
	bad := start(t, dir, map[string]any{"page": "bad", "on_producer_exit": "wait", "attach_timeout": "2s"})
	g := newPage(t, dir, "good", "")
	g.attach(dir)
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	for round := range rounds {
		b := newPage(t, dir, "bad", "")
		b.attach(dir)
		b.write(1, 0)
		b.write(0, 0)
		for range 20 {
			scratch(b, rnd)
		}
		b.die()
		g.write(0, byte(round))
		g.write(1, byte(round))
	}
	g.end()
	if err := good.ended(); err != nil {
		t.Fatal(err)
	}
	good.video.whole(t, "the good page", rounds)
	if err := bad.ended(); err != nil {
		t.Fatal(err)
	}
}

// scratch does one hostile thing.
func scratch(p *page, rnd *rand.Rand) {
	noise := make([]byte, 1+rnd.Intn(200))
	rnd.Read(noise)
	switch rnd.Intn(5) {
	case 0: // anywhere in the bell
		p.put(p.bell, noise, rnd.Int63n(intake.BellSize-256))
	case 1: // the next records, plausible in the words
		f := intake.Frame{
			Stream: rnd.Intn(3), Flags: ring.Flags(rnd.Intn(16)), Pos: p.pos[0] + uint64(rnd.Intn(2)), Length: rnd.Intn(2 * picture),
			Format: uint32(rnd.Intn(4)), PTS: ring.Now() + rnd.Int63n(1e9), Duration: rnd.Int63n(1e9),
		}
		p.commit(rnd.Intn(2), f)
	case 2:
		p.put(p.ack, noise, rnd.Int63n(intake.AckSize-256))
	case 3:
		f := []*os.File{p.bell, p.ack, p.data}[rnd.Intn(3)]
		_ = f.Truncate(rnd.Int63n(intake.BellSize))
	case 4:
		p.put(p.bell, noise[:min(len(noise), intake.Record)], intake.BellRecords+int64(rnd.Intn(2*intake.Records))*intake.Record)
	}
}
