package graph

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// maxFile bounds a graph file in bytes. A graph of a hundred stages has 20 kB;
// what is much larger is some other file.
const maxFile = 256 << 10

// maxStages bounds a graph. Each stage costs threads, and what a graph of this
// size needs is several processes; the checks compare every stage with every
// other.
const maxStages = 500

// Options are what the command line adds to a file.
type Options struct {
	Params map[string]string // --param: values of the file's [params]
	Set    map[string]string // --set: "h264.bitrate" → "1M", keys of stages
}

// Load reads and checks a graph file. The error is a [pipeline.Errors] with
// everything that is wrong, in the order of the file.
func Load(path string, o Options) (*Graph, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, o)
}

// Parse is Load for a text that is already read; file is its name in errors.
func Parse(file string, text []byte, o Options) (*Graph, error) {
	l := parse(file, text, o)
	if err := l.errs.sorted(); err != nil {
		return nil, err
	}
	return l.graph, nil
}

// LoadPlan is Load and NewPlan in one, and reports the errors of both in one
// go: what is wrong with one stage does not hide what is wrong with another.
func LoadPlan(path string, o Options, cat pipeline.Catalog) (*Plan, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	return ParsePlan(path, text, o, cat)
}

// ParsePlan is LoadPlan for a text that is already read.
func ParsePlan(file string, text []byte, o Options, cat pipeline.Catalog) (*Plan, error) {
	l := parse(file, text, o)
	return newPlan(l.graph, cat, l.errs)
}

func read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return text, nil
	}
	if pe, ok := err.(*os.PathError); ok {
		err = pe.Err // the path stands in front already
	}
	return nil, pipeline.Errors{{
		Class: pipeline.Config, Pos: pipeline.Pos{File: path}, Err: err,
		Msg: "cannot read the graph file", Remedy: "name a TOML file that exists and may be read",
	}}
}

// loader is the state of one Parse.
type loader struct {
	opts    Options
	index   *index
	raw     map[string]any // the decoded document; lists are []any throughout
	errs    *problems
	graph   *Graph
	params  *params
	ids     map[string]*Stage
	unknown map[string]bool // ids that inputs name and nobody has
}

// parse does all checks that need no knowledge of the installed plugins. The
// graph it leaves holds the stages that could be made out, broken ones marked.
func parse(file string, text []byte, o Options) *loader {
	l := &loader{
		opts:    o,
		errs:    &problems{file: file},
		graph:   &Graph{Name: strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), File: file},
		ids:     map[string]*Stage{},
		unknown: map[string]bool{},
	}
	if l.decode(file, string(text)) && l.version() {
		l.topLevel()
		l.params = newParams(l)
		l.override()
		l.header()
		if l.countStages() {
			l.stages()
			l.references()
			l.shape()
			l.params.unused()
		}
	}
	return l
}

// countStages refuses more stages than maxStages.
func (l *loader) countStages() bool {
	n := len(l.allIDs())
	if n > maxStages {
		l.errs.add(l.index.pos(0), "", fmt.Sprintf("the file has %d stages", n),
			fmt.Sprintf("a graph has at most %d: make several files of it", maxStages))
	}
	return n <= maxStages
}

// version checks the file's version; a file of another version is not judged
// by the rules of this one.
func (l *loader) version() bool {
	v, ok := l.raw["version"]
	m := l.index.root.child("version")
	add := fmt.Sprintf("write version = %d in the first line", Version)
	switch n, isInt := v.(int64); {
	case !ok:
		l.errs.add(l.index.pos(0), "", "the file does not say its version", add)
		return true
	case !isInt:
		l.errs.add(l.index.valuePos(m), "", "version: want a whole number", add)
		return true
	case n != Version:
		l.errs.add(l.index.valuePos(m), "",
			fmt.Sprintf("version %d of the graph file is not known", n),
			fmt.Sprintf("this mpipe reads version %d; write version = %d, or use the mpipe that the file was written for", Version, Version))
		return false
	}
	return true
}

// topTables are the tables a graph file can have; idTables hold stages by id.
var (
	topTables = []string{"version", "graph", "params", "sources", "stages", "sinks"}
	idTables  = []pipeline.Role{pipeline.RoleSource, pipeline.RoleStage, pipeline.RoleSink}
)

// topLevel refuses unknown tables. One whose name is nearly right is read as
// the table that was meant, so that its stages are checked too.
func (l *loader) topLevel() {
	for key, v := range l.raw {
		if contains(topTables, key) {
			continue
		}
		m := l.index.root.child(key)
		what := "table"
		if _, isTable := v.(map[string]any); !isTable {
			what = "key"
		}
		l.errs.add(l.index.headPos(m), "", fmt.Sprintf("unknown %s %q", what, key),
			orNearest(key, topTables, "a graph file has"))
		meant := pipeline.Nearest(key, topTables)
		if _, taken := l.raw[meant]; what == "table" && meant != "" && !taken {
			l.raw[meant] = v
			l.index.root.put(meant, m)
		}
	}
}

// header reads [graph].
func (l *loader) header() {
	t, m := l.table("graph")
	for key, v := range t {
		km := m.child(key)
		if key != "name" {
			l.errs.add(l.index.keyPos(km), "", fmt.Sprintf("unknown key %q in [graph]", key),
				orNearest(key, []string{"name"}, "it has"))
			continue
		}
		name, ok := l.params.text(v, km, "", key)
		if ok && name == "" {
			l.errs.add(l.index.valuePos(km), "", "name: want a text in quotes, not empty",
				`write for example name = "meeting"`)
		}
		if name != "" {
			l.graph.Name = name
		}
	}
}

// table gives one of the top tables and its mark; anything but a table is
// reported and read as an empty one.
func (l *loader) table(name string) (map[string]any, *mark) {
	v, ok := l.raw[name]
	if !ok {
		return nil, nil
	}
	m := l.index.root.child(name)
	t, ok := v.(map[string]any)
	if !ok {
		l.errs.add(l.index.valuePos(m), "", fmt.Sprintf("%s: want a table", name),
			fmt.Sprintf("write [%s] on a line of its own, and its keys below it", tableSample(name)))
	}
	return t, m
}

func tableSample(name string) string {
	switch name {
	case "sources", "stages", "sinks":
		return name + ".ID"
	default:
		return name
	}
}

// sortedKeys gives the keys of a table in a fixed order.
func sortedKeys[V any](t map[string]V) []string {
	keys := make([]string, 0, len(t))
	for k := range t {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
