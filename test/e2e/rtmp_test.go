package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/run"
	"github.com/mpipe/mpipe/test/servers"
)

const live = `version = 1
[params]
ring = { required = true }
out = { required = true }
[sources.app]
type = "shmsrc"
ring = "${ring}"
[stages.h264]
type = "x264"
inputs = ["app.video"]
preset = "ultrafast"
keyframe_interval = "1s"
bitrate = "1M"
[stages.aac]
type = "aac"
inputs = ["app.audio"]
[sinks.file]
type = "file"
inputs = ["h264", "aac"]
path = "${out}"
`

// liveGOP is live's keyframe_interval.
const liveGOP = time.Second

// to is one more rtmp sink; its address comes from the environment.
func to(t *testing.T, id, url string, more ...string) string {
	t.Helper()
	name := "TEST_RTMP_" + strings.ToUpper(id)
	t.Setenv(name, url)
	return fmt.Sprintf("[sinks.%s]\ntype = \"rtmp\"\ninputs = [\"h264\", \"aac\"]\nurl = { env = %q }\n%s\n", id, name, strings.Join(more, "\n"))
}

const optional = `required = false`

// broadcast feeds so many frames in real time into a graph.
func broadcast(t *testing.T, text string, frames int, args ...string) *recording {
	t.Helper()
	r := recordTo(t, graph(t, text), ringName(), "a.mp4", args...)
	start(t, "feed", "--ring", r.ring, "--pattern", "320x180@30", "--frames", fmt.Sprint(frames))
	r.says("format")
	return r
}

func output(t *testing.T, m run.Manifest, id string) run.OutputResult {
	t.Helper()
	for _, o := range m.Outputs {
		if o.Stage == id {
			return o
		}
	}
	t.Fatalf("the manifest has no output %s", id)
	return run.OutputResult{}
}

// Nothing fails: what the servers recorded is all that was sent, which they
// confirm and their statistics agree with, in the clear and in TLS, while a third
// destination of the same encode is dead.
func TestRTMPDeliversEveryFrame(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 90
	}
	s := servers.StartRTMP(t, servers.RTMPOptions{})
	stats := fmt.Sprintf("stats_url = %q", s.StatURL())
	text := live + to(t, "plain", s.URL("plain"), stats) +
		to(t, "secure", s.TLSURL("secure"), stats, fmt.Sprintf("tls_ca = %q", s.CA)) +
		to(t, "dead", servers.RTMPURL(servers.FreeAddr(t), "dead"), optional, `give_up = "2s"`)
	r := broadcast(t, text, n)
	m := r.finish(time.Minute)
	whole(t, r.out, n)
	for _, id := range []string{"plain", "secure"} {
		rec := s.Recordings(id)
		if len(rec) != 1 {
			t.Fatalf("%s: recordings are %q", id, rec)
		}
		whole(t, rec[0], n)
		o := output(t, m, id)
		if !o.Complete || !o.Checked || o.Streams[0].Sent != int64(n) || o.Confirmed == 0 || o.Confirmed > o.Bytes || o.Retries != 0 || !strings.HasSuffix(o.Where, "/live/[secret]") {
			t.Errorf("%s is %+v", id, o)
		}
	}
	if o := output(t, m, "dead"); o.Complete || o.Required || !strings.Contains(o.Error, "given up after 2s: ") || !strings.Contains(o.Error, "connection refused") || o.Retries == 0 {
		t.Errorf("the dead one is %+v", o)
	}
}

// fault is a destination with what goes wrong there.
type fault struct {
	id    string
	srv   *servers.RTMP // that records; nil: nobody does
	lost  time.Duration // longest outage, from its begin until the server was well
	least int           // recordings, at least
	said  string        // in the log
}

// Each destination fails in its own way at the same time; the file beside them
// has every frame, one that is well gets every frame, and each that recovers goes
// on with a key frame, within one GOP and the time to connect.
func TestRTMPFaults(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	seconds, pause := 45, 20*time.Second
	if testing.Short() {
		seconds, pause = 20, 5*time.Second
	}
	const (
		stall, connect, again = 2 * time.Second, 2 * time.Second, time.Second
		hole, dead            = 4 * time.Second, 3 * time.Second
	)
	words := fmt.Sprintf("stall_timeout = \"%v\"\nconnect_timeout = \"%v\"\nreconnect_min = \"100ms\"\nreconnect_max = \"%v\"\nqueue = { time = \"3s\" }\n%s", stall, connect, again, optional)

	s, killed, paused := servers.StartRTMP(t, servers.RTMPOptions{}), servers.StartRTMP(t, servers.RTMPOptions{}), servers.StartRTMP(t, servers.RTMPOptions{})
	s.Admit(func(_ context.Context, p servers.Publish) bool { return p.Key != "badkey" })
	tox := servers.StartToxiproxy(t)
	links := map[string]*servers.Link{}
	for _, id := range []string{"down", "hole", "slow"} {
		links[id] = tox.Proxy(s.Addr)
	}
	links["down"].Down()
	text := live
	for id, url := range map[string]string{
		"well": s.URL("well"), "badkey": s.URL("badkey"), "wrongapp": "rtmp://" + s.Addr + "/elsewhere/wrongapp",
		"mute": servers.RTMPURL(mute(t), "mute"), "wrongca": s.TLSURL("wrongca"),
		"reset":  servers.RTMPURL(resetting(t, s.Addr, rnd), "reset"),
		"killed": killed.URL("killed"), "paused": paused.URL("paused"),
	} {
		text += to(t, id, url, words)
	}
	for id, l := range links {
		w := words
		if id == "slow" { // on loopback, TCP opens its window in steps of seconds then
			w = strings.Replace(w, stall.String(), "10s", 1)
		}
		text += to(t, id, servers.RTMPURL(l.Addr, id), w)
	}
	r := broadcast(t, text, 30*seconds)
	began := time.Now()
	var wg sync.WaitGroup
	at := func(after time.Duration, f func()) {
		after += time.Duration(rnd.Int64N(int64(time.Second)))
		wg.Add(1)
		time.AfterFunc(time.Until(began.Add(after)), func() { defer wg.Done(); f() })
	}
	at(4*time.Second, paused.Pause)
	at(4*time.Second+pause, paused.Resume)
	at(5*time.Second, killed.Kill)
	at(5*time.Second+dead, killed.Restart)
	at(6*time.Second, links["hole"].BlackHole)
	at(6*time.Second+hole, links["hole"].Heal)
	at(3*time.Second, func() { // half of what the well one takes
		st, _ := s.Stream("well")
		links["slow"].Bandwidth(int64(st.BytesIn) * int64(time.Second) / int64(time.Since(began)) / 2)
	})
	stamps := watchStamps(t, s, "reset")
	wg.Wait()
	m := r.finish(time.Duration(seconds+60) * time.Second)
	stamps()

	whole(t, r.out, 30*seconds)
	whole(t, s.Recordings("well")[0], 30*seconds)
	if o := output(t, m, "well"); !o.Complete {
		t.Errorf("the one that is well: %+v", o)
	}
	for _, f := range []fault{
		{id: "down", said: "cannot connect"},
		{id: "badkey", said: "refuse the stream key"},
		{id: "wrongapp", said: "do not know the application"},
		{id: "mute", said: "did not answer for 2s (handshake)"},
		{id: "wrongca", said: "certificate is not trusted"},
		{id: "hole", srv: s, lost: hole, least: 2, said: "nothing for 2s"},
		{id: "reset", srv: s, lost: time.Millisecond, least: 3},
		{id: "killed", srv: killed, lost: dead, least: 2},
		{id: "paused", srv: paused, lost: pause, least: 2},
		{id: "slow", srv: s, least: 1},
	} {
		o := output(t, m, f.id)
		if log := logOf(r, f.id); o.Complete || !strings.Contains(log, f.said) {
			t.Errorf("%s is %+v\n%s", f.id, o, log)
		}
		t.Logf("%s: retries %d, dropped %d in %d gaps, %q, %q", f.id, o.Retries, o.Streams[0].Dropped, o.Streams[0].Drops, o.Error, o.LastError)
		if f.srv != nil {
			recordings(t, f, f.lost+connect+again+liveGOP+3*time.Second)
		}
	}
	if o := output(t, m, "wrongca"); o.Retries != 0 {
		t.Errorf("a certificate that is not trusted was tried %d times more", o.Retries)
	}
	if o := output(t, m, "slow"); o.Retries != 0 || o.Streams[0].Drops == 0 {
		t.Errorf("the slow line: %d connects, %d gaps; want gaps alone\n%s", 1+o.Retries, o.Streams[0].Drops, logOf(r, "slow"))
	}
}

