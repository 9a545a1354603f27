package graph_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// options reads what the command line adds from a file's first line, such as
// "# --set h264.bitrate=1M --param id=7".
func options(text string) graph.Options {
	o := graph.Options{Params: map[string]string{}, Set: map[string]string{}}
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	for i := 1; i+1 < len(words); i++ {
		key, value, _ := strings.Cut(words[i+1], "=")
		switch words[i] {
		case "--param":
			o.Params[key] = value
		case "--set":
			o.Set[key] = value
		}
	}
	return o
}

// each runs a test for every graph in a folder of testdata.
func each(t *testing.T, folder string, test func(t *testing.T, name, text string)) int {
	t.Helper()
	paths, err := filepath.Glob("testdata/" + folder + "/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".toml")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			test(t, name, string(b))
		})
	}
	return len(paths)
}

// golden compares with a golden file, or rewrites it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test -update and look at the difference\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// errorLine is what every error must look like: where, what, and behind "; "
// what to do.
var errorLine = regexp.MustCompile(`^([a-z0-9_]+\.toml:[1-9][0-9]*:[1-9][0-9]*|--(set|param) [^:]+): (stage \S+: )?[^;]+; \S.*$`)

func TestBroken(t *testing.T) {
	n := each(t, "broken", func(t *testing.T, name, text string) {
		plan, err := graph.ParsePlan(name+".toml", []byte(text), options(text), installed)
		if err == nil || plan != nil {
			t.Fatalf("a plan came out, with the error %v", err)
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			if !errorLine.MatchString(line) {
				t.Errorf("want place: what; remedy, got\n%s", line)
			}
		}
		var all pipeline.Errors
		if !errors.As(err, &all) {
			t.Fatalf("want pipeline.Errors, got %T", err)
		}
		for _, e := range all {
			if e.Remedy == "" || e.Msg == "" || e.Class != pipeline.Config && !strings.HasPrefix(name, "fault_") {
				t.Errorf("incomplete: %+v", e)
			}
		}
		golden(t, "testdata/broken/"+name+".err", []byte(err.Error()+"\n"))
	})
	if n < 60 {
		t.Errorf("%d broken graphs, want at least 60", n)
	}
	if goldens, _ := filepath.Glob("testdata/broken/*.err"); len(goldens) != n {
		t.Errorf("%d golden files for %d graphs", len(goldens), n)
	}
}

func TestGood(t *testing.T) {
	each(t, "good", func(t *testing.T, name, text string) {
		g, err := graph.Parse(name+".toml", []byte(text), options(text))
		if err != nil {
			t.Fatal(err)
		}
		plan, err := graph.NewPlan(g, installed)
		if err != nil {
			t.Fatal(err)
		}
		consistent(t, plan)
		var b bytes.Buffer
		plan.Explain(&b)
		golden(t, "testdata/good/"+name+".plan", b.Bytes())
	})
}

// consistent checks what holds for every plan.
func consistent(t *testing.T, p *graph.Plan) {
	t.Helper()
	names := map[string]bool{}
	for _, n := range p.Nodes {
		if names[n.ID] {
			t.Errorf("two nodes are called %s", n.ID)
		}
		names[n.ID] = true
		if _, ok := installed.Factory(n.Factory); !ok {
			t.Errorf("node %s: %s is not installed", n.ID, n.Factory)
		}
	}
	into, out := map[string]int{}, map[string]int{}
	for _, l := range p.Links {
		if !names[l.From] || !names[l.To] {
			t.Errorf("link from %s to %s: no such node", l.From, l.To)
		}
		into[l.To]++
		out[l.From]++
		if l.Edge == "" || l.ToPad == "" {
			t.Errorf("incomplete: %+v", l)
		}
	}
	for _, n := range p.Nodes {
		if (into[n.ID] == 0) != n.Source {
			t.Errorf("node %s has %d inputs", n.ID, into[n.ID])
		}
		if out[n.ID] > 1 && n.Factory != "tee" {
			t.Errorf("node %s has %d outputs and is no tee", n.ID, out[n.ID])
		}
		if out[n.ID] == 0 && n.Kind != (pipeline.Kind{}) {
			t.Errorf("%s from node %s goes nowhere", n.Kind, n.ID)
		}
	}
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func TestDrawings(t *testing.T) {
	text, err := os.ReadFile("testdata/good/meeting.toml")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := graph.ParsePlan("meeting.toml", text, options(string(text)), installed)
	if err != nil {
		t.Fatal(err)
	}
	var dot, mermaid bytes.Buffer
	plan.Dot(&dot)
	plan.Mermaid(&mermaid)
	golden(t, "testdata/good/meeting.dot", dot.Bytes())
	golden(t, "testdata/good/meeting.mmd", mermaid.Bytes())
	j, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/meeting.json", append(j, '\n'))
}
