package ring

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testCtx ends before the test binary's own deadline, so that a wedge is an
// error with a place and not a dump of goroutines.
func testCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// testAddrs gives an address of each mode, nothing of which outlives the test.
func testAddrs(t testing.TB) map[string]string {
	dir := t.TempDir()
	return map[string]string{
		"named": filepath.Join(dir, "ring"),
		"shm":   fmt.Sprintf("mpipe-test-%d", os.Getpid()),
		"unix":  "unix:" + filepath.Join(dir, "ring.sock"),
	}
}

// attachPair makes both ends in this process.
func attachPair(t testing.TB, addr string, cfg Config, streams []StreamSpec) (*Reader, *Producer) {
	t.Helper()
	ctx := testCtx(t)
	l, err := Listen(addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got := make(chan *Producer, 1)
	fail := make(chan error, 1)
	go func() {
		p, err := Attach(ctx, addr, streams, AttachOptions{Name: "test"})
		if err != nil {
			fail <- err
			return
		}
		got <- p
	}()
	r, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case p := <-got:
		t.Cleanup(func() { r.Close(); p.Close() })
		return r, p
	case err := <-fail:
		t.Fatal(err)
		return nil, nil
	}
}

var grey = VideoFormat{FourCC: "GRAY8", Width: 64, Height: 16, Planes: 1, Strides: [4]int{64}, FPSDen: 1}

func TestFramesArriveInOrder(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			cfg := Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8, startAtWrap: true}
			r, p := attachPair(t, addr, cfg, []StreamSpec{
				{"v", KindVideo, 8 << 10}, {"a", KindAudio, 400},
			})
			const frames = 3000
			done := make(chan error, 2)
			go func() { done <- writeCounted(p, 0, frames) }()
			go func() { done <- writeCounted(p, 1, frames) }()
			readCounted(t, r, frames)
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// writeCounted writes frames whose length and bytes follow from their number,
// and ends the stream.
func writeCounted(p *Producer, stream, frames int) error {
	w, err := p.Writer()
	if err != nil {
		return err
	}
	defer w.Close()
	most := p.streams[stream].MaxFrame
	var id uint32
	if p.streams[stream].Kind == KindVideo {
		id, err = p.SetVideo(stream, grey)
	} else {
		id, err = p.SetAudio(stream, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 1})
	}
	if err != nil {
		return err
	}
	for i := range frames {
		s, err := w.Claim(stream, id, countedLen(stream, i, most), Block(0))
		if err != nil {
			return fmt.Errorf("stream %d, frame %d: %w", stream, i, err)
		}
		fillCounted(s.Data, stream, i)
		s.Commit(int64(i), 0, 0)
	}
	return p.End(stream)
}

func countedLen(stream, i, most int) int {
	if most > 1024 {
		return 1024 + i*37%(most-1024)
	}
	return 2 * (4 + i*13%(most/2-4))
}

func fillCounted(b []byte, stream, i int) {
	binary.LittleEndian.PutUint32(b, uint32(i))
	b[4] = byte(stream)
	for j := 5; j < len(b); j++ {
		b[j] = byte(i + j)
	}
}

func checkCounted(b []byte, stream, i, most int) error {
	if want := countedLen(stream, i, most); len(b) != want {
		return fmt.Errorf("stream %d, frame %d: %d bytes, want %d", stream, i, len(b), want)
	}
	if n := binary.LittleEndian.Uint32(b); n != uint32(i) || b[4] != byte(stream) {
		return fmt.Errorf("stream %d, frame %d: found frame %d of stream %d", stream, i, n, b[4])
	}
	for j := 5; j < len(b); j++ {
		if b[j] != byte(i+j) {
			return fmt.Errorf("stream %d, frame %d: byte %d is %d, want %d", stream, i, j, b[j], byte(i+j))
		}
	}
	return nil
}

// readCounted takes what writeCounted wrote, of every stream, until all ended.
func readCounted(t *testing.T, r *Reader, frames int) {
	t.Helper()
	ctx := testCtx(t)
	next := make([]int, len(r.Streams()))
	ended := 0
	for ended < len(next) {
		idle := true
		for _, k := range kinds {
			f, ok := r.Peek(k)
			if !ok {
				continue
			}
			idle = false
			f = r.Take(k)
			if f.Flags&FlagEOS != 0 {
				ended++
				continue
			}
			s := int(f.Stream)
			if err := checkCounted(f.Data, s, next[s], r.Streams()[s].MaxFrame); err != nil {
				t.Fatal(err)
			}
			next[s]++
			f.Cell.Release()
		}
		r.Reclaim()
		if idle {
			r.Wait(ctx, time.Second)
		}
		if ctx.Err() != nil || r.State() == Invalid {
			t.Fatalf("stuck: frames %v, state %v, %v\n%+v", next, r.State(), r.Err(), r.Stats())
		}
	}
	for s, n := range next {
		if n != frames {
			t.Errorf("stream %d: %d frames, want %d", s, n, frames)
		}
	}
}

// TestNowIsTheClockOfOthers: stamps of Go and of C compare.
func TestNowIsTheClockOfOthers(t *testing.T) {
	for range 100 {
		before := Now()
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		if after := Now(); ts.Nano() < before-100_000 || ts.Nano() > after+100_000 {
			t.Fatalf("the clock says %d, between %d and %d by Now", ts.Nano(), before, after)
		}
	}
}
