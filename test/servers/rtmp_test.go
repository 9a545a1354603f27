package servers

import (
	"context"
	"net"

	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// publish has ffmpeg publish so many frames of H.264 at 30 a second with AAC.
func publish(t *testing.T, url string, frames int, more ...string) *exec.Cmd {
	t.Helper()
	args := []string{"-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30",
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", strconv.FormatFloat(float64(frames)/30, 'f', 3, 64),
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-c:a", "aac", "-f", "flv"}
	cmd := exec.Command("ffmpeg", append(append(args, more...), url)...)
	cmd.Stderr = new(strings.Builder)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// frames decodes the pictures of a recording and counts them.
func frames(t *testing.T, file string) int {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-count_frames",
		"-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", file).Output()
	n, err2 := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || err2 != nil {
		t.Fatalf("%s is not readable: %v, %q", file, err, out)
	}
	return n
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func (s *RTMP) live(key string) bool {
	st, ok := s.Stream(key)
	return ok && st.BytesIn > 0
}

func TestRTMP(t *testing.T) {
	s := StartRTMP(t, RTMPOptions{})
	ends := map[string]func(string) []string{
		"plain": func(key string) []string { return []string{s.URL(key)} },
		"tls":   func(key string) []string { return []string{"-tls_verify", "1", "-ca_file", s.CA, s.TLSURL(key)} },
	}
	for key, to := range ends {
		args := to(key + "?token=secret")
		cmd := publish(t, args[len(args)-1], 60, args[:len(args)-1]...)
		eventually(t, "the statistics show the stream", func() bool { return s.live(key) })
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s: %v: %s", key, err, cmd.Stderr)
		}
		r := s.Recordings(key)
		if len(r) != 1 || frames(t, r[0]) != 60 {
			t.Errorf("%s: recordings %q, want one of 60 frames", key, r)
		}
	}
	// Whoever does not know the certificate is not served.
	if err := publish(t, s.TLSURL("stranger"), 30, "-tls_verify", "1").Wait(); err == nil {
		t.Error("a client without the CA has published")
	}
	p := s.Published()
	if len(p) != 2 || p[0].App != "live" || p[0].Args != "token=secret" || !p[0].Admitted {
		t.Errorf("published %+v", p)
	}
	if st, err := s.Stat(); err != nil || st.Accepted < 2 || st.BytesIn == 0 {
		t.Errorf("statistics %+v, %v", st, err)
	}
}

func TestRTMPRefusesAndDrops(t *testing.T) {
	s := StartRTMP(t, RTMPOptions{})
	asked := make(chan struct{})
	s.Admit(func(ctx context.Context, p Publish) bool {
		if p.Key == "silent" {
			close(asked)
			<-ctx.Done() // accepts the connection and never says anything
		}
		return p.Key == "good"
	})
	if err := publish(t, s.URL("bad"), 30).Wait(); err == nil || len(s.Recordings("bad")) != 0 {
		t.Errorf("a refused key has published: %v, %q", err, s.Recordings("bad"))
	}
	silent := publish(t, s.URL("silent"), 30)
	select {
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Fatalf("the server did not ask: %s", silent.Stderr)
	}
	if _, ok := s.Stream("silent"); ok {
		t.Error("published without an answer")
	}
	silent.Process.Kill()

	// Two sessions in a row have a recording each.
	for i := range 2 {
		cmd := publish(t, s.URL("good"), 600)
		eventually(t, "the stream is there", func() bool { return s.live("good") })
		if n := s.Drop("good"); n != 1 {
			t.Errorf("dropped %d connections, want 1", n)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the publisher has not noticed that it was dropped")
		}
		if r := s.Recordings("good"); len(r) != i+1 {
			t.Errorf("after %d sessions the recordings are %q", i+1, r)
		}
	}
	if s.Drop("good") != 0 {
		t.Error("dropped a stream that nobody publishes")
	}
}

func TestRTMPStopsAndReturns(t *testing.T) {
	s := StartRTMP(t, RTMPOptions{DropIdle: time.Second})
	cmd := publish(t, s.URL("k"), 600)
	eventually(t, "the stream is there", func() bool { return s.live("k") })
	s.Pause()
	if _, err := s.Stat(); err == nil {
		t.Error("a paused server answers")
	}
	s.Resume()
	s.Restart()
	if err := cmd.Wait(); err == nil {
		t.Error("the publisher has not noticed that the server was killed")
	}
	if len(s.Recordings("k")) != 1 {
		t.Error("what the killed server recorded is gone")
	}
	// A publisher that went silent keeps its name until DropIdle has passed.
	cmd = publish(t, s.URL("idle"), 600)
	eventually(t, "the stream is there again", func() bool { return s.live("idle") })
	cmd.Process.Signal(syscall.SIGSTOP)
	eventually(t, "the silent publisher is dropped", func() bool { _, ok := s.Stream("idle"); return !ok })

	s.Kill()
	if c, err := net.Dial("tcp", s.Addr); err == nil {
		c.Close()
		t.Error("a killed server accepts connections")
	}
}
