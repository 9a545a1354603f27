package upload

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

func mustPublish(t *testing.T, o Options) *Publication {
	t.Helper()
	p, err := Publish(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Suspend() })
	return p
}

func put(t *testing.T, p *Publication, name, text string) {
	t.Helper()
	f, err := p.Create(name, "text/plain")
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// puts are the names of the objects that the store took, in order.
func puts(p *servers.Proxy) (names []string) {
	for _, r := range p.Requests() {
		if r.Is("PUT", "") && r.Done {
			names = append(names, r.Path[strings.LastIndex(r.Path, "/")+1:])
		}
	}
	return names
}

// A store with every kind of fault gets each file before the list that names it,
// and keeps nothing that was removed.
func TestPublishInOrder(t *testing.T) {
	noneLeft(t)
	b, seed := newBench(t, servers.StartS3(t)), seedOf(t)
	proxy := servers.StartProxy(t, b.URL, seed)
	proxy.Set(servers.Faults{Busy: .1, Internal: .1, Cut: .1, Lost: .1})
	p := mustPublish(t, b.through(proxy.URL, "live/list"))
	for i := range 20 {
		put(t, p, fmt.Sprint("s", i), strings.Repeat(fmt.Sprint(i), 3000))
		put(t, p, "list", fmt.Sprint(i))
		if i >= 5 {
			if err := p.Remove(fmt.Sprint("s", i-5)); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := p.Close(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	order := puts(proxy)
	for i := 15; i < 20; i++ { // earlier ones may have been removed before their turn
		if at := slices.Index(order, fmt.Sprint("s", i)); at < 0 || at > len(order)-2 {
			t.Errorf("s%d is not in the store before the last list: %q", i, order)
		}
	}
	if order[len(order)-1] != "list" {
		t.Errorf("the last that was sent is not the list: %q", order)
	}
	if got := string(b.Object(b.bucket, "live/list")); got != "19" || r.Verified != "crc32" {
		t.Errorf("the list says %q, the result %+v", got, r)
	}
	if got := string(b.Object(b.bucket, "live/s19")); got != strings.Repeat("19", 3000) {
		t.Errorf("s19 has %d bytes", len(got))
	}
	if keys := b.Keys(b.bucket); len(keys) != 6 {
		t.Errorf("the store keeps %q", keys)
	}
	if p.Stats().Retries == 0 {
		t.Error("no fault struck")
	}
	b.clean()
}

// While the store is away only the latest list waits, the spool's limit holds, and
// what is left is taken up later, whole files only.
func TestPublishWhileTheStoreIsAway(t *testing.T) {
	noneLeft(t)
	b := newBench(t, servers.StartS3(t))
	link := servers.StartToxiproxy(t).Proxy(b.Addr)
	o := b.through("http://"+link.Addr, "live/list")
	o.GiveUp, o.WhenFull, o.SpoolMax = time.Second, Fail, spoolParts*MinPart
	p := mustPublish(t, o)
	link.Down()
	for i := range 5 {
		put(t, p, fmt.Sprint("s", i), "segment")
		put(t, p, "list", fmt.Sprint(i))
	}
	p.mu.Lock()
	if n := len(p.queue); n < 6 || n > 7 { // five, the latest list, and one list perhaps that was under way
		t.Errorf("%d files wait, want 5 and a list", n)
	}
	p.mu.Unlock()
	f, err := p.Create("s5", "")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<20))
	}
	wantKind(t, err, Full, "limit")
	if st := p.Stats(); st.Spooled > o.SpoolMax {
		t.Errorf("the spool holds %d bytes, its limit is %d", st.Spooled, o.SpoolMax)
	}
	f.Discard()
	_, err = p.Close(context.Background())
	wantKind(t, err, Away, "mpipe upload --resume "+p.Spool())
	list, err := List(b.spool)
	if err != nil || len(list) != 1 || list[0].State != "cut" || list[0].Waiting == 0 {
		t.Errorf("the spool lists %+v (%v)", list, err)
	}
	if _, err := Open(p.Spool(), b.options("")); err == nil {
		t.Error("small files were opened as one object")
	}
	link.Up()
	r, err := Resume(context.Background(), p.Spool(), Options{Keys: o.Keys})
	if err != nil || r.Parts < 6 {
		t.Fatalf("resumed: %+v, %v", r, err)
	}
	if got := string(b.Object(b.bucket, "live/list")); got != "4" || len(b.Keys(b.bucket)) != 6 {
		t.Errorf("the list says %q, the store has %q", got, b.Keys(b.bucket))
	}
	b.clean()
}

// A list that is there already is refused before anything is sent.
func TestPublishOverwrites(t *testing.T) {
	noneLeft(t)
	b := newBench(t, servers.StartS3(t))
	p := mustPublish(t, b.options("list"))
	put(t, p, "list", "one")
	if _, err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, err := Publish(context.Background(), b.options("list"))
	wantKind(t, err, Exists)
	o := b.options("list")
	o.Overwrite = true
	p = mustPublish(t, o)
	put(t, p, "list", "two")
	if err := p.Suspend(); err != nil {
		t.Fatal(err)
	}
	u, err := TakeUp(p.Spool(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Abort(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(b.spool); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
	b.clean()
}
