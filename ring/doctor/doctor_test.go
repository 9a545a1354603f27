package doctor

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/ring"
)

const window = 100 * time.Millisecond

// pair is a ring with both ends in this process.
type pair struct {
	addr string
	r    *ring.Reader
	p    *ring.Producer
	w    *ring.Writer
	id   uint32
}

const frame = 64 * 64

func newPair(t *testing.T) pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	x := pair{addr: filepath.Join(t.TempDir(), "ring")}
	l, err := ring.Listen(x.addr, ring.Config{VideoBytes: 64 << 10, Name: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	attached := make(chan error, 1)
	go func() {
		var err error
		x.p, err = ring.Attach(ctx, x.addr, []ring.StreamSpec{{Name: "video", Kind: ring.KindVideo, MaxFrame: frame}}, ring.AttachOptions{Name: "painter"})
		attached <- err
	}()
	if x.r, err = l.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-attached; err != nil {
		t.Fatal(err)
	}
	if x.w, err = x.p.Writer(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		x.w.Close()
		x.p.Close()
		x.r.Close()
		l.Close()
	})
	return x
}

func (x *pair) publish(t *testing.T) {
	t.Helper()
	f, err := ring.PackedVideo("GRAY8", 64, 64, 30, 1)
	if err == nil {
		x.id, err = x.p.SetVideo(0, f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fill commits frames until there is no room for more, and has a writer wait.
func (x *pair) fill(t *testing.T) {
	t.Helper()
	for {
		s, err := x.w.Claim(0, x.id, frame, ring.Drop)
		if err != nil {
			break
		}
		s.Commit(ring.Now(), 0, 0)
	}
	w, err := x.p.Writer()
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		if s, err := w.Claim(0, x.id, frame, ring.Block(10*window)); err == nil {
			s.Abort()
		}
		w.Close()
	}()
	t.Cleanup(func() { <-waiting })
	time.Sleep(window / 2)
}

func (x *pair) commit(t *testing.T) {
	t.Helper()
	s, err := x.w.Claim(0, x.id, frame, ring.Drop)
	if err != nil {
		t.Fatal(err)
	}
	s.Commit(ring.Now(), 0, 0)
}

// TestDiagnose: what stands still, and what is said of it.
func TestDiagnose(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*testing.T, *pair)
		want []string // the codes of the problems
		text string   // in one of them
	}{
		"no format": {func(t *testing.T, x *pair) {}, []string{"no-format"}, "video"},
		"no frame":  {func(t *testing.T, x *pair) { x.publish(t) }, []string{"no-frame"}, ""},
		"well": {func(t *testing.T, x *pair) {
			x.publish(t)
			x.commit(t)
			x.r.Take(ring.KindVideo).Cell.Release()
			x.r.Reclaim()
		}, nil, ""},
		"held": {func(t *testing.T, x *pair) {
			x.publish(t)
			x.commit(t)
			x.r.Take(ring.KindVideo)
			x.fill(t)
		}, []string{"full", "held"}, "holds 1 frame"},
		"not taken": {func(t *testing.T, x *pair) {
			x.publish(t)
			x.fill(t)
		}, []string{"full", "not-taken"}, "1 writer waits"},
		"stuck": {func(t *testing.T, x *pair) {
			x.publish(t)
			if _, err := x.w.Claim(0, x.id, frame, ring.Drop); err != nil {
				t.Fatal(err)
			}
			w, _ := x.p.Writer()
			s, err := w.Claim(0, x.id, frame, ring.Drop)
			if err != nil {
				t.Fatal(err)
			}
			s.Commit(ring.Now(), 0, 0)
			w.Close()
		}, []string{"writer-stuck"}, "writer 0 has claimed 4096 bytes for stream video and not committed them"},
		"dropping": {func(t *testing.T, x *pair) {
			x.publish(t)
			x.commit(t)
			x.r.Take(ring.KindVideo)
			done := make(chan struct{})
			t.Cleanup(func() { <-done })
			go func() {
				defer close(done)
				time.Sleep(window / 2)
				for range 40 {
					if s, err := x.w.Claim(0, x.id, frame, ring.Drop); err == nil {
						s.Commit(ring.Now(), 0, 0)
					}
				}
			}()
		}, []string{"full", "held", "dropping"}, "because the ring was full"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newPair(t)
			c.do(t, &x)
			r := Diagnose(context.Background(), x.addr, window)
			var got []string
			all := ""
			for _, f := range r.Findings {
				if f.Level == Problem {
					got = append(got, f.Code)
				}
				all += f.Text + "\n"
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") || !strings.Contains(all, c.text) {
				t.Errorf("problems %v, want %v with %q; all said:\n%s", got, c.want, c.text, all)
			}
		})
	}
}

// TestGuide: the codes that the guide explains are those that are given.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide/ring.md")
	if err != nil {
		t.Fatal(err)
	}
	code := ""
	for _, name := range []string{"doctor.go", "attachment.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code += string(b)
	}
	n := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(string(guide), -1) {
		for _, c := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(row[1], -1) {
			n++
			if !strings.Contains(code, `"`+c[1]+`"`) {
				t.Errorf("the guide explains %s, which is never said", c[1])
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d codes found", n)
	}
}

// TestOver: how attachments end.
func TestOver(t *testing.T) {
	x := newPair(t)
	x.publish(t)
	x.commit(t)
	x.p.Close()
	for x.r.State() == ring.Live {
		x.r.Drained(ring.KindVideo)
	}
	r := Diagnose(context.Background(), x.addr, window)
	codes := map[string]Level{}
	for _, f := range r.Findings {
		codes[f.Code] = f.Level
	}
	// The frame that was committed last was never taken.
	if codes["ended"] != Note || codes["not-taken"] != Problem {
		t.Errorf("%+v", r.Findings)
	}
}
