package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

var update = flag.Bool("update", false, "write what came out as the new golden files")

// The verbs are tested with elements of the test's own, so that the golden files
// change only with this package.
type camera struct {
	mode, from string
	zoom       int
	token      pipeline.Secret
}

func (c *camera) Props(p *pipeline.Props) {
	p.String(&c.from, "from", "", "Where it stands.", pipeline.Required)
	p.String(&c.mode, "mode", "colour", "What it sees.", pipeline.OneOf("colour", "grey"))
	p.Int(&c.zoom, "zoom", 1, "How near it looks.", pipeline.Between(1, 20), pipeline.Live)
	p.Secret(&c.token, "token", "Who may look.")
}

func (c *camera) Output(pad string) (pipeline.Kind, error) { return pipeline.RawVideo, nil }
func (c *camera) Open(context.Context, *pipeline.SourceEnv) error {
	return fmt.Errorf("a camera of the tests has no pictures")
}
func (c *camera) Run(context.Context) error { return nil }
func (c *camera) Close() error              { return nil }

type shredder struct{ path string }

func (s *shredder) Props(p *pipeline.Props) {
	p.String(&s.path, "path", "", "What to shred.", pipeline.Required)
}

func (s *shredder) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return pipeline.Fragment{
		Nodes:  []pipeline.Node{{Factory: "fakesink", Package: "gstreamer1.0-plugins-base"}},
		Inputs: []pipeline.Input{{Pad: "sink", Accepts: []pipeline.Kind{pipeline.RawVideo}, Max: 1}},
		File:   s.path,
	}, nil
}

func init() {
	pipeline.Register[camera]("camera", "Pictures of nothing.")
	pipeline.RegisterSink[shredder]("shredder", "The end of all frames.")
}

