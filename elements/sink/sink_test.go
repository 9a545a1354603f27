package sink

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

// What a container is said to take, its muxer takes.
func TestContainersAgreeWithTheirMuxers(t *testing.T) {
	cat := run.Catalog()
	for name, c := range containers {
		if c.muxer == "" {
			continue
		}
		f, ok := cat.Factory(c.muxer)
		if !ok {
			t.Errorf("%s: %s is not installed", name, c.muxer)
			continue
		}
		for _, in := range c.inputs {
			i := slices.IndexFunc(f.Pads, func(p pipeline.PadTemplate) bool { return p.Name == in.Pad && p.Presence != "sometimes" })
			if i < 0 {
				t.Errorf("%s has no pad %s", c.muxer, in.Pad)
				continue
			}
			takes := pipeline.KindsOfCaps(f.Pads[i].Caps)
			for _, k := range in.Accepts {
				if !slices.Contains(takes, k.OfCaps()) {
					t.Errorf("%s.%s does not take %s; it takes %v", c.muxer, in.Pad, k, takes)
				}
			}
		}
		for _, s := range c.mux(1e9, nil)[0].Set {
			if !slices.ContainsFunc(f.Props, func(p pipeline.FactoryProp) bool { return p.Name == s.Name && p.Writable }) {
				t.Errorf("%s has no property %s", c.muxer, s.Name)
			}
		}
	}
}

func newFile(t *testing.T, set map[string]any) *file {
	t.Helper()
	f := &file{}
	for _, s := range pipeline.Specs(f) {
		if v, ok := set[s.Name]; ok {
			if err := s.Set(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

func TestContainerFromTheEnding(t *testing.T) {
	for path, want := range map[string]string{"a.mp4": "mp4", "b/a.MKV": "mkv", "a.webm": "webm", "a.opus": "ogg", "a.m2ts": "ts", "a.mp3": "mp3", "a.flac": "flac", "a.wav": "wav"} {
		if frag, err := newFile(t, map[string]any{"path": path}).Fragment(nil); err != nil || frag.Container != want || frag.File != path {
			t.Errorf("%s: %+v (%v), want %s", path, frag, err, want)
		}
	}
	if _, err := newFile(t, map[string]any{"path": "a.avi"}).Fragment(nil); err == nil || !strings.Contains(err.Error(), ".mp4") {
		t.Errorf("a.avi got %v, want the endings there are", err)
	}
	if frag, err := newFile(t, map[string]any{"path": "a.avi", "container": "mkv"}).Fragment(nil); err != nil || frag.Container != "mkv" {
		t.Errorf("a.avi as mkv: %+v (%v)", frag, err)
	}
}

func TestOpenKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a.mp4")
	ctx := context.Background()
	if err := newFile(t, map[string]any{"path": path}).Open(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newFile(t, map[string]any{"path": path}).Open(ctx); err == nil || !strings.Contains(err.Error(), "overwrite = true") {
		t.Errorf("an existing file got %v", err)
	}
	if err := newFile(t, map[string]any{"path": path, "overwrite": true}).Open(ctx); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file was emptied before anything could take its place")
	}
	for _, bad := range []string{t.TempDir(), filepath.Join(path, "below.mp4"), "/dev/null"} {
		if err := newFile(t, map[string]any{"path": bad, "container": "mp4"}).Open(ctx); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	if err := newFile(t, map[string]any{"path": "/dev/null", "container": "mkv"}).Open(ctx); err != nil {
		t.Errorf("MKV into a device: %v", err)
	}
}
