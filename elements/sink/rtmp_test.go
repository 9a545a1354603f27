package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/elements/sink/internal/rtmp"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/test/servers"
)

// newRTMP makes one that publishes to a url.
func newRTMP(t *testing.T, url string, set map[string]any) *rtmpSink {
	t.Helper()
	t.Setenv("TEST_RTMP_URL", url)
	r := &rtmpSink{}
	for _, s := range pipeline.Specs(r) {
		v, ok := set[s.Name]
		if !ok && s.Name == "url" {
			v, ok = map[string]any{"env": "TEST_RTMP_URL"}, true
		}
		if ok {
			if err := s.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

func quietly() *pipeline.OutputEnv {
	return &pipeline.OutputEnv{Log: slog.New(slog.DiscardHandler)}
}

func TestRTMPWhatMayStandInTheFile(t *testing.T) {
	key := map[string]any{"env": "TEST_RTMP_KEY"}
	t.Setenv("TEST_RTMP_KEY", "hushhush")
	for _, c := range []struct {
		set  map[string]any
		want string // of the error
	}{
		{map[string]any{"url": "rtmp://host/app/hushhush"}, "does not belong into the file"},
		{map[string]any{"url": "http://host/app", "key": key}, `does not begin with "rtmp://"`},
		{map[string]any{"url": "rtmp://me:hushhush@host/app", "key": key}, "not supported"},
		{map[string]any{"url": "rtmp://host/app", "key": key}, ""},
		{map[string]any{"stats_url": "http://host/stat"}, ""},
		{map[string]any{"stats_url": "host/stat"}, "rtmp_stat"},
		{map[string]any{"stats_url": "http://me:hushhush@host/stat"}, "password"},
	} {
		err := newRTMP(t, "rtmp://host/app/key", c.set).Check()
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%v: %v, want %q", c.set, err, c.want)
		}
	}
}

// What needs no connection is wrong before anything starts.
func TestRTMPOpen(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url  string
		set  map[string]any
		want string
	}{
		{"rtmps://host/app/hushhush", nil, ""},
		{"", nil, "url: the environment variable TEST_RTMP_URL is not set"},
		{"rtmp://host/hushhush", nil, "url: it has no application or no stream key"},
		{"rtmp://host/app", map[string]any{"key": map[string]any{"env": "TEST_RTMP_NO_KEY"}}, "key: the environment variable TEST_RTMP_NO_KEY is not set"},
		{"rtmps://host/app/hushhush", map[string]any{"tls_ca": junk}, "tls_ca: " + junk + " holds no certificate"},
		{"rtmps://host/app/hushhush", map[string]any{"tls_ca": junk + "-not"}, "tls_ca: open"},
	} {
		err := newRTMP(t, c.url, c.set).Open(context.Background())
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%s, %v: %v, want %q", c.url, c.set, err, c.want)
		}
	}
}

func TestRTMPFragment(t *testing.T) {
	f, err := newRTMP(t, "rtmp://host/app/hushhush", map[string]any{"give_up": "5s"}).Fragment(nil)
	if err != nil || f.Where != "rtmp://host/app/[secret]" || !f.Live || f.QueueTime != 4*time.Second || f.Restart.GiveUp != 5*time.Second {
		t.Errorf("%+v, %v", f, err)
	}
	// Without its secret a plan can be made all the same.
	if f, err := newRTMP(t, "", nil).Fragment(nil); err != nil || strings.Contains(f.Where, "host") {
		t.Errorf("%+v, %v", f, err)
	}
}

// A refusal in words is final, until the server has said yes once.
func TestRTMPRefusalsThatAreFinal(t *testing.T) {
	a, err := rtmp.ParseAddress("rtmp://host/app/hushhush", "")
	if err != nil {
		t.Fatal(err)
	}
	isFinal := func(err error) bool {
		var f interface{ Final() bool }
		return errors.As(err, &f) && f.Final()
	}
	r := newRTMP(t, "rtmp://host/app/hushhush", nil)
	for _, permanent := range []bool{true, false} {
		err := r.failed(a, &rtmp.Error{Step: rtmp.Publish, Permanent: permanent})
		var known *pipeline.Error
		if isFinal(err) != permanent || !errors.As(err, &known) || known.Class != pipeline.Environment || known.Remedy == "" {
			t.Errorf("permanent %v: %+v", permanent, err)
		}
	}
	r.up = true
	if isFinal(r.failed(a, &rtmp.Error{Step: rtmp.Publish, Permanent: true})) {
		t.Error("a server that said yes once is given up")
	}
}