// TestGolden runs command lines and compares all they print, and the exit code,
// with testdata/NAME.golden.
func TestGolden(t *testing.T) {
	cases := map[string]string{
		"no-arguments":        "",
		"help":                "help",
		"help-flag":           "--help",
		"help-unknown":        "help rnu",
		"unknown-verb":        "recrod",
		"unknown-verb-near":   "chekc",
		"unknown-verb-far":    "frobnicate",
		"unknown-flag":        "run --progres 1s testdata/ok.toml",
		"unknown-flag-start":  "feed --when drop",
		"unknown-flag-far":    "version --colour",
		"flag-value-missing":  "run testdata/ok.toml --manifest",
		"flag-not-allowed":    "graph testdata/ok.toml --format mermade",
		"flag-duration":       "run testdata/ok.toml --drain-timeout 3",
		"flag-pair":           "check testdata/ok.toml --param meeting",
		"flag-twice":          "graph testdata/ok.toml --format dot --format dot",
		"argument-missing":    "explain",
		"argument-extra":      "explain a b",
		"list":                "list",
		"list-json":           "list --json",
		"inspect":             "inspect camera",
		"inspect-json":        "inspect camera --json",
		"inspect-near":        "inspect camrea",
		"inspect-gstreamer":   "inspect x264enc",
		"inspect-unknown":     "inspect nothing-of-the-sort",
		"inspect-gst-near":    "inspect gst:fakesnk",
		"check-ok":            "check testdata/ok.toml --param path=a.bin",
		"run-manifest-place":  "run testdata/ok.toml --param path=a.bin --manifest testdata/none/m.json",
		"feed-no-ring":        "feed",
		"feed-bad-ring":       "feed --ring a/b",
		"ring-bad-name":       "ring stat a/b",
		"feed-too-much":       "feed film.mkv --ring x --video 16x16@30",
		"feed-raw-no-video":   "feed --ring x --audio 48000x2 --no-video",
		"feed-bad-size":       "feed --ring x --pattern 1280:720",
		"feed-tiny-pattern":   "feed --ring x --pattern 16x16@30",
		"feed-odd-size":       "feed --ring x --video 17x16@30",
		"feed-bad-layout":     "feed --ring x --video 16x16@30 --format YUV9",
		"feed-two-in-one":     "feed --ring x --video 16x16@30 --audio 48000x2",
		"feed-drop-reader":    "feed --ring x --pace reader --when-full drop",
		"feed-pattern-format": "feed --ring x --format NV12",
		"feed-file-sample":    "feed --ring x --sample F32LE a.mkv",
		"feed-pattern-max":    "feed --ring x --max-size 16x16",
		"feed-no-file":        "feed --ring x testdata/none.mkv",
		"ring-none":           "ring",
		"ring-unknown":        "ring stta x",
		"ring-help":           "ring --help",
		"ring-help-unknown":   "help ring stta",
		"ring-nobody":         "ring stat ./testdata/no-ring",
		"ring-stat-every":     "ring stat x --watch --every 50ms",
		"tap-no-out":          "ring tap x",
		"tap-nobody":          "ring tap ./testdata/no-ring --out a.png",
		"record-no-out":       "ring record x",
		"record-size":         "ring record x -o x.mring --capacity 64Mb",
		"record-there":        "ring record x -o testdata/ok.toml",
		"record-tap-nobody":   "ring record ./testdata/no-ring --tap -o testdata/none.mring",
		"replay-no-ring":      "ring replay x.mring",
		"replay-no-file":      "ring replay testdata/none.mring --ring x",
		"replay-no-capture":   "ring replay testdata/ok.toml --ring x",
		"replay-speed":        "ring replay x.mring --ring x --speed 0",
		"replay-reader-speed": "ring replay x.mring --ring x --speed 2 --pace reader",
		"doctor-nobody":       "ring doctor ./testdata/no-ring",
		"doctor-nobody-json":  "ring doctor ./testdata/no-ring --json",
		"complete-ring":       completeVerb + " ring ",
		"complete-ring-flags": completeVerb + " ring tap x --",
		"bench-unknown":       "bench transport",
		"bench-only":          "bench transports --only ring,websockets",
		"bench-payload":       "bench transports --payload 720p",
		"bench-price":         "bench transports --price-per-core-hour free",
		"measure-no-file":     "measure testdata/none.mp4",
		"upload-nothing":      "upload",
		"upload-no-target":    "upload a.mp4",
		"upload-no-file":      "upload s3://b/k",
		"upload-bad-target":   "upload a.mp4 b/k",
		"upload-no-bucket":    "upload a.mp4 s3:///k",
		"upload-stdin-no-key": "upload - s3://b/",
		"upload-missing-file": "upload testdata/none.mp4 s3://b/ --region eu-west-3",
		"upload-two-modes":    "upload --resume --list",
		"upload-abort-what":   "upload --abort",
		"upload-part-size":    "upload - s3://b/k --part-size 1MiB --spool testdata/none",
		"upload-bad-size":     "upload - s3://b/k --part-size 8MX",
		"upload-list-none":    "upload --list --spool testdata/none",
		"upload-list-json":    "upload --list --spool testdata/none --json",
		"upload-resume-none":  "upload --resume --spool testdata/none",
		"upload-resume-what":  "upload --resume ./testdata",
		"repair-no-file":      "repair testdata/none.mp4",
		"repair-no-media":     "repair testdata/ok.toml --json",
		"repair-two-places":   "repair a.mp4 -o b.mp4 --in-place",
		"repair-two-files":    "repair a.mp4 b.mp4 -o c.mp4",
		"completion-unknown":  "completion powershell",
		"completion-bash":     "completion bash",
		"complete-verbs":      completeVerb + " ",
		"complete-flags":      completeVerb + " graph --",
		"complete-values":     completeVerb + " graph g.toml --format ",
		"complete-types":      completeVerb + " inspect ",
		"complete-files":      completeVerb + " run ",
	}
	for _, v := range allVerbs() {
		cases["help-"+strings.ReplaceAll(v.name, " ", "-")] = "help " + v.name
	}
	for name, line := range cases {
		t.Run(name, func(t *testing.T) {
			args := strings.Split(line, " ")
			if line == "" {
				args = nil
			}
			var stdout, stderr bytes.Buffer
			code := Main(args, strings.NewReader(""), &stdout, &stderr)
			got := fmt.Sprintf("$ mpipe %s\n%s--- stderr\n%s--- exit code %d\n", line, stdout.String(), stderr.String(), code)
			golden(t, name, got)
		})
	}
}

