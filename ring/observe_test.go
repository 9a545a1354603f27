package ring

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// observeOne gives the only attachment at an address.
func observeOne(t testing.TB, addr string) *Observer {
	t.Helper()
	list, err := Observe(addr)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d attachments, %v", len(list), err)
	}
	t.Cleanup(list[0].Close)
	return list[0]
}

// TestObserverBesideTheConsumer: two threads write as fast as a consumer takes,
// into a ring of a few frames that begins where its numbers wrap. Whatever the
// observer gets is whole and in order, and what it did not get it counts.
func TestObserverBesideTheConsumer(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			cfg := Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8, startAtWrap: true}
			r, p := attachPair(t, addr, cfg, []StreamSpec{{"v", KindVideo, 8 << 10}, {"a", KindAudio, 400}})
			o := observeOne(t, addr)
			frames := 20000
			if testing.Short() {
				frames = 4000
			}
			done := make(chan error, 2)
			for stream := range 2 {
				go func() { done <- writeCounted(p, stream, frames) }()
			}
			read := make(chan struct{})
			go func() {
				defer close(read)
				readCounted(t, r, frames)
			}()
			seen := followCounted(t, o, read, frames)
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			for i, k := range kinds {
				// With its end, each stream made one claim more than frames.
				if got := int64(seen[i]) + o.Missed(k); got != int64(frames)+1 {
					t.Errorf("%s: %d seen and %d missed of %d", k, seen[i], o.Missed(k), frames+1)
				}
				t.Logf("%s: %d seen, %d missed", k, seen[i], o.Missed(k))
			}
		})
	}
}

// followCounted observes what writeCounted writes until it ended.
func followCounted(t *testing.T, o *Observer, over <-chan struct{}, frames int) (seen [2]int) {
	buf := make([]byte, 8<<10)
	last := [2]int{-1, -1}
	for ended := false; ; {
		moved := false
		for i, k := range kinds {
			f, ok := o.Next(k, buf)
			if !ok {
				continue
			}
			moved = true
			seen[i]++
			if f.Flags&FlagEOS != 0 {
				continue
			}
			n := int(f.PTS)
			if n <= last[i] || n >= frames {
				t.Fatalf("%s: frame %d after %d", k, n, last[i])
			}
			last[i] = n
			if err := checkCounted(f.Data, i, n, o.streams[i].MaxFrame); err != nil {
				t.Fatalf("%s: frame %d: %v", k, n, err)
			}
		}
		if !moved && ended {
			return seen
		}
		if !moved {
			select {
			case <-over:
				ended = true
			case <-time.After(100 * time.Microsecond):
			}
		}
	}
}

// TestObserverIsLapped: an observer that sleeps while the ring goes round counts
// what it missed, and goes on with frames that are whole.
func TestObserverIsLapped(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "r")
	r, p := attachPair(t, addr, Config{VideoBytes: 64 << 10, Slots: 64, startAtWrap: true}, []StreamSpec{{"v", KindVideo, 8 << 10}})
	o := observeOne(t, addr)
	w, _ := p.Writer()
	defer w.Close()
	id, err := p.SetVideo(0, grey)
	if err != nil {
		t.Fatal(err)
	}
	put := func(n, size int) {
		s := mustClaim(t, w, 0, id, size)
		s.Data[0] = byte(n)
		s.Commit(int64(n), 0, 0)
		r.Take(KindVideo).Cell.Release()
		r.Reclaim()
	}
	for n := range 40 {
		put(n, 8<<10) // eight to a lap
	}
	f, ok := o.Next(KindVideo, nil)
	if !ok || f.Data[0] != byte(f.PTS) || f.PTS != 40-4 || o.Missed(KindVideo) != 36 {
		t.Errorf("frame %d, %d missed; want 36 after as many", f.PTS, o.Missed(KindVideo))
	}
	for n := 40; n < 240; n++ {
		put(n, 1024) // the slots run out before the payload does
	}
	seen := 1
	for f, ok = o.Next(KindVideo, nil); ok; f, ok = o.Next(KindVideo, nil) {
		seen++
		if f.Data[0] != byte(f.PTS) {
			t.Errorf("frame %d holds %d", f.PTS, f.Data[0])
		}
	}
	if int64(seen)+o.Missed(KindVideo) != 240 || seen < 5 {
		t.Errorf("%d seen, %d missed of 240", seen, o.Missed(KindVideo))
	}
	if f, ok := o.Latest(0, nil); !ok || f.PTS != 239 || f.Data[0] != 239 {
		t.Errorf("the latest is %+v", f)
	}
	seq, s, ok := o.newest(o.class(KindVideo), 0)
	for n := 240; n < 249; n++ {
		if f, whole := o.copy(o.class(KindVideo), seq, s, nil); !ok || whole != (n < 248) || whole && f.Data[0] != 239 {
			t.Errorf("before frame %d: whole %v, %+v", n, whole, f)
		}
		put(n, 8<<10) // the eighth takes the frame's place
	}
}

