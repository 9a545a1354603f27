package graph

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// input links an output to input i of a stage, with a queue, converters or a
// parser in between as the kind and the stage want it.
func (b *builder) input(s *Stage, f *fragment, i int, o *outlet) {
	nth := ""
	if s.Role == pipeline.RoleSink || len(s.Inputs) > 1 {
		nth = "." + strconv.Itoa(i)
	}
	var chain []*Node
	if why := b.queueWhy(s, o); why != "" {
		n := b.insert(s, s.ID+".queue"+nth, "queue", why, o.kind, queueBounds(s, f, o.kind)...)
		if s.Role == pipeline.RoleSink {
			n.Gate = b.whenFull(s, f, o.kind)
		}
		chain = append(chain, n)
	}
	firstConverter, whose := len(chain), "the format of "+o.ref.String()
	if b.ids[o.ref.Stage].Role == pipeline.RoleSource {
		whose = "the producer's format"
	}
	switch {
	case o.kind == pipeline.RawVideo:
		chain = append(chain, b.insert(s, s.ID+".convert"+nth, "videoconvert", converts(f, whose), o.kind))
	case o.kind == pipeline.RawAudio:
		chain = append(chain,
			b.insert(s, s.ID+".convert"+nth, "audioconvert", converts(f, whose), o.kind),
			b.insert(s, s.ID+".resample"+nth, "audioresample", converts(f, whose), o.kind))
	case s.Role == pipeline.RoleSink:
		if n := b.parser(s, nth, o); n != nil {
			chain = append(chain, n)
		}
	}
	converters := len(chain) - firstConverter
	for at := range f.inputs[i].Nodes {
		n := &f.inputs[i].Nodes[at]
		node := ownNode(s, n, o.kind)
		node.ID = inputNodeName(s, f, i, at)
		b.plan.Nodes = append(b.plan.Nodes, node)
		chain = append(chain, node)
	}
	b.chain(s, f, i, o, chain, firstConverter, firstConverter+converters)
}

// chain links an output through inserted nodes to the first node of a stage.
// Converters, those from first to before last, may have to copy a frame.
func (b *builder) chain(s *Stage, f *fragment, i int, o *outlet, chain []*Node, first, last int) {
	in, from, caps := f.inputs[i], o.node, o.caps
	if len(chain) == 0 && caps != "" && in.Caps != "" {
		// A link carries one set of caps, and here both ends want theirs.
		chain = append(chain, b.insert(s, s.ID+".caps", "capsfilter", "both sides fix the format", o.kind,
			pipeline.Setting{Name: "caps", Value: caps}))
		caps = ""
	}
	for at, n := range chain {
		l := Link{From: from, To: n.ID, ToPad: b.sinkPad(n.Factory, o.kind), Caps: caps, Kind: o.kind, Edge: edge(o.ref, s)}
		if at >= first && at < last && o.kind.IsRaw() {
			l.CopiesMost = 1
		}
		b.link(l)
		from, caps = n.ID, ""
	}
	if in.Caps != "" {
		caps = in.Caps
	}
	b.link(Link{From: from, To: nodeName(s, f, 0), ToPad: in.Pad, Caps: caps, Set: in.Set, Kind: o.kind, Edge: edge(o.ref, s)})
}

// whenFull gives the policy of the queue in front of a sink: what the file says,
// else whatever keeps the promise of the sink's kind.
func (b *builder) whenFull(s *Stage, f *fragment, kind pipeline.Kind) string {
	drop := WhenFullDropGOP
	if kind.IsRaw() {
		drop = WhenFullDropNewest
	}
	asked := ""
	if s.Queue != nil {
		asked = s.Queue.WhenFull
	}
	switch {
	case asked == WhenFullBlock, asked == WhenFullDropOldest && kind.IsRaw():
		return asked
	case asked != "", s.Optional, f.Live:
		return drop
	}
	return WhenFullBlock
}

// queueWhy tells why a queue belongs in front of a stage, "" when none does.
func (b *builder) queueWhy(s *Stage, o *outlet) string {
	switch {
	case len(s.Inputs) > 1:
		return "lets the streams wait for each other"
	case s.Role == pipeline.RoleSink:
		return "keeps a slow sink off what is before it"
	case o.consumers > 1:
		return fmt.Sprintf("lets this branch of %s run by itself", o.ref)
	case s.Queue != nil:
		return "the file asks for it"
	}
	return ""
}

