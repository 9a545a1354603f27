package graph

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanner walks a TOML 1.1 document and fills the marks of an index. It takes
// any text: it never panics, always moves forward, and what is not TOML it
// skips line by line.
type scanner struct {
	text  string
	at    int
	index *index
}

func (s *scanner) document() {
	table := s.index.root
	for s.blank(true); s.at < len(s.text) && s.index.tooDeep < 0; s.blank(true) {
		if s.text[s.at] == '[' {
			table = s.header()
		} else {
			s.keyValue(table, 1)
		}
		s.restOfLine()
	}
}

// header reads "[a.b]" or "[[a.b]]" and gives the table that it opens.
func (s *scanner) header() *mark {
	start := s.at
	s.at++
	array := s.take("[")
	names, offsets := s.dotted()
	m := s.index.root
	for i, name := range names {
		m = m.enter(name, offsets[i])
		last := i == len(names)-1
		if last && array {
			e := newMark()
			e.key = offsets[i]
			m.elems = append(m.elems, e)
		}
		if n := len(m.elems); n > 0 {
			m = m.elems[n-1] // a table of an array: its newest element is meant
		}
	}
	if m.head < 0 {
		m.head = start
	}
	s.take("]")
	s.take("]")
	return m
}

// keyValue reads "a.b = value" into a table.
func (s *scanner) keyValue(table *mark, depth int) {
	names, offsets := s.dotted()
	m := table
	for i, name := range names {
		m = m.enter(name, offsets[i])
	}
	s.blank(false)
	if !s.take("=") {
		return
	}
	s.blank(false)
	s.value(m, depth+len(names))
}

// value reads one value and marks its start.
func (s *scanner) value(m *mark, depth int) {
	if depth > maxDepth {
		s.index.tooDeep = s.at
		s.at = len(s.text)
		return
	}
	m.value = s.at
	switch {
	case s.at >= len(s.text):
	case s.text[s.at] == '"' || s.text[s.at] == '\'':
		s.str()
	case s.take("["):
		s.list(m, depth)
	case s.take("{"):
		s.inline(m, depth)
	default:
		s.bare()
	}
}

func (s *scanner) list(m *mark, depth int) {
	for s.separators(); s.at < len(s.text) && !s.take("]"); s.separators() {
		before := s.at
		e := newMark()
		e.key = s.at
		m.elems = append(m.elems, e)
		s.value(e, depth+1)
		s.mustMove(before)
	}
}

func (s *scanner) inline(m *mark, depth int) {
	for s.separators(); s.at < len(s.text) && !s.take("}"); s.separators() {
		before := s.at
		s.keyValue(m, depth)
		s.mustMove(before)
	}
}

// separators skips what may stand between the values of a list or the pairs of
// an inline table.
func (s *scanner) separators() {
	for s.blank(true); s.take(","); {
		s.blank(true)
	}
}

func (s *scanner) mustMove(before int) {
	if s.at == before {
		s.at++
	}
}

// dotted reads a key of one or more parts and where each part starts. A key of
// too many parts is cut short and remembered as too deep.
func (s *scanner) dotted() (names []string, offsets []int) {
	for {
		s.blank(false)
		start := s.at
		name, ok := s.keyPart()
		if !ok {
			return names, offsets
		}
		if len(names) >= maxDepth {
			s.index.tooDeep = start
			s.at = len(s.text)
			return names, offsets
		}
		names, offsets = append(names, name), append(offsets, start)
		s.blank(false)
		if !s.take(".") {
			return names, offsets
		}
	}
}

func (s *scanner) keyPart() (string, bool) {
	if s.at < len(s.text) && (s.text[s.at] == '"' || s.text[s.at] == '\'') {
		return s.str(), true
	}
	start := s.at
	for s.at < len(s.text) && isBareKey(s.text[s.at]) {
		s.at++
	}
	return s.text[start:s.at], s.at > start
}

func isBareKey(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// str reads a string of any of the four forms and gives its content; for the
// multi-line forms, which no key can have, the content is left out.
func (s *scanner) str() string {
	quote := s.text[s.at : s.at+1]
	if s.take(strings.Repeat(quote, 3)) {
		s.multiline(quote)
		return ""
	}
	s.at++
	start := s.at
	for s.at < len(s.text) && s.text[s.at] != '\n' {
		switch {
		case s.text[s.at] == quote[0]:
			raw := s.text[start:s.at]
			s.at++
			if quote == `"` {
				return unescape(raw)
			}
			return raw
		case quote == `"` && s.text[s.at] == '\\' && s.at+1 < len(s.text):
			s.at++
		}
		s.at++
	}
	return s.text[start:min(s.at, len(s.text))]
}

// multiline reads to the closing three quotes. Up to two more quotes before
// them belong to the content.
func (s *scanner) multiline(quote string) {
	for s.at < len(s.text) {
		switch {
		case quote == `"` && s.text[s.at] == '\\' && s.at+1 < len(s.text):
			s.at += 2
		case s.take(strings.Repeat(quote, 3)):
			for i := 0; i < 2 && s.take(quote); i++ {
				continue
			}
			return
		default:
			s.at++
		}
	}
}

// bare reads a number, a date or a word.
func (s *scanner) bare() {
	for s.at < len(s.text) && !strings.ContainsRune(",]}#\r\n", rune(s.text[s.at])) {
		s.at++
	}
}

// blank skips spaces and tabs and, if told so, line ends and comments.
func (s *scanner) blank(lines bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == ' ' || c == '\t':
			s.at++
		case lines && (c == '\n' || c == '\r'):
			s.at++
		case lines && c == '#':
			s.restOfLine()
		default:
			return
		}
	}
}

func (s *scanner) restOfLine() {
	if i := strings.IndexByte(s.text[min(s.at, len(s.text)):], '\n'); i >= 0 {
		s.at += i + 1
	} else {
		s.at = len(s.text)
	}
}

func (s *scanner) take(token string) bool {
	if s.at <= len(s.text) && strings.HasPrefix(s.text[s.at:], token) {
		s.at += len(token)
		return true
	}
	return false
}

// unescape resolves the escapes of a basic string on one line.
func unescape(raw string) string {
	if !strings.Contains(raw, `\`) {
		return raw
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' || i+1 == len(raw) {
			b.WriteByte(raw[i])
			continue
		}
		i++
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[raw[i]]
		if digits > 0 {
			n, err := strconv.ParseUint(raw[i+1:min(i+1+digits, len(raw))], 16, 32)
			if err == nil && n <= utf8.MaxRune {
				b.WriteRune(rune(n))
			}
			i += digits
			continue
		}
		if j := strings.IndexByte(`btnfre`, raw[i]); j >= 0 {
			b.WriteByte("\b\t\n\f\r\x1b"[j])
		} else {
			b.WriteByte(raw[i])
		}
	}
	return b.String()
}
