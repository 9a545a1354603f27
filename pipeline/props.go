package pipeline

import (
	"fmt"
	"strings"
	"time"
)

// Type is the type of a property in a graph file.
type Type string

const (
	TString   Type = "string"
	TInt      Type = "integer"
	TFloat    Type = "number"
	TBool     Type = "boolean"
	TDuration Type = "duration" // Go's form: "2s", "150ms"
	TBitrate  Type = "bit rate" // bits per second: "2500k", "2.5M", 2500000
	TSize     Type = "size"     // bytes: "64MiB", "10MB", 4096
	TSecret   Type = "secret"   // { env = "NAME" } or { file = "path" }
	TStrings  Type = "list of strings"
	TTable    Type = "table" // keys and plain values, such as gst = {…}

	TSecretOrText Type = "secret or string"
)

// Spec is one declared property.
type Spec struct {
	Name     string
	Type     Type
	Doc      string
	Default  string // as one would write it in a graph file; "" for none
	Required bool
	Live     bool     // may change while running
	OneOf    []string // the only allowed values, in this order; nil for any
	Min, Max string   // bounds of a number, as written in Doc; "" without

	set func(v any) error // v as TOML gives it: string, int64, float64, bool, []any, map[string]any
}

// Set gives the property a value as it stands in a TOML file. The error says
// what is allowed and does not name the property.
func (s *Spec) Set(v any) error { return s.set(v) }

// Props collects an element's declaration. Each method declares one property:
// where it is stored, its name (snake_case, not repeating its table), its
// default, and a doc sentence. The default is stored at once.
type Props struct {
	specs []*Spec
}

// Specs runs e's declaration: it stores all defaults in e and returns its
// properties, whose Set stores into e.
func Specs(e Element) []*Spec {
	var p Props
	e.Props(&p)
	return p.specs
}

// Rule restricts or marks a property.
type Rule func(*Spec)

// Required makes the graph fail without the property.
func Required(s *Spec) { s.Required = true; s.Default = "" }

// Live marks a property that may change while the graph runs.
func Live(s *Spec) { s.Live = true }

// OneOf allows these strings only.
func OneOf(values ...string) Rule {
	return func(s *Spec) {
		s.OneOf = values
		wrap(s, func(v any) error {
			str, ok := v.(string)
			if !ok {
				return nil // the type's own error is better
			}
			for _, a := range values {
				if a == str {
					return nil
				}
			}
			err := fmt.Sprintf("%q is not one of %s", str, quoteList(values))
			if n := Nearest(str, values); n != "" {
				err += fmt.Sprintf("; did you mean %q?", n)
			}
			return fmt.Errorf("%s", err)
		})
	}
}

// Between bounds an integer or number, both ends allowed.
func Between(lo, hi float64) Rule {
	return func(s *Spec) {
		s.Min, s.Max = trimFloat(lo), trimFloat(hi)
		wrap(s, func(v any) error {
			var f float64
			switch x := v.(type) {
			case int64:
				f = float64(x)
			case float64:
				f = x
			default:
				return nil
			}
			if !(f >= lo && f <= hi) { // so that NaN is refused too
				return fmt.Errorf("%s is out of range; allowed are %s to %s", trimFloat(f), s.Min, s.Max)
			}
			return nil
		})
	}
}

// AtLeast bounds a duration, a bit rate or a size from below; min is written as
// in a graph file.
func AtLeast(min string) Rule {
	return func(s *Spec) {
		s.Min = min
		parse := map[Type]func(any) (float64, error){
			TDuration: func(v any) (float64, error) { d, err := parseDuration(v); return float64(d), err },
			TBitrate:  func(v any) (float64, error) { n, err := parseBitrate(v); return float64(n), err },
			TSize:     func(v any) (float64, error) { n, err := parseSize(v); return float64(n), err },
		}[s.Type]
		if parse == nil {
			panic("pipeline: AtLeast is for durations, bit rates and sizes; " + s.Name + " is none")
		}
		bound, err := parse(min)
		if err != nil {
			panic("pipeline: AtLeast(" + min + ") of " + s.Name + ": " + err.Error())
		}
		wrap(s, func(v any) error {
			if n, err := parse(v); err == nil && n < bound {
				return fmt.Errorf("%v is too small; allowed is %s or more", v, min)
			}
			return nil
		})
	}
}

