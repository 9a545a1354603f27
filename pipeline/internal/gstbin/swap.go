package gstbin

// #include "swap.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-gst/go-gst/gst"

	"github.com/mpipe/mpipe/pipeline"
)

// Swap puts an element in the place of one that runs, without losing or repeating
// a frame. New, Set, KeyRequests and Commit belong to the goroutine that builds
// the pipeline, Run may be in another.
type Swap struct {
	p    *Pipeline
	id   string
	next *gst.Element
	tap  *C.MpipeTap
	old  bool // a filter without a name lies behind the old element
}

// NewSwap makes the new element; nothing of the pipeline is touched. The element
// has one input, "sink", and one output, "src". filtered tells that caps restrict
// what leaves the old one.
func (p *Pipeline) NewSwap(id, factory string, set []pipeline.Setting, filtered bool) (*Swap, error) {
	e, err := gst.NewElementWithName(factory, id)
	if err != nil {
		return nil, fmt.Errorf("gstreamer has no element %q", factory)
	}
	s := &Swap{p: p, id: id, next: e, old: filtered}
	for _, set := range set {
		if err := s.Set(set.Name, set.Value); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	s.tap = p.taps[id+".sink"]
	p.mu.Unlock()
	return s, nil
}

// Set gives a property of the new element a value.
func (s *Swap) Set(name, value string) error {
	if !setProperty(s.next, name, value) {
		return fmt.Errorf("%s does not take %s = %q", s.next.GetFactory().GetName(), name, value)
	}
	return nil
}

// KeyRequests is that of Pipeline, for the new element.
func (s *Swap) KeyRequests(d time.Duration) {
	C.mpipe_key_requests(element(s.next), C.int64_t(d))
}

// ErrEnded is the answer to a swap when no more frames come.
var ErrEnded = errors.New("the stream has ended")

// Run waits for the next frame, drains the old element and puts the new one in;
// caps restrict what leaves it. When ctx ends before a frame came, nothing is
// changed; from then on the swap is carried out. An error that is neither ctx's
// nor ErrEnded leaves the pipeline broken.
func (s *Swap) Run(ctx context.Context, caps string) error {
	filtered := C.int(0)
	if s.old {
		filtered = 1
	}
	sw := C.mpipe_swap_new(element(s.p.elems[s.id]), s.tap, filtered)
	defer C.mpipe_swap_free(sw)
	const look = 20 * time.Millisecond
	for {
		state := C.mpipe_swap_hold(sw, C.int64_t(look))
		if state < 0 {
			return ErrEnded
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if state > 0 {
			break
		}
	}
	c, free := cstr(caps)
	defer free()
	switch C.mpipe_swap_replace(sw, element(s.next), c) {
	case 1:
		return errors.New("the old element does not give out what it holds")
	case 2:
		return errors.New("the new element does not fit where the old one was")
	}
	return nil
}

// Commit makes the new element the one that its id names.
func (s *Swap) Commit() { s.p.elems[s.id] = s.next }

// HoldCaps has what is behind an element see its first caps for good, where later
// ones differ only in what the stream's own headers say too.
func (p *Pipeline) HoldCaps(id string) {
	pad := p.elems[id].GetStaticPad("src")
	C.mpipe_hold_caps((*C.GstPad)(pad.Unsafe()))
}
