package graph

import (
	"fmt"
	"slices"

	"github.com/mpipe/mpipe/pipeline"
)

// What becomes of a stream that a sink cannot take.
const (
	TranscodeAuto  = "auto"  // sound is encoded once more for it, from the same raw stream
	TranscodeNever = "never" // it is an error
)

// secondCodecs are the codecs to encode sound with for a sink that cannot take
// what is there, the best first. Pictures are left to the user: a second encode
// of them costs as much as the first.
var secondCodecs = []string{"aac", "opus", "mp3", "vorbis", "flac", "pcm"}

// secondCost is what encoding stereo sound costs: 60 s took 0.63 s of CPU with
// opusenc, 0.77 with voaacenc, 1.20 with avenc_aac.
const secondCost = "about 1 to 2% of a core"

// transcode puts a second encoder behind the raw stream of an encoder whose
// codec a sink cannot take. The graph as given is left alone.
func (p *planner) transcode() {
	for i := 0; i < len(p.graph.Stages); i++ {
		s := p.graph.Stages[i]
		if f := p.fragments[s]; f == nil || f.guessed || s.Role != pipeline.RoleSink || s.Transcode == TranscodeNever {
			continue
		}
		for at := range s.Inputs {
			if to := p.second(s, s.Inputs[at]); to != nil {
				s = p.redirect(s, at, to)
			}
		}
	}
	p.dropUnused()
}

// second finds or makes the encoder from which the sink takes a stream instead;
// nil where none is needed or none can be.
func (p *planner) second(s *Stage, ref Ref) *Stage {
	kind, ok := p.kindOf(ref)
	enc := p.ids[ref.Stage]
	takes := kindsTaken(p.fragments[s].Inputs)
	if !ok || !ref.known || kind.Media != pipeline.Audio || kind.IsRaw() || accepts(pipeline.Input{Accepts: takes}, kind) || len(enc.Inputs) != 1 {
		return nil
	}
	raw, ok := p.kindOf(enc.Inputs[0])
	if !ok || !raw.IsRaw() {
		return nil
	}
	types := p.bridges(raw, takes)
	for _, typ := range secondCodecs {
		if !slices.Contains(types, typ) {
			continue
		}
		if to := p.encoderFor(s, enc, typ); to != nil {
			p.notes = append(p.notes, Note{Pos: ref.Pos.String(), Stage: s.ID, Text: fmt.Sprintf(
				`%s cannot hold %s: %s is encoded once more with %s for it, %s; transcode = "never" refuses that`,
				holder(s, p.fragments[s]), kind, enc.Inputs[0], typ, secondCost)})
			return to
		}
	}
	return nil
}

// encoderFor gives the stage that encodes once more what enc encodes: one for
// all sinks that need it.
func (p *planner) encoderFor(s, enc *Stage, typ string) *Stage {
	key := enc.Inputs[0].String() + " " + typ
	if to := p.seconds[key]; to != nil {
		return to
	}
	reg, _ := pipeline.Lookup(typ)
	to := &Stage{ID: p.freeID(enc.ID + "-" + typ), Role: pipeline.RoleStage, Type: typ, Element: reg.New(), Inputs: enc.Inputs, Pos: s.Pos, inputsKnown: true}
	to.specs = pipeline.Specs(to.Element)
	frag, ok, err := pipeline.FragmentOf(to.Element, to.Role, p.cat)
	if !ok || err != nil {
		return nil
	}
	p.ids[to.ID], p.seconds[key], p.fragments[to] = to, to, &fragment{Fragment: frag}
	p.ownGraph()
	at := slices.Index(p.graph.Stages, enc)
	p.graph.Stages = slices.Insert(p.graph.Stages, at+1, to)
	return to
}

func (p *planner) freeID(id string) string {
	for free := id; ; free += "-2" {
		if p.ids[free] == nil {
			return free
		}
	}
}

// redirect has a copy of the sink take an input from another stage.
func (p *planner) redirect(s *Stage, at int, to *Stage) *Stage {
	c := *s
	c.Inputs = slices.Clone(s.Inputs)
	c.Inputs[at] = Ref{Stage: to.ID, Pos: s.Inputs[at].Pos, known: true}
	p.ownGraph()
	p.graph.Stages[slices.Index(p.graph.Stages, s)] = &c
	p.ids[c.ID], p.fragments[&c] = &c, p.fragments[s]
	delete(p.fragments, s)
	return &c
}

// dropUnused leaves out encoders that only fed sinks which could not take them.
func (p *planner) dropUnused() {
	if len(p.seconds) == 0 {
		return
	}
	used := map[string]bool{}
	for _, s := range p.graph.Stages {
		for _, ref := range s.Inputs {
			used[ref.Stage] = true
		}
	}
	p.graph.Stages = slices.DeleteFunc(p.graph.Stages, func(s *Stage) bool {
		gone := s.Role == pipeline.RoleStage && !used[s.ID] && !s.broken
		if gone {
			p.notes = append(p.notes, Note{Pos: s.Pos.String(), Stage: s.ID, Text: "nothing takes it any more: it is left out"})
			delete(p.fragments, s)
		}
		return gone
	})
}

// ownGraph gives the planner a copy of the graph, once, before it changes it.
func (p *planner) ownGraph() {
	if p.owned {
		return
	}
	g := *p.graph
	g.Stages = slices.Clone(g.Stages)
	p.graph, p.owned = &g, true
}

// transcodeRemedy adds, to the error about a sound that a sink cannot hold, that
// it was the file that forbade encoding it once more.
func transcodeRemedy(s *Stage, kind pipeline.Kind, remedies []string) []string {
	if s.Transcode == TranscodeNever && kind.Media == pipeline.Audio && !kind.IsRaw() {
		return append(remedies, `take transcode = "never" away`)
	}
	return remedies
}
