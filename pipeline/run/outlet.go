package run

import (
	"fmt"
	"sync"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// outlet is where a source puts the frames of one pad. See [pipeline.Outlet]
// for who may call what.
//
// Before the pipeline starts it has no room, but takes the first format and the
// end of the stream: encoders want to be told of the frame rate before they
// start, and a source may have nothing to give.
type outlet struct {
	pad    string
	feed   *gstbin.Feed
	gst    *gstbin.Pipeline
	line   *pipeline.Timeline
	canvas string // id of the capsfilter that keeps the first format; "" for none
	free   bool   // the format may change, and goes on as it is
	first  string // the first format's caps; "" before it

	mu     sync.Mutex
	opened bool // the pipeline has started
	shut   bool // nothing more is taken, and the source should notice at once
	ended  bool // EOS came before that
	format *pipeline.Format
}

func (o *outlet) Hungry() bool           { return o.feed.Hungry() }
func (o *outlet) Notify(w pipeline.Wake) { o.feed.Notify(w) }

func (o *outlet) Room() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shut || o.opened && o.feed.Room()
}

// close turns away what comes from now on, so that the source ends.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut = true
}

func (o *outlet) ready() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.opened && !o.shut
}

func (o *outlet) isShut() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shut
}

func (o *outlet) EOS() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.opened {
		o.ended = true
		return nil
	}
	if o.shut {
		return nil // the pipeline may hang in whatever made the run give up
	}
	return o.feed.EOS()
}

// open lets frames in: the pipeline has started.
func (o *outlet) open() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened = true
	if o.ended {
		o.feed.EOS()
	}
}

// known gives the latest format, nil before the first; decided also when there
// will be none.
func (o *outlet) known() (f *pipeline.Format, decided bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.format, o.format != nil || o.ended
}

func (o *outlet) SetFormat(f pipeline.Format) error {
	caps := gstbin.CanvasCaps(f)
	switch {
	case o.first == "":
		o.first = caps
		if o.canvas != "" {
			if err := o.gst.Set(o.canvas, "caps", caps); err != nil {
				return err
			}
		}
	case o.canvas == "" && !o.free && caps != o.first:
		return fmt.Errorf(`stream %s changed its format from %s to %s; set on_format_change = "scale" to go on at the first size, or "segment" to go on in a new part`, o.pad, o.first, caps)
	}
	if err := o.feed.SetFormat(f); err != nil {
		return err
	}
	o.mu.Lock()
	o.format = &f
	o.mu.Unlock()
	return nil
}

func (o *outlet) Push(b *pipeline.Borrowed) error {
	if o.isShut() {
		b.Cell.Release()
		return gstbin.ErrStopped
	}
	at, ok := o.line.At(b.PTS)
	if !ok {
		b.Cell.Release()
		return fmt.Errorf("frame of %s from before the start of the run", o.pad)
	}
	return o.feed.Push(b, at)
}

func (o *outlet) Fill(stamp, d time.Duration) (int64, error) {
	at, ok := o.line.At(stamp)
	if !ok || !o.ready() {
		return 0, nil
	}
	return o.feed.Fill(at, d)
}
