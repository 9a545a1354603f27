package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// verb is one command.
type verb struct {
	name     string
	args     string // the arguments that are not flags, as the synopsis shows them
	short    string // one line for the overview
	long     string // paragraphs for its own help
	min, max int    // how many arguments; max < 0 is any number
	examples []example
	// declare adds the flags and returns what runs once they are parsed.
	declare func(f *flags) func(c *call) int
	// complete offers values for an argument; nil leaves it to file names.
	complete func() []string
}

type example struct{ line, says string }

// verbs lists all verbs in the order of the overview. It is a function, since
// some verbs' help lists all verbs.
func verbs() []*verb {
	return []*verb{
		runVerb(), checkVerb(), explainVerb(), graphVerb(), listVerb(), inspectVerb(),
		newVerb(), buildVerb(), feedVerb(), browserVerb(), measureVerb(), ringVerb(), versionVerb(), completionVerb(), helpVerb(),
	}
}

func verbNames() []string {
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	return names
}

func findVerb(name string) *verb {
	for _, v := range verbs() {
		if v.name == name {
			return v
		}
	}
	return nil
}

func (v *verb) call(c *call, args []string) int {
	c.verb = v
	f := newFlags()
	do := v.declare(f)
	rest, err := f.parse(args)
	switch {
	case err == errHelp:
		v.help(c.stdout)
		return 0
	case err != nil:
		return c.usage("%v", err)
	case len(rest) < v.min:
		return c.usage("missing argument: want %s", v.args)
	case v.max >= 0 && len(rest) > v.max:
		return c.usage("unexpected argument %q", rest[v.max])
	}
	c.args = rest
	return do(c)
}

func (v *verb) synopsis() string {
	s := "mpipe " + v.name
	if v.args != "" {
		s += " " + v.args
	}
	f := newFlags()
	v.declare(f)
	if len(f.list) > 0 {
		s += " [flags]"
	}
	return s
}

// overview is `mpipe help`.
func overview(w io.Writer) {
	fmt.Fprint(w, "mpipe records and streams what another process draws and plays.\n\n"+
		"usage: mpipe <command> [arguments]\n\ncommands:\n")
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, v := range verbs() {
		fmt.Fprintf(t, "  %s\t%s\n", v.name, v.short)
	}
	t.Flush()
	fmt.Fprint(w, "\na first recording:\n"+
		"  mpipe run graphs/record.toml --param ring=demo --param out=demo.mp4 &\n"+
		"  mpipe feed --ring demo --duration 10s\n\n"+
		"run `mpipe help <command>` for flags and examples\n")
}

// help is `mpipe help <verb>`.
func (v *verb) help(w io.Writer) {
	fmt.Fprintf(w, "%s.\n\nusage: %s\n", capital(v.short), v.synopsis())
	if v.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(v.long))
	}
	f := newFlags()
	v.declare(f)
	if len(f.list) > 0 {
		fmt.Fprint(w, "\nflags:\n")
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		for _, o := range f.list {
			fmt.Fprintf(t, "  --%s\t%s\n", strings.TrimSpace(o.name+" "+o.arg), o.text())
		}
		t.Flush()
	}
	if len(v.examples) > 0 {
		fmt.Fprint(w, "\nexamples:\n")
		for i, e := range v.examples {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "  # %s\n  %s\n", e.says, strings.ReplaceAll(e.line, "\n", "\n  "))
		}
	}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func helpVerb() *verb {
	return &verb{
		name: "help", args: "[COMMAND]", max: 1,
		short:    "show what a command does, with its flags and examples",
		complete: verbNames,
		declare: func(*flags) func(*call) int {
			return func(c *call) int {
				if len(c.args) == 0 {
					overview(c.stdout)
					return 0
				}
				v := findVerb(c.args[0])
				if v == nil {
					return c.unknownVerb(c.args[0])
				}
				v.help(c.stdout)
				return 0
			}
		},
	}
}
