package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// Swap puts another encoder of the same codec in the place of a stage while it
// runs: what the old one holds goes on, the new one begins with the next frame
// and a key frame, so no frame is lost and none comes twice. props are the
// properties of the new one as TOML gives them; those left out have their
// defaults. Everything is checked first: an output whose container cannot go on
// with another encoder, or an encoder that does not fit or is not installed, is an
// error and changes nothing. So does ctx when it ends before the next frame comes.
//
// Sound has a seam of at most one packet of the codec: the old encoder fills its
// last one up with silence.
func (c *Control) Swap(ctx context.Context, stage, typ string, props map[string]any) error {
	answer := make(chan error, 1)
	select {
	case c.reach <- func(r *runner) { r.beginSwap(ctx, stage, typ, props, answer) }:
		return <-answer
	case <-ctx.Done():
		return fmt.Errorf("the run takes no changes: it has ended, or did not start: %w", ctx.Err())
	}
}

// encoderSwap is a swap under way; there is one at a time.
type encoderSwap struct {
	stage   *graph.Stage
	node    *graph.Node
	typ     string
	element pipeline.Element
	specs   []*pipeline.Spec
	with    pipeline.Node
	gst     *gstbin.Swap
	stop    context.CancelFunc
	ended   chan error
	answer  chan<- error
}

func (r *runner) beginSwap(ctx context.Context, id, typ string, props map[string]any, answer chan<- error) {
	s, err := r.prepareSwap(id, typ, props)
	if err != nil {
		answer <- err
		return
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.answer, s.ended = answer, make(chan error, 1)
	r.swap = s
	go func() { s.ended <- s.gst.Run(ctx, s.with.Caps) }()
}

// prepareSwap checks all that can be, and makes the new encoder.
func (r *runner) prepareSwap(id, typ string, props map[string]any) (*encoderSwap, error) {
	if r.swap != nil {
		return nil, fmt.Errorf("stage %s is being swapped; try again when that is done", r.swap.stage.ID)
	}
	s := &encoderSwap{stage: stageByID(r.plan.Graph, id), typ: typ}
	if s.stage == nil {
		return nil, fmt.Errorf("no stage has the id %q", id)
	}
	filtered, err := r.swappable(s)
	if err == nil {
		err = s.newElement(props)
	}
	if err == nil {
		err = r.outputsTake(s)
	}
	if err == nil {
		s.gst, err = r.gst.NewSwap(s.node.ID, s.with.Factory, s.with.Set, filtered)
	}
	if err == nil {
		n := *s.node
		n.KeyInterval, n.KeyFrames = s.with.KeyInterval, s.with.KeyFrames
		err = r.keyFrames(&n, s.gst.Set, s.gst.KeyRequests)
	}
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", id, err)
	}
	return s, nil
}

// swappable finds the one element of the stage, which must be an encoder.
func (r *runner) swappable(s *encoderSwap) (filtered bool, err error) {
	for _, n := range r.plan.Nodes {
		if n.Stage != s.stage.ID || n.Why != "" {
			continue
		}
		if s.node != nil || r.ofOutput(n) || n.Kind.IsRaw() || len(r.into[n.ID]) != 1 || !r.into[n.ID][0].Kind.IsRaw() {
			s.node = nil
			break
		}
		s.node = n
	}
	if s.node == nil {
		return false, fmt.Errorf("%s cannot be swapped: only an encoder that is one GStreamer element can", s.stage.Type)
	}
	for _, l := range r.plan.Links {
		filtered = filtered || l.From == s.node.ID && l.Caps != ""
	}
	return filtered, nil
}

// newElement sets the new encoder's properties and takes its GStreamer element.
func (s *encoderSwap) newElement(props map[string]any) error {
	reg, ok := pipeline.Lookup(s.typ)
	if !ok || reg.Role != pipeline.RoleStage {
		return fmt.Errorf("unknown encoder type %q", s.typ)
	}
	s.element = reg.New()
	s.specs = pipeline.Specs(s.element)
	left := len(props)
	for _, spec := range s.specs {
		v, given := props[spec.Name]
		switch {
		case !given && spec.Required:
			return fmt.Errorf("%s needs the property %s", s.typ, spec.Name)
		case !given:
			continue
		}
		left--
		if err := spec.Set(v); err != nil {
			return fmt.Errorf("%s: %w", spec.Name, err)
		}
	}
	if left > 0 {
		return fmt.Errorf("%d of the properties are none of %s; `mpipe inspect %s` lists them", left, s.typ, s.typ)
	}
	if c, ok := s.element.(pipeline.Checker); ok {
		if err := c.Check(); err != nil {
			return err
		}
	}
	f, ok, err := pipeline.FragmentOf(s.element, pipeline.RoleStage, Catalog())
	switch {
	case err != nil:
		return err
	case !ok || len(f.Nodes) != 1 || len(f.Inputs) != 1 || f.Inputs[0].Pad != "sink" || len(f.Inputs[0].Nodes) > 0:
		return fmt.Errorf("%s is not an encoder that is one GStreamer element", s.typ)
	case f.Output != s.node.Kind:
		return fmt.Errorf("%s gives %s, and what is behind the stage takes %s; swap to an encoder of the same codec", s.typ, f.Output, s.node.Kind)
	}
	s.with = f.Nodes[0]
	if _, installed := Catalog().Factory(s.with.Factory); !installed {
		return fmt.Errorf("%s needs the GStreamer element %s, which is not installed; install it: apt-get install %s", s.typ, s.with.Factory, s.with.Package)
	}
	return nil
}

