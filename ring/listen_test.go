package ring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAddressInUse: a live consumer keeps its address, a foreign file is never
// touched, and Close leaves nothing behind.
func TestAddressInUse(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			l, err := Listen(addr, Config{VideoBytes: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			var inUse *InUseError
			if _, err := Listen(addr, Config{}); !errors.As(err, &inUse) {
				t.Errorf("a second consumer: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			a, _ := parseAddr(addr)
			if left, _ := filepath.Glob(a.path + "*"); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if _, err := l.Accept(context.Background()); err != ErrClosed {
				t.Errorf("Accept after Close: %v", err)
			}
			if err := os.WriteFile(a.path, []byte("not a ring, and not to be lost"), 0o600); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(a.path)
			if _, err := Listen(addr, Config{}); err == nil || errors.As(err, &inUse) {
				t.Errorf("a foreign file: %v", err)
			}
			if b, _ := os.ReadFile(a.path); !strings.HasPrefix(string(b), "not a ring") {
				t.Error("a foreign file was changed")
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "ä", "unix:", "unix:" + strings.Repeat("x", 108), "fd:x", "fd:-1", "x.consumer", "unix:@abstract"} {
		if a, err := parseAddr(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, a)
		}
	}
	for addr, path := range map[string]string{"bot-1": "/dev/shm/bot-1", "/run/x": "/run/x", "./x": "x", "unix:/a.sock": "/a.sock"} {
		if a, err := parseAddr(addr); err != nil || a.path != path {
			t.Errorf("%q: %+v, %v", addr, a, err)
		}
	}
}

// TestRefusals: what the consumer cannot take is refused with both figures, on
// both sides, and the next producer is served.
func TestRefusals(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			var log strings.Builder
			l, err := Listen(addr, Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8, Log: textLog(&log)})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan *Reader, 1)
			go func() {
				r, err := l.Accept(ctx)
				if err != nil {
					t.Error(err)
				}
				got <- r
			}()
			var refused *RefusedError
			_, err = Attach(ctx, addr, []StreamSpec{{"v", KindVideo, 40 << 10}}, AttachOptions{})
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "40960") || !strings.Contains(err.Error(), "65536") {
				t.Errorf("frames that do not fit twice: %v", err)
			}
			p, err := Attach(ctx, addr, []StreamSpec{{"v", KindVideo, 32 << 10}}, AttachOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			r := <-got
			defer r.Close()
			if r == nil || r.Streams()[0].MaxFrame != 32<<10 {
				t.Error("the second producer was not served")
			}
			if !strings.Contains(log.String(), "40960") || !strings.Contains(log.String(), "65536") {
				t.Errorf("the consumer's log: %s", log.String())
			}
		})
	}
	for _, bad := range [][]StreamSpec{
		nil, {{"", KindVideo, 1}}, {{"a b", KindVideo, 1}}, {{"v", 3, 1}}, {{"v", KindVideo, 0}},
		{{"v", KindVideo, 1}, {"v", KindAudio, 1}}, make([]StreamSpec, maxStreams+1), {{strings.Repeat("x", 48), KindVideo, 1}},
	} {
		if _, err := Attach(testCtx(t), "never", bad, AttachOptions{}); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("streams %v: %v", bad, err)
		}
	}
	for _, cfg := range []Config{{VideoBytes: 1}, {Slots: 3}, {Slots: 1 << 17}, {CopyLimit: -1}, {AudioBytes: maxArenaBytes + 1}} {
		if l, err := Listen(filepath.Join(t.TempDir(), "r"), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
			l.Close()
		}
	}
}

