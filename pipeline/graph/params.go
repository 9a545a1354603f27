package graph

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// params are a file's [params] with the values of this call. They are put into
// texts after parsing, so no value can change the structure of the file.
type params struct {
	l        *loader
	values   map[string]string
	missing  map[string]bool // declared, but without a value: reported once, at the declaration
	declared []string
	used     map[string]bool
}

// loose is the text of a value that was not written in TOML: a whole "${name}",
// or the right side of a --set. What it means depends on the property's type.
type loose string

var paramKeys = []string{"required", "default", "doc"}

func newParams(l *loader) *params {
	p := &params{l: l, values: map[string]string{}, missing: map[string]bool{}, used: map[string]bool{}}
	t, m := l.table("params")
	for _, name := range sortedKeys(t) {
		p.declare(name, t[name], m.child(name))
	}
	for _, name := range sortedKeys(l.opts.Params) {
		if !contains(p.declared, name) {
			p.undeclared(pipeline.Pos{File: "--param " + oneLine(name)}, "", name)
		}
	}
	return p
}

// declare reads one entry of [params].
func (p *params) declare(name string, v any, m *mark) {
	ix, errs := p.l.index, p.l.errs
	p.declared = append(p.declared, name)
	p.missing[name] = true // until a value is found
	if !paramName(name) {
		errs.add(ix.keyPos(m), "", fmt.Sprintf("param name %q has a character that is not allowed", name),
			`use letters, digits, "_" and "-", and a letter first`)
		return
	}
	t, ok := v.(map[string]any)
	if !ok {
		errs.add(ix.valuePos(m), "", fmt.Sprintf("param %s: want a table", name),
			fmt.Sprintf("write %s = { default = … } or %s = { required = true }", name, name))
		return
	}
	misspelt := p.keys(name, t, m)
	def, hasDefault := p.defaultOf(name, t, m)
	required := p.requiredOf(name, t, m)
	given, isGiven := p.l.opts.Params[name]
	switch {
	case required && hasDefault:
		errs.add(ix.keyPos(m), "", fmt.Sprintf("param %s is required and has a default", name), "keep one of the two")
	case isGiven:
		p.set(name, given)
	case hasDefault:
		p.set(name, def)
	case required:
		errs.add(ix.keyPos(m), "", fmt.Sprintf("param %s has no value", name),
			fmt.Sprintf("give it one: --param %s=VALUE", name))
	case t["default"] == nil && t["required"] == nil && !misspelt:
		errs.add(ix.keyPos(m), "", fmt.Sprintf("param %s is neither required nor has a default", name),
			"add default = … or required = true")
	}
}

// keys checks the keys of a param, and tells whether any is unknown.
func (p *params) keys(name string, t map[string]any, m *mark) (unknown bool) {
	ix, errs := p.l.index, p.l.errs
	for _, key := range sortedKeys(t) {
		if !contains(paramKeys, key) {
			unknown = true
			errs.add(ix.keyPos(m.child(key)), "", fmt.Sprintf("param %s: unknown key %q", name, key),
				orNearest(key, paramKeys, "a param has"))
		}
	}
	if doc, has := t["doc"]; has {
		if _, ok := doc.(string); !ok {
			errs.add(ix.valuePos(m.child("doc")), "", fmt.Sprintf("param %s: doc: want a text in quotes", name),
				`write for example doc = "names the recording"`)
		}
	}
	return unknown
}

func (p *params) set(name, value string) {
	p.values[name] = value
	delete(p.missing, name)
}

func (p *params) defaultOf(name string, t map[string]any, m *mark) (string, bool) {
	v, has := t["default"]
	if !has {
		return "", false
	}
	switch x := v.(type) {
	case string:
		return x, true
	case int64, bool:
		return fmt.Sprint(x), true
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64), true
	}
	p.l.errs.add(p.l.index.valuePos(m.child("default")), "",
		fmt.Sprintf("param %s: default: want a text, a number, true or false", name),
		`write for example default = "2500k"`)
	return "", false
}

func (p *params) requiredOf(name string, t map[string]any, m *mark) bool {
	v, has := t["required"]
	if !has {
		return false
	}
	r, ok := v.(bool)
	if !ok || !r && t["default"] == nil {
		p.l.errs.add(p.l.index.valuePos(m.child("required")), "", fmt.Sprintf("param %s: required: want true", name),
			"write required = true, or give it a default instead")
		return false
	}
	return r
}

func (p *params) undeclared(pos pipeline.Pos, stage, name string) {
	remedy := fmt.Sprintf("declare it in [params]: %s = { required = true }", name)
	if !paramName(name) {
		remedy = `a name has letters, digits, "_" and "-"; write $${ for a literal ${`
	}
	if len(p.declared) > 0 {
		remedy = orNearest(name, p.declared, "the file has") + ", or " + remedy
	}
	p.l.errs.add(pos, stage, fmt.Sprintf("unknown param %q", name), remedy)
}

