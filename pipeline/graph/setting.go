package graph

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// setting checks one GStreamer property against the installed factory, because
// GStreamer itself ignores wrong names and values without a word.
func (p *planner) setting(s *Stage, f pipeline.Factory, set pipeline.Setting) {
	key, raw := keyOfSetting(s, set.Name)
	pos := s.PosOf(key)
	if set.Name == "name" || set.Name == "parent" {
		p.errs.add(pos, s.ID, fmt.Sprintf("%s of %s belongs to mpipe", set.Name, f.Name),
			"take it away: the planner names the elements, `mpipe explain` shows how")
		return
	}
	prop, ok := findProp(f, set.Name)
	switch {
	case !ok:
		p.errs.add(pos, s.ID, fmt.Sprintf("%s has no property %q", f.Name, set.Name),
			orProperty(f, set.Name))
		return
	case !prop.Writable:
		p.errs.add(pos, s.ID, fmt.Sprintf("%s of %s can only be read", set.Name, f.Name), "take it away")
		return
	}
	verb, where := "write", fmt.Sprintf("%s of %s: ", set.Name, f.Name)
	if !raw && key != "" { // the user wrote another word, perhaps in another unit
		verb = "the plugin takes"
		where = fmt.Sprintf("%s becomes %s=%s of %s: ", key, set.Name, set.Value, f.Name)
	}
	if wrong, remedy := badValue(prop, set.Value, verb); wrong != "" {
		p.errs.add(pos, s.ID, where+wrong, remedy)
	}
}

// keyOfSetting finds the key of the graph file that a setting most likely comes
// from: "gst.NAME" when the file has that, which is raw, else the stage's key of
// the same name, else none.
func keyOfSetting(s *Stage, name string) (key string, raw bool) {
	if s.has("gst." + name) {
		return "gst." + name, true
	}
	if own := strings.ReplaceAll(name, "-", "_"); s.spec(own) != nil {
		return own, false
	}
	return "", false
}

func findProp(f pipeline.Factory, name string) (pipeline.FactoryProp, bool) {
	for _, p := range f.Props {
		if p.Name == name {
			return p, true
		}
	}
	return pipeline.FactoryProp{}, false
}

func propNames(f pipeline.Factory) []string {
	var names []string
	for _, p := range f.Props {
		if p.Writable && p.Name != "name" && p.Name != "parent" {
			names = append(names, p.Name)
		}
	}
	return names
}

// orProperty is the remedy for a property that a factory does not have. Some
// have a hundred, so with a near one the rest is left out.
func orProperty(f pipeline.Factory, name string) string {
	if near := pipeline.Nearest(name, propNames(f)); near != "" {
		return fmt.Sprintf("did you mean %q? `gst-inspect-1.0 %s` lists them all", near, f.Name)
	}
	return "it has: " + listed(propNames(f))
}

// badValue says what is wrong with a value, "" for nothing, and, behind a verb,
// what is right. Types it does not know are GStreamer's to judge.
func badValue(p pipeline.FactoryProp, value, verb string) (wrong, remedy string) {
	if len(p.Values) > 0 {
		for _, nick := range strings.Split(value, "+") { // flags are joined by "+"
			if !contains(p.Values, nick) {
				return fmt.Sprintf("%q is not one of its values", nick), orNearest(nick, p.Values, "they are")
			}
		}
		return "", ""
	}
	switch p.Type {
	case "gboolean":
		switch strings.ToLower(value) {
		case "true", "false", "yes", "no", "1", "0", "t", "f":
			return "", ""
		}
		return fmt.Sprintf("want true or false, got %q", value), verb + " true or false"
	case "gint", "guint", "gint64", "guint64", "glong", "gulong", "gchar", "guchar":
		n, ok := wholeNumber(value)
		if !ok {
			return fmt.Sprintf("want a whole number, got %q", value), verb + " a number" + inRange(p)
		}
		return outOfRange(p, value, verb, new(big.Float).SetInt(n))
	case "gfloat", "gdouble":
		x, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Sprintf("want a number, got %q", value), verb + " a number" + inRange(p)
		}
		return outOfRange(p, value, verb, big.NewFloat(x))
	}
	return "", ""
}

// wholeNumber reads what GStreamer takes as an integer: decimal, or C's hex and
// octal. No property has more than 64 bits.
func wholeNumber(value string) (*big.Int, bool) {
	if len(value) > 24 || strings.ContainsAny(value, "_bBo") && !strings.HasPrefix(value, "0x") {
		return nil, false
	}
	return new(big.Int).SetString(value, 0)
}

func outOfRange(p pipeline.FactoryProp, value, verb string, x *big.Float) (wrong, remedy string) {
	low, isLow := bound(p.Min)
	high, isHigh := bound(p.Max)
	if isLow && x.Cmp(low) < 0 || isHigh && x.Cmp(high) > 0 {
		return fmt.Sprintf("%s is out of range", value), verb + " a number" + inRange(p)
	}
	return "", ""
}

// bound reads a factory's bound. 128 bits hold every 64-bit number exactly.
func bound(text string) (*big.Float, bool) {
	if text == "" || len(text) > 400 { // the longest double in decimal has 310 digits
		return nil, false
	}
	x, _, err := big.ParseFloat(text, 10, 128, big.ToNearestEven)
	return x, err == nil && !x.IsInf()
}

func inRange(p pipeline.FactoryProp) string {
	switch {
	case p.Min != "" && p.Max != "":
		return fmt.Sprintf(" from %s to %s", p.Min, p.Max)
	case p.Min != "":
		return fmt.Sprintf(" of %s or more", p.Min)
	case p.Max != "":
		return fmt.Sprintf(" of %s or less", p.Max)
	default:
		return ""
	}
}
