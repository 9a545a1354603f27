package graph_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
)

// FuzzParse gives any bytes as a graph file, with any parameter and override:
// nothing may panic, every error says where and what to do, and whatever comes
// out as a plan holds together.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"good", "broken"} {
		paths, err := filepath.Glob("testdata/" + folder + "/*.toml")
		if err != nil || len(paths) == 0 {
			f.Fatalf("no seeds in testdata/%s: %v", folder, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, "h264.bitrate", "${id}", "id")
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, key, value, param string) {
		o := graph.Options{Set: map[string]string{}, Params: map[string]string{}}
		if key != "" {
			o.Set[key] = value
		}
		if param != "" {
			o.Params[param] = value
		}
		together, all := graph.ParsePlan("fuzz.toml", text, o, installed)
		complete(t, all)
		g, err := graph.Parse("fuzz.toml", text, o)
		complete(t, err)
		if err != nil {
			if together != nil {
				t.Error("ParsePlan gives a plan for what Parse refuses")
			}
			return
		}
		plan, err := graph.NewPlan(g, installed)
		complete(t, err)
		if (plan == nil) != (together == nil) || errorText(err) != errorText(all) {
			t.Errorf("ParsePlan and NewPlan disagree:\n%v\n%v", all, err)
		}
		if plan != nil {
			consistent(t, plan)
			var b bytes.Buffer
			plan.Explain(&b)
			plan.Dot(&b)
			plan.Mermaid(&b)
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// complete checks an error, if it is one, as a user would want it.
func complete(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var all pipeline.Errors
	if !errors.As(err, &all) || len(all) == 0 {
		t.Fatalf("want pipeline.Errors, got %T: %v", err, err)
	}
	for i, e := range all {
		commandLine := e.Pos.Line == 0 && strings.HasPrefix(e.Pos.File, "--")
		if e.Class == 0 || e.Msg == "" || e.Remedy == "" || e.Pos.Line < 1 && !commandLine {
			t.Errorf("incomplete: %+v", *e)
		}
		if strings.ContainsAny(e.Error(), "\n\r") {
			t.Errorf("more than a line: %q", e.Error())
		}
		if i > 0 && e.Pos.Line > 0 && e.Pos.Line < all[i-1].Pos.Line {
			t.Errorf("not in the order of the file: %v behind %v", e, all[i-1])
		}
	}
}
