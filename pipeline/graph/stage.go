package graph

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// commonKeys are the keys that the planner itself reads, by role.
var commonKeys = map[pipeline.Role][]string{
	pipeline.RoleSource: {"type"},
	pipeline.RoleStage:  {"type", "inputs", "queue"},
	pipeline.RoleSink:   {"type", "inputs", "queue", "required", "transcode"},
}

var goodID = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// stages reads the three tables of stages.
func (l *loader) stages() {
	for _, role := range idTables {
		group, gm := l.table(role.Table())
		for _, id := range sortedKeys(group) {
			m := gm.child(id)
			table, ok := group[id].(map[string]any)
			if !ok {
				l.notATable(role, id, group[id], m)
				continue
			}
			s := &Stage{ID: id, Role: role, Pos: l.index.headPos(m), mark: m, index: l.index}
			l.id(s)
			l.fill(s, table)
			l.graph.Stages = append(l.graph.Stages, s)
		}
	}
	sort.SliceStable(l.graph.Stages, func(i, j int) bool {
		a, b := l.graph.Stages[i].Pos, l.graph.Stages[j].Pos
		return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
	})
	l.duplicates()
}

// notATable reports what stands where a stage's table belongs.
func (l *loader) notATable(role pipeline.Role, id string, v any, m *mark) {
	remedy := fmt.Sprintf("write [%s.ID] on a line of its own, and type, inputs and the rest below it", role.Table())
	if _, isList := v.([]any); isList {
		remedy = fmt.Sprintf("write the header with single brackets: [%s.ID]", role.Table())
	}
	l.errs.add(l.index.valuePos(m), id, fmt.Sprintf("want a table below %s", role.Table()), remedy)
}

// id checks how an id is written: it becomes part of the names of GStreamer
// elements, metrics and files, and a dot in it would separate a pad.
func (l *loader) id(s *Stage) {
	if goodID.MatchString(s.ID) {
		return
	}
	remedy := `use lower-case letters, digits, "_" and "-", and a letter first`
	if better := betterID(s.ID); goodID.MatchString(better) && len(better) < 40 {
		remedy += fmt.Sprintf(", such as %q", better)
	}
	l.errs.add(l.index.keyPos(s.mark), "", fmt.Sprintf("%q cannot be an id", s.ID), remedy)
}

func betterID(id string) string {
	id = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '_', r == '-':
			return r
		default:
			return '_'
		}
	}, strings.ToLower(id))
	return strings.TrimLeft(id, "_-0123456789")
}

// duplicates refuses one id in two tables; within a table TOML does.
func (l *loader) duplicates() {
	for _, s := range l.graph.Stages {
		first, dup := l.ids[s.ID]
		if !dup {
			l.ids[s.ID] = s
			continue
		}
		s.broken = true
		l.errs.add(s.Pos, s.ID, fmt.Sprintf("the id is used already, in [%s.%s] at line %d",
			first.Role.Table(), first.ID, first.Pos.Line), "give one of the two another id")
	}
}

// fill makes the stage's element and sets all keys of its table.
func (l *loader) fill(s *Stage, table map[string]any) {
	before := len(l.errs.list)
	l.element(s, table)
	s.inputsKnown = true
	if v, ok := table["inputs"]; ok && s.Role != pipeline.RoleSource {
		l.inputs(s, v)
	}
	if v, ok := table["required"]; ok && s.Role == pipeline.RoleSink {
		l.optional(s, v)
	}
	if v, ok := table["transcode"]; ok && s.Role == pipeline.RoleSink {
		l.transcode(s, v)
	}
	if v, ok := table["queue"]; ok && s.Role != pipeline.RoleSource {
		l.queue(s, v)
	}
	meant := map[string]bool{} // properties that a misspelt key stands for
	resolved := true
	for _, key := range sortedKeys(table) {
		if contains(commonKeys[s.Role], key) || s.Element == nil {
			continue
		}
		if spec := s.spec(key); spec != nil {
			resolved = l.set(s, spec, table[key]) && resolved
		} else {
			meant[l.unknownKey(s, key)] = true
		}
	}
	l.required(s, table, meant)
	if !resolved || len(l.errs.list) > before || s.Element == nil {
		s.broken = true
		return
	}
	if c, ok := s.Element.(pipeline.Checker); ok {
		if err := c.Check(); err != nil {
			s.broken = true
			l.errs.addElement(s, err)
		}
	}
}

// element finds the stage's element by its type.
func (l *loader) element(s *Stage, table map[string]any) {
	v, ok := table["type"]
	if !ok {
		l.errs.add(s.Pos, s.ID, "type is missing",
			fmt.Sprintf(`add type = "…" with one of: %s`, listed(typesOf(s.Role))))
		return
	}
	if s.Type, ok = l.params.text(v, s.mark.child("type"), s.ID, "type"); !ok {
		return
	}
	reg, known := pipeline.Lookup(s.Type)
	switch {
	case !known:
		l.errs.add(s.PosOf("type"), s.ID, fmt.Sprintf("unknown element type %q", s.Type), l.orType(s))
	case reg.Role != s.Role:
		s.misplaced = true
		l.errs.add(s.PosOf("type"), s.ID,
			fmt.Sprintf("%s is a %s, not a %s", s.Type, reg.Role, s.Role),
			fmt.Sprintf("move it to [%s.%s]", reg.Role.Table(), s.ID))
	default:
		s.Element = reg.New()
		s.specs = pipeline.Specs(s.Element)
		for _, spec := range s.specs {
			if contains(commonKeys[s.Role], spec.Name) {
				l.errs.addInternal(s, fmt.Sprintf("%s declares a property %q, a key that belongs to the planner", s.Type, spec.Name))
			}
		}
	}
}

// orType is the remedy for an unknown type: the nearest of the stage's role,
// or of another role, and the list of its role.
func (l *loader) orType(s *Stage) string {
	there := fmt.Sprintf("types of %ss are", s.Role)
	if pipeline.Nearest(s.Type, typesOf(s.Role)) == "" {
		for _, other := range idTables {
			if n := pipeline.Nearest(s.Type, typesOf(other)); n != "" {
				return fmt.Sprintf("did you mean %q, in [%s.%s]? %s: %s", n, other.Table(), s.ID,
					there, listed(typesOf(s.Role)))
			}
		}
	}
	return orNearest(s.Type, typesOf(s.Role), there)
}

func typesOf(role pipeline.Role) []string {
	var names []string
	for _, r := range pipeline.Types() {
		if r.Role == role {
			names = append(names, r.Type)
		}
	}
	return names
}
