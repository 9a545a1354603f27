package graph

import (
	"fmt"
	"sort"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// matchInputs gives each input of each native stage to one of the inputs that
// its fragment declares, by what it brings.
func (p *planner) matchInputs() {
	for _, s := range p.graph.Stages {
		f := p.fragments[s]
		if f == nil {
			continue
		}
		f.inputs = make([]pipeline.Input, len(s.Inputs))
		taken := make([]int, len(f.Inputs))
		for i, ref := range s.Inputs {
			kind, ok := p.kindOf(ref)
			if !ok || !ref.known || f.guessed {
				continue
			}
			which, fits := free(f.Inputs, taken, kind)
			switch {
			case which >= 0:
				taken[which]++
				f.inputs[i] = f.Inputs[which]
			case fits:
				p.tooMany(s, f, ref, kind)
			default:
				p.wrongKind(s, f, ref, kind)
			}
		}
	}
}

// free finds the first input that takes the kind and has room for it, or -1,
// and tells whether any takes the kind at all.
func free(inputs []pipeline.Input, taken []int, kind pipeline.Kind) (which int, fits bool) {
	for i, in := range inputs {
		if !accepts(in, kind) {
			continue
		}
		fits = true
		if in.Max == 0 || taken[i] < in.Max {
			return i, true
		}
	}
	return -1, fits
}

func accepts(in pipeline.Input, kind pipeline.Kind) bool {
	for _, k := range in.Accepts {
		if k == kind {
			return true
		}
	}
	return false
}

// tooMany reports an input for which there is no pad left.
func (p *planner) tooMany(s *Stage, f *fragment, ref Ref, kind pipeline.Kind) {
	limit := 0
	for _, in := range f.Inputs {
		if accepts(in, kind) {
			limit += in.Max
		}
	}
	if s.Role == pipeline.RoleStage {
		p.errs.add(ref.Pos, s.ID, fmt.Sprintf("%s takes %s, and %q is one more", s.Type, plural(limit, "input"), ref),
			fmt.Sprintf("take it away, or add a stage of its own for it: [stages.ID] with type = %q", s.Type))
		return
	}
	streams := plural(limit, kind.Media.String()+" stream")
	p.errs.add(ref.Pos, s.ID, fmt.Sprintf("%s holds %s, and %q is one more", holder(s, f), streams, ref),
		"take it away, or add a sink of its own for it")
}

// wrongKind reports an input that brings what the stage cannot take.
func (p *planner) wrongKind(s *Stage, f *fragment, ref Ref, kind pipeline.Kind) {
	takes := kindsTaken(f.Inputs)
	if s.Role == pipeline.RoleSink {
		p.cannotHold(s, f, ref, kind, takes)
		return
	}
	wrong := fmt.Sprintf("%s takes %s, and %q is %s", s.Type, kindList(takes), ref, kind)
	if others := p.fitting(s, takes); len(others) > 0 {
		p.errs.add(ref.Pos, s.ID, wrong, "take another input: "+quoted(others))
		return
	}
	if types := p.bridges(kind, takes); len(types) > 0 {
		p.errs.add(ref.Pos, s.ID, wrong, "put a stage between: type = "+quoted(types))
		return
	}
	if types := p.takers(kind); len(types) > 0 {
		p.errs.add(ref.Pos, s.ID, wrong, fmt.Sprintf("%s goes into type = %s", kind, quoted(types)))
		return
	}
	p.errs.add(ref.Pos, s.ID, wrong, fmt.Sprintf("give it an input of %s", kindList(takes)))
}

// cannotHold reports a stream that a sink cannot take.
func (p *planner) cannotHold(s *Stage, f *fragment, ref Ref, kind pipeline.Kind, takes []pipeline.Kind) {
	wrong := fmt.Sprintf("%s cannot hold %s, which is what %q gives", holder(s, f), kind, ref)
	var remedies []string
	raw := pipeline.Kind{Media: kind.Media, Codec: pipeline.Raw}
	switch {
	case kind.IsRaw():
		if types := p.bridges(kind, takes); len(types) > 0 {
			remedies = append(remedies, "put an encoder between: type = "+quoted(types))
		}
	case accepts(pipeline.Input{Accepts: takes}, raw):
		if others := p.fitting(s, takes); len(others) > 0 {
			remedies = append(remedies, "take another input: "+quoted(others))
		}
	default:
		if types := p.bridges(raw, takes); len(types) > 0 {
			remedies = append(remedies, "encode with type = "+quoted(types))
		}
	}
	if others := p.containersFor(s, kind); others != "" {
		remedies = append(remedies, "write "+others)
	}
	remedies = transcodeRemedy(s, kind, remedies)
	holds := fmt.Sprintf("%s holds %s", holder(s, f), kindList(takes))
	if len(remedies) > 0 {
		holds = strings.Join(remedies, ", or ") + " (" + holds + ")"
	}
	p.errs.add(ref.Pos, s.ID, wrong, holds)
}

// holder names what holds a sink's streams: its container, or its type.
func holder(s *Stage, f *fragment) string {
	if f.Container != "" {
		return f.Container
	}
	return s.Type
}

// containersFor says which other containers of the sink can hold the kind. A
// sink that writes more than one tells by a method ContainersFor.
func (p *planner) containersFor(s *Stage, kind pipeline.Kind) string {
	c, ok := s.Element.(interface {
		ContainersFor(pipeline.Kind) []string
	})
	if !ok {
		return ""
	}
	var others []string
	for _, name := range c.ContainersFor(kind) {
		if name != p.fragments[s].Container {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("%s, which can hold %s", either(others), kind)
}

// kindsTaken lists what a set of inputs takes, video first.
func kindsTaken(inputs []pipeline.Input) []pipeline.Kind {
	seen := map[pipeline.Kind]bool{}
	var kinds []pipeline.Kind
	for _, in := range inputs {
		for _, k := range in.Accepts {
			if !seen[k] {
				seen[k] = true
				kinds = append(kinds, k)
			}
		}
	}
	sort.SliceStable(kinds, func(i, j int) bool { return kinds[i].Media < kinds[j].Media })
	return kinds
}

// kindList writes "h264, vp8 video and opus audio".
func kindList(kinds []pipeline.Kind) string {
	var parts []string
	for _, m := range []pipeline.Media{pipeline.Video, pipeline.Audio, pipeline.Data} {
		var codecs []string
		for _, k := range kinds {
			if k.Media == m && k.Codec != "" {
				codecs = append(codecs, k.Codec)
			} else if k.Media == m {
				parts = append(parts, k.String())
			}
		}
		if len(codecs) > 0 {
			parts = append(parts, strings.Join(codecs, ", ")+" "+m.String())
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, " and ")
}

// fitting lists outputs of this graph that the stage could take.
func (p *planner) fitting(s *Stage, takes []pipeline.Kind) []string {
	var names []string
	for _, other := range p.graph.Stages {
		if other == s || p.dependsOn(other, s, map[*Stage]bool{}) {
			continue
		}
		for _, name := range other.outputs() {
			id, pad, _ := strings.Cut(name, ".")
			k, ok := p.kindOf(Ref{Stage: id, Pad: pad})
			if ok && accepts(pipeline.Input{Accepts: takes}, k) {
				names = append(names, name)
			}
		}
	}
	return names
}

// dependsOn tells whether what reaches s comes from target.
func (p *planner) dependsOn(s, target *Stage, seen map[*Stage]bool) bool {
	if s == target {
		return true
	}
	if s == nil || seen[s] {
		return false
	}
	seen[s] = true
	for _, ref := range s.Inputs {
		if p.dependsOn(p.ids[ref.Stage], target, seen) {
			return true
		}
	}
	return false
}

// bridges lists the element types, all properties at their defaults, that turn
// one kind into another of a set.
func (p *planner) bridges(from pipeline.Kind, to []pipeline.Kind) []string {
	return p.types(func(f pipeline.Fragment) bool {
		return accepts(pipeline.Input{Accepts: kindsTaken(f.Inputs)}, from) && accepts(pipeline.Input{Accepts: to}, f.Output)
	})
}

// takers lists the element types that take a kind.
func (p *planner) takers(kind pipeline.Kind) []string {
	return p.types(func(f pipeline.Fragment) bool {
		return accepts(pipeline.Input{Accepts: kindsTaken(f.Inputs)}, kind)
	})
}

// types lists the stage types whose fragment passes, leaving out those that
// need a property or an element that is not installed.
func (p *planner) types(pass func(pipeline.Fragment) bool) []string {
	var names []string
	for _, reg := range pipeline.Types() {
		if reg.Role != pipeline.RoleStage {
			continue
		}
		if f, ok := p.byDefault(reg); ok && pass(f) {
			names = append(names, reg.Type)
		}
	}
	return names
}

func (p *planner) byDefault(reg pipeline.Registration) (pipeline.Fragment, bool) {
	e := reg.New()
	for _, spec := range pipeline.Specs(e) {
		if spec.Required {
			return pipeline.Fragment{}, false
		}
	}
	f, ok, err := pipeline.FragmentOf(e, reg.Role, p.cat)
	if !ok || err != nil {
		return pipeline.Fragment{}, false
	}
	for _, n := range f.Nodes {
		if _, ok := p.cat.Factory(n.Factory); !ok {
			return pipeline.Fragment{}, false
		}
	}
	return f, true
}
