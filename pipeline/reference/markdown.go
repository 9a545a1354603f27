package reference

import (
	"fmt"
	"io"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// Page writes the reference of all elements of a role as Markdown.
func Page(w io.Writer, role pipeline.Role, types []pipeline.Registration) {
	fmt.Fprintf(w, "# %ss\n\nWhat goes into `[%s.ID]`. This page is derived from the elements' declarations; `mpipe inspect TYPE` shows the same.\n",
		strings.ToUpper(string(role[:1]))+string(role[1:]), role.Table())
	for _, r := range types {
		if r.Role == role {
			element(w, r)
		}
	}
}

func element(w io.Writer, r pipeline.Registration) {
	fmt.Fprintf(w, "\n## %s\n\n%s\n", r.Type, r.Doc)
	specs := pipeline.Specs(r.New())
	if len(specs) == 0 {
		return
	}
	fmt.Fprint(w, "\n| key | takes | default | |\n| --- | --- | --- | --- |\n")
	for _, s := range specs {
		takes := string(s.Type)
		if a := Allowed(s); a != "" {
			takes += ", " + a
		}
		def := "`" + s.Default + "`"
		switch {
		case s.Required:
			def = "required"
		case s.Default == "":
			def = ""
		}
		doc := s.Doc
		if s.Live {
			doc += " May change while running."
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", s.Name, cell(takes), cell(def), cell(doc))
	}
}

// cell keeps a text inside its cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// Allowed words what a property may be beyond its type; "" for everything.
func Allowed(s *pipeline.Spec) string {
	switch {
	case len(s.OneOf) > 0:
		values := make([]string, len(s.OneOf))
		for i, v := range s.OneOf {
			if values[i] = v; v == "" {
				values[i] = `""`
			}
		}
		return "one of " + strings.Join(values, ", ")
	case s.Min != "" && s.Max != "":
		return s.Min + " to " + s.Max
	case s.Min != "":
		return s.Min + " or more"
	case s.Max != "":
		return "up to " + s.Max
	}
	return ""
}
