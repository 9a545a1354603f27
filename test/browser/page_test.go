package browser

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/browser/chromium"
)

// seconds is how long the long recordings are; MPIPE_BROWSER_SECONDS says else.
func seconds() int {
	if n, err := strconv.Atoi(os.Getenv("MPIPE_BROWSER_SECONDS")); err == nil {
		return n
	}
	if testing.Short() {
		return 3
	}
	return 10
}

// size is that of the long recordings; MPIPE_BROWSER_SIZE says else.
func size() (w, h string) {
	if w, h, ok := strings.Cut(os.Getenv("MPIPE_BROWSER_SIZE"), "x"); ok {
		return "w=" + w, "h=" + h
	}
	return "w=1280", "h=720"
}

func done(r result) bool { return r.State == "done" }

// whole compares the file with what the page handed over: all of it, in order, and
// what found no room is what is missing.
func whole(t *testing.T, file string, frames int, r result) {
	t.Helper()
	got := measure(t, file)
	if got.Frames != r.Taken || got.Last != r.Last || got.Unreadable+got.Repeated+got.OutOfOrder != 0 ||
		got.First+got.Missing+(frames-1-got.Last) != len(r.Refused) {
		t.Errorf("the file holds %+v; the page handed over %d frames up to number %d, %d found no room", got, r.Taken, r.Last, len(r.Refused))
	}
	t.Logf("%d frames, %d dropped, skew %.1f ms (most %.1f), clocks agree within %.3f ms", got.Frames, len(r.Refused), got.SkewMS, got.SkewMost, r.ClockError)
	if got.Pairs == 0 || got.SkewMost > 33.4 || got.SkewMost < -33.4 {
		t.Errorf("sound is up to %v ms from the picture in %d places, want within a frame", got.SkewMost, got.Pairs)
	}
}

// A page that draws its frames itself, in real time: whatever it handed over is in
// the file, and what found no room is counted.
func TestAPageThatWrites(t *testing.T) {
	n := 30 * seconds()
	w, h := size()
	b := startBrowser(t, chromium.Options{})
	r := record(t, browsersrc(b.Dir()), "a.mp4")
	p := open(t, b, w, h, fmt.Sprint("frames=", n))
	got := p.until(time.Duration(n)*time.Second/10+30*time.Second, "its end", done)
	m := r.finish(time.Minute)
	whole(t, r.out, n, got)
	pad := m.Sources["tab"].Pads["video"]
	if pad.Frames != int64(got.Taken) || pad.Copied < pad.Frames || pad.DroppedFull+pad.Dropped != int64(len(got.Refused)) || pad.Lost+pad.Late != 0 {
		t.Errorf("counters are %+v; the page handed over %d, %d found no room", pad, got.Taken, len(got.Refused))
	}
	if got.Transport != "file" {
		t.Errorf("the page used the transport %q", got.Transport)
	}
}

// A page that renders rather than plays waits for room: no frame is lost, however
// slow the encoder is.
func TestAPageThatWaits(t *testing.T) {
	b := startBrowser(t, chromium.Options{})
	r := record(t, browsersrc(b.Dir(), `capacity = "2MiB"`), "a.mkv")
	p := open(t, b, "frames=90", "wait=1")
	got := p.until(time.Minute, "its end", done)
	r.finish(time.Minute)
	if got.Taken != 90 {
		t.Errorf("%d of 90 frames were taken", got.Taken)
	}
	whole(t, r.out, 90, got)
}

// What a MediaStream carries, a canvas and sound; and the same as VideoFrames that the
// page makes, with sound through an AudioWorklet.
func TestACanvasWithSound(t *testing.T) {
	for _, mode := range []string{"canvas", "worklet"} {
		t.Run(mode, func(t *testing.T) {
			n := 30 * seconds()
			b := startBrowser(t, chromium.Options{})
			r := record(t, browsersrc(b.Dir()), "a.mp4")
			p := open(t, b, "mode="+mode, fmt.Sprint("frames=", n))
			got := p.until(time.Duration(n)*time.Second/10+30*time.Second, "its end", done)
			m := r.finish(time.Minute)
			file := measure(t, r.out)
			t.Logf("%+v\n%+v", file, got)
			if file.Unreadable+file.Repeated+file.OutOfOrder != 0 || int64(file.Frames) != m.Sources["tab"].Pads["video"].Frames {
				t.Errorf("the file holds %+v, %d were delivered", file, m.Sources["tab"].Pads["video"].Frames)
			}
			if file.Frames != got.Streams[0].Written || file.Frames < n/3 {
				t.Errorf("%d of %d pictures are in the file, the page wrote %d", file.Frames, n, got.Streams[0].Written)
			}
			if file.Pairs == 0 || file.SkewMS > 50 || file.SkewMS < -50 {
				t.Errorf("sound is %v ms from the picture in %d places", file.SkewMS, file.Pairs)
			}
		})
	}
}

// However a page ends, the file holds what it had handed over.
func TestHoweverAPageEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*testing.T, *chromium.Browser, *tab)
	}{
		{"crash", func(t *testing.T, _ *chromium.Browser, p *tab) { _ = p.Crash(t.Context()) }},
		{"tab closed", func(t *testing.T, _ *chromium.Browser, p *tab) { _ = p.Close(t.Context()) }},
		{"navigation", func(t *testing.T, _ *chromium.Browser, p *tab) { _ = p.Load(t.Context(), "about:blank") }},
		{"browser killed", func(t *testing.T, b *chromium.Browser, _ *tab) { b.Kill() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := startBrowser(t, chromium.Options{})
			r := record(t, browsersrc(b.Dir()), "a.mp4")
			p := open(t, b)
			got := p.until(time.Minute, "45 frames", func(r result) bool { return r.Taken >= 45 })
			c.end(t, b, p)
			m := r.finish(time.Minute)
			file := measure(t, r.out)
			if file.Frames < got.Taken || file.Last < got.Last || file.Unreadable+file.Repeated+file.OutOfOrder != 0 {
				t.Errorf("the file holds %+v; %d were handed over a moment before", file, got.Taken)
			}
			if !m.Sources["tab"].ProducerDied {
				t.Error("the manifest does not say that the page died")
			}
		})
	}
}

