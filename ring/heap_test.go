package ring

import (
	"log/slog"
	"math/rand"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// heapMem is Go memory on a page boundary: the backing that the race detector
// can see, because it ignores memory that Go did not allocate.
func heapMem(n int) mem {
	b := make([]byte, n+pageSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (pageSize - 1)
	return b[skip : skip+n : skip+n]
}

// heapPair is an attachment within this process over Go memory: the same code
// as over mappings, but for what remaps pages.
func heapPair(t testing.TB, cfg Config, streams []StreamSpec) (*Reader, *Producer) {
	t.Helper()
	if err := cfg.settle(); err != nil {
		t.Fatal(err)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	g := plan(cfg, 1, usedClasses(streams))
	seg := heapMem(g.size)
	b := backing{g: g, seg: seg, words: seg[wordsOff : wordsOff+pageSize], cons: heapMem(consSize), local: heapMem(localSize(g)), fd: -1}
	g.writeHeader(seg)
	g.writeConsumerPage(b.cons, "test", cfg.CopyLimit, consLive)
	h := hello{role: roleProducer, pid: os.Getpid(), name: "test", streams: streams}
	if err := fitStreams(streams, g); err != nil {
		t.Fatal(err)
	}
	writeStreams(b.cons, h, -1)
	r := newReader(b, h, h.peer(-1), cfg)
	at := newAttachment(g, seg, b.cons)
	p := newProducer(address{fd: -1}, h, AttachOptions{}, at)
	at.users++ // never unmapped: it is Go's
	t.Cleanup(func() { p.Close(); r.Close() })
	return r, p
}

// TestHeapWritersAndReader is what `go test -race` is for: several writers, a
// reader, and releases from yet another goroutine, over memory the detector
// sees. Everything that is not ordered by the protocol shows up as a race.
func TestHeapWritersAndReader(t *testing.T) {
	cfg := Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 16, startAtWrap: true}
	r, p := heapPair(t, cfg, []StreamSpec{{"v", KindVideo, 8 << 10}, {"a", KindAudio, 400}, {"w", KindVideo, 4 << 10}})
	const frames = 1500
	var wg sync.WaitGroup
	for s := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := writeCounted(p, s, frames); err != nil {
				t.Error(err)
			}
		}()
	}
	lent := make(chan Frame, 12)
	wg.Add(1)
	go func() {
		defer wg.Done()
		rng := rand.New(rand.NewSource(1))
		var held []Frame
		for f := range lent {
			held = append(held, f)
			if len(held) == 5 || len(lent) == 0 {
				rng.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
				for _, f := range held {
					f.Cell.Release()
				}
				held = held[:0]
			}
		}
	}()
	ctx := testCtx(t)
	next := make([]int, 3)
	for ended := 0; ended < 3; {
		idle := true
		for _, k := range kinds {
			if _, ok := r.Peek(k); !ok {
				continue
			}
			idle = false
			f := Frame{}
			if next[0]%3 == 0 {
				if f, _ = r.TakeCopy(k); f.Kind == 0 {
					t.Fatal("no copy")
				}
			} else {
				f = r.Take(k)
			}
			if f.Flags&FlagEOS != 0 {
				ended++
				continue
			}
			if err := checkCounted(f.Data, int(f.Stream), next[f.Stream], p.streams[f.Stream].MaxFrame); err != nil {
				t.Fatal(err)
			}
			next[f.Stream]++
			lent <- f
			r.Stats()
		}
		r.Reclaim()
		if idle {
			r.Wait(ctx, time.Second)
		}
		if ctx.Err() != nil || r.State() == Invalid {
			t.Fatalf("stuck: frames %v, %v\n%+v", next, r.Err(), r.Stats())
		}
	}
	close(lent)
	wg.Wait()
	for s, n := range next {
		if n != frames {
			t.Errorf("stream %d: %d frames, want %d", s, n, frames)
		}
	}
}