// Valid allows the texts for which f gives nil; in a list, each of them. Its error
// says what is allowed, and may have a remedy behind "; ".
func Valid(f func(text string) error) Rule {
	return func(s *Spec) {
		wrap(s, func(v any) error {
			list, ok := v.([]any)
			if !ok {
				list = []any{v}
			}
			for _, e := range list {
				if text, ok := e.(string); ok { // else the type's own error is better
					if err := f(text); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
}

func wrap(s *Spec, check func(any) error) {
	inner := s.set
	s.set = func(v any) error {
		if err := check(v); err != nil {
			return err
		}
		return inner(v)
	}
}

func (p *Props) add(s *Spec, rules []Rule) {
	for _, have := range p.specs {
		if have.Name == s.Name {
			panic(fmt.Sprintf("pipeline: property %q declared twice", s.Name))
		}
	}
	for _, r := range rules {
		r(s)
	}
	p.specs = append(p.specs, s)
}

// String declares a text property.
func (p *Props) String(dst *string, name, def, doc string, rules ...Rule) {
	*dst = def
	p.add(&Spec{Name: name, Type: TString, Doc: doc, Default: def, set: func(v any) error {
		s, ok := v.(string)
		if !ok {
			return wrongType(v, `a text in quotes`)
		}
		*dst = s
		return nil
	}}, rules)
}

// Int declares a whole number.
func (p *Props) Int(dst *int, name string, def int, doc string, rules ...Rule) {
	*dst = def
	p.add(&Spec{Name: name, Type: TInt, Doc: doc, Default: fmt.Sprint(def), set: func(v any) error {
		n, ok := v.(int64)
		if !ok {
			return wrongType(v, "a whole number")
		}
		*dst = int(n)
		return nil
	}}, rules)
}

// Float declares a number.
func (p *Props) Float(dst *float64, name string, def float64, doc string, rules ...Rule) {
	*dst = def
	p.add(&Spec{Name: name, Type: TFloat, Doc: doc, Default: trimFloat(def), set: func(v any) error {
		switch x := v.(type) {
		case float64:
			*dst = x
		case int64:
			*dst = float64(x)
		default:
			return wrongType(v, "a number")
		}
		return nil
	}}, rules)
}

// Bool declares a switch.
func (p *Props) Bool(dst *bool, name string, def bool, doc string, rules ...Rule) {
	*dst = def
	p.add(&Spec{Name: name, Type: TBool, Doc: doc, Default: fmt.Sprint(def), set: func(v any) error {
		b, ok := v.(bool)
		if !ok {
			return wrongType(v, "true or false")
		}
		*dst = b
		return nil
	}}, rules)
}

// Duration declares a time span; def is written as in a graph file ("2s").
func (p *Props) Duration(dst *time.Duration, name, def, doc string, rules ...Rule) {
	declare(p, dst, TDuration, name, def, doc, parseDuration, rules)
}

// Bitrate declares bits per second; def is written as in a graph file ("2500k").
func (p *Props) Bitrate(dst *int64, name, def, doc string, rules ...Rule) {
	declare(p, dst, TBitrate, name, def, doc, parseBitrate, rules)
}

// Size declares a number of bytes; def is written as in a graph file ("64MiB").
func (p *Props) Size(dst *int64, name, def, doc string, rules ...Rule) {
	declare(p, dst, TSize, name, def, doc, parseSize, rules)
}

func declare[T any](p *Props, dst *T, t Type, name, def, doc string, parse func(any) (T, error), rules []Rule) {
	v, err := parse(def)
	if def != "" && err != nil {
		panic(fmt.Sprintf("pipeline: default %q of %q: %v", def, name, err))
	}
	*dst = v
	p.add(&Spec{Name: name, Type: t, Doc: doc, Default: def, set: func(raw any) error {
		v, err := parse(raw)
		if err != nil {
			return err
		}
		*dst = v
		return nil
	}}, rules)
}

// Secret declares a value that never stands in the file and is never printed.
func (p *Props) Secret(dst *Secret, name, doc string, rules ...Rule) {
	p.add(&Spec{Name: name, Type: TSecret, Doc: doc, set: func(v any) error {
		s, err := parseSecret(v)
		if err != nil {
			return err
		}
		*dst = s
		return nil
	}}, rules)
}

// SecretOrText declares a value that is secret only when something in it is,
// such as the address of a server with or without a password: it may stand in
// the file too. The element's Check refuses one that must not, and does not
// repeat it.
func (p *Props) SecretOrText(dst *Secret, name, doc string, rules ...Rule) {
	p.add(&Spec{Name: name, Type: TSecretOrText, Doc: doc, set: func(v any) error {
		if text, ok := v.(string); ok && text != "" {
			*dst = Secret{text: text}
			return nil
		}
		s, err := parseSecret(v)
		if err != nil {
			return err
		}
		*dst = s
		return nil
	}}, rules)
}

// Strings declares a list of texts.
func (p *Props) Strings(dst *[]string, name, doc string, rules ...Rule) {
	p.add(&Spec{Name: name, Type: TStrings, Doc: doc, set: func(v any) error {
		list, ok := v.([]any)
		if !ok {
			return wrongType(v, `a list of texts, ["a", "b"]`)
		}
		out := make([]string, len(list))
		for i, e := range list {
			s, ok := e.(string)
			if !ok {
				return wrongType(e, `a list of texts, ["a", "b"]`)
			}
			out[i] = s
		}
		*dst = out
		return nil
	}}, rules)
}

// Table declares a table of plain values: texts, numbers, switches.
func (p *Props) Table(dst *map[string]any, name, doc string, rules ...Rule) {
	p.add(&Spec{Name: name, Type: TTable, Doc: doc, set: func(v any) error {
		m, ok := v.(map[string]any)
		if !ok {
			return wrongType(v, "a table, { key = value }")
		}
		for k, e := range m {
			switch e.(type) {
			case string, int64, float64, bool:
			default:
				return fmt.Errorf("%s: %w", k, wrongType(e, "a text, a number, true or false"))
			}
		}
		*dst = m
		return nil
	}}, rules)
}

// PropError points an error of Check or Fragment at one property.
type PropError struct {
	Prop string // "bitrate", or "gst.rc-lookahead" for a key of a table
	Err  error
}

func (e *PropError) Error() string { return e.Prop + ": " + e.Err.Error() }
func (e *PropError) Unwrap() error { return e.Err }

// At makes a PropError.
func At(prop, format string, args ...any) error {
	return &PropError{prop, fmt.Errorf(format, args...)}
}

func quoteList(values []string) string {
	q := make([]string, len(values))
	for i, v := range values {
		q[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(q, ", ")
}