// Time stamps grow over all attempts by at least 1 ms, and by the time between.
func TestTimelineGrows(t *testing.T) {
	var l timeline
	var last uint32
	for attempt := range 3 {
		l.begin()
		for i, ms := range []uint32{0, 0, 20, 33, 5000} {
			at := l.stamp(ms)
			if attempt > 0 && i == 0 && at <= last || at < last {
				t.Errorf("attempt %d: %d behind %d", attempt, at, last)
			}
			last = at
		}
	}
	l.origin = l.origin.Add(-time.Hour)
	l.begin()
	if at := l.stamp(0); at < 3_600_000 || at > 3_700_000 {
		t.Errorf("an hour later: %d ms", at)
	}
}

// movie is three seconds as FLV, made by ffmpeg.
func movie(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.flv")
	out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30",
		"-t", "3", "-c:v", "libx264", "-preset", "ultrafast", "-g", "30", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The verdict is the server's: its statistics are asked before the end, a stream
// that broke is not whole, and what was confirmed is counted.
func TestRTMPVerdict(t *testing.T) {
	s := servers.StartRTMP(t, servers.RTMPOptions{})
	file := movie(t)
	counts := func(n int) string { // a page of a server that has counted n bytes
		w := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "<rtmp><server><application><name>live</name><live><stream><name>k</name><bytes_in>%d</bytes_in></stream></live></application></server></rtmp>", n)
		}))
		t.Cleanup(w.Close)
		return w.URL
	}
	ctx := context.Background()
	for _, c := range []struct{ name, stats, want string }{
		{"no statistics", "", ""},
		{"real statistics", s.StatURL(), ""},
		{"too many", counts(1 << 30), "statistics count 1073741824 bytes"},
	} {
		r := newRTMP(t, s.URL("k?token=hush"), map[string]any{"stats_url": c.stats})
		if err := r.Begin(ctx, quietly()); err != nil {
			t.Fatal(c.name, err)
		}
		if _, err := r.Write(file); err != nil {
			t.Fatal(c.name, err)
		}
		if err := r.Finish(ctx); err != nil {
			t.Fatal(c.name, err)
		}
		err := r.Verify(ctx, pipeline.Delivery{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if rep := r.ReportOutput(); rep.Confirmed != int64(len(file)-13) || rep.Retries != 0 || !strings.HasSuffix(rep.Where, "/live/[secret]") {
			t.Errorf("%s: %+v, %d bytes were sent", c.name, rep, len(file)-13)
		}
	}

	// A page that is none, or counts too little, is asked again for a while.
	r := newRTMP(t, s.URL("k"), nil)
	if err := r.Begin(ctx, quietly()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	for stats, want := range map[string]string{
		strings.TrimSuffix(s.StatURL(), "stat") + "nothing": "404",
		counts(7): "statistics count 7 bytes of",
		"http://" + servers.FreeAddr(t) + "/stat": "connection refused",
	} {
		r.statsURL = stats
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		if err := r.compare(short, r.current()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", stats, err, want)
		}
		cancel()
	}
	r.Abandon(nil)

	// A second attempt does not make the first one whole.
	r = newRTMP(t, s.URL("again"), nil)
	for i := range 2 {
		if err := r.Begin(ctx, quietly()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write(file); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			r.Abandon(errors.New("cut"))
			r.Abandon(errors.New("again is harmless"))
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if _, busy := s.Stream("again"); !busy {
					break
				}
			}
			if _, err := r.Write(file); err == nil {
				t.Error("a stream that was given up takes bytes")
			}
		}
	}
	if err := r.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(ctx, pipeline.Delivery{}); err == nil || !strings.Contains(err.Error(), "broke once") {
		t.Errorf("got %v", err)
	}
	if rep := r.ReportOutput(); rep.Retries != 1 || rep.Confirmed < int64(len(file)-13) {
		t.Errorf("got %+v", rep)
	}
}

func TestRTMPProbe(t *testing.T) {
	s := servers.StartRTMP(t, servers.RTMPOptions{})
	s.Admit(func(_ context.Context, p servers.Publish) bool { return p.Key == "good" })
	ctx := context.Background()
	if err := newRTMP(t, s.URL("good"), nil).Probe(ctx); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, busy := s.Stream("good"); !busy {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the probe is still publishing")
		}
	}
	if err := newRTMP(t, s.TLSURL("good"), map[string]any{"tls_ca": s.CA}).Probe(ctx); err != nil {
		t.Error(err)
	}
	if err := newRTMP(t, s.TLSURL("good"), map[string]any{"insecure": true}).Probe(ctx); err != nil {
		t.Error(err)
	}
	for url, want := range map[string]string{
		s.URL("bad"):     "refuse the stream key; see whether the stream key is right",
		s.TLSURL("good"): "not trusted",
		servers.RTMPURL(servers.FreeAddr(t), "good"): "connection refused",
	} {
		if err := newRTMP(t, url, nil).Probe(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
