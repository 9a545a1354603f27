package graph

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// callFragments asks each sound native stage for its elements, once, and checks
// them against what is installed.
func (p *planner) callFragments() {
	var choosers []*Stage
	for _, s := range p.flowOrder() { // a Joiner wants to know what comes in
		if s.broken || s.Element == nil {
			continue
		}
		known, err := p.join(s)
		if err != nil {
			p.errs.addElement(s, err)
		}
		if err != nil || !known {
			continue
		}
		if _, ok := s.Element.(pipeline.Chooser); ok {
			choosers = append(choosers, s) // wants to know what the sinks take
			continue
		}
		p.callFragment(s)
	}
	for _, s := range choosers {
		why, err := s.Element.(pipeline.Chooser).Choose(p.cat, p.taken(s))
		if err != nil {
			p.errs.addElement(s, err)
			continue
		}
		p.notes = append(p.notes, Note{Pos: s.Pos.String(), Stage: s.ID, Text: why})
		p.callFragment(s)
	}
}

// taken lists what each sink holds to which a stage goes.
func (p *planner) taken(s *Stage) (taken [][]pipeline.Kind) {
	for _, to := range p.graph.Stages {
		f := p.fragments[to]
		if f == nil || f.guessed || to.Role != pipeline.RoleSink {
			continue
		}
		for _, ref := range to.Inputs {
			if ref.Stage == s.ID {
				taken = append(taken, kindsTaken(f.Inputs))
			}
		}
	}
	return taken
}

func (p *planner) callFragment(s *Stage) {
	frag, ok, err := pipeline.FragmentOf(s.Element, s.Role, p.cat)
	if !ok {
		return
	}
	if err != nil {
		p.errs.addElement(s, err)
		return
	}
	if wrong := malformed(s, frag); wrong != "" {
		p.errs.addInternal(s, wrong)
		return
	}
	p.fragments[s] = &fragment{Fragment: frag}
	for _, n := range frag.Nodes {
		if !p.installed(s, n) && n.Package == "" {
			p.fragments[s].guessed = true
		}
	}
	for _, in := range frag.Inputs {
		for _, n := range in.Nodes {
			p.installed(s, n)
		}
		p.padSettings(s, frag.Nodes[0], in)
	}
}

// join tells a Joiner what the graph gives it. It gives false when that is not
// known, because of something that is reported elsewhere.
func (p *planner) join(s *Stage) (known bool, err error) {
	j, ok := s.Element.(pipeline.Joiner)
	if !ok {
		return true, nil
	}
	var given []pipeline.Given
	for _, ref := range s.Inputs {
		kind, ok := p.kindOf(ref)
		if !ok {
			return false, nil
		}
		given = append(given, pipeline.Given{Name: ref.String(), Kind: kind})
	}
	if len(given) == 0 {
		return false, nil
	}
	return true, j.Join(given)
}

// padSettings checks the properties that an input sets on its pad.
func (p *planner) padSettings(s *Stage, n pipeline.Node, in pipeline.Input) {
	f, ok := p.cat.Factory(n.Factory)
	if !ok {
		return
	}
	for _, pad := range f.Pads {
		template, _, _ := strings.Cut(pad.Name, "%")
		if pad.Source || !strings.HasPrefix(in.Pad, template) {
			continue
		}
		f.Name, f.Props = "the "+pad.Name+" of "+f.Name, pad.Props
		for _, set := range in.Set {
			p.setting(s, f, set)
		}
		return
	}
}

// malformed says what no fragment of the stage's role may look like.
func malformed(s *Stage, f pipeline.Fragment) string {
	switch {
	case len(f.Nodes) == 0:
		return fmt.Sprintf("%s consists of no GStreamer element", s.Type)
	case len(f.Inputs) == 0:
		return fmt.Sprintf("%s takes no input", s.Type)
	case s.Role == pipeline.RoleStage && f.Output == pipeline.Kind{}:
		return fmt.Sprintf("%s does not say what it gives", s.Type)
	}
	return ""
}

// installed checks that a node's factory is there and takes its settings. It
// gives false when it is not there.
func (p *planner) installed(s *Stage, n pipeline.Node) bool {
	f, ok := p.cat.Factory(n.Factory)
	if ok {
		for _, set := range n.Set {
			if n.Secrets[set.Name] == nil { // else its value is not known before the run
				p.setting(s, f, set)
			}
		}
		return true
	}
	wrong := fmt.Sprintf("%s needs the GStreamer element %s, which is not installed", s.Type, n.Factory)
	if n.Package != "" {
		p.errs.add(s.PosOf("type"), s.ID, wrong, "install it: apt-get install "+n.Package)
		return false
	}
	pos := s.PosOf("type")
	if s.has("element") {
		pos = s.PosOf("element") // the user named it
	}
	remedy := "install the plugin that has it; `gst-inspect-1.0` lists what there is"
	if near := pipeline.Nearest(n.Factory, p.cat.Factories()); near != "" {
		remedy = fmt.Sprintf("did you mean %q? otherwise %s", near, remedy)
	}
	p.errs.add(pos, s.ID, wrong, remedy)
	return false
}

// sameFiles refuses two sinks that write one file.
func (p *planner) sameFiles() {
	first := map[string]*Stage{}
	for _, s := range p.graph.Stages {
		f := p.fragments[s]
		if f == nil || f.File == "" {
			continue
		}
		path := filepath.Clean(f.File)
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		if other := first[path]; other != nil {
			p.errs.add(s.PosOf("path"), s.ID, fmt.Sprintf("sink %s writes the file %s too", other.ID, f.File),
				"give each sink a path of its own")
			continue
		}
		first[path] = s
	}
}

// support checks that what the planner itself puts in is installed: all of it
// comes with GStreamer's core and base plugins.
func (p *planner) support() {
	needs := map[string]string{}
	for _, s := range p.graph.Stages {
		if s.Role == pipeline.RoleSource {
			needs["appsrc"] = basePackage
			if policy := onFormatChange(s); policy == changeScale || policy == changeSegment {
				needs["videoconvertscale"], needs["audioconvert"], needs["audioresample"] = basePackage, basePackage, basePackage
				needs["capsfilter"] = corePackage
			}
			continue
		}
		for _, ref := range s.Inputs {
			if k, ok := p.kindOf(ref); ok && k == pipeline.RawVideo {
				needs["videoconvert"] = basePackage
			} else if ok && k == pipeline.RawAudio {
				needs["audioconvert"], needs["audioresample"] = basePackage, basePackage
			}
		}
		needs["queue"], needs["tee"] = corePackage, corePackage
	}
	for _, name := range sortedKeys(needs) {
		if _, ok := p.cat.Factory(name); !ok {
			p.errs.add(pipeline.Pos{File: p.graph.File, Line: 1, Col: 1}, "",
				fmt.Sprintf("the graph needs the GStreamer element %s, which is not installed", name),
				"install it: apt-get install "+needs[name])
		}
	}
}

const (
	basePackage = "gstreamer1.0-plugins-base"
	corePackage = "libgstreamer1.0-0"
)
