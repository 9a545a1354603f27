package graph

import (
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/mpipe/mpipe/pipeline"
)

// maxDepth bounds how deep tables, lists and dotted keys may nest, so that no
// file can exhaust the stack of a recursive reader. Graph files need 4.
const maxDepth = 32

// index says where each key and value of a TOML document stands; the TOML
// decoder itself keeps no positions. It is built by a scanner of its own that
// relies on the decoder to refuse what is not TOML: of an invalid document it
// holds whatever it could make out.
type index struct {
	file    string
	text    string
	lines   []int // byte offset at which each line starts
	runes   []int // characters in front of each block of the text
	root    *mark
	tooDeep int // byte offset of what nests deeper than maxDepth, or -1
}

// mark is the place of one table, key or list element. Offsets are bytes from
// the start of the text, -1 where there is none.
type mark struct {
	head  int              // the '[' of the table header that defines it
	key   int              // the first mention of its key
	value int              // where its value starts
	from  string           // the place on the command line, "" for one in the file
	keys  map[string]*mark // of a table
	elems []*mark          // of a list or an array of tables
}

func newMark() *mark { return &mark{head: -1, key: -1, value: -1} }

// outside makes the mark of a value that stands on the command line.
func outside(from string) *mark {
	m := newMark()
	m.from = from
	return m
}

// child gives the mark of a key, which may be nil; m may be nil too.
func (m *mark) child(key string) *mark {
	if m == nil {
		return nil
	}
	return m.keys[key]
}

// elem gives the mark of a list element, which may be nil; m may be nil too.
func (m *mark) elem(i int) *mark {
	if m == nil || i < 0 || i >= len(m.elems) {
		return nil
	}
	return m.elems[i]
}

// enter gives the mark of a key, made if it was not there.
func (m *mark) enter(key string, at int) *mark {
	c := m.keys[key]
	if c == nil {
		c = newMark()
		c.key = at
		m.put(key, c)
	}
	return c
}

func (m *mark) put(key string, c *mark) {
	if m.keys == nil {
		m.keys = map[string]*mark{}
	}
	m.keys[key] = c
}

// keyPos is where the key of m stands. As for the others, m may be nil: that is
// the start of the file.
func (ix *index) keyPos(m *mark) pipeline.Pos {
	if m == nil {
		return ix.pos(0)
	}
	return ix.first(m.from, m.key, m.value, m.head)
}

// valuePos is where the value of m starts.
func (ix *index) valuePos(m *mark) pipeline.Pos {
	if m == nil {
		return ix.pos(0)
	}
	return ix.first(m.from, m.value, m.key, m.head)
}

// headPos is where the table m is defined: its header, or its key.
func (ix *index) headPos(m *mark) pipeline.Pos {
	if m == nil {
		return ix.pos(0)
	}
	return ix.first(m.from, m.head, m.key, m.value)
}

// first is the first of the offsets that is there, or the place on the command
// line.
func (ix *index) first(from string, offsets ...int) pipeline.Pos {
	if from != "" {
		return pipeline.Pos{File: from}
	}
	for _, o := range offsets {
		if o >= 0 {
			return ix.pos(o)
		}
	}
	return ix.pos(0)
}

// pos turns a byte offset into line and column; columns count characters.
func (ix *index) pos(offset int) pipeline.Pos {
	offset = max(0, min(offset, len(ix.text)))
	line := sort.Search(len(ix.lines), func(i int) bool { return ix.lines[i] > offset })
	start := ix.lines[line-1]
	return pipeline.Pos{File: ix.file, Line: line, Col: ix.characters(offset) - ix.characters(start) + 1}
}

// block is the distance in bytes of the places whose characters are counted in
// advance: a file that is one long line takes no longer than others.
const block = 1 << 10

// characters counts those in front of a byte offset.
func (ix *index) characters(offset int) int {
	i := offset / block
	return ix.runes[i] + runeStarts(ix.text[i*block:offset])
}

// runeStarts counts the bytes that start a character, so that a text may be cut
// anywhere and the counts of its parts still add up.
func runeStarts(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		if utf8.RuneStart(s[i]) {
			n++
		}
	}
	return n
}

// newIndex scans a document.
func newIndex(file, text string) *index {
	ix := &index{file: file, text: text, lines: []int{0}, root: newMark(), tooDeep: -1}
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' {
			ix.lines = append(ix.lines, i+1)
		}
	}
	for n := 0; n <= len(text); n += block {
		before := 0
		if n > 0 {
			before = ix.runes[len(ix.runes)-1] + runeStarts(text[n-block:n])
		}
		ix.runes = append(ix.runes, before)
	}
	s := scanner{text: text, index: ix}
	s.document()
	return ix
}

// lookup finds the mark of a key written with dots, such as "gst.rc-lookahead",
// below m; a key that holds dots itself is found too. It gives the deepest mark
// on the way and whether that was all of it.
func (m *mark) lookup(key string) (*mark, bool) {
	if c := m.child(key); c != nil {
		return c, true
	}
	for i := strings.LastIndexByte(key, '.'); i > 0; i = strings.LastIndexByte(key[:i], '.') {
		if c := m.child(key[:i]); c != nil {
			return c.lookup(key[i+1:])
		}
	}
	return m, false
}
