package rtmp

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

// movie is ten seconds of H.264 and AAC as FLV, made by ffmpeg.
func movie(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.flv")
	out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30", "-f", "lavfi", "-i", "sine=sample_rate=44100",
		"-t", "10", "-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-c:a", "aac", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sendAll sends a file as fast as the server takes it.
func sendAll(t *testing.T, s *Stream, file []byte) {
	t.Helper()
	var tags Tags
	if err := tags.Write(file, s.Send); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, url string) Address {
	t.Helper()
	a, err := ParseAddress(url, "")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func trusting(t *testing.T, ca string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool}
}

// pictures counts those that decode.
func pictures(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", file, err, out)
	}
	return strings.TrimSpace(string(out))
}

// All that is sent is recorded, in the clear and in TLS, and the server itself
// confirms it.
func TestNginxRecordsAll(t *testing.T) {
	n := servers.StartRTMP(t, servers.RTMPOptions{})
	file := movie(t)
	for key, url := range map[string]string{"plain": n.URL("plain"), "secure": n.TLSURL("secure")} {
		o := Options{Pings: true, Stall: 10 * time.Second, TLS: trusting(t, n.CA)}
		s, err := Open(within(t, 10*time.Second), parse(t, url), o)
		if err != nil {
			t.Fatal(err)
		}
		sendAll(t, s, file)
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			st, _ := n.Stream(key)
			if int64(st.BytesIn) == s.Payload() {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the server counts %d bytes, %d were sent", key, st.BytesIn, s.Payload())
			}
		}
		if err := s.End(within(t, 10*time.Second)); err != nil {
			t.Error(err)
		}
		if !s.answers() || s.Confirmed() != int64(len(file)-flvHeader) {
			t.Errorf("%s: %d bytes confirmed (pings answered: %v), want %d", key, s.Confirmed(), s.answers(), len(file)-flvHeader)
		}
		if r := n.Recordings(key); len(r) != 1 || pictures(t, r[0]) != "300" {
			t.Errorf("%s: recordings are %q", key, r)
		}
	}
}

func TestNginxRefuses(t *testing.T) {
	n := servers.StartRTMP(t, servers.RTMPOptions{})
	n.Admit(func(_ context.Context, p servers.Publish) bool { return p.Key != "bad" })
	s, err := Open(within(t, 5*time.Second), parse(t, n.URL("taken")), Options{Pings: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for url, want := range map[string]Error{
		n.URL("taken"):                        {Step: Publish, Code: "NetStream.Publish.BadName"},
		n.URL("bad"):                          {Step: Publish},
		"rtmp://" + n.Addr + "/elsewhere/key": {Step: Connect},
		n.TLSURL("good"):                      {Step: TLS, Permanent: true},
		"rtmps://" + n.Addr + "/live/good":    {Step: TLS},
	} {
		_, err := Open(within(t, 2*time.Second), parse(t, url), Options{Pings: true})
		var e *Error
		if !errors.As(err, &e) || e.Step != want.Step || e.Code != want.Code || e.Permanent != want.Permanent {
			t.Errorf("%s: %v (%+v), want %+v", url, err, e, want)
		}
		t.Log(err)
	}
}

// A server that stops while the end waits confirms it when it goes on: nothing
// that TCP has taken for it is lost.
func TestNginxIsPausedAtTheEnd(t *testing.T) {
	n := servers.StartRTMP(t, servers.RTMPOptions{})
	file := movie(t)
	s, err := Open(within(t, 5*time.Second), parse(t, n.URL("k")), Options{Pings: true, Stall: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	half := bytes.LastIndexByte(file[:len(file)/2], 0)
	var tags Tags
	if err := tags.Write(file[:half], s.Send); err != nil {
		t.Fatal(err)
	}
	n.Pause()
	resumed := time.AfterFunc(2*time.Second, n.Resume)
	defer resumed.Stop()
	if err := tags.Write(file[half:], s.Send); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.End(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the end took %v, %d bytes confirmed", time.Since(began).Round(time.Millisecond), s.Confirmed())
	if r := n.Recordings("k"); len(r) != 1 || pictures(t, r[0]) != "300" {
		t.Errorf("recordings are %q", r)
	}
}

// The kernel holds little of a stream that a paused server does not read.
func TestNginxIsPaused(t *testing.T) {
	n := servers.StartRTMP(t, servers.RTMPOptions{})
	s, err := Open(within(t, 5*time.Second), parse(t, n.URL("k")), Options{Pings: true, Stall: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sendAll(t, s, movie(t))
	n.Pause()
	defer n.Resume()
	before, began := s.Sent(), time.Now()
	err = pump(s, 10_000)
	if !errors.Is(err, errQuiet) {
		t.Errorf("got %v", err)
	}
	t.Logf("noticed after %v and %d KB: %v", time.Since(began).Round(time.Millisecond), (s.Sent()-before)/1000, err)
}