// TestObserverAndClaims: what is not committed is passed over as the consumer
// does, and for good once the attachment is over.
func TestObserverAndClaims(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "r")
	r, p := attachPair(t, addr, Config{VideoBytes: 64 << 10, Slots: 8}, []StreamSpec{{"v", KindVideo, 2000}, {"w", KindVideo, 2000}})
	o := observeOne(t, addr)
	w, _ := p.Writer()
	v, _ := p.SetVideo(0, grey)
	x, _ := p.SetVideo(1, grey)
	if _, ok := o.Latest(0, nil); ok {
		t.Error("a frame of a stream that has none")
	}
	stuck := mustClaim(t, w, 0, v, 1024)
	behind, other, aborted := mustClaim(t, w, 0, v, 1024), mustClaim(t, w, 1, x, 1024), mustClaim(t, w, 1, x, 1024)
	behind.Commit(2, 0, 0)
	other.Commit(3, 0, 0)
	aborted.Abort()
	if f, ok := o.Next(KindVideo, nil); !ok || f.PTS != 3 {
		t.Errorf("%+v, want that of the other stream", f)
	}
	if f, ok := o.Next(KindVideo, nil); ok {
		t.Errorf("%+v passed an earlier claim of its stream", f)
	}
	if s, err := o.State(); s != Live || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	if f, ok := o.Latest(0, nil); !ok || f.PTS != 2 {
		t.Errorf("the latest is %+v", f)
	}
	_ = stuck
	w.Close()
	p.Close()
	for r.State() == Live {
		r.Wait(context.Background(), 10*time.Millisecond)
		r.Drained(KindVideo)
	}
	if s, _ := o.State(); s != Ended {
		t.Errorf("state %v", s)
	}
	if f, ok := o.Next(KindVideo, nil); !ok || f.PTS != 2 {
		t.Errorf("%+v, want what was behind the claim", f)
	}
}

// TestObserverCannotWrite: the fds it is handed cannot be opened again for
// writing by a process of another user.
func TestObserverCannotWrite(t *testing.T) {
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	attachPair(t, addr, Config{VideoBytes: 64 << 10, Slots: 8}, []StreamSpec{{"v", KindVideo, 2000}})
	a, _ := parseAddr(addr)
	conn, err := dial(testCtx(t), a)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(hello{role: roleObserver}.encode()); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, pageSize), make([]byte, 256)
	_, n, _, _, err := conn.ReadMsgUnix(buf, oob)
	fds := receivedFDs(oob[:n])
	defer closeFDs(fds)
	if err != nil || len(fds) != 2 {
		t.Fatalf("%d fds, %v", len(fds), err)
	}
	for _, fd := range fds {
		if m, err := mapFile(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE); err == nil {
			t.Error("it can be mapped for writing")
			_ = m.unmap()
		}
		if os.Getuid() != 0 {
			continue
		}
		dup, _ := unix.Dup(fd)
		f := os.NewFile(uintptr(dup), "ring")
		for mode, want := range map[string]bool{"": false, ">>": true} {
			cmd := exec.Command("sh", "-c", `exec 4`+mode+`/proc/self/fd/3`)
			if mode == "" {
				cmd.Args[2] = `: ` + `<&3` // it is there
			}
			cmd.ExtraFiles = []*os.File{f}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			out, err := cmd.CombinedOutput()
			if (err != nil) != want || want && !bytes.Contains(out, []byte("ermission denied")) {
				t.Errorf("%q: %v %s", strings.Join(cmd.Args, " "), err, out)
			}
		}
		f.Close()
	}
}

// TestObserverOfAnotherUser: whoever may not write into a ring may not look into
// it either, and is told why.
func TestObserverOfAnotherUser(t *testing.T) {
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := Listen(addr, Config{VideoBytes: 64 << 10, AllowUID: []int{os.Getuid() + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Observe(addr); err == nil || !strings.Contains(err.Error(), "allow_uid") {
		t.Errorf("got %v, want to be refused", err)
	}
}

// FuzzObserve writes anything into the slots, the formats and the cursors that
// an observer reads. It must not look outside of the arena, panic or not return.
func FuzzObserve(f *testing.F) {
	streams := []StreamSpec{{"v", KindVideo, 4 << 10}, {"a", KindAudio, 400}}
	cfg := Config{VideoBytes: 32 << 10, AudioBytes: 8 << 10, Slots: 4, startAtWrap: true}
	fill := func(t testing.TB) *Reader {
		r, p := heapPair(t, cfg, streams)
		writeStreams(r.b.cons, hello{streams: streams}, 0)
		w, err := p.Writer()
		if err != nil {
			t.Fatal(err)
		}
		v, _ := p.SetVideo(0, grey)
		a, _ := p.SetAudio(1, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 1})
		for i, id := range []uint32{v, a} {
			for range 3 {
				s := mustClaim(t, w, i, id, 1024>>(2*i))
				s.Commit(1, 1, 0)
			}
		}
		return r
	}
	good := slotBytes(fill(f), nil)
	f.Add(good, false)
	for i := 0; i < len(good); i += 61 {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0xff
		f.Add(bad, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, b []byte, over bool) {
		r := fill(t)
		o := newObserver(r.b.g, r.b.seg, r.b.cons)
		for _, c := range o.classes {
			c.next = c.start.seq()
		}
		slotBytes(r, b)
		o.over = over
		for range 10 {
			for i, k := range kinds {
				if f, ok := o.Next(k, nil); ok && len(f.Data) > streams[i].MaxFrame {
					t.Fatalf("%d bytes", len(f.Data))
				}
				if f, ok := o.Latest(uint16(i), nil); ok && len(f.Data) > streams[i].MaxFrame {
					t.Fatalf("%d bytes", len(f.Data))
				}
			}
			o.Stats()
		}
	})
}
