package run_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpipe/mpipe/elements/sink"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// closingBuffer is an io.Writer of an embedding program.
type closingBuffer struct {
	bytes.Buffer
	closed bool
}

func (b *closingBuffer) Close() error { b.closed = true; return nil }

// stored writes bytes where ffprobe can read them.
func stored(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stored")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func toSink(text string) string {
	return fmt.Sprintf(head, "frames = 90") + "[sinks.out]\ninputs = [\"v\", \"a\"]\n" + text + "\n"
}

// Every container that is written from front to back, into a program's writer.
func TestAWriterOfTheProgramGetsEachContainer(t *testing.T) {
	for _, c := range []string{"mp4", "mkv", "ts"} {
		var b closingBuffer
		sink.ToWriter("test-"+c, func() (io.WriteCloser, error) { return &b, nil })
		m, err := run.Run(context.Background(), plan(t, toSink(fmt.Sprintf("type = \"writer\"\nname = %q\ncontainer = %q", "test-"+c, c))), run.Options{})
		if err != nil || !m.Complete || !b.closed {
			t.Fatalf("%s: err %v, closed %v, manifest %+v", c, err, b.closed, m)
		}
		if n := frames(t, stored(t, b.Bytes()), "v"); n != "90" {
			t.Errorf("%s: %s pictures decode, want 90", c, n)
		}
	}
	_, err := graph.ParsePlan("test.toml", []byte(toSink("type = \"writer\"\nname = \"test-mk\"")), graph.Options{}, run.Catalog())
	if err == nil || !strings.Contains(err.Error(), `it has: ["test-mkv"`) && !strings.Contains(err.Error(), "test-mkv") {
		t.Errorf("an unknown writer got %v", err)
	}
}

// A TCP server gets all of it, and it is not over before it has.
func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var got bytes.Buffer
	var whole atomic.Bool
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(&got, c)
		time.Sleep(200 * time.Millisecond) // it is slow to finish
		whole.Store(true)
		c.Close()
	}()
	m, err := run.Run(context.Background(), plan(t, toSink(fmt.Sprintf("type = \"tcp\"\naddress = %q", l.Addr()))), run.Options{})
	if err != nil || !m.Complete || !whole.Load() {
		t.Fatalf("err %v, whole %v, manifest %+v", err, whole.Load(), m)
	}
	if n := frames(t, stored(t, got.Bytes()), "v"); n != "90" {
		t.Errorf("%s pictures decode, want 90", n)
	}
}

// A server that takes nothing makes its connection stall, not the run.
func TestTCPServerThatTakesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text := fmt.Sprintf(head, "frames = 600\nslow = \"5ms\"") + fmt.Sprintf(mp4, filepath.Join(t.TempDir(), "a.mp4")) +
		fmt.Sprintf("[sinks.out]\ntype = \"tcp\"\naddress = %q\ninputs = [\"v\", \"a\"]\nstall_timeout = \"500ms\"\nrequired = false\n", l.Addr())
	m, err := run.Run(context.Background(), plan(t, strings.Replace(text, "preset = \"ultrafast\"", "preset = \"ultrafast\"\nbitrate = \"40M\"", 1)), run.Options{})
	if err != nil || !m.Complete || m.Outputs[0].Streams[0].Frames != 600 {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
}

func TestUDP(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadBuffer(8 << 20)
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if n != 1316 {
				t.Errorf("a datagram of %d bytes, want 7 packets", n)
			}
			got.Write(b[:n])
		}
	}()
	m, err := run.Run(context.Background(), plan(t, strings.Replace(toSink(fmt.Sprintf("type = \"udp\"\naddress = %q", c.LocalAddr())), "frames = 90", "frames = 90\nslow = \"2ms\"", 1)), run.Options{})
	time.Sleep(100 * time.Millisecond)
	c.Close()
	<-done
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	if n := frames(t, stored(t, got.Bytes()), "v"); n != "90" {
		t.Errorf("%s pictures decode, want 90", n)
	}
}

// srt to GStreamer's own receiver, encrypted; the passphrase appears nowhere.
func TestSRT(t *testing.T) {
	t.Setenv("TEST_SRT_PASSPHRASE", "correct horse battery")
	port := freeUDPPort(t)
	path := filepath.Join(t.TempDir(), "got.ts")
	receiver := gstLaunch(t, "srtsrc", fmt.Sprintf("uri=srt://127.0.0.1:%d?mode=listener", port), "passphrase=correct horse battery", "!", "filesink", "location="+path)
	text := strings.Replace(toSink(fmt.Sprintf("type = \"srt\"\nurl = \"srt://127.0.0.1:%d\"\npassphrase = { env = \"TEST_SRT_PASSPHRASE\" }", port)), "frames = 90", "frames = 100\nslow = \"33ms\"", 1)
	p := plan(t, text)
	var explained strings.Builder
	p.Explain(&explained)
	m, err := run.Run(context.Background(), p, run.Options{})
	time.Sleep(time.Second) // SRT's latency
	receiver()
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	if n := frames(t, path, "v"); n != "100" {
		t.Errorf("%s pictures decode, want 100", n)
	}
	if s := explained.String(); strings.Contains(s, "correct horse") || !strings.Contains(s, "passphrase=[secret]") {
		t.Errorf("explain shows %s", s)
	}
}

// Vorbis has no place in MPEG-TS: the planner encodes the sound once more, and
// the encoder that nobody needs any more is left out.
func TestASinkThatCannotHoldTheSoundGetsItsOwnEncode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ts")
	text := strings.Replace(fmt.Sprintf(head, "frames = 90"), `"opus"`, `"vorbis"`, 1) + fmt.Sprintf(mp4, path)
	m, err := run.Run(context.Background(), plan(t, text), run.Options{})
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0", path).Output()
	if err != nil || !strings.HasPrefix(string(out), "aac") {
		t.Errorf("the sound is %q (%v), want aac", out, err)
	}
}

func TestNull(t *testing.T) {
	m, err := run.Run(context.Background(), plan(t, toSink(`type = "null"`)), run.Options{})
	if err != nil || !m.Complete || m.Outputs[0].Streams[0].Sent != 90 {
		t.Errorf("err %v, manifest %+v", err, m)
	}
}

// What check --connect asks.
func TestProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	text := toSink(fmt.Sprintf("type = \"tcp\"\naddress = %q", l.Addr()))
	if r := run.Probe(context.Background(), plan(t, text), 5*time.Second); r[0].Err != nil || !r[0].Asked {
		t.Errorf("a server that is there: %+v", r)
	}
	l.Close()
	if r := run.Probe(context.Background(), plan(t, text), 5*time.Second); r[0].Err == nil || !strings.Contains(r[0].Err.Error(), "test.toml:13:1: stage out: tcp://") {
		t.Errorf("a server that is not there: %+v", r)
	}
}

func freeUDPPort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// gstLaunch starts a pipeline of GStreamer's own tool; the function it gives ends
// it in good order.
func gstLaunch(t *testing.T, args ...string) (end func()) {
	t.Helper()
	cmd := exec.Command("gst-launch-1.0", append([]string{"-q", "-e"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end = func() {
		once.Do(func() {
			cmd.Process.Signal(os.Interrupt)
			time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
			cmd.Wait()
		})
	}
	t.Cleanup(end)
	time.Sleep(500 * time.Millisecond) // it listens
	return end
}
