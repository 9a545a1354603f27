package graph

import (
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// override puts the --set values into the document, as if they stood there.
func (l *loader) override() {
	for _, path := range sortedKeys(l.opts.Set) {
		from := "--set " + oneLine(path)
		pos := pipeline.Pos{File: from}
		id, key, ok := strings.Cut(path, ".")
		if !ok || id == "" || key == "" {
			l.errs.add(pos, "", "want the id of a stage, a dot and a key",
				"write for example --set h264.bitrate=1M")
			continue
		}
		table, m := l.tableOf(id)
		if table == nil {
			l.errs.add(pos, "", fmt.Sprintf("no stage has the id %q", id),
				orNearest(id, l.allIDs(), "the file has"))
			continue
		}
		if !put(table, m, key, l.opts.Set[path], from) {
			l.errs.add(pos, id, fmt.Sprintf("%s: the key in front of the last dot is not a table", key),
				"set that key itself")
		}
	}
}

// tableOf finds the table of a stage in the raw document.
func (l *loader) tableOf(id string) (map[string]any, *mark) {
	for _, role := range idTables {
		if group, ok := l.raw[role.Table()].(map[string]any); ok {
			if t, ok := group[id].(map[string]any); ok {
				return t, l.index.root.child(role.Table()).child(id)
			}
		}
	}
	return nil, nil
}

// allIDs lists the ids in the raw document, sorted by table and name.
func (l *loader) allIDs() []string {
	var ids []string
	for _, role := range idTables {
		if group, ok := l.raw[role.Table()].(map[string]any); ok {
			ids = append(ids, sortedKeys(group)...)
		}
	}
	return ids
}

// put stores a loose value under a key written with dots and marks where it
// came from. It gives false when something on the way is no table.
func put(table map[string]any, m *mark, key, value, from string) bool {
	if m == nil {
		return false
	}
	for name, rest, deeper := strings.Cut(key, "."); deeper; name, rest, deeper = strings.Cut(key, ".") {
		if _, there := table[name]; !there {
			table[name] = map[string]any{}
			m.put(name, outside(from))
		}
		next, ok := table[name].(map[string]any)
		if !ok {
			return false
		}
		table, m, key = next, m.child(name), rest
	}
	table[key] = loose(value)
	m.put(key, outside(from))
	return true
}