// TestWrongGraphs: the texts belong to pipeline/graph; here it is about one error
// a line, how many there are, and that nothing was started.
func TestWrongGraphs(t *testing.T) {
	for _, c := range []struct {
		line   string
		errors int
	}{
		{"run testdata/wrong.toml", 4},
		{"explain testdata/wrong.toml", 4},
		{"graph testdata/wrong.toml", 4},
		{"check testdata/wrong.toml", 4},
		{"check testdata/wrong.toml testdata/ok.toml testdata/wrong.toml --param path=x", 10}, // and the param nobody declared
		{"run testdata/none.toml", 1},
	} {
		var stdout, stderr bytes.Buffer
		code := Main(strings.Fields(c.line), strings.NewReader(""), &stdout, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if last := lines[len(lines)-1]; code != run.ExitConfig || last != plural(c.errors, "error")+"; nothing was started" || len(lines) != c.errors+1 {
			t.Errorf("mpipe %s: exit code %d, want %d errors:\n%s", c.line, code, c.errors, stderr.String())
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./cli -run TestGolden -update", err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (-update writes it anew); got:\n%s", path, got)
	}
}

// allVerbs lists groups and what is in them.
func allVerbs() (all []*verb) {
	for _, v := range verbs() {
		all = append(append(all, v), v.subs...)
	}
	return all
}

// TestEveryVerbHasExamples: help without an example is half a help.
func TestEveryVerbHasExamples(t *testing.T) {
	for _, v := range allVerbs() {
		if len(v.examples) == 0 && v.name != "help" && v.subs == nil {
			t.Errorf("%s has no example", v.name)
		}
		for _, e := range v.examples {
			if !strings.Contains(e.line, "mpipe "+v.name) {
				t.Errorf("the example %q does not show %s", e.line, v.name)
			}
		}
	}
}

// TestExamplesParse: what the help shows is a right command line.
func TestExamplesParse(t *testing.T) {
	for _, v := range allVerbs() {
		for _, e := range v.examples {
			line := e.line[strings.Index(e.line, "mpipe "+v.name)+len("mpipe "+v.name):]
			if i := strings.IndexAny(line, "|<>)"); i >= 0 && v.name != "completion" {
				line = line[:i]
			}
			f := newFlags()
			v.declare(f)
			if rest, err := f.parse(strings.Fields(line)); err != nil || len(rest) < v.min {
				t.Errorf("%q: %v, arguments %q", e.line, err, rest)
			}
		}
	}
}

func TestFlagsBetweenArguments(t *testing.T) {
	var a, b string
	var on bool
	parse := func(args ...string) ([]string, error) {
		f := newFlags()
		f.text(&a, "alpha", "A", "", "")
		f.text(&b, "beta", "B", "b0", "")
		f.switchOn(&on, "on", "")
		return f.parse(args)
	}
	rest, err := parse("x", "--alpha", "1", "-beta=2", "y", "--on", "--", "--alpha", "z")
	if err != nil || fmt.Sprint(rest) != "[x y --alpha z]" || a != "1" || b != "2" || !on {
		t.Errorf("%v %v: alpha %q beta %q on %v", rest, err, a, b, on)
	}
	if rest, err = parse("--alpha", "-1", "-"); err != nil || a != "-1" || b != "b0" || fmt.Sprint(rest) != "[-]" {
		t.Errorf("%v %v: alpha %q beta %q", rest, err, a, b)
	}
	if _, err = parse("--on=maybe"); err == nil {
		t.Error("a switch took a value")
	}
}
