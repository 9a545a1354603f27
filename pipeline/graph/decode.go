package graph

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// decode parses the text into l.raw and l.index. It reports a text that is not
// TOML and gives false.
func (l *loader) decode(file, text string) bool {
	text = strings.TrimPrefix(text, "\ufeff")
	if len(text) > maxFile {
		l.index = newIndex(file, "")
		l.errs.add(l.index.pos(0), "", fmt.Sprintf("the file has %d bytes", len(text)),
			fmt.Sprintf("a graph file has at most %d; is this the right file?", maxFile))
		return false
	}
	l.index = newIndex(file, text)
	if at := l.index.tooDeep; at >= 0 {
		l.errs.add(l.index.pos(at), "", fmt.Sprintf("tables and lists nest deeper than %d", maxDepth),
			"no key of a graph file needs more than 4 levels: take the brackets or dots away")
		return false
	}
	raw, err := decodeTOML(text)
	if err != nil {
		at, msg := 0, err.Error()
		var pe toml.ParseError
		if errors.As(err, &pe) {
			at, msg = pe.Position.Start, pe.Message
		}
		l.errs.add(l.index.pos(at), "", "not TOML: "+strings.TrimSuffix(lowerFirst(msg), "."), syntaxRemedy(msg))
		return false
	}
	l.raw = raw
	return true
}

// decodeTOML decodes a document. The decoder reports its own faults by
// panicking, some of them for what a file can hold, so that is an error too.
func decodeTOML(text string) (raw map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			raw, err = nil, fmt.Errorf("the decoder gave up: %v", r)
		}
	}()
	if _, err := toml.Decode(text, &raw); err != nil {
		return nil, err
	}
	return plain(raw).(map[string]any), nil
}

// plain turns arrays of tables, which the decoder gives a type of their own,
// into lists.
func plain(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = plain(e)
		}
		return x
	case []any:
		for i, e := range x {
			x[i] = plain(e)
		}
		return x
	case []map[string]any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = plain(e)
		}
		return out
	default:
		return v
	}
}

// syntaxHelp says what to do about the decoder's commoner complaints.
var syntaxHelp = []struct{ in, remedy string }{
	{"has already been defined", "keep one of the two"},
	{"was already created", "keep one of the two"},
	{"control character", `write it as an escape, such as "\t" or "\u0000"`},
	{"invalid escape", `write \\ for one backslash, or put the text in single quotes`},
	{"invalid UTF-8", "save the file as UTF-8"},
	{"NULL bytes", "save the file as UTF-8"},
	{"strings cannot contain newlines", "close the text on its line, or put it in three quotes"},
	{`expected '"'`, "close the text with its quote"},
	{`expected "'"`, "close the text with its quote"},
	{"expected value", `put texts in quotes; bare are only numbers, true and false`},
	{"expected a comma", "put a comma between two elements, and close the bracket"},
	{"unexpected comma", "take the comma away, or put an element in front of it"},
	{"to end with a newline", "put each key on a line of its own, and texts in quotes"},
	{"expected '.' or '='", `write a key as key = value and a table as [sources.ID]`},
	{"table name", "write a table as [sources.ID], [stages.ID] or [sinks.ID]"},
	{"key name appears blank", "put the key's name in front of the ="},
	{"leading zero", "take the zeroes in front away"},
	{"out of range", "write a smaller number"},
	{"datetime", "graph files know no dates: put the text in quotes"},
}

func syntaxRemedy(msg string) string {
	for _, h := range syntaxHelp {
		if strings.Contains(msg, h.in) {
			return h.remedy
		}
	}
	return "mend the line; https://toml.io/en/v1.0.0 shows how TOML is written"
}

func lowerFirst(s string) string {
	if len(s) > 1 && 'A' <= s[0] && s[0] <= 'Z' && 'a' <= s[1] && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// tomlValue reads one TOML value standing on its own, such as "10", "true" or
// `["a", "b"]`.
func tomlValue(text string) (any, bool) {
	if strings.ContainsAny(text, "\r\n") || len(text) > maxFile || newIndex("", "x = "+text).tooDeep >= 0 {
		return nil, false
	}
	raw, err := decodeTOML("x = " + text)
	if err != nil || len(raw) != 1 {
		return nil, false
	}
	v, ok := raw["x"]
	return v, ok
}