// logOf is what the log says of a stage.
func logOf(r *recording, stage string) string {
	var lines []string
	for _, l := range strings.Split(r.err.String(), "\n") {
		if strings.Contains(l, "stage="+stage+" ") || strings.Contains(l, "stage "+stage+":") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// withPictures leaves out what was published and cut before the first picture. Where that
// was in the last seconds, with no key frame to come, sound may be all there is.
func withPictures(files []string) (with []string) {
	for i, f := range files {
		if st, err := os.Stat(f); err != nil || st.Size() < 2000 {
			continue
		}
		if flags, err := pictureFlags(f); err == nil && i == len(files)-1 && flags == "" {
			continue
		}
		with = append(with, f)
	}
	return with
}

// pictureFlags has a line for each picture of a recording: K where it is a key frame.
func pictureFlags(file string) (string, error) {
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0", file).Output()
	return string(out), err
}

// recordings looks at what a server has of a destination that failed and
// recovered: key frames first, numbers that only grow, gaps no longer than most.
func recordings(t *testing.T, f fault, most time.Duration) {
	t.Helper()
	files := f.srv.Recordings(f.id)
	last, n := -1, 0
	for _, file := range withPictures(files) {
		flags, err := pictureFlags(file)
		if err != nil || !strings.HasPrefix(flags, "K") {
			t.Errorf("%s: %s begins with %.20q (%v), want a key frame", f.id, file, flags, err)
			continue
		}
		r := measure(t, file)
		t.Logf("%s: frames %d to %d, %d of them, %d missing", f.id, r.First, r.Last, r.Frames, r.Missing)
		if r.Frames == 0 || r.Unreadable+r.Repeated+r.OutOfOrder > 0 || r.First <= last {
			t.Errorf("%s: behind frame %d comes %+v", f.id, last, r)
		}
		if f.lost > 0 && n > 0 && time.Duration(r.First-last)*time.Second/30 > most {
			t.Errorf("%s: from frame %d to %d nothing; want at most %v", f.id, last, r.First, most)
		}
		last, n = r.Last, n+1
	}
	if n < f.least {
		t.Errorf("%s: %d recordings of %q, want %d", f.id, n, files, f.least)
	}
}

// mute accepts connections and says nothing.
func mute(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	t.Cleanup(func() { l.Close(); wg.Wait() })
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() { defer wg.Done(); defer c.Close(); io.Copy(io.Discard, c) }()
		}
	}()
	return l.Addr().String()
}

// resetting passes connections on to a server and resets each after some seconds.
func resetting(t *testing.T, target string, rnd *rand.Rand) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	var ages []time.Duration // drawn here: the order of the goroutines must not matter
	for range 100 {
		ages = append(ages, 2*time.Second+time.Duration(rnd.Int64N(int64(3*time.Second))))
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for _, age := range ages {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			time.AfterFunc(age, func() {
				in.(*net.TCPConn).SetLinger(0)
				in.Close()
				out.Close()
			})
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Add(1)
				go func() { defer wg.Done(); io.Copy(way[1], way[0]); way[1].Close() }()
			}
		}
	}()
	return l.Addr().String()
}

