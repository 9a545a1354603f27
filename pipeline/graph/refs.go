package graph

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// references checks every input against the outputs there are.
func (l *loader) references() {
	for _, s := range l.graph.Stages {
		if s.Role == pipeline.RoleSource {
			continue
		}
		if len(s.Inputs) == 0 && s.inputsKnown {
			l.errs.add(s.PosOf("inputs"), s.ID, "inputs are missing", l.anyInputs())
		}
		seen := map[string]bool{}
		for i := range s.Inputs {
			ref := &s.Inputs[i]
			if seen[ref.String()] {
				l.errs.add(ref.Pos, s.ID, fmt.Sprintf("input %q is listed twice", ref), "keep one of the two")
				continue
			}
			seen[ref.String()] = true
			ref.known = l.reference(s, ref)
		}
	}
}

// goodPad is how a pad may be written: it becomes part of an element's name.
var goodPad = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// reference checks one input and tells whether it leads to an output.
func (l *loader) reference(s *Stage, ref *Ref) bool {
	from, ok := l.ids[ref.Stage]
	switch {
	case !ok:
		l.dangling(s, ref)
		return false
	case from.misplaced:
		return true // what it gives is anyone's guess until it is moved
	case from.Role == pipeline.RoleSink:
		remedy := "take the input of that sink instead"
		if len(from.Inputs) > 0 {
			remedy = fmt.Sprintf("take an input of that sink instead: %s", quoted(refTexts(from.Inputs)))
		}
		l.errs.add(ref.Pos, s.ID, fmt.Sprintf("input %q is a sink, and nothing leaves a sink", ref), remedy)
		return false
	case from.Role == pipeline.RoleStage && ref.Pad != "":
		l.errs.add(ref.Pos, s.ID, fmt.Sprintf("input %q names a pad, but %s has only one output", ref, ref.Stage),
			fmt.Sprintf("write %q", ref.Stage))
		return false
	case ref.Pad != "" && !goodPad.MatchString(ref.Pad):
		l.errs.add(ref.Pos, s.ID, fmt.Sprintf("input %q: the pad has a character that is not allowed", ref),
			`use letters, digits, "_", "-" and ".", and a letter or digit first`)
		return false
	case from.Role == pipeline.RoleSource && !from.broken:
		return l.pad(s, from, ref)
	}
	return true
}

// dangling reports an input that names no stage.
func (l *loader) dangling(s *Stage, ref *Ref) {
	var ids []string
	for _, other := range l.graph.Stages {
		if other.Role != pipeline.RoleSink && other.ID != s.ID && goodID.MatchString(other.ID) {
			ids = append(ids, other.ID)
		}
	}
	l.unknown[ref.Stage] = true
	wrong := fmt.Sprintf("input %q does not exist", ref)
	if n := pipeline.Nearest(ref.Stage, ids); n != "" {
		meant := Ref{Stage: n, Pad: ref.Pad}
		l.errs.add(ref.Pos, s.ID, wrong, fmt.Sprintf("did you mean %q? %s", meant, there(ids)))
		return
	}
	l.errs.add(ref.Pos, s.ID, wrong, there(ids))
}

func there(ids []string) string {
	if len(ids) == 0 {
		return "add a source first: [sources.ID]"
	}
	return "there are: " + listed(ids)
}

// pad asks a source whether it can have the pad.
func (l *loader) pad(s, from *Stage, ref *Ref) bool {
	src, ok := from.Element.(pipeline.Source)
	if !ok {
		return true // reported as an element in the wrong table
	}
	_, err := src.Output(ref.Pad)
	if err == nil {
		return true
	}
	wrong, remedy, found := strings.Cut(err.Error(), "; ")
	pads := padsOf(src)
	var names []string
	for _, p := range pads {
		names = append(names, ref.Stage+"."+p)
	}
	switch n := pipeline.Nearest(ref.Pad, pads); {
	case n != "":
		remedy = fmt.Sprintf("did you mean %q?", ref.Stage+"."+n)
	case len(names) > 0:
		remedy = "name a pad of it, such as " + quoted(names)
	case !found:
		remedy = fmt.Sprintf("`mpipe inspect %s` shows its pads", from.Type)
	}
	l.errs.add(ref.Pos, s.ID, fmt.Sprintf("input %q: %s", ref, wrong), remedy)
	return false
}

// padsOf tries the pads that sources call by their medium.
func padsOf(src pipeline.Source) []string {
	var pads []string
	for _, m := range []pipeline.Media{pipeline.Video, pipeline.Audio} {
		if _, err := src.Output(m.String()); err == nil {
			pads = append(pads, m.String())
		}
	}
	return pads
}

// anyInputs is the remedy for a stage without inputs: outputs of this graph.
func (l *loader) anyInputs() string {
	var names []string
	for _, s := range l.graph.Stages {
		names = append(names, s.outputs()...)
	}
	if len(names) == 0 {
		return "add a source, and write its pad: inputs = [\"ID.video\"]"
	}
	return fmt.Sprintf("write for example inputs = [%q]; there are: %s", names[0], listed(names))
}

// outputs names what leaves a stage, as an input would.
func (s *Stage) outputs() []string {
	switch s.Role {
	case pipeline.RoleSink:
		return nil
	case pipeline.RoleStage:
		return []string{s.ID}
	}
	src, ok := s.Element.(pipeline.Source)
	if !ok || s.broken {
		return []string{s.ID + ".video"}
	}
	var names []string
	if _, err := src.Output(""); err == nil {
		names = append(names, s.ID)
	}
	for _, p := range padsOf(src) {
		names = append(names, s.ID+"."+p)
	}
	if len(names) == 0 {
		return []string{s.ID + ".PAD"} // its pads are known to nobody but the element
	}
	return names
}

func refTexts(refs []Ref) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = r.String()
	}
	return out
}
