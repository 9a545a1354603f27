package graph

import (
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// shape checks the graph as a whole: it has an end on both sides, nothing goes
// in circles, and nothing is made that nobody takes.
func (l *loader) shape() {
	count := map[pipeline.Role]int{}
	for _, s := range l.graph.Stages {
		count[s.Role]++
	}
	for _, role := range []pipeline.Role{pipeline.RoleSource, pipeline.RoleSink} {
		group, isTable := l.raw[role.Table()].(map[string]any)
		if len(group) == 0 && (isTable || l.raw[role.Table()] == nil) { // anything else is reported already
			l.errs.add(l.index.pos(0), "", fmt.Sprintf("the graph has no %s", role),
				fmt.Sprintf("add one: [%s.ID] with a type; there are: %s", role.Table(), listed(typesOf(role))))
		}
	}
	if !l.cycles() && count[pipeline.RoleSink] > 0 {
		l.unusedOutputs()
	}
}

// cycles reports each circle of stages once, starting at its stage that stands
// first in the file. Only stages can be in one: nothing flows into a source or
// out of a sink. It tells whether there is any.
func (l *loader) cycles() bool {
	found := false
	state := map[*Stage]int{} // 1 while on the path, 2 when done
	var path []*Stage
	var visit func(s *Stage)
	visit = func(s *Stage) {
		state[s] = 1
		path = append(path, s)
		for _, ref := range s.Inputs {
			from := l.ids[ref.Stage]
			if from == nil || from.Role != pipeline.RoleStage {
				continue
			}
			switch state[from] {
			case 0:
				visit(from)
			case 1:
				found = true
				l.cycle(path, from)
			}
		}
		path = path[:len(path)-1]
		state[s] = 2
	}
	for _, s := range l.graph.Stages {
		if state[s] == 0 {
			visit(s)
		}
	}
	return found
}

// cycle reports the circle that closes at a stage of the path. The path goes
// against the flow; the message goes with it.
func (l *loader) cycle(path []*Stage, closes *Stage) {
	start := 0
	for path[start] != closes {
		start++
	}
	ring := append([]*Stage{}, path[start:]...)
	first := 0
	for i, s := range ring {
		if before(s.Pos, ring[first].Pos) {
			first = i
		}
	}
	ring = append(ring[first:], ring[:first]...)
	names := make([]string, 0, len(ring)+1)
	names = append(names, ring[0].ID)
	for i := len(ring) - 1; i >= 0; i-- {
		names = append(names, ring[i].ID)
		ring[i].broken = true
	}
	pos := ring[0].PosOf("inputs")
	into := ring[1%len(ring)].ID
	for _, ref := range ring[0].Inputs {
		if ref.Stage == into {
			pos = ref.Pos
		}
	}
	remedy := "let one of them take its input from a source instead"
	for _, s := range l.graph.Stages {
		if s.Role == pipeline.RoleSource {
			remedy += fmt.Sprintf(", such as %q", s.outputs()[0])
			break
		}
	}
	l.errs.add(pos, ring[0].ID, "the stages go in a circle: "+strings.Join(names, " -> "), remedy)
}

func before(a, b pipeline.Pos) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
}

// unusedOutputs reports sources and stages that do work for nobody. An id that
// a dangling input most likely meant counts as used. While a list of inputs is
// missing, it might be the one that should name them, so nothing is said.
func (l *loader) unusedOutputs() {
	used := map[string]bool{}
	for _, s := range l.graph.Stages {
		for _, ref := range s.Inputs {
			used[ref.Stage] = true
		}
		if s.Role != pipeline.RoleSource && (!s.inputsKnown || len(s.Inputs) == 0) {
			return
		}
	}
	ids := sortedKeys(l.ids)
	for name := range l.unknown {
		used[pipeline.Nearest(name, ids)] = true
	}
	for _, s := range l.graph.Stages {
		if s.Role == pipeline.RoleSink || s.misplaced || used[s.ID] {
			continue
		}
		what := s.ID
		if outs := s.outputs(); len(outs) > 0 {
			what = quoted(outs)
		}
		l.errs.add(s.Pos, s.ID, "nobody takes what it gives",
			fmt.Sprintf("add %s to the inputs of a stage or sink, or remove [%s.%s]", what, s.Role.Table(), s.ID))
	}
}
