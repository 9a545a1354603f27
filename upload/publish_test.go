package upload

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

// hls is a folder in which segments and a playlist appear, as a muxer makes them.
// The playlist has as many bytes as it names segments, so that a request tells.
type hls struct {
	t   *testing.T
	dir string
	n   int
}

func (h *hls) segment(p *Publisher) {
	h.t.Helper()
	name := fmt.Sprintf("seg-%d.ts", h.n)
	path := filepath.Join(h.dir, name)
	f, _ := os.Create(path)
	fill(f, uint64(h.n), int64(10_000+h.n))
	f.Close()
	if err := p.Add(path, name, "video/mp2t"); err != nil {
		h.t.Fatal(err)
	}
	os.Remove(path) // as a live window does
	h.n++
	list := filepath.Join(h.dir, "live.m3u8")
	os.WriteFile(list, bytes.Repeat([]byte("x"), h.n), 0o600)
	if err := p.AddIndex(list, "live.m3u8", "application/vnd.apple.mpegurl"); err != nil {
		h.t.Fatal(err)
	}
	os.WriteFile(list, []byte("being written"), 0o600)
}

func (h *hls) check(b *bench, p *servers.Proxy) {
	h.t.Helper()
	for i := range h.n {
		b.check(fmt.Sprintf("rec/42/seg-%d.ts", i), uint64(i), int64(10_000+i))
	}
	if got := b.Object(b.bucket, "rec/42/live.m3u8"); len(got) != h.n || bytes.Trim(got, "x") != nil && len(bytes.Trim(got, "x")) > 0 {
		h.t.Errorf("the playlist is %q, want one of %d segments", got, h.n)
	}
	there, named := map[string]bool{}, 0
	for _, q := range p.Requests() {
		if !q.Done || !q.Is("PUT", "") {
			continue
		}
		name := q.Path[strings.LastIndex(q.Path, "/")+1:]
		there[name] = true
		if name != "live.m3u8" {
			continue
		}
		if int(q.Bytes) < named {
			h.t.Errorf("a playlist of %d segments replaced one of %d", q.Bytes, named)
		}
		named = int(q.Bytes)
		for i := range named {
			if !there[fmt.Sprintf("seg-%d.ts", i)] {
				h.t.Errorf("a playlist named segment %d before it was there", i)
			}
		}
	}
}

func publisher(t *testing.T, o Options) *Publisher {
	t.Helper()
	p, err := Publish(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Suspend() })
	return p
}

// TestPublish: with a store that fails a third of all requests, no playlist ever
// names what is not there, and the last one is the last.
func TestPublish(t *testing.T) {
	noneLeft(t)
	b := newBench(t, servers.StartS3(t))
	seed := seedOf(t)
	x := servers.StartProxy(t, b.URL, seed)
	x.Set(servers.Faults{Busy: .1, Internal: .1, Cut: .1, Lost: .05})
	p := publisher(t, b.through(x.URL, "rec/42"))
	h := &hls{t: t, dir: t.TempDir()}
	for range 20 {
		h.segment(p)
		time.Sleep(5 * time.Millisecond)
	}
	r, err := p.Close(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if r.Parts != 40 || r.Location != "s3://"+b.bucket+"/rec/42/" {
		t.Errorf("%+v", r)
	}
	h.check(b, x)
	b.clean()
	if s := p.Stats(); s.Spooled != 0 || s.Confirmed != s.Written || s.PartsConfirmed != 40 {
		t.Errorf("%+v", s)
	}

	_, err = Publish(context.Background(), b.options("rec/42"))
	wantKind(t, err, Exists, "there are objects already")
	publisher(t, b.options("rec/4")) // another key, though it begins alike
}

// TestPublishTakenUp: what was added while the store was away is sent by whoever
// takes it up, though its files are long gone.
func TestPublishTakenUp(t *testing.T) {
	noneLeft(t)
	b := newBench(t, servers.StartS3(t))
	x := servers.StartProxy(t, b.URL, 1)
	p := publisher(t, b.through(x.URL, "rec/42/"))
	h := &hls{t: t, dir: t.TempDir()}
	h.segment(p)
	waitFor(t, func() bool { return p.Stats().PartsConfirmed == 2 })
	x.Set(servers.Faults{Busy: 1})
	for range 5 {
		h.segment(p)
	}
	if n := x.Count("PUT", ""); n != 2 {
		t.Fatalf("%d requests", n)
	}
	if err := p.Suspend(); err != nil {
		t.Fatal(err)
	}
	wantKind(t, p.Add(filepath.Join(h.dir, "live.m3u8"), "late", ""), Stopped)
	if l, _ := List(b.spool); len(l) != 1 || l[0].State != "cut" || l[0].Waiting < 50_000 {
		t.Errorf("list: %+v", l)
	}
	x.Set(servers.Faults{})
	if _, err := Resume(context.Background(), p.Spool(), b.through(x.URL, "")); err != nil {
		t.Fatal(err)
	}
	h.check(b, x)
	b.clean()
	// Of the five playlists, only the oldest and the newest were worth sending.
	if n := x.Count("PUT", ""); n != 2+5+2 {
		t.Errorf("%d requests", n)
	}
}

func TestPublishAborted(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	p := publisher(t, b.options("rec/42"))
	h := &hls{t: t, dir: t.TempDir()}
	h.segment(p)
	if err := p.Abort(context.Background()); err != nil {
		t.Error(err)
	}
	b.clean()
}