// expand puts the params into every text of v. What is nothing but one param
// becomes a loose value. It reports what it cannot resolve and gives false.
func (p *params) expand(v any, m *mark, stage string) (any, bool) {
	switch x := v.(type) {
	case string:
		return p.inText(x, p.l.index.valuePos(m), stage)
	case loose:
		out, ok := p.inText(string(x), p.l.index.valuePos(m), stage)
		if s, isText := out.(string); isText {
			out = loose(s)
		}
		return out, ok
	case []any:
		all, out := true, make([]any, len(x))
		for i, e := range x {
			var ok bool
			out[i], ok = p.expand(e, m.elem(i), stage)
			out[i] = settled(out[i])
			all = all && ok
		}
		return out, all
	case map[string]any:
		all, out := true, make(map[string]any, len(x))
		for _, k := range sortedKeys(x) {
			e, ok := p.expand(x[k], m.child(k), stage)
			out[k] = settled(e)
			all = all && ok
		}
		return out, all
	default:
		return v, true
	}
}

// settled makes a loose value inside a list or table a plain text.
func settled(v any) any {
	if s, ok := v.(loose); ok {
		return string(s)
	}
	return v
}

// inText resolves "${name}"; "$${" stands for a literal "${".
func (p *params) inText(s string, pos pipeline.Pos, stage string) (any, bool) {
	var b strings.Builder
	ok, whole := true, false
	for rest := s; rest != ""; {
		i := strings.IndexByte(rest, '$')
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		rest = rest[i:]
		switch {
		case strings.HasPrefix(rest, "$${"):
			b.WriteString("${")
			rest = rest[3:]
		case strings.HasPrefix(rest, "${"):
			name, after, closed := strings.Cut(rest[2:], "}")
			if !closed {
				p.l.errs.add(pos, stage, `"${" is not closed`, "write ${name}, or $${ for a literal ${")
				return s, false
			}
			v, found := p.value(name, pos, stage)
			b.WriteString(v)
			ok = ok && found
			whole = len(name)+3 == len(s)
			rest = after
		default:
			b.WriteByte('$')
			rest = rest[1:]
		}
	}
	if whole {
		return loose(b.String()), ok
	}
	return b.String(), ok
}

func (p *params) value(name string, pos pipeline.Pos, stage string) (string, bool) {
	p.used[name] = true
	v, ok := p.values[name]
	if !ok && !p.missing[name] {
		p.undeclared(pos, stage, name)
	}
	return v, ok
}

// text expands a value that must be a text; anything else is reported.
func (p *params) text(v any, m *mark, stage, key string) (string, bool) {
	v, ok := p.expand(v, m, stage)
	switch x := v.(type) {
	case string:
		return x, ok
	case loose:
		return string(x), ok
	}
	if ok {
		p.l.errs.add(p.l.index.valuePos(m), stage, key+": want a text in quotes",
			fmt.Sprintf("write it in quotes: %s = %s", key, inQuotes(v)))
	}
	return "", false
}

// inQuotes writes a value as the text that was most likely meant.
func inQuotes(v any) string {
	switch v.(type) {
	case int64, float64, bool:
		return fmt.Sprintf("%q", fmt.Sprint(v))
	default:
		return `"…"`
	}
}

// unused notes params that no text uses.
func (p *params) unused() {
	for _, name := range p.declared {
		if !p.used[name] {
			p.l.graph.Notes = append(p.l.graph.Notes, fmt.Sprintf("param %s is not used", name))
		}
	}
}

func paramName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isBareKey(s[i]) || i == 0 && (s[i] == '-' || '0' <= s[i] && s[i] <= '9') {
			return false
		}
	}
	return s != ""
}

// fit gives a loose value the form that a property's type wants.
func fit(v any, t pipeline.Type) any {
	l, ok := v.(loose)
	if !ok {
		return v
	}
	text := string(l)
	parsed, isTOML := tomlValue(text)
	switch t {
	case pipeline.TString:
		return text
	case pipeline.TStrings:
		if list, ok := parsed.([]any); ok {
			return list
		}
		var list []any
		for _, e := range strings.Split(text, ",") {
			list = append(list, strings.TrimSpace(e))
		}
		return list
	case pipeline.TTable, pipeline.TSecret, pipeline.TSecretOrText:
		if table, ok := parsed.(map[string]any); ok {
			return table
		}
		return text
	}
	if isTOML {
		switch parsed.(type) {
		case int64, float64, bool:
			return parsed
		}
	}
	return text
}
