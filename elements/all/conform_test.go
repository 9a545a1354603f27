package all_test

import (
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	_ "github.com/mpipe/mpipe/elements/all"
	"github.com/mpipe/mpipe/elements/sink"
	"github.com/mpipe/mpipe/pipeline/pipelinetest"
)

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

var inverter string // the program of the stage process

// props is what elements need that cannot do without.
var props = map[string]func(t *testing.T) map[string]any{
	"shmsrc":     func(*testing.T) map[string]any { return map[string]any{"ring": "none"} },
	"browsersrc": func(t *testing.T) map[string]any { return map[string]any{"user_data_dir": t.TempDir()} },
	"unixsrc": func(t *testing.T) map[string]any {
		return map[string]any{"path": filepath.Join(t.TempDir(), "s")}
	},
	"gst":     func(*testing.T) map[string]any { return map[string]any{"element": "videoflip", "output": "raw video"} },
	"gstsink": func(*testing.T) map[string]any { return map[string]any{"element": "fakesink"} },
	"file": func(t *testing.T) map[string]any {
		return map[string]any{"path": filepath.Join(t.TempDir(), "a.mkv")}
	},
	"hls": func(t *testing.T) map[string]any { return map[string]any{"path": t.TempDir()} },
	"writer": func(*testing.T) map[string]any {
		sink.ToWriter("conform", func() (io.WriteCloser, error) { return discard{io.Discard}, nil })
		return map[string]any{"name": "conform"}
	},
	"process":   func(*testing.T) map[string]any { return map[string]any{"command": []string{inverter}} },
	"scale":     func(*testing.T) map[string]any { return map[string]any{"width": int64(80), "height": int64(80)} },
	"framerate": func(*testing.T) map[string]any { return map[string]any{"fps": "30"} },
	"crop":      func(*testing.T) map[string]any { return map[string]any{"width": int64(80)} },
	"overlay":   func(*testing.T) map[string]any { return map[string]any{"text": "mpipe"} },
	"resample":  func(*testing.T) map[string]any { return map[string]any{"rate": int64(44100)} },
	"udp":       func(*testing.T) map[string]any { return map[string]any{"address": "127.0.0.1:9"} },
}

// elsewhere are tested where what they need is started: a server, a browser.
var elsewhere = map[string]bool{"tcp": true, "srt": true, "s3": true, "rtmp": true, "stdout": true}

// Every element that mpipe brings conforms.
func TestEveryElementConforms(t *testing.T) {
	inverter = filepath.Join(t.TempDir(), "invert")
	if out, err := exec.Command("go", "build", "-o", inverter, "../../examples/invert").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, reg := range ours() {
		t.Run(reg.Type, func(t *testing.T) {
			if elsewhere[reg.Type] {
				pipelinetest.Properties(t, reg.Type)
				return
			}
			pipelinetest.Conform(t, reg.Type, pipelinetest.Options{Props: props[reg.Type]})
		})
	}
}
