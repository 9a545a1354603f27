package pipelinetest

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
)

var (
	goodName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	goodType = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
)

// Properties checks the declaration of an element: how things are called, that
// each is documented, that defaults are values a user could write, and that what
// is not allowed is refused.
func Properties(t *testing.T, typ string) {
	t.Helper()
	reg := lookup(t, typ)
	if !goodType.MatchString(typ) {
		t.Errorf("type %q: want lower-case letters, digits, _ and -, a letter first", typ)
	}
	sentence(t, "the element", reg.Doc)
	for _, s := range pipeline.Specs(reg.New()) {
		t.Run(s.Name, func(t *testing.T) {
			if !goodName.MatchString(s.Name) {
				t.Errorf("want a name in snake_case")
			}
			sentence(t, "it", s.Doc)
			if s.Default != "" {
				if err := s.Set(written(s)); err != nil {
					t.Errorf("its own default %q is refused: %v", s.Default, err)
				}
			}
			for what, v := range wrong(s) {
				if err := s.Set(v); err == nil {
					t.Errorf("%s, %#v, is taken", what, v)
				} else if strings.Contains(err.Error(), "panic") || err.Error() == "" {
					t.Errorf("%s gets the error %q", what, err)
				}
			}
		})
	}
}

func lookup(t *testing.T, typ string) pipeline.Registration {
	t.Helper()
	reg, ok := pipeline.Lookup(typ)
	if !ok {
		t.Fatalf("no element type %q is registered; import its package", typ)
	}
	return reg
}

// sentence checks a text that users read.
func sentence(t *testing.T, what, doc string) {
	t.Helper()
	if len(doc) < 8 || !strings.HasSuffix(doc, ".") {
		t.Errorf("%s is documented by %q; want a sentence with a full stop", what, doc)
	}
}

// written is a default as TOML would give it.
func written(s *pipeline.Spec) any {
	switch s.Type {
	case pipeline.TInt:
		n, _ := strconv.ParseInt(s.Default, 10, 64)
		return n
	case pipeline.TFloat:
		f, _ := strconv.ParseFloat(s.Default, 64)
		return f
	case pipeline.TBool:
		return s.Default == "true"
	}
	return s.Default
}

// wrong gives values that the property must refuse.
func wrong(s *pipeline.Spec) map[string]any {
	bad := map[string]any{}
	switch s.Type {
	case pipeline.TString:
		bad["a number"] = int64(1)
	case pipeline.TBool:
		bad["a text"] = "yes"
	case pipeline.TInt:
		bad["a fraction"] = 1.5
	case pipeline.TDuration, pipeline.TBitrate, pipeline.TSize:
		bad["a text without sense"], bad["less than nothing"] = "soon", "-1"
	case pipeline.TSecret:
		bad["the secret itself"] = "hunter2"
	case pipeline.TStrings, pipeline.TTable, pipeline.TSecretOrText:
		bad["a number"] = int64(1)
	}
	if len(s.OneOf) > 0 {
		bad["none of the allowed"] = "no such word"
	}
	if n, err := strconv.ParseInt(s.Min, 10, 64); err == nil && s.Type == pipeline.TInt {
		bad["less than the least"] = n - 1
	}
	if n, err := strconv.ParseInt(s.Max, 10, 64); err == nil && s.Type == pipeline.TInt {
		bad["more than the most"] = n + 1
	}
	return bad
}
