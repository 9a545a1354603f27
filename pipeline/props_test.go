package pipeline

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// every has one property of each type.
type every struct {
	text, choice string
	count        int
	factor       float64
	on           bool
	span         time.Duration
	rate, size   int64
	secret, part Secret
	list         []string
	table        map[string]any
}

func (e *every) Props(p *Props) {
	p.String(&e.text, "text", "default", "A text.")
	p.String(&e.choice, "choice", "veryfast", "One of three.", OneOf("ultrafast", "veryfast", "medium"))
	p.Int(&e.count, "count", 3, "A number.", Between(1, 10), Live)
	p.Float(&e.factor, "factor", 0.5, "A factor.", Between(0, 1))
	p.Bool(&e.on, "on", true, "A switch.")
	p.Duration(&e.span, "span", "2s", "A time.", AtLeast("100ms"))
	p.Bitrate(&e.rate, "rate", "2500k", "A bit rate.", AtLeast("1k"))
	p.Size(&e.size, "size", "", "A size.", Required)
	p.Secret(&e.secret, "secret", "A secret.")
	p.SecretOrText(&e.part, "part", "Secret in part.")
	p.Strings(&e.list, "list", "A list.")
	p.Table(&e.table, "table", "A table.")
}

func specs(t *testing.T) (*every, map[string]*Spec) {
	t.Helper()
	e, byName := &every{}, map[string]*Spec{}
	for _, s := range Specs(e) {
		byName[s.Name] = s
	}
	return e, byName
}

func TestSpecsStoreDefaults(t *testing.T) {
	e, s := specs(t)
	if e.text != "default" || e.choice != "veryfast" || e.count != 3 || e.factor != 0.5 || !e.on ||
		e.span != 2*time.Second || e.rate != 2_500_000 || e.size != 0 || e.secret.IsSet() || e.list != nil || e.table != nil {
		t.Errorf("got %+v", *e)
	}
	for name, want := range map[string]string{"text": "default", "count": "3", "factor": "0.5", "on": "true", "span": "2s", "rate": "2500k", "size": ""} {
		if s[name].Default != want {
			t.Errorf("%s: default %q, want %q", name, s[name].Default, want)
		}
	}
	if !s["size"].Required || s["text"].Required || !s["count"].Live || s["text"].Live {
		t.Error("the rules Required and Live do not mark what they stand at")
	}
	if s["count"].Min != "1" || s["count"].Max != "10" || s["span"].Min != "100ms" || len(s["choice"].OneOf) != 3 {
		t.Error("the bounds are not in the specs")
	}
}

// What is secret only in part may stand in the file, and prints like any other.
func TestSecretOrText(t *testing.T) {
	e, s := specs(t)
	if err := s["part"].Set("rtmp://host/app"); err != nil || !e.part.InFile() || !e.part.IsSet() {
		t.Errorf("a text: %v, %+v", err, e.part)
	}
	if got, err := e.part.Reveal(); got != "rtmp://host/app" || err != nil || e.part.String() != "[secret]" {
		t.Errorf("reveals %q, %v; prints %s", got, err, e.part)
	}
	if err := s["part"].Set(map[string]any{"env": "X"}); err != nil || e.part.InFile() || !e.part.IsSet() {
		t.Errorf("a place: %v, %+v", err, e.part)
	}
	for _, bad := range []any{"", int64(1), map[string]any{"hunter2": "X"}} {
		if err := s["part"].Set(bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestSetStores(t *testing.T) {
	e, s := specs(t)
	for name, v := range map[string]any{
		"text": "x", "choice": "medium", "count": int64(10), "factor": int64(1), "on": false, "span": "100ms", "rate": int64(1000),
		"size": "1KiB", "secret": map[string]any{"env": "X"}, "list": []any{"a", "b"}, "table": map[string]any{"k": int64(1), "l": "x", "m": 1.5, "n": true},
	} {
		if err := s[name].Set(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e.text != "x" || e.choice != "medium" || e.count != 10 || e.factor != 1 || e.on || e.span != 100*time.Millisecond ||
		e.rate != 1000 || e.size != 1024 || !e.secret.IsSet() || strings.Join(e.list, "") != "ab" || len(e.table) != 4 {
		t.Errorf("got %+v", *e)
	}
}

func TestSetRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		v    any
		want string // part of the error
	}{
		{"text", int64(1), "text in quotes"},
		{"choice", "veryfsat", `did you mean "veryfast"?`},
		{"choice", "warp", `"ultrafast", "veryfast", "medium"`},
		{"choice", int64(1), "text in quotes"},
		{"count", int64(0), "allowed are 1 to 10"},
		{"count", int64(11), "allowed are 1 to 10"},
		{"count", 2.0, "whole number"},
		{"count", "2", "whole number"},
		{"factor", 1.01, "allowed are 0 to 1"},
		{"factor", math.NaN(), "allowed are 0 to 1"},
		{"factor", math.Inf(1), "allowed are 0 to 1"},
		{"factor", "half", "a number"},
		{"on", "yes", "true or false"},
		{"span", "99ms", "100ms or more"},
		{"span", int64(5), "with its unit"},
		{"rate", "999", "1k or more"},
		{"rate", "fast", "bit rate"},
		{"size", "64M", "a size"},
		{"secret", "hunter2", "env ="},
		{"list", "a", "list of texts"},
		{"list", []any{"a", int64(1)}, "the whole number 1"},
		{"table", "a", "a table"},
		{"table", map[string]any{"k": []any{}}, "k: want"},
		{"table", map[string]any{"k": map[string]any{}}, "k: want"},
	} {
		e, s := specs(t)
		before := *e
		err := s[c.name].Set(c.v)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: got %v, want it to hold %q", c.name, c.v, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats the secret: %v", err)
		}
		if e.text != before.text || e.choice != before.choice || e.count != before.count || e.factor != before.factor ||
			e.span != before.span || e.rate != before.rate || e.secret != before.secret || e.list != nil || e.table != nil {
			t.Errorf("%s = %v: refused, but stored", c.name, c.v)
		}
	}
}

type declares func(p *Props)

func (d declares) Props(p *Props) { d(p) }

func TestBrokenDeclarationsPanic(t *testing.T) {
	var s string
	var d time.Duration
	for name, declare := range map[string]declares{
		"twice":               func(p *Props) { p.String(&s, "a", "", ""); p.String(&s, "a", "", "") },
		"bad default":         func(p *Props) { p.Duration(&d, "a", "soon", "") },
		"bound of a text":     func(p *Props) { p.String(&s, "a", "", "", AtLeast("1s")) },
		"bound of other type": func(p *Props) { p.Duration(&d, "a", "1s", "", AtLeast("1MiB")) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			Specs(declare)
		})
	}
}

func TestPropError(t *testing.T) {
	cause := errors.New("cause")
	err := At("gst.rc-lookahead", "bad: %w", cause)
	var p *PropError
	if !errors.As(err, &p) || p.Prop != "gst.rc-lookahead" || !errors.Is(err, cause) || err.Error() != "gst.rc-lookahead: bad: cause" {
		t.Errorf("got %v", err)
	}
}
