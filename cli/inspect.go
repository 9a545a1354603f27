package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/reference"
	"github.com/mpipe/mpipe/pipeline/run"
)

const gstPrefix = "gst:"

func inspectVerb() *verb {
	var asJSON bool
	return &verb{
		name: "inspect", args: "TYPE", min: 1, max: 1,
		short: "show an element's properties: type, default, what is allowed, meaning",
		long: `TYPE is an element type that mpipe list shows, or gst:NAME for an element of
GStreamer, whose properties go into gst = { … } and into stages of type "gst".`,
		examples: []example{
			{"mpipe inspect x264", "what an encoder can be told"},
			{"mpipe inspect gst:x264enc", "all properties GStreamer's element has"},
		},
		complete: typeNames,
		declare: func(f *flags) func(*call) int {
			f.switchOn(&asJSON, "json", "print JSON")
			return func(c *call) int {
				name := c.args[0]
				if factory, ok := strings.CutPrefix(name, gstPrefix); ok {
					return inspectFactory(c, factory, asJSON)
				}
				r, ok := pipeline.Lookup(name)
				if !ok {
					return unknownType(c, name)
				}
				inspectElement(c, r, asJSON)
				return 0
			}
		},
	}
}

func unknownType(c *call, name string) int {
	hint := suggest(name, typeNames())
	if hint == "" {
		if _, ok := run.Catalog().Factory(name); ok {
			hint = fmt.Sprintf("; GStreamer has one: `mpipe inspect %s%s`", gstPrefix, name)
		} else {
			hint = "; `mpipe list` shows all"
		}
	}
	fmt.Fprintf(c.stderr, "mpipe inspect: no element type %q%s\n", name, hint)
	return exitUsage
}

// inspected is `mpipe inspect --json`.
type inspected struct {
	Type  string        `json:"type"`
	Role  pipeline.Role `json:"role"`
	Doc   string        `json:"doc"`
	Props []property    `json:"properties"`
}

type property struct {
	Name     string        `json:"name"`
	Type     pipeline.Type `json:"type"`
	Default  string        `json:"default"`
	Required bool          `json:"required"`
	Live     bool          `json:"live"`
	OneOf    []string      `json:"one_of,omitempty"`
	Min      string        `json:"min,omitempty"`
	Max      string        `json:"max,omitempty"`
	Doc      string        `json:"doc"`

	allowed string
}

func inspectElement(c *call, r pipeline.Registration, asJSON bool) {
	out := inspected{r.Type, r.Role, r.Doc, []property{}}
	for _, s := range pipeline.Specs(r.New()) {
		out.Props = append(out.Props, property{s.Name, s.Type, s.Default, s.Required, s.Live, s.OneOf, s.Min, s.Max, s.Doc, reference.Allowed(s)})
	}
	if asJSON {
		printJSON(c.stdout, out)
		return
	}
	fmt.Fprintf(c.stdout, "%s: %s\n\n[%s.ID]\ntype = %q\n\n", out.Type, out.Doc, out.Role.Table(), out.Type)
	t := table(c.stdout)
	for _, p := range out.Props {
		doc := p.Doc
		if p.Live {
			doc += " May change while running."
		}
		showProperty(t, p.Name, string(p.Type), p.defaultText(), p.allowed, doc)
	}
	t.Flush()
}

// showProperty writes one property in two lines: what it takes, what it means.
func showProperty(w io.Writer, name, typ, def, allowed, doc string) {
	line := typ
	if allowed != "" {
		line += ", " + allowed
	}
	fmt.Fprintf(w, "%s\t%s; %s\n\t%s\n", name, line, def, doc)
}

func (p property) defaultText() string {
	switch {
	case p.Required:
		return "required"
	case p.Default == "":
		return "no default"
	default:
		return "default " + p.Default
	}
}

func bounds(lo, hi string) string {
	switch {
	case lo != "" && hi != "":
		return lo + " to " + hi
	case lo != "":
		return lo + " or more"
	case hi != "":
		return "up to " + hi
	default:
		return ""
	}
}

func inspectFactory(c *call, name string, asJSON bool) int {
	cat := run.Catalog()
	f, ok := cat.Factory(name)
	if !ok {
		hint := suggest(name, cat.Factories())
		if hint == "" {
			hint = "; `gst-inspect-1.0` lists those that are"
		}
		fmt.Fprintf(c.stderr, "mpipe inspect: no GStreamer element %q is installed%s\n", name, hint)
		return exitUsage
	}
	if asJSON {
		printJSON(c.stdout, f)
		return 0
	}
	fmt.Fprintf(c.stdout, "%s: %s (%s, plugin %s)\n\n", f.Name, f.LongName, f.Klass, f.Plugin)
	t := table(c.stdout)
	fmt.Fprintln(t, "PAD\tDIRECTION\tPRESENCE\tCAPS")
	for _, p := range f.Pads {
		direction := "in"
		if p.Source {
			direction = "out"
		}
		for i, caps := range append([]string{}, p.Caps...) {
			if i == 0 {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Name, direction, p.Presence, short(caps))
			} else {
				fmt.Fprintf(t, "\t\t\t%s\n", short(caps))
			}
		}
	}
	t.Flush()
	fmt.Fprintln(c.stdout)
	for _, p := range f.Props {
		if !p.Writable {
			continue
		}
		allowed := bounds(p.Min, p.Max)
		if len(p.Values) > 0 {
			allowed = "one of " + strings.Join(p.Values, ", ")
		}
		def := "no default"
		if p.Default != "" {
			def = "default " + p.Default
		}
		showProperty(t, p.Name, p.Type, def, allowed, p.Doc)
	}
	t.Flush()
	return 0
}

// short cuts what would make a table unreadable; --json has all of it.
func short(s string) string {
	const most = 72
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }
