package graph

import (
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// set gives one property its value. It gives false without an error when the
// value needs a param that has none: that is reported where it is declared.
func (l *loader) set(s *Stage, spec *pipeline.Spec, v any) bool {
	v, ok := l.params.expand(v, s.mark.child(spec.Name), s.ID)
	if !ok {
		return false
	}
	err := spec.Set(fit(v, spec.Type))
	if err == nil {
		return true
	}
	wrong, remedy, found := strings.Cut(err.Error(), "; ")
	if !found {
		remedy = example(spec)
	}
	where := spec.Name
	if inner, rest, cut := strings.Cut(wrong, ": "); cut && spec.Type == pipeline.TTable && s.has(where+"."+inner) {
		where, wrong = where+"."+inner, rest
	}
	l.errs.add(s.PosOf(where), s.ID, where+": "+wrong, remedy)
	return false
}

// unknownKey reports a key that the stage does not have, and gives the property
// that was most likely meant.
func (l *loader) unknownKey(s *Stage, key string) string {
	m := s.mark.child(key)
	pos := s.Pos
	if m != nil {
		pos = l.index.keyPos(m)
	}
	wrong := fmt.Sprintf("unknown key %q", key)
	if s.Role == pipeline.RoleSource && contains(commonKeys[pipeline.RoleSink], key) {
		l.errs.add(pos, s.ID, wrong+" in a source", "take it away: nothing flows into a source")
		return ""
	}
	allowed := append([]string{}, commonKeys[s.Role]...)
	for _, spec := range s.specs {
		allowed = append(allowed, spec.Name)
	}
	l.errs.add(pos, s.ID, wrong, orNearest(key, allowed, s.Type+" has"))
	return pipeline.Nearest(key, allowed)
}

// required reports the required properties that are not there.
func (l *loader) required(s *Stage, table map[string]any, meant map[string]bool) {
	for _, spec := range s.specs {
		if _, ok := table[spec.Name]; !ok && spec.Required && !meant[spec.Name] {
			l.errs.add(s.Pos, s.ID, fmt.Sprintf("%s is missing", spec.Name), "add it: "+sample(spec)+aside(spec.Doc))
		}
	}
}

func aside(doc string) string {
	doc = strings.TrimSuffix(doc, ".")
	if doc == "" {
		return ""
	}
	return " (" + doc + ")"
}

// example is the remedy for a value that a property cannot have.
func example(spec *pipeline.Spec) string { return "write for example " + sample(spec) }

// sample writes a property with a value it could have.
func sample(spec *pipeline.Spec) string {
	v := spec.Default
	switch spec.Type {
	case pipeline.TString, pipeline.TDuration, pipeline.TBitrate, pipeline.TSize:
		for _, one := range spec.OneOf {
			if v == "" {
				v = one // the first that is not empty
			}
		}
		if v == "" {
			v = map[pipeline.Type]string{pipeline.TString: "…", pipeline.TDuration: "2s",
				pipeline.TBitrate: "2500k", pipeline.TSize: "64MiB"}[spec.Type]
		}
		v = fmt.Sprintf("%q", v)
	case pipeline.TSecret, pipeline.TSecretOrText:
		v = fmt.Sprintf("{ env = %q }", strings.ToUpper(spec.Name))
	case pipeline.TStrings:
		v = `["a", "b"]`
	case pipeline.TTable:
		v = "{ key = 1 }"
	default:
		if v == "" {
			v = map[pipeline.Type]string{pipeline.TInt: "1", pipeline.TFloat: "1.0", pipeline.TBool: "true"}[spec.Type]
		}
	}
	return spec.Name + " = " + v
}
