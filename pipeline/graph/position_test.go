package graph

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// spellings is every way that TOML has to write a key and a value.
const spellings = "\ufeff# comment with [brackets] and = signs\r\n" + `bare = 1
"quoted" = 1.5
'raw' = true
"esc\u0061ped \x41\e" = "a \" quote # and no comment"
dotted.one . "two".'three' = 'raw \'
"" = ""
date = 1979-05-27 07:32:00Z # comment
negative = -1_000
infinite = +inf
multi = """
one "" [two] = 3 \""" \\"""
quotes = """a"""""
rawmulti = '''
[not.a.table]
'''''
list = [ 1, 2, # three
  "]", ['nested', [ { x = 1, y = [ 'z', ], } ] ] , ]
inline = { a = 1, b.c = "}", 'd' = { e = [] } , f = [{}, {}] }
newlines = {
  a = 1, # TOML 1.1
  "b" = 2,
}

[table]
  key   =   "value"
[ table . "sub.table" ]
key = 1
[[array]]
n = 1
[array.sub]
m = 1
[[array]]
[[array.inner]]
deep = 'er'
[[array.inner]]
deep = "est"
["ключ"]
"日本" = "語" # コメント
after = "語" 
[implicit.explicit]
x=1
[implicit]
y=2`

// TestPositionsOfEverySpelling checks that every key of a decoded document has
// a mark at which that key and that value stand.
func TestPositionsOfEverySpelling(t *testing.T) {
	if n := checkPositions(t, spellings); n != 46 {
		t.Errorf("%d keys found in the document of all spellings, want 46", n)
	}
	for _, folder := range []string{"good", "broken"} {
		paths, _ := filepath.Glob("testdata/" + folder + "/*.toml")
		if len(paths) == 0 {
			t.Errorf("no documents in testdata/%s", folder)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(filepath.Base(path), func(t *testing.T) { checkPositions(t, string(text)) })
		}
	}
}

func FuzzPositions(f *testing.F) {
	f.Add(spellings)
	f.Add("a.b=1\n[a.c]\nd=[{e=1}]")
	f.Add("x = {a = 1, b = [[[")
	f.Add("[[x]]\n[x.y]\n[[x]]\n")
	f.Add(`a = """b\`)
	f.Fuzz(func(t *testing.T, text string) { checkPositions(t, text) })
}

// checkPositions checks every key of a document, if it is one, and counts them.
func checkPositions(t *testing.T, text string) int {
	t.Helper()
	text = strings.TrimPrefix(text, "\ufeff")
	ix := newIndex("x.toml", text)
	if ix.tooDeep >= 0 {
		return 0
	}
	raw, err := decodeTOML(text)
	if err != nil {
		return 0
	}
	return checkTable(t, ix, ix.root, raw, "")
}

func checkTable(t *testing.T, ix *index, m *mark, table map[string]any, path string) int {
	t.Helper()
	count := 0
	for key, v := range table {
		at := path + "." + strconv.Quote(key)
		c := m.child(key)
		if c == nil {
			t.Errorf("%s: no mark", at)
			continue
		}
		s := scanner{text: ix.text, at: max(c.key, 0), index: ix}
		if got, ok := s.keyPart(); c.key < 0 || !ok || got != key {
			t.Errorf("%s: at %v stands %q", at, ix.pos(c.key), got)
		}
		count += 1 + checkValue(t, ix, c, v, at)
	}
	if len(m.keys) != len(table) {
		t.Errorf("%s: %d keys have marks, %d are there", path, len(m.keys), len(table))
	}
	return count
}

func checkValue(t *testing.T, ix *index, m *mark, v any, at string) int {
	t.Helper()
	first := byte(0)
	if m.value >= 0 && m.value < len(ix.text) {
		first = ix.text[m.value]
	}
	starts := func(with string) {
		t.Helper()
		if first == 0 || !strings.ContainsRune(with, rune(first)) {
			t.Errorf("%s: want a value that starts with one of %s, at %v stands %q", at, with, ix.pos(m.value), first)
		}
	}
	switch x := v.(type) {
	case string:
		starts(`"'`)
	case bool:
		starts("tf")
	case int64, float64:
		starts("+-0123456789in")
	case map[string]any:
		return checkTable(t, ix, m, x, at)
	case []any:
		if len(m.elems) != len(x) {
			t.Errorf("%s: %d elements have marks, %d are there", at, len(m.elems), len(x))
			return 0
		}
		count := 0
		for i, e := range x {
			count += checkValue(t, ix, m.elem(i), e, at+"["+strconv.Itoa(i)+"]")
		}
		return count
	}
	return 0
}

func TestPositionsCountCharacters(t *testing.T) {
	ix := newIndex("x.toml", "[\"ключ\"]\r\n  \"日本\" = \"語\"\r\nb = { c = \"é\", d = 1 }\n")
	table := ix.root.child("ключ")
	for _, c := range []struct{ what, got, want string }{
		{"header", ix.headPos(table).String(), "x.toml:1:1"},
		{"key of header", ix.keyPos(table).String(), "x.toml:1:2"},
		{"key", ix.keyPos(table.child("日本")).String(), "x.toml:2:3"},
		{"value", ix.valuePos(table.child("日本")).String(), "x.toml:2:10"},
		{"key behind wide text", ix.keyPos(table.child("b").child("d")).String(), "x.toml:3:16"},
		{"value behind wide text", ix.valuePos(table.child("b").child("d")).String(), "x.toml:3:20"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, c.got, c.want)
		}
	}
}

// TestPositionsBehindManyBlocks cuts wide characters at every block's edge.
func TestPositionsBehindManyBlocks(t *testing.T) {
	text := "a = [" + strings.Repeat(`"日",`, 3000) + "1]"
	ix := newIndex("x.toml", text)
	for i := 0; i <= 3000; i += 100 {
		if got, want := ix.valuePos(ix.root.child("a").elem(i)).Col, 6+4*i; got != want {
			t.Fatalf("element %d: got column %d, want %d", i, got, want)
		}
	}
}

func TestLookupOfDottedKeys(t *testing.T) {
	ix := newIndex("x.toml", "gst.a = 1\ngst.\"b.c\" = 2\n\"q.r\".s = 3\n")
	for key, want := range map[string]string{"gst": "x.toml:1:1", "gst.a": "x.toml:1:9", "gst.b.c": "x.toml:2:13", "q.r.s": "x.toml:3:11"} {
		m, ok := ix.root.lookup(key)
		if got := ix.valuePos(m).String(); !ok || got != want {
			t.Errorf("%s: got %s (%t), want %s", key, got, ok, want)
		}
	}
	if m, ok := ix.root.lookup("gst.nothing.at.all"); ok || m != ix.root.child("gst") {
		t.Error("a key that is not there must give the table around it, and false")
	}
}