// watchStamps looks at the time stamps that a server gets for a key, until the
// function that it gives is called: over all connections they only grow.
func watchStamps(t *testing.T, s *servers.RTMP, key string) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	var most uint32
	n := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			st, err := s.Stat()
			if err != nil {
				continue
			}
			for _, stream := range st.Streams {
				for _, c := range stream.Clients {
					switch {
					case stream.Key != key || c.Publishing == nil || c.Timestamp == 0: // nothing came yet
					case c.Timestamp < most:
						t.Errorf("%s: time stamp %d ms after %d ms", key, c.Timestamp, most)
					default:
						most, n = c.Timestamp, n+1
					}
				}
			}
		}
	}()
	return func() {
		close(stop)
		<-done
		if n < 20 {
			t.Errorf("%s: its time stamps were seen %d times only", key, n)
		}
		t.Logf("%s: time stamps up to %d ms", key, most)
	}
}

// The stream key is in nothing that anybody can read: logs, errors, status,
// manifest, plans, drawings, GStreamer's own log and dumps.
func TestRTMPKeysStaySecret(t *testing.T) {
	const short = optional + "\ngive_up = \"1s\""
	const key, part, token = "live_Hush-Key", "a/b_Hush-Key", "c2VjcmV0Hush"
	s := servers.StartRTMP(t, servers.RTMPOptions{})
	s.Admit(func(_ context.Context, p servers.Publish) bool { return !strings.HasPrefix(p.Key, "no") })
	dir := t.TempDir()
	for name, value := range map[string]string{
		"GST_DEBUG": "*:5", "GST_DEBUG_FILE": filepath.Join(dir, "gst.log"), "GST_DEBUG_DUMP_DOT_DIR": dir,
		"TEST_RTMP_KEY": key + "?sig=" + token,
	} {
		t.Setenv(name, value)
	}
	text := live + to(t, "good", s.URL(key+"?sig="+token)) + to(t, "parts", servers.RTMPURL(s.Addr, part), short) +
		to(t, "refused", s.URL("no"+key), short) + to(t, "down", "rtmps://"+servers.FreeAddr(t)+"/live/"+key, short) +
		fmt.Sprintf("[sinks.apart]\ntype = \"rtmp\"\ninputs = [\"h264\", \"aac\"]\n%s\nurl = \"rtmp://%s/live\"\nkey = { env = \"TEST_RTMP_KEY\" }\n", short, s.Addr)
	r := broadcast(t, text, 60, "--json", "--log-level", "debug")
	r.wait(time.Minute)
	path := r.cmd.Args[2]
	var all strings.Builder
	fmt.Fprintln(&all, r.out, r.err.String(), r.proc.out.String())
	for _, args := range [][]string{{"check", "--connect"}, {"explain"}, {"explain", "--json"}, {"graph"}} {
		out, _ := exec.Command(mpipe, append(append(args, path), "--param", "ring=x", "--param", "out="+filepath.Join(dir, "x.mp4"))...).CombinedOutput()
		if len(out) == 0 {
			t.Errorf("mpipe %q prints nothing", args)
		}
		all.Write(out)
	}
	// A file with the key in it is refused, without repeating it.
	bad := graph(t, live+fmt.Sprintf("[sinks.bad]\ntype = \"rtmp\"\ninputs = [\"h264\"]\nurl = \"rtmp://h/live/%s\"\n", key))
	out, err := exec.Command(mpipe, "check", bad, "--param", "ring=x", "--param", "out=x.mp4").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not belong into the file") {
		t.Errorf("a key in the file: %v, %s", err, out)
	}
	all.Write(out)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, r.manifest) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	t.Logf("searched %d KB", all.Len()>>10)
	if !strings.Contains(all.String(), "GST_") || !strings.Contains(all.String(), "/live/[secret]") {
		t.Error("neither GStreamer's log nor an address was searched")
	}
	for _, hush := range []string{"Hush-Key", token} {
		if i := strings.Index(all.String(), hush); i >= 0 {
			t.Errorf("%q is in: …%s…", hush, all.String()[max(0, i-200):min(all.Len(), i+100)])
		}
	}
	if m := r.account(); !output(t, m, "good").Complete {
		t.Errorf("the good one is %+v", output(t, m, "good"))
	}
}
