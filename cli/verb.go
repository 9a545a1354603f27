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
	// subs make it a group: its first argument names one of them, whose name is
	// the group's and that argument. Of the other fields a group has short and long.
	subs []*verb
}

type example struct{ line, says string }

// verbs lists all verbs in the order of the overview. It is a function, since
// some verbs' help lists all verbs.
func verbs() []*verb {
	return []*verb{
		runVerb(), checkVerb(), explainVerb(), graphVerb(), listVerb(), inspectVerb(), schemaVerb(),
		newVerb(), buildVerb(), feedVerb(), browserVerb(), measureVerb(), repairVerb(), ringVerb(), pipeVerb(), benchVerb(), uploadVerb(), versionVerb(), completionVerb(), helpVerb(),
	}
}

func verbNames() []string {
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	return names
}

// findVerb gives the verb that words begin with, and what is behind its name; of
// a group without one of its verbs, the group.
func findVerb(words ...string) (*verb, []string) {
	if len(words) == 0 {
		return nil, nil
	}
	for _, v := range verbs() {
		if v.name != words[0] {
			continue
		}
		for _, sub := range v.subs {
			if len(words) > 1 && sub.name == v.name+" "+words[1] {
				return sub, words[2:]
			}
		}
		return v, words[1:]
	}
	return nil, nil
}

// subNames are what can stand behind a group's name.
func (v *verb) subNames() []string {
	var names []string
	for _, sub := range v.subs {
		names = append(names, strings.TrimPrefix(sub.name, v.name+" "))
	}
	return names
}

// group answers a command line that names none of a group's verbs.
func (v *verb) group(c *call, args []string) int {
	switch {
	case len(args) == 0:
		return c.usage("missing command: want one of %s", strings.Join(v.subNames(), ", "))
	case args[0] == "-h" || args[0] == "-help" || args[0] == "--help":
		v.help(c.stdout)
		return 0
	}
	return c.usage("unknown command %q%s", args[0], suggest(args[0], v.subNames()))
}

func (v *verb) call(c *call, args []string) int {
	c.verb = v
	if v.subs != nil {
		return v.group(c, args)
	}
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
	if v.subs != nil {
		return s + " " + strings.Join(v.subNames(), "|")
	}
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
	if v.subs != nil {
		v.groupHelp(w)
		return
	}
	f := newFlags()
	v.declare(f)
	if len(f.list) > 0 {
		fmt.Fprint(w, "\nflags:\n")
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		for _, o := range f.list {
			fmt.Fprintf(t, "  %s\t%s\n", o.synopsis(), o.text())
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

func (v *verb) groupHelp(w io.Writer) {
	fmt.Fprint(w, "\ncommands:\n")
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, sub := range v.subs {
		fmt.Fprintf(t, "  %s\t%s\n", sub.name, sub.short)
	}
	t.Flush()
	fmt.Fprintf(w, "\nrun `mpipe help %s <command>` for flags and examples\n", v.name)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func helpVerb() *verb {
	return &verb{
		name: "help", args: "[COMMAND]", max: 2,
		short:    "show what a command does, with its flags and examples",
		complete: verbNames,
		declare: func(*flags) func(*call) int {
			return func(c *call) int {
				if len(c.args) == 0 {
					overview(c.stdout)
					return 0
				}
				v, rest := findVerb(c.args...)
				switch {
				case v == nil:
					return c.unknownVerb(c.args[0])
				case len(rest) > 0 && v.subs != nil:
					c.verb = v
					return v.group(c, rest)
				case len(rest) > 0:
					return c.usage("unexpected argument %q", rest[0])
				}
				v.help(c.stdout)
				return 0
			}
		},
	}
}
