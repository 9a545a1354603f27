package shmsrc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

// producerVar makes the test binary a producer at an address.
const producerVar = "MPIPE_SHMSRC_PRODUCER"

func TestMain(m *testing.M) {
	if addr := os.Getenv(producerVar); addr != "" {
		if err := produceAndDie(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var specs = []ring.StreamSpec{{Name: "video", Kind: ring.KindVideo, MaxFrame: picture}, {Name: "audio", Kind: ring.KindAudio, MaxFrame: 1920}}

var grey = ring.VideoFormat{FourCC: "GRAY8", Width: 256, Height: 256, Planes: 1, Strides: [4]int{256}, FPSNum: 30, FPSDen: 1}

// produceAndDie commits three pictures, leaves out two of its own will, claims one
// more, and kills itself.
func produceAndDie(addr string) error {
	p, err := ring.Attach(context.Background(), addr, specs, ring.AttachOptions{Name: "dies"})
	if err != nil {
		return err
	}
	id, err := p.SetVideo(0, grey)
	if err != nil {
		return err
	}
	w, err := p.Writer()
	if err != nil {
		return err
	}
	for range 3 {
		s, err := w.Claim(0, id, picture, ring.Drop)
		if err != nil {
			return err
		}
		s.Commit(ring.Now(), 0, 0)
		w.DropByPolicy(0)
	}
	if _, err := w.Claim(0, id, picture, ring.Drop); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// openSource opens a source whose producers are other processes.
func openSource(t *testing.T, addr string, set map[string]any, ends map[string]*graphEnd) (*source, error) {
	t.Helper()
	s := &source{}
	set["ring"] = addr
	for _, spec := range pipeline.Specs(s) {
		if v, ok := set[spec.Name]; ok {
			if err := spec.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	env := &pipeline.SourceEnv{Stage: "app", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Outlets: map[string]pipeline.Outlet{}, Timeline: &pipeline.Timeline{}}
	for name, e := range ends {
		env.Outlets[name] = e
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, s.Open(context.Background(), env)
}

// What a producer that died had counted stands in the report once, also while the
// next one is waited for, and after that was in vain.
func TestCountersOfADeadProducerAreAddedOnce(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "ring")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), producerVar+"="+addr)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	video := newEnd(0)
	s, err := openSource(t, addr, map[string]any{"on_producer_exit": "wait", "attach_timeout": "2s"}, map[string]*graphEnd{"video": video})
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s.attachTimeout = 300 * time.Millisecond
	want := func(when string) {
		t.Helper()
		p := s.Report().Pads["video"]
		if p.Frames != 3 || p.Dropped != 3 || p.Lost != 1 {
			t.Errorf("%s: %+v; want 3 pictures, 3 left out, 1 lost", when, p)
		}
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	for end := time.Now().Add(10 * time.Second); s.Report().Pads["video"].Lost == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	want("while it waits")
	if err := <-done; err != nil || !video.eos {
		t.Errorf("the run: %v, EOS %v", err, video.eos)
	}
	want("at the end")
	if rep := s.Report(); !rep.ProducerDied || !strings.HasPrefix(rep.Producer, "dies") {
		t.Errorf("%+v", rep)
	}
}

// A thread that stops in the middle of a picture costs that picture: the others go
// on in another ring by themselves, into the same recording.
func TestAStuckWriterCostsOnePicture(t *testing.T) {
	video, audio := newEnd(1), newEnd(0)
	r := newRig(t, map[string]*graphEnd{"video": video, "audio": audio}, map[string]any{"writer_timeout": "300ms", "capacity": int64(8 * picture)})
	r.write(1, 10, time.Hour, ring.Drop)
	r.write(0, 3, time.Hour, ring.Drop)
	w, err := r.prod.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	stuck, err := w.Claim(0, r.video, picture, ring.Drop)
	if err != nil {
		t.Fatal(err)
	}
	if full := r.write(0, 30, time.Hour+time.Second, ring.Block(10*time.Second)); full != 0 {
		t.Errorf("%d pictures found no room", full)
	}
	r.write(1, 10, time.Hour+time.Second, ring.Drop)
	stuck.Commit(int64(time.Hour+500*time.Millisecond), 0, 0)
	r.prod.Close()
	if err := r.ended(); err != nil {
		t.Fatal(err)
	}
	p := r.src.Report().Pads["video"]
	if video.count() != 33 || audio.count() != 20 || p.Lost != 1 || r.prod.Lost() != 1 || r.prod.Epochs() != 2 {
		t.Errorf("%d pictures and %d packets arrived, %+v; the producer lost %d in %d epochs; want 33, 20 and one lost",
			video.count(), audio.count(), p, r.prod.Lost(), r.prod.Epochs())
	}
}

// A producer that does not suit the graph is told why, at once, and the source
// waits for a better one.
func TestTheProducerIsToldWhyItIsRefused(t *testing.T) {
	for _, addr := range []string{filepath.Join(t.TempDir(), "ring"), "unix:" + filepath.Join(t.TempDir(), "s")} {
		told := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_, err := ring.Attach(ctx, addr, specs[:1], ring.AttachOptions{})
			told <- err
		}()
		_, err := openSource(t, addr, map[string]any{"attach_timeout": "700ms"}, map[string]*graphEnd{"video": newEnd(0), "audio": newEnd(0)})
		const reason = "the graph uses app.audio, but the producer offers video (video)"
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: the source says %v", addr, err)
		}
		var refused *ring.RefusedError
		if err := <-told; !errors.As(err, &refused) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: the producer hears %v", addr, err)
		}
	}
}

// What goes wrong in the middle is told, too.
func TestTheProducerIsToldWhyTheSourceGaveUp(t *testing.T) {
	video := newEnd(0)
	video.fail = errors.New("no such size here")
	r := newRig(t, map[string]*graphEnd{"video": video}, nil)
	r.write(0, 1, time.Hour, ring.Drop)
	if err := r.ended(); !errors.Is(err, video.fail) {
		t.Errorf("the source says %v", err)
	}
	if err := r.prod.Err(); !errors.Is(err, ring.ErrGone) || !strings.Contains(err.Error(), "no such size here") {
		t.Errorf("the producer hears %v", err)
	}
}

func TestAccessIsChecked(t *testing.T) {
	for _, c := range []struct {
		mode string
		uids []string
		bad  string
	}{
		{"0600", nil, ""}, {"0666", []string{"root", "1000"}, ""}, {"600", []string{"0"}, ""},
		{"0400", nil, "socket_mode"}, {"1777", nil, "socket_mode"}, {"rw", nil, "socket_mode"},
		{"0600", []string{"no such user"}, "allow_uid"}, {"0600", []string{"-1"}, "allow_uid"},
	} {
		s := &source{}
		pipeline.Specs(s)
		s.addr, s.socketMode, s.allowUID = "r", c.mode, c.uids
		err := s.Check()
		if c.bad == "" && err != nil || c.bad != "" && (err == nil || !strings.HasPrefix(err.Error(), c.bad)) {
			t.Errorf("mode %q, users %q: %v", c.mode, c.uids, err)
		}
	}
}