// TestAttachWaits: a producer may come first, and gives up with its context.
func TestAttachWaits(t *testing.T) {
	for mode, addr := range testAddrs(t) {
		t.Run(mode, func(t *testing.T) {
			ctx := testCtx(t)
			short, cancel := context.WithTimeout(ctx, 80*time.Millisecond)
			defer cancel()
			if _, err := Attach(short, addr, []StreamSpec{{"v", KindVideo, 100}}, AttachOptions{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("without a consumer: %v", err)
			}
			early := make(chan error, 1)
			go func() {
				p, err := Attach(ctx, addr, []StreamSpec{{"v", KindVideo, 100}}, AttachOptions{})
				if err == nil {
					err = p.Close()
				}
				early <- err
			}()
			time.Sleep(50 * time.Millisecond)
			l, err := Listen(addr, Config{VideoBytes: 64 << 10, Slots: 8})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for i := range 3 { // one producer after the other, each with fresh memory
				if i > 0 {
					// One that gives up while nobody accepts does no harm.
					short, cancel := context.WithTimeout(ctx, 80*time.Millisecond)
					if _, err := Attach(short, addr, []StreamSpec{{"v", KindVideo, 100}}, AttachOptions{}); err == nil {
						t.Error("attached without Accept")
					}
					cancel()
					go func() {
						p, err := Attach(ctx, addr, []StreamSpec{{"v", KindVideo, 100}}, AttachOptions{})
						if err == nil {
							err = p.Close()
						}
						early <- err
					}()
				}
				for n := 0; n == 0; {
					r, err := l.Accept(ctx)
					if err != nil {
						t.Fatal(err)
					}
					for !r.Drained(KindVideo) && ctx.Err() == nil {
						if f := r.Take(KindVideo); f.Flags&FlagEOS != 0 {
							n++
						} else {
							r.Wait(ctx, time.Second)
						}
					}
					if r.Drained(KindVideo) && n == 0 {
						// Over a socket the one that gave up may be in the queue.
						if r.State() != Dead {
							t.Errorf("a producer without an end of stream: %v", r.State())
						}
					}
					r.Close()
				}
				if err := <-early; err != nil {
					t.Errorf("producer %d: %v", i, err)
				}
			}
		})
	}
}

// TestManyProducers: a socket serves several producers at once, each with
// memory of its own, and shows all of them to tools.
func TestManyProducers(t *testing.T) {
	ctx := testCtx(t)
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := Listen(addr, Config{VideoBytes: 64 << 10, Slots: 8, Name: "many"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var readers []*Reader
	for i := range 3 {
		go func() {
			p, err := Attach(ctx, addr, []StreamSpec{{fmt.Sprintf("v%d", i), KindVideo, 8 << 10}}, AttachOptions{Name: "one of three"})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { p.Close() })
			w, _ := p.Writer()
			id, _ := p.SetVideo(0, grey)
			s, err := w.Claim(0, id, 2000+i, Drop)
			if err != nil {
				t.Error(err)
				return
			}
			s.Commit(1, 0, 0)
			w.Close()
		}()
		r, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers = append(readers, r)
	}
	for i, r := range readers {
		for {
			if f, ok := r.Peek(KindVideo); ok {
				if len(f.Data) != 2000+i {
					t.Errorf("reader %d: %d bytes", i, len(f.Data))
				}
				break
			}
			r.Wait(ctx, time.Second)
			if ctx.Err() != nil {
				t.Fatal("no frame")
			}
		}
	}
	info, err := Inspect(addr)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Attachments) != 3 || !info.Listening || info.Consumer.Name != "many" || info.Consumer.PID != os.Getpid() {
		t.Errorf("%+v", info)
	}
	seen := map[string]bool{}
	for _, a := range info.Attachments {
		seen[a.Streams[0].Name] = true
		if a.Producer.Name != "one of three" || a.Classes[0].SlotsUsed != 1 {
			t.Errorf("%+v", a)
		}
	}
	if len(seen) != 3 {
		t.Errorf("streams %v", seen)
	}
	text, err := json.Marshal(info)
	if err != nil || !strings.Contains(string(text), `"slots_used":1`) {
		t.Errorf("%s, %v", text, err)
	}
}

// TestInspectNamed reads a live ring by name, and finds no ring where none is.
func TestInspectNamed(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "r")
	if _, err := Inspect(addr); err == nil {
		t.Error("a ring that does not exist was inspected")
	}
	l, err := Listen(addr, Config{Name: "waiting"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(addr)
	if err != nil || !info.Listening || len(info.Attachments) != 0 || info.Consumer.Name != "waiting" {
		t.Errorf("%+v, %v", info, err)
	}
	l.Close()
	r, _, w, id := onePair(t)
	s := mustClaim(t, w, 0, id, 2000)
	s.Commit(1, 0, 0)
	f := r.Take(KindVideo)
	defer f.Cell.Release()
	st := r.Stats()
	if st.Classes[0].HeldFrames != 1 || st.Classes[0].HeldBytes != 2000 || st.Streams[0].Frames != 1 {
		t.Errorf("%+v", st)
	}
}

// TestSeals: a producer can neither cut the memory short, nor write the
// consumer's page, nor undo that.
func TestSeals(t *testing.T) {
	ctx := testCtx(t)
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := Listen(addr, Config{VideoBytes: 64 << 10, Slots: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *Reader, 1)
	go func() {
		r, err := l.Accept(ctx)
		if err != nil {
			t.Error(err)
		}
		accepted <- r
	}()
	defer func() {
		if r := <-accepted; r != nil {
			r.Close()
		}
	}()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: strings.TrimPrefix(addr, "unix:"), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(hello{role: roleProducer, streams: []StreamSpec{{"v", KindVideo, 100}}}.encode()); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, pageSize), make([]byte, 256)
	_, n, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	fds := receivedFDs(oob[:n])
	defer closeFDs(fds)
	if len(fds) != 2 {
		t.Fatalf("%d fds", len(fds))
	}
	seg, cons := fds[0], fds[1]
	for i, fd := range fds {
		if err := unix.Ftruncate(fd, 0); err != syscall.EPERM {
			t.Errorf("fd %d: truncate: %v", i, err)
		}
		if err := unix.Ftruncate(fd, 1<<30); err != syscall.EPERM {
			t.Errorf("fd %d: grow: %v", i, err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != syscall.EPERM {
			t.Errorf("fd %d: another seal: %v", i, err)
		}
	}
	if m, err := mapFile(cons, 0, consSize, unix.PROT_READ|unix.PROT_WRITE); err == nil {
		t.Error("the consumer page can be mapped for writing")
		_ = m.unmap()
	}
	if _, err := unix.Pwrite(cons, []byte{1}, 0); err != syscall.EPERM {
		t.Errorf("the consumer page can be written: %v", err)
	}
	if m, err := mapFile(seg, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Errorf("the segment cannot be written: %v", err)
	} else {
		_ = m.unmap()
	}
}

// TestInheritedSocket: a launcher connects and hands the socket over as fd:N.
func TestInheritedSocket(t *testing.T) {
	ctx := testCtx(t)
	addr := "unix:" + filepath.Join(t.TempDir(), "s")
	l, err := Listen(addr, Config{VideoBytes: 4 << 20, AudioBytes: 64 << 10, Slots: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	example := compile(t, "example", "-std=c11", "c/example.c")
	for lang, cmd := range map[string][]string{"c": {example, "--ring", "fd:3", "--frames", "3", "--fps", "0"}, "go": {os.Args[0], "fd:3", "3"}} {
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: strings.TrimPrefix(addr, "unix:"), Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		f, err := conn.File()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		c := helper(ctx, "three", cmd[1:]...)
		c.Path, c.ExtraFiles = cmd[0], []*os.File{f}
		out := start(t, c)
		f.Close()
		go func() {
			for out.Scan() {
			}
		}()
		r, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if r.Producer().PID != c.Process.Pid {
			t.Errorf("%s: the producer is pid %d, not the launcher's %d", lang, r.Producer().PID, os.Getpid())
		}
		n := 0
		for !r.Drained(KindVideo) && ctx.Err() == nil {
			if f := r.Take(KindVideo); f.Cell != nil {
				n++
				f.Cell.Release()
				r.Reclaim()
			} else {
				r.Wait(ctx, time.Second)
			}
		}
		if r.State() != Ended || n == 0 {
			t.Errorf("%s: %v after %d frames: %v", lang, r.State(), n, r.Err())
		}
		r.Close()
	}
}

// TestNothingLeaks attaches and detaches often and counts fds and mappings.
func TestNothingLeaks(t *testing.T) {
	ctx := testCtx(t)
	count := func() (fds, maps int) {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		m, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(d), strings.Count(string(m), "memfd:mpipe") + strings.Count(string(m), "/leak")
	}
	round := func(addr string) {
		l, err := Listen(addr, Config{VideoBytes: 256 << 10, AudioBytes: 8 << 10, Slots: 8})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			p, err := Attach(ctx, addr, []StreamSpec{{"v", KindVideo, 8 << 10}, {"a", KindAudio, 400}}, AttachOptions{})
			if err == nil {
				err = writeCounted(p, 0, 20)
			}
			if err == nil {
				err = writeCounted(p, 1, 20)
			}
			if err == nil {
				err = p.Close()
			}
			done <- err
		}()
		r, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		readCounted(t, r, 20)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.Close()
		l.Close()
	}
	dir := t.TempDir()
	addrs := []string{filepath.Join(dir, "leak"), "unix:" + filepath.Join(dir, "s")}
	for _, a := range addrs {
		round(a)
	}
	fds, maps := count()
	for range 15 {
		for _, a := range addrs {
			round(a)
		}
	}
	fds2, maps2 := count()
	if fds2 > fds+2 || maps2 > maps {
		t.Errorf("fds went from %d to %d, mappings of rings from %d to %d", fds, fds2, maps, maps2)
	}
	if maps2 != 0 {
		t.Errorf("%d mappings of closed rings", maps2)
	}
}
