package graph

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// problems collects all errors of a graph, to be reported in one go.
type problems struct {
	file string
	list pipeline.Errors
}

// add reports one problem: what is wrong, and the remedy, which may not be
// empty. stage is "" when no stage is concerned.
func (p *problems) add(pos pipeline.Pos, stage, wrong, remedy string) {
	p.list = append(p.list, &pipeline.Error{
		Class: pipeline.Config, Pos: pos, Stage: oneLine(stage), Msg: oneLine(wrong), Remedy: oneLine(remedy),
	})
}

// addInternal reports what only a developer of an element can mend.
func (p *problems) addInternal(s *Stage, wrong string) {
	p.list = append(p.list, &pipeline.Error{
		Class: pipeline.Internal, Pos: s.PosOf("type"), Stage: s.ID, Msg: oneLine(wrong),
		Remedy: fmt.Sprintf("this is a fault of the element %s and not of the file: report it to its author", s.Type),
	})
}

// addElement reports what an element said about itself: an error, or several
// joined, each pointing at a property when it is a [pipeline.PropError]. The
// remedy is what stands behind the first "; ", as everywhere.
func (p *problems) addElement(s *Stage, err error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			p.addElement(s, e)
		}
		return
	}
	var own *pipeline.Error
	if errors.As(err, &own) {
		p.adopt(s, own)
		return
	}
	pos, text := s.Pos, err.Error()
	remedy := fmt.Sprintf("`mpipe inspect %s` shows its properties", s.Type)
	var prop *pipeline.PropError
	if errors.As(err, &prop) {
		pos, text = s.PosOf(prop.Prop), prop.Prop+": "+prop.Err.Error()
		if spec := s.spec(prop.Prop); spec != nil {
			remedy = example(spec)
		}
	}
	if wrong, todo, ok := strings.Cut(text, "; "); ok {
		text, remedy = wrong, todo
	}
	p.add(pos, s.ID, text, remedy)
}

// adopt takes an element's complete error and fills what it left open.
func (p *problems) adopt(s *Stage, own *pipeline.Error) {
	e := *own
	if e.Pos == (pipeline.Pos{}) {
		e.Pos = s.Pos
	}
	if e.Stage == "" {
		e.Stage = s.ID
	}
	if e.Class == 0 {
		e.Class = pipeline.Config
	}
	if e.Remedy == "" {
		e.Remedy = fmt.Sprintf("`mpipe inspect %s` shows its properties", s.Type)
	}
	p.list = append(p.list, &e)
}

// sorted gives all problems in the order of the file, those of the command line
// behind them, each once; nil when there are none.
func (p *problems) sorted() error {
	if len(p.list) == 0 {
		return nil
	}
	sort.SliceStable(p.list, func(i, j int) bool {
		a, b := p.list[i], p.list[j]
		switch {
		case (a.Pos.File == p.file) != (b.Pos.File == p.file):
			return a.Pos.File == p.file
		case a.Pos.File != b.Pos.File:
			return a.Pos.File < b.Pos.File
		case a.Pos.Line != b.Pos.Line:
			return a.Pos.Line < b.Pos.Line
		case a.Pos.Col != b.Pos.Col:
			return a.Pos.Col < b.Pos.Col
		default:
			return a.Error() < b.Error()
		}
	})
	out := p.list[:0:0]
	for i, e := range p.list {
		if i == 0 || e.Error() != p.list[i-1].Error() {
			out = append(out, e)
		}
	}
	return out
}

// oneLine keeps an error on its line whatever text of the file it quotes.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// orNearest is the remedy for a name that does not exist: the one that was most
// likely meant, and what there is.
func orNearest(name string, allowed []string, there string) string {
	if n := pipeline.Nearest(name, allowed); n != "" {
		return fmt.Sprintf("did you mean %q? %s: %s", n, there, listed(allowed))
	}
	return there + ": " + listed(allowed)
}

// maxListed bounds how many names an error lists.
const maxListed = 40

// listed writes "a, b, c".
func listed(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// plural writes "1 stage" or "2 stages".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// quoted writes `"a", "b" or "c"`.
func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return either(q)
}

// either writes `a, b or c`.
func either(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
