package wire

import (
	"context"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mpipe/mpipe/elements/internal/intake"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

const (
	pw, ph  = 64, 36
	picture = pw * ph * 3 / 2
	packet  = 480 * 8
)

// graphEnd stands for the graph behind one pad.
type graphEnd struct {
	mu    sync.Mutex
	first []byte
	torn  int
	eos   bool
	wait  time.Duration // of each frame
}

func (g *graphEnd) Room() bool                             { return true }
func (g *graphEnd) Hungry() bool                           { return true }
func (g *graphEnd) Notify(pipeline.Wake)                   {}
func (g *graphEnd) SetFormat(pipeline.Format) error        { return nil }
func (g *graphEnd) Fill(_, _ time.Duration) (int64, error) { return 1, nil }
func (g *graphEnd) EOS() error                             { g.mu.Lock(); defer g.mu.Unlock(); g.eos = true; return nil }
func (g *graphEnd) count() int                             { g.mu.Lock(); defer g.mu.Unlock(); return len(g.first) }
func (g *graphEnd) Push(b *pipeline.Borrowed) error {
	time.Sleep(g.wait)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.first = append(g.first, b.Data[0])
	for _, x := range b.Data {
		if x != b.Data[0] {
			g.torn++
			break
		}
	}
	b.Cell.Release()
	return nil
}

func (g *graphEnd) whole(t *testing.T, n int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.first) != n || g.torn != 0 || !g.eos {
		t.Errorf("%d frames, %d torn, EOS %v; want %d and EOS", len(g.first), g.torn, g.eos, n)
	}
	for i, b := range g.first {
		if b != byte(i) {
			t.Errorf("frame %d holds %d", i, b)
			return
		}
	}
}

// server is a source and where it listens.
type server struct {
	t            *testing.T
	src          pipeline.Source
	video, audio *graphEnd
	done         chan struct{}
	err          error
	stop         context.CancelFunc
	dial         func() (client, error)
}

// kinds are the three sources.
var kinds = []string{"tcp", "unix", "ws"}