// endSwap takes the result of a swap that is through. With wait, it has to end.
func (r *runner) endSwap(wait bool) {
	s := r.swap
	if s == nil {
		return
	}
	var err error
	if wait {
		s.stop()
		err = <-s.ended
	} else {
		select {
		case err = <-s.ended:
		default:
			return
		}
	}
	s.stop()
	r.swap = nil
	if err == nil {
		s.gst.Commit()
		r.log.Info("the encoder was swapped", "stage", s.stage.ID, "from", s.stage.Type, "to", s.typ)
		s.node.Factory, s.node.Set, s.node.KeyInterval, s.node.KeyFrames = s.with.Factory, s.with.Set, s.with.KeyInterval, s.with.KeyFrames
		s.stage.Become(s.typ, s.element, s.specs)
		for i := range r.plan.Links {
			if r.plan.Links[i].From == s.node.ID {
				r.plan.Links[i].Caps = s.with.Caps
			}
		}
	} else {
		err = fmt.Errorf("stage %s: %w", s.stage.ID, err)
		if !errors.Is(err, gstbin.ErrEnded) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			r.fail(internal(s.stage.ID, err))
		}
	}
	s.answer <- err
}

// outputsTake checks every output that the encoder's stream ends in, and readies
// those that need it.
func (r *runner) outputsTake(s *encoderSwap) error {
	var parsers []func() error
	for from := []string{s.node.ID}; len(from) > 0; from = from[1:] {
		for _, l := range r.plan.Links {
			if l.From != from[0] {
				continue
			}
			to := r.nodes[l.To]
			switch {
			case to.Gate != "":
				o := r.outputOf(to.Stage)
				if o.ended() {
					continue
				}
				if err := o.takesSwap(s); err != nil {
					return err
				}
				parsers = append(parsers, func() error { return o.repeatHeaders(to.ID) })
			case to.Factory == "tee" || to.Factory == "queue" || to.Factory == "capsfilter":
				from = append(from, to.ID)
			default:
				return fmt.Errorf("stage %s takes its packets, which may not go on with those of another encoder", to.Stage)
			}
		}
	}
	for _, ready := range parsers {
		if err := ready(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) outputOf(stage string) *output {
	return r.outputs[slices.IndexFunc(r.outputs, func(o *output) bool { return o.Stage == stage })]
}

// repeatable are the parsers that can put a stream's headers before every key
// frame.
var repeatable = map[string]bool{"h264parse": true, "h265parse": true}

// heldCaps are the muxers that write a stream's headers once and refuse others
// after that. They go on with the first as long as the stream carries its own.
var heldCaps = map[string]bool{"matroskamux": true, "webmmux": true}

// takesSwap tells why the output cannot go on with another encoder.
func (o *output) takesSwap(s *encoderSwap) error {
	codec, mux := s.node.Kind.Codec, ""
	for _, n := range o.nodes {
		if n.ID == o.Node {
			mux = n.Factory
		}
	}
	sameHeaders := s.with.Factory == s.node.Factory && (codec == "opus" || codec == "aac" || codec == "mp3")
	remedy := "record to MKV or TS, or start anew"
	switch {
	case codec == "vorbis" || codec == "flac":
		return fmt.Errorf("%s keeps what its decoder needs at the beginning of the stream, which output %s has written already; start anew", codec, o.Stage)
	case mux == "mp4mux" && !sameHeaders, mux == "oggmux":
		return fmt.Errorf("output %s cannot go on with another encoder: %s has one header for the whole stream; %s", o.Stage, o.Container, remedy)
	case heldCaps[mux] && s.node.Kind.Media == pipeline.Audio && !sameHeaders && codec != "mp3":
		return fmt.Errorf("output %s cannot go on with another %s encoder: its header is written; keep %s, or record to TS", o.Stage, codec, s.stage.Type)
	}
	return nil
}

// repeatHeaders has the parser behind a gate put the headers before every key
// frame, in this and every later attempt.
func (o *output) repeatHeaders(lane string) error {
	for _, l := range o.links {
		if n := o.run.nodes[l.To]; l.From == lane && repeatable[n.Factory] {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.headers[n.ID] = true
			if o.pipe != nil {
				return o.pipe.Set(n.ID, "config-interval", "-1")
			}
			return nil
		}
	}
	return nil
}

// holdCaps keeps the first caps in front of a muxer that wants no others.
func (o *output) holdCaps(p *gstbin.Pipeline) {
	for _, l := range o.links {
		if heldCaps[o.run.nodes[l.To].Factory] {
			p.HoldCaps(l.From)
		}
	}
}
