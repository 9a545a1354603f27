package graph_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
)

const small = `version = 1
[sources.bot]
type = "shmsrc"
ring = "bot"
[stages.h264]
type = "x264"
inputs = [ "bot.video" ]
bitrate = "1M"
gst = { rc-lookahead = 10 }
[sinks.local]
type = "file"
inputs = ["h264"]
path = "a.mp4"
queue = { time = "4s" }
`

func mustParse(t *testing.T, text string, o graph.Options) *graph.Graph {
	t.Helper()
	g, err := graph.Parse("small.toml", []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestParseGivesStages(t *testing.T) {
	g := mustParse(t, small, graph.Options{})
	if g.Name != "small" || g.File != "small.toml" || len(g.Stages) != 3 {
		t.Fatalf("got %+v", g)
	}
	bot, h264, local := g.Stages[0], g.Stages[1], g.Stages[2]
	if bot.ID != "bot" || bot.Role != pipeline.RoleSource || bot.Element.(*shmsrc).ring != "bot" {
		t.Errorf("got %+v", bot)
	}
	if h264.Type != "x264" || h264.Role != pipeline.RoleStage || h264.Element.(*x264).bitrate != 1_000_000 || h264.Queue != nil {
		t.Errorf("got %+v", h264)
	}
	want := graph.Ref{Stage: "bot", Pad: "video", Pos: pipeline.Pos{File: "small.toml", Line: 7, Col: 12}}
	if in := h264.Inputs[0]; len(h264.Inputs) != 1 || in.Stage != want.Stage || in.Pad != want.Pad || in.Pos != want.Pos || in.String() != "bot.video" {
		t.Errorf("got %+v, want %+v", h264.Inputs, want)
	}
	if local.Role != pipeline.RoleSink || local.Queue == nil || local.Queue.Time != 4*time.Second || local.Queue.Size != 0 {
		t.Errorf("got %+v with the queue %+v", local, local.Queue)
	}
}

func TestPosOf(t *testing.T) {
	g := mustParse(t, small, graph.Options{Set: map[string]string{"h264.bitrate": "2M", "h264.gst.tune": "zerolatency"}})
	h264 := g.Stages[1]
	for key, want := range map[string]string{
		"type": "small.toml:6:8", "gst": "small.toml:9:7", "gst.rc-lookahead": "small.toml:9:24",
		"gst.nothing": "small.toml:9:7", "preset": "small.toml:5:1", "": "small.toml:5:1",
		"bitrate": "--set h264.bitrate", "gst.tune": "--set h264.gst.tune",
	} {
		if got := h264.PosOf(key).String(); got != want {
			t.Errorf("%q: got %s, want %s", key, got, want)
		}
	}
	if got := h264.Element.(*x264).bitrate; got != 2_000_000 {
		t.Errorf("the override gave %d", got)
	}
	if h264.Pos.Line != 5 || h264.Pos.Col != 1 {
		t.Errorf("the stage is at %v", h264.Pos)
	}
	byHand := &graph.Stage{Pos: pipeline.Pos{File: "x", Line: 1, Col: 1}}
	if byHand.PosOf("type") != byHand.Pos {
		t.Error("a stage that came from no file has only one place")
	}
}

// TestLooseValues gives the same text to properties of every type, from a param
// and from the command line.
func TestLooseValues(t *testing.T) {
	text := strings.Replace(small, "bitrate = \"1M\"\n", "bitrate = \"${v}\"\nthreads = \"${n}\"\npreset = \"${p}\"\n", 1)
	text = strings.Replace(text, "[sources.bot]", "[params]\nv.required = true\nn.default = 4\np.default = \"medium\"\n[sources.bot]", 1)
	for value, want := range map[string]int64{"1500k": 1_500_000, "1500000": 1_500_000, "1_500_000": 1_500_000} {
		g := mustParse(t, text, graph.Options{
			Params: map[string]string{"v": value},
			Set:    map[string]string{"h264.tune": "1500", "bot.attach_timeout": "${n}s", "local.inputs": `["h264"]`, "local.overwrite": "true"},
		})
		e := g.Stages[1].Element.(*x264)
		if e.bitrate != want || e.threads != 4 || e.preset != "medium" || e.tune != "1500" {
			t.Errorf("%s: got %+v", value, *e)
		}
		if got := g.Stages[0].Element.(*shmsrc).attach; got != 4*time.Second {
			t.Errorf("attach_timeout: got %v", got)
		}
		if !g.Stages[2].Element.(*file).overwrite {
			t.Error("overwrite was not set")
		}
	}
}

func TestSecretsBySet(t *testing.T) {
	text := small + "[sinks.live]\ntype = \"rtmp\"\ninputs = [\"h264\"]\n"
	for path, value := range map[string]string{"live.url.env": "RTMP_URL", "live.url": `{ env = "RTMP_URL" }`} {
		g := mustParse(t, text, graph.Options{Set: map[string]string{path: value}})
		if url := g.Stages[3].Element.(*rtmp).url; !url.IsSet() {
			t.Errorf("--set %s=%s set nothing", path, value)
		}
	}
	_, err := graph.Parse("small.toml", []byte(text), graph.Options{Set: map[string]string{"live.url": "rtmp://host/app/hunter2"}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error that does not repeat the secret", err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meeting.toml")
	_, err := graph.Load(path, graph.Options{})
	if !errors.Is(err, fs.ErrNotExist) || pipeline.ClassOf(err) != pipeline.Config || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("got %v", err)
	}
	if _, err := graph.LoadPlan(path, graph.Options{}, installed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := graph.Load(path, graph.Options{})
	if err != nil || g.Name != "meeting" {
		t.Errorf("got %+v, %v", g, err)
	}
	if p, err := graph.LoadPlan(path, graph.Options{}, installed); err != nil || p.Name != "meeting" || p.Graph == nil {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestBothStepsReportTogether has one error for each of Parse and NewPlan.
func TestBothStepsReportTogether(t *testing.T) {
	text := strings.Replace(small, "rc-lookahead", "rc-lookahed", 1)
	text = strings.Replace(text, `ring = "bot"`, "ring = \"bot\"\nattach_timeout = 5", 1)
	_, err := graph.ParsePlan("small.toml", []byte(text), graph.Options{}, installed)
	if lines := strings.Split(errorText(err), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "small.toml:5:18: ") || !strings.HasPrefix(lines[1], "small.toml:10:23: ") {
		t.Errorf("got %v", err)
	}
}