func serve(t *testing.T, kind string, set map[string]any) *server {
	t.Helper()
	s := &server{t: t, video: &graphEnd{}, audio: &graphEnd{}, done: make(chan struct{})}
	path := filepath.Join(t.TempDir(), "s")
	if set == nil {
		set = map[string]any{}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	switch kind {
	case "tcp":
		s.src, set["listen"] = &tcp{}, addr
		s.dial = func() (client, error) { return dialStream("tcp", addr) }
	case "unix":
		s.src, set["path"] = &unixSocket{}, path
		s.dial = func() (client, error) { return dialStream("unix", path) }
	case "ws":
		s.src, set["listen"] = &ws{}, addr
		s.dial = func() (client, error) { return dialWS("ws://"+addr+"/", "http://localhost:1") }
	}
	for _, spec := range pipeline.Specs(s.src) {
		v, ok := set[spec.Name]
		if spec.Name == "capacity" && !ok {
			v, ok = int64(1<<18), true
		}
		if ok {
			if err := spec.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.src.(pipeline.Checker).Check(); err != nil {
		t.Fatal(err)
	}
	env := &pipeline.SourceEnv{
		Stage: "cam", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Timeline: &pipeline.Timeline{},
		Outlets: map[string]pipeline.Outlet{"video": s.video, "audio": s.audio},
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		defer close(s.done)
		if s.err = s.src.Open(ctx, env); s.err == nil {
			s.err = s.src.Run(ctx)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-s.done
		if err := s.src.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *server) ended() error {
	s.t.Helper()
	select {
	case <-s.done:
		return s.err
	case <-time.After(20 * time.Second):
		s.t.Fatalf("the source did not end: %+v", s.src.(pipeline.Reporter).Report())
		return nil
	}
}

// connect dials until the source listens.
func (s *server) connect() client {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := s.dial()
		if err == nil {
			s.t.Cleanup(c.Close)
			return c
		}
		if time.Now().After(end) {
			s.t.Fatal(err)
		}
	}
}

// client is the other end: messages.
type client interface {
	Send(b []byte) error
	Receive() ([]byte, error)
	Close()
}

type streamClient struct{ c net.Conn }

func dialStream(network, addr string) (client, error) {
	c, err := net.Dial(network, addr)
	return streamClient{c}, err
}

func (c streamClient) Send(b []byte) error { _, err := c.c.Write(b); return err }
func (c streamClient) Close()              { c.c.Close() }
func (c streamClient) Receive() ([]byte, error) {
	b := make([]byte, intake.Record)
	_ = c.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c.c, b); err != nil {
		return nil, err
	}
	if le.Uint32(b) == intake.WireState {
		b = append(b, make([]byte, 256)...)
		if _, err := io.ReadFull(c.c, b[intake.Record:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

type wsClient struct{ c *websocket.Conn }

func dialWS(url, origin string) (client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}, Subprotocols: []string{"mpipe.v1"}})
	return wsClient{c}, err
}

func (c wsClient) Send(b []byte) error {
	return c.c.Write(context.Background(), websocket.MessageBinary, b)
}
func (c wsClient) Close() { _ = c.c.CloseNow() }
func (c wsClient) Receive() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, b, err := c.c.Read(ctx)
	return b, err
}

func hello(name, token string) []byte {
	b := make([]byte, intake.HelloSize)
	copy(b, intake.MagicWire)
	le.PutUint16(b[8:], intake.Major)
	le.PutUint32(b[intake.BellStreams:], 2)
	intake.PutText(b[intake.BellName:][:64], name)
	intake.PutText(b[intake.BellToken:][:64], token)
	for i, s := range []string{"video", "audio"} {
		at := b[intake.BellTable+i*intake.StreamSize:]
		le.PutUint32(at, uint32(i+1))
		le.PutUint64(at[8:], []uint64{picture, packet}[i])
		intake.PutText(at[0x10:][:48], s)
	}
	return b
}

func format(id, stream, kind, w, h int, name string) []byte {
	b := make([]byte, intake.Record+intake.FormatSize)
	le.PutUint32(b, intake.WireFormat)
	le.PutUint32(b[8:], uint32(id))
	f := b[intake.Record:]
	le.PutUint32(f, 1)
	le.PutUint16(f[4:], uint16(stream))
	f[6] = byte(kind)
	le.PutUint32(f[8:], uint32(w))
	le.PutUint32(f[0xc:], uint32(h))
	le.PutUint32(f[0x14:], 1)
	intake.PutText(f[0x18:][:16], name)
	if v, err := ring.PackedVideo(name, w, h, 0, 1); err == nil {
		f[7] = byte(v.Planes)
		for i := range v.Planes {
			le.PutUint32(f[0x28+4*i:], uint32(v.Strides[i]))
			le.PutUint64(f[0x38+8*i:], uint64(v.Offsets[i]))
		}
	}
	return b
}

func record(stream, size int) []byte {
	b := make([]byte, intake.Record)
	le.PutUint32(b, intake.WireFrame)
	le.PutUint16(b[4:], uint16(stream))
	le.PutUint32(b[0x10:], uint32(size))
	le.PutUint32(b[0x14:], uint32(stream+1))
	le.PutUint64(b[0x18:], uint64(ring.Now()))
	le.PutUint32(b[0x3c:], intake.WireFrame)
	return b
}

func filled(n int, v byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = v
	}
	return b
}

// begin says hello and the formats, and waits to be taken.
func begin(t *testing.T, c client, name, token string) {
	t.Helper()
	say(t, c, hello(name, token))
	m, err := c.Receive()
	if err != nil || le.Uint32(m) != intake.WireState || intake.State(le.Uint32(m[4:])) != intake.Live {
		t.Fatalf("not taken: %v %q", err, m)
	}
	say(t, c, format(1, 0, 1, pw, ph, "I420"))
	say(t, c, format(2, 1, 2, 48000, 2, "F32LE"))
}

func say(t *testing.T, c client, b []byte) {
	t.Helper()
	if err := c.Send(b); err != nil {
		t.Fatal(err)
	}
}

func frame(t *testing.T, c client, stream int, v byte) {
	t.Helper()
	n := []int{picture, packet}[stream]
	say(t, c, record(stream, n))
	say(t, c, filled(n, v))
}

// All that a client sends arrives once, in order and unharmed, also when the graph
// is slower than the client.
func TestAClient(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, kind, nil)
			s.video.wait = 200 * time.Microsecond
			c := s.connect()
			begin(t, c, "cam", "")
			go func() { // what comes back is read, or the server waits
				for {
					if _, err := c.Receive(); err != nil {
						return
					}
				}
			}()
			for i := range 600 {
				frame(t, c, 0, byte(i))
				if i%3 == 0 {
					frame(t, c, 1, byte(i/3))
				}
			}
			counters := make([]byte, intake.Record)
			le.PutUint32(counters, intake.WireCounters)
			le.PutUint32(counters[8:], 3)
			le.PutUint32(counters[0xc:], 2)
			say(t, c, counters)
			end := make([]byte, intake.Record)
			le.PutUint32(end, intake.WireEnd)
			say(t, c, end)
			if err := s.ended(); err != nil {
				t.Fatal(err)
			}
			s.video.whole(t, 600)
			s.audio.whole(t, 200)
			rep := s.src.(pipeline.Reporter).Report()
			if p := rep.Pads["video"]; rep.ProducerDied || p.DroppedFull != 3 || p.Dropped != 2 || p.Copied != 0 {
				t.Errorf("the report is %+v", rep)
			}
		})
	}
}

