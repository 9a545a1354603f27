package graph

import (
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
)

// inputs reads the list of references.
func (l *loader) inputs(s *Stage, v any) {
	m := s.mark.child("inputs")
	v, ok := l.params.expand(v, m, s.ID)
	s.inputsKnown = ok
	if !ok {
		return
	}
	v = fit(v, pipeline.TStrings)
	list, ok := v.([]any)
	if !ok {
		s.inputsKnown = false
		remedy := `write for example inputs = ["bot.video"]`
		if text, isText := v.(string); isText {
			remedy = fmt.Sprintf("put it in brackets: inputs = [%q]", text)
		}
		l.errs.add(s.PosOf("inputs"), s.ID, "inputs: want a list of texts", remedy)
		return
	}
	for i, e := range list {
		pos := s.PosOf("inputs")
		if em := m.elem(i); em != nil {
			pos = l.index.valuePos(em)
		}
		text, ok := e.(string)
		if !ok {
			s.inputsKnown = false
			l.errs.add(pos, s.ID, "inputs: want texts in quotes", `write for example inputs = ["bot.video"]`)
			continue
		}
		id, pad, _ := strings.Cut(text, ".")
		s.Inputs = append(s.Inputs, Ref{Stage: id, Pad: pad, Pos: pos})
	}
}

// queue reads the bounds of the queue in front of the stage.
func (l *loader) queue(s *Stage, v any) {
	v, ok := l.params.expand(v, s.mark.child("queue"), s.ID)
	if !ok {
		return
	}
	s.Queue = &QueueSpec{Pos: s.PosOf("queue")}
	table, ok := fit(v, pipeline.TTable).(map[string]any)
	if !ok {
		l.errs.add(s.Queue.Pos, s.ID, "queue: want a table", `write for example queue = { time = "4s", size = "64MiB" }`)
		return
	}
	specs := queueSpecs(s.Queue)
	for _, key := range sortedKeys(table) {
		spec, known := specs[key]
		if !known {
			l.errs.add(l.index.keyPos(s.deepest("queue."+key)), s.ID, fmt.Sprintf("queue: unknown key %q", key),
				orNearest(key, sortedKeys(specs), "a queue has"))
			continue
		}
		if err := spec.Set(table[key]); err != nil {
			wrong, remedy, found := strings.Cut(err.Error(), "; ")
			if !found {
				remedy = example(spec)
			}
			l.errs.add(s.PosOf("queue."+key), s.ID, "queue."+key+": "+wrong, remedy)
		}
	}
	l.whenFull(s)
}

// optional reads whether a sink is required.
func (l *loader) optional(s *Stage, v any) {
	v, ok := l.params.expand(v, s.mark.child("required"), s.ID)
	if !ok {
		return
	}
	required, ok := fit(v, pipeline.TBool).(bool)
	if !ok {
		l.errs.add(s.PosOf("required"), s.ID, "required: want true or false", "write for example required = false")
		return
	}
	s.Optional = !required
}

// transcode reads whether a second encode may be put in for a sink.
func (l *loader) transcode(s *Stage, v any) {
	text, ok := l.params.text(v, s.mark.child("transcode"), s.ID, "transcode")
	if ok && text != TranscodeAuto && text != TranscodeNever {
		l.errs.add(s.PosOf("transcode"), s.ID, fmt.Sprintf("transcode: %q is not one of %q, %q", text, TranscodeAuto, TranscodeNever),
			`write for example transcode = "never"`)
	}
	s.Transcode = text
}

// whenFull checks a queue's policy against the stage. What flows is checked
// when the plan is made.
func (l *loader) whenFull(s *Stage) {
	pos := s.PosOf("queue.when_full")
	switch {
	case s.Queue.WhenFull == "":
	case s.Role != pipeline.RoleSink:
		l.errs.add(pos, s.ID, "queue.when_full is for sinks: in front of a stage frames always wait",
			"take it away, or put it into the sink behind")
	case s.Optional && s.Queue.WhenFull == WhenFullBlock:
		l.errs.add(pos, s.ID, `a sink with required = false may not hold up the others, so its queue cannot block`,
			`take when_full away, or make the sink required`)
	}
}

// queueSpecs declares the keys of queue = {…} like an element's properties.
func queueSpecs(q *QueueSpec) map[string]*pipeline.Spec {
	specs := map[string]*pipeline.Spec{}
	for _, spec := range pipeline.Specs(queueProps{q}) {
		specs[spec.Name] = spec
	}
	*q = QueueSpec{Pos: q.Pos} // defaults are the planner's, by what flows
	return specs
}

type queueProps struct{ q *QueueSpec }

func (p queueProps) Props(props *pipeline.Props) {
	props.Duration(&p.q.Time, "time", "10s", "How much the queue may hold in time.", pipeline.AtLeast("1ms"))
	props.Size(&p.q.Size, "size", "64MiB", "How much the queue may hold in bytes.", pipeline.AtLeast("1KiB"))
	props.String(&p.q.WhenFull, "when_full", "", "What becomes of a frame that finds the queue of a sink full.", pipeline.OneOf(whenFull...))
}

// deepest is the mark that lookup ends at.
func (s *Stage) deepest(key string) *mark {
	m, _ := s.mark.lookup(key)
	return m
}
