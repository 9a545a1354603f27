package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// flags is a verb's flags: "--name value", "--name=value", before, between and
// behind the arguments; "--" ends them. A single dash works as well.
type flags struct {
	list []*option
}

// option is one flag.
type option struct {
	name   string
	letter string // "o" for -o, where every other tool has it; usually ""
	arg    string // how its value is called in help; "" for a switch
	doc    string
	def    string
	values []string // what completion offers; the only allowed ones when fixed
	fixed  bool
	many   bool
	given  bool
	set    func(string) error
}

var errHelp = errors.New("help")

func newFlags() *flags { return &flags{} }

func (f *flags) add(o *option) *option {
	f.list = append(f.list, o)
	return o
}

// synopsis is how it is written.
func (o *option) synopsis() string {
	s := "--" + o.name
	if o.letter != "" {
		s = "-" + o.letter + ", " + s
	}
	return strings.TrimSpace(s + " " + o.arg)
}

// text is the doc with the default.
func (o *option) text() string {
	s := o.doc
	if o.many {
		s += "; may be given several times"
	}
	if o.def != "" {
		s += " (default " + o.def + ")"
	}
	return s
}

func (f *flags) switchOn(dst *bool, name, doc string) *option {
	return f.add(&option{name: name, doc: doc, set: func(s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("it is a switch and takes no value")
		}
		*dst = b
		return nil
	}})
}

func (f *flags) text(dst *string, name, arg, def, doc string) *option {
	*dst = def
	return f.add(&option{name: name, arg: arg, def: def, doc: doc, set: func(s string) error {
		*dst = s
		return nil
	}})
}

func (f *flags) choice(dst *string, name, def, doc string, values ...string) *option {
	o := f.text(dst, name, strings.Join(values, "|"), def, doc)
	o.values, o.fixed = values, true
	return o
}

func (f *flags) duration(dst *time.Duration, name, def, doc string) *option {
	if def != "" {
		*dst, _ = time.ParseDuration(def)
	}
	return f.add(&option{name: name, arg: "TIME", def: def, doc: doc, set: func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New(`want a time with its unit, such as "2s" or "500ms"`)
		}
		*dst = d
		return nil
	}})
}

func (f *flags) count(dst *int64, name, arg, doc string) *option {
	return f.add(&option{name: name, arg: arg, doc: doc, set: func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			return errors.New("want a whole number of 1 or more")
		}
		*dst = n
		return nil
	}})
}

// size takes bytes as graph files write them.
func (f *flags) size(dst *int64, name, def, doc string) *option {
	set := func(s string) (err error) {
		*dst, err = pipeline.ParseSize(s)
		return err
	}
	_ = set(def) // the defaults are right
	return f.add(&option{name: name, arg: "SIZE", def: def, doc: doc, set: set})
}

// whole takes a number of things.
func (f *flags) whole(dst *int, name, arg, doc string) *option {
	var n int64
	o := f.count(&n, name, arg, doc)
	set := o.set
	o.set = func(s string) error {
		err := set(s)
		*dst = int(n)
		return err
	}
	return o
}

func (f *flags) decimal(dst *float64, name, arg, doc string) *option {
	return f.add(&option{name: name, arg: arg, doc: doc, set: func(s string) error {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || !(v >= 0 && v < 1e12) {
			return errors.New("want a number such as 0.04")
		}
		*dst = v
		return nil
	}})
}

// texts collects a flag that may be given several times.
func (f *flags) texts(dst *[]string, name, arg, doc string) *option {
	return f.add(&option{name: name, arg: arg, doc: doc, many: true, set: func(s string) error {
		*dst = append(*dst, s)
		return nil
	}})
}

// pairs collects KEY=VALUE; the last one of a key counts.
func (f *flags) pairs(dst *map[string]string, name, arg, doc string) *option {
	*dst = map[string]string{}
	return f.add(&option{name: name, arg: arg, doc: doc, many: true, set: func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return fmt.Errorf("want %s", arg)
		}
		(*dst)[k] = v
		return nil
	}})
}

func (f *flags) find(name string) *option {
	for _, o := range f.list {
		if o.name == name || o.letter == name && name != "" {
			return o
		}
	}
	return nil
}

func (f *flags) names() []string {
	var names []string
	for _, o := range f.list {
		names = append(names, o.name)
	}
	return names
}

// parse stores all flags and gives the arguments that are none.
func (f *flags) parse(args []string) (rest []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return append(rest, args[i+1:]...), nil
		case len(a) < 2 || a[0] != '-':
			rest = append(rest, a)
			continue
		}
		name, value, has := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if name == "help" || name == "h" {
			return nil, errHelp
		}
		o := f.find(name)
		if o == nil {
			return nil, f.unknown(name)
		}
		switch {
		case o.arg == "" && !has:
			value = "true"
		case o.arg != "" && !has && i+1 == len(args):
			return nil, fmt.Errorf("--%s needs a value: --%s %s", name, name, o.arg)
		case o.arg != "" && !has:
			i++
			value = args[i]
		}
		if err := o.take(value); err != nil {
			return nil, fmt.Errorf("--%s %q: %w", name, value, err)
		}
	}
	return rest, nil
}

func (o *option) take(value string) error {
	if o.given && !o.many {
		return errors.New("is given twice")
	}
	o.given = true
	if o.fixed {
		ok := false
		for _, v := range o.values {
			ok = ok || v == value
		}
		if !ok {
			return fmt.Errorf("allowed are %s%s", strings.Join(o.values, ", "), suggest(value, o.values))
		}
	}
	return o.set(value)
}

func (f *flags) unknown(name string) error {
	names := f.names()
	for _, n := range names {
		// What one knows from another verb or tool is often the start of the name.
		if len(name) > 2 && strings.HasPrefix(n, name) {
			return fmt.Errorf("unknown flag --%s; did you mean --%s?", name, n)
		}
	}
	if s := pipeline.Nearest(name, names); s != "" {
		return fmt.Errorf("unknown flag --%s; did you mean --%s?", name, s)
	}
	return fmt.Errorf("unknown flag --%s", name)
}