func converts(f *fragment, whose string) string {
	return fmt.Sprintf("only if %s cannot take %s", f.Nodes[0].Factory, whose)
}

// parser adds the parser of an encoded stream, where it has one and that is
// installed.
func (b *builder) parser(s *Stage, nth string, o *outlet) *Node {
	codec, ok := pipeline.CodecOf(o.kind)
	if !ok || codec.Parser == "" {
		return nil
	}
	if _, installed := b.cat.Factory(codec.Parser); !installed {
		b.plan.Notes = append(b.plan.Notes, Note{Pos: s.Pos.String(), Stage: s.ID,
			Text: fmt.Sprintf("%s is not installed, so %s goes to %s as its encoder cut it", codec.Parser, o.ref, s.ID)})
		return nil
	}
	return b.insert(s, s.ID+".parse"+nth, codec.Parser,
		fmt.Sprintf("gives %s frames in the form that %s takes", o.kind.Codec, s.Type), o.kind)
}

// shortest is what a queue in front of a muxer should hold at least: twice the
// 1.5 s that x264 needs by default at 30 frames a second.
const shortest = 3 * time.Second

// shortQueue warns of a queue that may starve a muxer.
func (b *builder) shortQueue(s *Stage) {
	if s.Queue == nil || s.Queue.Time == 0 || s.Queue.Time >= shortest || len(s.Inputs) < 2 {
		return
	}
	b.plan.Notes = append(b.plan.Notes, Note{Pos: s.PosOf("queue.time").String(), Stage: s.ID, Text: fmt.Sprintf(
		"a queue of %v can be shorter than what an encoder looks ahead, and then all streams of %s stop; %v is safe",
		s.Queue.Time, s.ID, shortest)})
}

// keyFrames warns when a sink that cuts at key frames has them come at other
// times.
func (b *builder) keyFrames(s *Stage) {
	c, ok := s.Element.(interface{ CutsEvery() time.Duration })
	if !ok {
		return
	}
	for _, ref := range s.Inputs {
		o := b.outs[ref.String()]
		for _, n := range b.plan.Nodes {
			every := n.KeyInterval
			if n.ID != o.node || every <= 0 || c.CutsEvery()%every == 0 {
				continue
			}
			next := (c.CutsEvery() + every - 1).Truncate(every)
			b.plan.Notes = append(b.plan.Notes, Note{Pos: s.Pos.String(), Stage: s.ID, Text: fmt.Sprintf(
				"%s makes a key frame every %v, so segments last %v and not %v; a keyframe_interval that divides that is better",
				ref, every, next, c.CutsEvery())})
		}
	}
}

// bounds are a queue's limits; 0 is none.
type bounds struct {
	frames int
	time   time.Duration
	size   int64
}

// boundsOf gives the bounds of the queue in front of a stage for what flows.
// What the file asks for wins, then what the element does; a raw queue with a
// bound in time or bytes has none in frames.
func boundsOf(s *Stage, f *fragment, kind pipeline.Kind) bounds {
	b := bounds{time: encodedTime, size: encodedSize}
	if f.QueueTime > 0 {
		b.time = f.QueueTime
	}
	if kind == pipeline.RawVideo || kind.IsRaw() && s.Role != pipeline.RoleSink {
		b = bounds{frames: rawFrames}
	}
	if q := s.Queue; q != nil && (q.Time > 0 || q.Size > 0) {
		b.frames = 0
		if q.Time > 0 {
			b.time = q.Time
		}
		if q.Size > 0 {
			b.size = q.Size
		}
	}
	return b
}

func queueBounds(s *Stage, f *fragment, kind pipeline.Kind) []pipeline.Setting {
	b := boundsOf(s, f, kind)
	return []pipeline.Setting{
		{Name: "max-size-buffers", Value: strconv.Itoa(b.frames)},
		{Name: "max-size-bytes", Value: strconv.FormatInt(b.size, 10)},
		{Name: "max-size-time", Value: strconv.FormatInt(int64(b.time), 10)},
	}
}