// A connection that breaks within a frame: the frames before it stay, and the next
// client goes on.
func TestABrokenConnection(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, kind, map[string]any{"on_producer_exit": "wait"})
			n := 0
			for range 3 {
				c := s.connect()
				begin(t, c, "cam", "")
				for range 20 {
					frame(t, c, 1, byte(n))
					frame(t, c, 0, byte(n))
					n++
				}
				say(t, c, record(0, picture))
				if kind != "ws" {
					say(t, c, filled(100, 1))
				}
				for s.video.count() < n {
					time.Sleep(time.Millisecond)
				}
				c.Close()
			}
			s.stop()
			if err := s.ended(); err != nil {
				t.Fatal(err)
			}
			s.video.whole(t, n)
		})
	}
}

// Clients that are not wanted hear why; the one that is wanted is taken.
func TestTheRightClient(t *testing.T) {
	t.Setenv("MPIPE_TEST_TOKEN", "secret")
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, kind, map[string]any{"page": "cam", "token": map[string]any{"env": "MPIPE_TEST_TOKEN"}})
			for _, c := range []struct{ name, token, reason string }{{"cam", "guess", "another token"}, {"dog", "secret", `"dog", but page = "cam"`}} {
				w := s.connect()
				say(t, w, hello(c.name, c.token))
				m, err := w.Receive()
				if err != nil || intake.State(le.Uint32(m[4:])) != intake.Refused || !strings.Contains(string(m), c.reason) {
					t.Errorf("%s with the token %s hears %v %q", c.name, c.token, err, m)
				}
			}
			c := s.connect()
			begin(t, c, "cam", "secret")
			frame(t, c, 0, 0)
			frame(t, c, 1, 0)
			c.Close()
			if err := s.ended(); err != nil {
				t.Fatal(err)
			}
			if !s.src.(pipeline.Reporter).Report().ProducerDied {
				t.Error("a client that hung up does not count as dead")
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		origin   string
		patterns []string
		want     bool
	}{
		{"", nil, true}, {"http://localhost:8080", nil, true}, {"http://127.0.0.1", nil, true}, {"http://[::1]:80", nil, true},
		{"https://evil.example", nil, false}, {"https://localhost.evil.example", nil, false}, {"null", nil, false},
		{"https://a.example", []string{"https://a.example"}, true}, {"https://b.example", []string{"https://a.example"}, false},
		{"http://localhost", []string{"https://a.example"}, false}, {"https://b.example", []string{"*"}, true},
	} {
		if got := allowed(c.origin, c.patterns); got != c.want {
			t.Errorf("%q with %q: %v", c.origin, c.patterns, got)
		}
	}
	s := serve(t, "ws", map[string]any{"attach_timeout": "1s"})
	addr := s.src.(*ws).addr
	s.connect()
	if _, err := dialWS("ws://"+addr+"/", "https://evil.example"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a page of another origin got %v", err)
	}
	if err := s.ended(); err == nil || !strings.Contains(err.Error(), "https://evil.example; add it to origins") {
		t.Errorf("the source says %v", err)
	}
}

func TestAddressesAreChecked(t *testing.T) {
	for _, bad := range []string{"0.0.0.0:80", ":80", "192.0.2.1:80", "80", "localhost"} {
		s := &ws{}
		pipeline.Specs(s)
		s.addr = bad
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Whatever a client sends, it hurts only itself: afterwards another one is heard.
func TestHostileClients(t *testing.T) {
	seed := time.Now().UnixNano()
	if n, err := strconv.ParseInt(os.Getenv("MPIPE_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("MPIPE_SEED=%d", seed)
	rnd := rand.New(rand.NewSource(seed))
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, kind, map[string]any{"on_producer_exit": "wait"})
			for round := range 40 {
				c := s.connect()
				noise := make([]byte, rnd.Intn(3*intake.Record))
				rnd.Read(noise)
				if round%2 == 0 {
					_ = c.Send(noise)
					_ = c.Send(hello("", ""))
				} else {
					begin(t, c, "", "")
					b := record(rnd.Intn(3), rnd.Intn(2*picture))
					b[rnd.Intn(len(b))] ^= byte(1 << rnd.Intn(8))
					if round%4 == 1 && len(noise) >= 4 {
						le.PutUint32(noise, []uint32{0, 2, 4, 5, 7, 99}[rnd.Intn(6)]) // an end is nothing hostile
						b = noise
					}
					_ = c.Send(b)
					_ = c.Send(filled(picture, 1))
				}
				c.Close()
			}
			before := s.video.count()
			c := s.connect()
			begin(t, c, "", "")
			frame(t, c, 0, 0)
			for end := time.Now().Add(10 * time.Second); s.video.count() == before; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the good client's frame did not arrive")
				}
			}
		})
	}
}