// A page that is reloaded, crashes, is closed or dies with its browser: the recording
// goes on with the next page.
func TestWaitingForTheNextPage(t *testing.T) {
	for name, next := range map[string]func(*testing.T, *chromium.Browser, *tab) *tab{
		"reload": func(t *testing.T, _ *chromium.Browser, p *tab) *tab {
			if err := p.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			return p
		},
		"crash": func(t *testing.T, b *chromium.Browser, p *tab) *tab {
			_ = p.Crash(t.Context())
			return open(t, b)
		},
		"tab closed": func(t *testing.T, b *chromium.Browser, p *tab) *tab {
			_ = p.Close(t.Context())
			return open(t, b)
		},
		"browser killed": func(t *testing.T, b *chromium.Browser, _ *tab) *tab {
			b.Kill()
			return open(t, startBrowser(t, chromium.Options{Dir: b.Dir()}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBrowser(t, chromium.Options{})
			r := record(t, browsersrc(b.Dir(), `on_producer_exit = "wait"`), "a.mkv")
			p := open(t, b)
			first := p.until(time.Minute, "30 frames", func(r result) bool { return r.Taken >= 30 })
			p = next(t, b, p)
			r.says("waiting for the next producer")
			second := p.until(time.Minute, "30 more frames", func(r result) bool { return r.Taken >= 30 && r.Life != first.Life })
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			m := r.finish(time.Minute)
			file := measure(t, r.out)
			if file.Frames < first.Taken+second.Taken || file.Unreadable != 0 || file.OutOfOrder != 1 || int64(file.Frames) != m.Sources["tab"].Pads["video"].Frames {
				t.Errorf("the file holds %+v; %d and %d were handed over a moment before the ends", file, first.Taken, second.Taken)
			}
			p.until(10*time.Second, "the news that the recording has ended", func(r result) bool { return r.State == "stopping" || r.State == "closed" || r.State == "done" })
		})
	}
}

// freePort is one that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Over a WebSocket the same page gives the same file, asked for or as the fallback
// where mpipe does not see the browser's files.
func TestOverAWebSocket(t *testing.T) {
	b := startBrowser(t, chromium.Options{})
	for _, transport := range []string{"websocket", "auto"} {
		t.Run(transport, func(t *testing.T) {
			addr := freePort(t)
			r := record(t, fmt.Sprintf("type = \"wssrc\"\nlisten = %q\n", addr), "a.mp4")
			r.says("waiting for a client")
			p := open(t, b, "frames=60", "wait=1", "transport="+transport, "url=ws://"+addr+"/")
			got := p.until(time.Minute, "its end", done)
			r.finish(time.Minute)
			if got.Transport != "websocket" || got.Taken != 60 {
				t.Errorf("the page says %+v", got)
			}
			whole(t, r.out, 60, got)
		})
	}
}

// What is missing is said in words.
func TestWhatThePageIsTold(t *testing.T) {
	b := startBrowser(t, chromium.Options{Args: []string{"--host-resolver-rules=MAP page.test 127.0.0.1"}})
	failed := func(t *testing.T, p *tab, words ...string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			r := p.result()
			if r.State == "failed" {
				for _, w := range words {
					if !strings.Contains(r.Error, w) {
						t.Errorf("the page says %q, want %q in it", r.Error, w)
					}
				}
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the page never failed: %+v", r)
			}
		}
	}
	t.Run("nobody", func(t *testing.T) {
		failed(t, open(t, b, "patience=500"), "nobody: no mpipe took this page", "incognito")
	})
	t.Run("no websocket", func(t *testing.T) {
		failed(t, open(t, b, "patience=500", "url=ws://"+freePort(t)+"/"), "websocket: ws://127.0.0.1", "before that, files failed: no mpipe took this page")
	})
	t.Run("refused", func(t *testing.T) {
		r := record(t, browsersrc(b.Dir()), "a.mp4")
		failed(t, open(t, b, "silent=1"), "refused: mpipe refused this page: the graph uses .audio, but the page offers video (video)")
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		r.wait(30 * time.Second)
	})
	t.Run("not secure", func(t *testing.T) {
		p, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// A name that is not localhost is no secure context over http.
		if err := p.Load(t.Context(), strings.Replace(site, "localhost", "page.test", 1)+"/page.html"); err != nil {
			t.Fatal(err)
		}
		failed(t, &tab{p, t}, "insecure: this page (http://page.test:", "serve it from https:// or from http://localhost")
	})
}

// The same, without a copy.
func TestATrustedPage(t *testing.T) {
	b := startBrowser(t, chromium.Options{})
	r := record(t, browsersrc(b.Dir(), `trust = "page"`, `capacity = "8MiB"`), "a.mp4")
	p := open(t, b, "frames=90", "wait=1")
	got := p.until(time.Minute, "its end", done)
	m := r.finish(time.Minute)
	whole(t, r.out, 90, got)
	if pad := m.Sources["tab"].Pads["video"]; pad.Frames != 90 || pad.Copied != 0 {
		t.Errorf("counters are %+v, want no copy", pad)
	}
}

// With Chromium's sandbox on, as a user who is not root.
func TestInTheSandbox(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to start a browser as another user; the other tests have the sandbox on here")
	}
	b := startBrowser(t, chromium.Options{User: &syscall.Credential{Uid: 65534, Gid: 65534}})
	r := record(t, browsersrc(b.Dir()), "a.mp4")
	n, params := 60, []string{"frames=60", "wait=1"}
	if os.Getenv("MPIPE_BROWSER_SECONDS") != "" { // in real time, then
		n = 30 * seconds()
		w, h := size()
		params = []string{w, h, fmt.Sprint("frames=", n)}
	}
	p := open(t, b, params...)
	got := p.until(time.Duration(n)*time.Second/10+time.Minute, "its end", done)
	r.finish(time.Minute)
	whole(t, r.out, n, got)
	sandboxed := 0
	for _, pid := range b.Processes() {
		// seccomp mode 2 is a filter, proc(5).
		if s, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil && strings.Contains(string(s), "Seccomp:\t2") {
			sandboxed++
		}
	}
	if sandboxed == 0 {
		t.Error("no process of the browser is in a sandbox")
	}
}
