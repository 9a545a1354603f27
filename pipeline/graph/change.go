package graph

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// What a source wants done when a stream changes its format.
const (
	changeScale   = "scale"   // every later format is converted to its first
	changeSegment = "segment" // the new size goes on to the outputs, which begin a new part
)

// Words of Output.Change.
const (
	NewPart  = "new part"
	InBand   = "in band"
	MadeAnew = "made anew"
)

// onFormatChange is what a source says by a method of this name; "" without it.
func onFormatChange(s *Stage) string {
	if c, ok := s.Element.(interface{ OnFormatChange() string }); ok {
		return strings.ToLower(c.OnFormatChange())
	}
	return ""
}

// changeOf tells what an output does with a new size; "" when it cannot take one.
func changeOf(f *fragment) string {
	switch {
	case f.Segment != nil:
		return NewPart
	case f.Change == pipeline.ChangeInBand:
		return InBand
	case f.Change == pipeline.ChangeAnew:
		return MadeAnew
	}
	return ""
}

// changes refuses outputs that would be given a new size and have one for all
// their length, or several pictures, of which one alone would change.
func (p *planner) changes() {
	for _, s := range p.graph.Stages {
		f := p.fragments[s]
		if f == nil || s.Role != pipeline.RoleSink {
			continue
		}
		from := p.changing(s, true)
		if len(from) == 0 {
			continue
		}
		src := p.ids[from[0].Stage]
		with := fmt.Sprintf(`set on_format_change = "scale" in source %s, or put a stage of type "scale" in front of the encoder`, src.ID)
		switch change := changeOf(f); {
		case change == "" && f.File != "" && s.Type == "file":
			p.errs.add(s.PosOf("path"), s.ID, fmt.Sprintf(`%s may change its size in mid-recording (on_format_change = "segment"), which %s cannot follow in one file`, from[0], f.Container),
				"put a number into the path, as \"talk-%05d.mp4\", so that it goes on in a new part; or "+with)
		case change == "":
			p.errs.add(s.PosOf("type"), s.ID, fmt.Sprintf(`%s may change its size in mid-recording (on_format_change = "segment"), which %s cannot follow`, from[0], s.Type), with)
		case change != InBand && p.videos(s) > 1:
			p.errs.add(s.PosOf("inputs"), s.ID, fmt.Sprintf(`%s may change its size in mid-recording (on_format_change = "segment"), and the other pictures of %s cannot be cut at that moment`, from[0], s.ID),
				"give each picture an output of its own, put them together with a stage of type \"compose\", or "+with)
		}
	}
}

// videos counts the pictures that a sink takes.
func (p *planner) videos(s *Stage) (n int) {
	for _, ref := range s.Inputs {
		if k, ok := p.kindOf(ref); ok && k.Media == pipeline.Video {
			n++
		}
	}
	return n
}

// changing lists the source pads from which a new size reaches a stage; with
// sizes, but for what passes a stage that fixes the size.
func (p *planner) changing(s *Stage, sizes bool) (from []Ref) {
	seen := map[Ref]bool{}
	var visit func(s *Stage)
	visit = func(s *Stage) {
		if s == nil || sizes && fixesSize(p.fragments[s]) {
			return
		}
		for _, ref := range s.Inputs {
			ref.Pos = pipeline.Pos{}
			up := p.ids[ref.Stage]
			if up == nil || seen[ref] {
				continue
			}
			seen[ref] = true
			if up.Role != pipeline.RoleSource {
				visit(up)
			} else if k, ok := p.kindOf(ref); ok && k == pipeline.RawVideo && onFormatChange(up) == changeSegment {
				from = append(from, ref)
			}
		}
	}
	visit(s)
	return from
}

var sizeInCaps = []*regexp.Regexp{regexp.MustCompile(`\bwidth=(\(int\))?\d`), regexp.MustCompile(`\bheight=(\(int\))?\d`)}

// fixesSize tells that what leaves a fragment has one size, whatever comes in.
func fixesSize(f *fragment) bool {
	if f == nil {
		return false
	}
	for _, n := range f.Nodes {
		if sizeInCaps[0].MatchString(n.Caps) && sizeInCaps[1].MatchString(n.Caps) {
			return true
		}
	}
	return false
}
