package all_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/pipelinetest"
	"github.com/mpipe/mpipe/pipeline/reference"
)

var update = flag.Bool("update", false, "write docs/reference anew")

// ours are the types that mpipe brings.
func ours() []pipeline.Registration {
	return slices.DeleteFunc(pipeline.Types(), func(r pipeline.Registration) bool { return pipelinetest.IsOwn(r.Type) })
}

// docs/reference is what the declarations say.
func TestReferenceIsUpToDate(t *testing.T) {
	for _, role := range []pipeline.Role{pipeline.RoleSource, pipeline.RoleStage, pipeline.RoleSink} {
		var b bytes.Buffer
		reference.Page(&b, role, ours())
		same(t, role.Table()+".md", b.Bytes())
	}
	b, err := json.MarshalIndent(reference.Schema(ours()), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "graph.schema.json", append(b, '\n'))
}

func same(t *testing.T, name string, want []byte) {
	t.Helper()
	path := filepath.Join("../../docs/reference", name)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs from the declarations (%v); run: go test ./elements/all -run Reference -update", path, err)
	}
}

// The schema takes every graph of graphs/, and what it marks as wrong is wrong.
func TestSchemaAgreesWithTheGraphs(t *testing.T) {
	b, err := json.Marshal(reference.Schema(ours()))
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../graphs/*.toml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d graphs: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			old, now string
		}{{"", ""}, {"\nbitrate = ", "\nbitrat = "}, {"\ninputs = ", "\ninput = "}, {`"shmsrc"`, `"shmsrcc"`}, {"version = 1", "version = 2"}} {
			changed := string(text)
			if c.old != "" {
				changed = strings.ReplaceAll(changed, c.old, c.now)
			}
			if c.old != "" && changed == string(text) {
				continue
			}
			var doc map[string]any
			if _, err := toml.Decode(changed, &doc); err != nil {
				t.Fatal(err)
			}
			wrong := invalid(schema, jsonOf(t, doc))
			if (c.old == "") != (wrong == "") {
				t.Errorf("%s with %q for %q: the schema says %q", file, c.now, c.old, wrong)
			}
		}
	}
}

func jsonOf(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
