package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/run"
)

// planFlags are the flags of the verbs that look at a plan and start nothing.
type planFlags struct {
	graph   graph.Options
	json    bool
	format  string
	connect bool
}

func checkVerb() *verb {
	return &verb{
		name: "check", args: "GRAPH…", min: 1, max: -1,
		short: "find every error of graph files, starting nothing",
		long: `It checks syntax, names, values, the links between stages, what each container
can carry, and whether every GStreamer element is installed. All errors come in
one go, each with its line and what to do. Exit code 0 when there are none, 78
otherwise.

With --connect it also tries each output for real, leaving no trace: whether the
server answers, the bucket takes an upload, the disk has room. Exit code 1 when
one does not.`,
		examples: []example{
			{"mpipe check graphs/record.toml --param ring=demo --param out=demo.mp4", "check a graph that has required parameters"},
			{"mpipe check meeting.toml --param id=42 --connect", "also try every server, bucket and disk that it names"},
			{"mpipe check graphs/*.toml --param ring=demo --param out=demo.mkv", "check several at once; each error names its file"},
		},
		declare: func(f *flags) func(*call) int {
			o := &planFlags{}
			graphFlags(f, &o.graph)
			f.switchOn(&o.connect, "connect", "also try each output for real")
			return o.check
		},
	}
}

func (o *planFlags) check(c *call) int {
	code, bad := 0, 0
	for _, path := range c.args {
		p, err := graph.LoadPlan(path, o.graph, run.Catalog())
		if err != nil {
			bad += countErrors(err)
			fmt.Fprintln(c.stderr, err)
			code = max(code, run.ExitCode(nil, err))
			continue
		}
		fmt.Fprintf(c.stdout, "%s: ok, %s, %s\n", path, plural(len(p.Graph.Stages), "stage"), plural(len(p.Outputs), "output"))
		for _, n := range p.Notes {
			fmt.Fprintf(c.stdout, "%s\n", noteText(path, n))
		}
		if o.connect && !tryOutputs(c, p) {
			code = max(code, run.ExitFailed)
		}
	}
	if bad > 0 {
		fmt.Fprintf(c.stderr, "%s; nothing was started\n", plural(bad, "error"))
	}
	return code
}

// probeLimit is how long an output may take to answer.
const probeLimit = 20 * time.Second

// tryOutputs asks every output of a plan whether it would work.
func tryOutputs(c *call, p *graph.Plan) bool {
	ok := true
	for _, r := range run.Probe(context.Background(), p, probeLimit) {
		switch {
		case r.Err != nil:
			ok = false
			fmt.Fprintln(c.stderr, r.Err)
		case r.Asked:
			fmt.Fprintf(c.stdout, "%s: %s: ok\n", r.Stage, r.Where)
		default:
			fmt.Fprintf(c.stdout, "%s: %s: nothing to try\n", r.Stage, r.Where)
		}
	}
	return ok
}

func noteText(path string, n graph.Note) string {
	s := n.Pos
	if s == "" {
		s = path
	}
	s += ": note: "
	if n.Stage != "" {
		s += "stage " + n.Stage + ": "
	}
	return s + n.Text
}

func explainVerb() *verb {
	return &verb{
		name: "explain", args: "GRAPH", min: 1, max: 1,
		short: "show what a graph becomes: everything put in, copies, outputs",
		examples: []example{
			{"mpipe explain graphs/record.toml --param ring=demo --param out=demo.mp4", "see the queues, converters, parsers and muxers"},
			{"mpipe explain meeting.toml --param id=42 --json | jq '.nodes[] | select(.why)'", "only what the planner put in"},
		},
		declare: func(f *flags) func(*call) int {
			o := &planFlags{}
			graphFlags(f, &o.graph)
			f.switchOn(&o.json, "json", "print the plan as JSON")
			return func(c *call) int {
				p, err := graph.LoadPlan(c.args[0], o.graph, run.Catalog())
				switch {
				case err != nil:
					return c.fail(err)
				case o.json:
					printJSON(c.stdout, p)
				default:
					p.Explain(c.stdout)
				}
				return 0
			}
		},
	}
}

func graphVerb() *verb {
	return &verb{
		name: "graph", args: "GRAPH", min: 1, max: 1,
		short: "draw a graph with everything that is put in, as dot or mermaid",
		examples: []example{
			{"mpipe graph meeting.toml --param id=42 | dot -Tsvg > meeting.svg", "a picture, with graphviz"},
			{"mpipe graph meeting.toml --param id=42 --format mermaid", "to paste into a Markdown page"},
		},
		declare: func(f *flags) func(*call) int {
			o := &planFlags{}
			graphFlags(f, &o.graph)
			f.choice(&o.format, "format", "dot", "language of the drawing", "dot", "mermaid")
			return func(c *call) int {
				p, err := graph.LoadPlan(c.args[0], o.graph, run.Catalog())
				switch {
				case err != nil:
					return c.fail(err)
				case o.format == "dot":
					p.Dot(c.stdout)
				default:
					p.Mermaid(c.stdout)
				}
				return 0
			}
		},
	}
}

func listVerb() *verb {
	var asJSON bool
	return &verb{
		name:  "list",
		short: "list the element types that graph files can name",
		examples: []example{
			{"mpipe list", "all types with one sentence each"},
			{"mpipe list --json | jq -r '.[].type'", "only the names"},
		},
		declare: func(f *flags) func(*call) int {
			f.switchOn(&asJSON, "json", "print JSON")
			return func(c *call) int {
				list(c, asJSON)
				return 0
			}
		},
	}
}

// listed is one line of `mpipe list --json`.
type listed struct {
	Type string        `json:"type"`
	Role pipeline.Role `json:"role"`
	Doc  string        `json:"doc"`
}

func list(c *call, asJSON bool) {
	types := pipeline.Types()
	if asJSON {
		out := []listed{}
		for _, r := range types {
			out = append(out, listed{r.Type, r.Role, r.Doc})
		}
		printJSON(c.stdout, out)
		return
	}
	t := table(c.stdout)
	var role pipeline.Role
	for _, r := range types {
		if r.Role != role {
			role = r.Role
			fmt.Fprintf(t, "[%s.ID]\n", role.Table())
		}
		fmt.Fprintf(t, "  %s\t%s\n", r.Type, r.Doc)
	}
	t.Flush()
	fmt.Fprintf(c.stdout, "\n`mpipe inspect TYPE` shows an element's properties; type = \"gst\" takes any element of GStreamer.\n")
}

func typeNames() []string {
	var names []string
	for _, r := range pipeline.Types() {
		names = append(names, r.Type)
	}
	return names
}

// ringNames lists the named rings that seem to be there, for completion.
func ringNames() []string {
	var names []string
	pages, _ := filepath.Glob("/dev/shm/*.consumer")
	for _, p := range pages {
		names = append(names, filepath.Base(p[:len(p)-len(".consumer")]))
	}
	return names
}
