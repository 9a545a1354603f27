package run

import (
	"fmt"
	"sync/atomic"
)

// State is how far a run has come. It only moves forward, in this order.
type State int32

const (
	Building   State = iota // the GStreamer pipeline is made
	Opening                 // outputs are claimed, sources wait for their producers
	Running                 // frames flow
	Draining                // sources have stopped or are told to; what is inside goes on to the sinks
	Finalising              // the pipeline is stopped, outputs are read back
	Ended                   // the manifest is final
)

var stateNames = [...]string{"building", "opening", "running", "draining", "finalising", "ended"}

func (s State) String() string { return stateNames[s] }

// stateCell holds a run's state; any goroutine may read it.
type stateCell struct{ v atomic.Int32 }

func (c *stateCell) get() State { return State(c.v.Load()) }

// advance moves forward; a step back is a defect of this package, and panics.
func (c *stateCell) advance(to State) {
	if from := c.get(); to < from {
		panic(fmt.Sprintf("run: state would go back from %s to %s", from, to))
	}
	c.v.Store(int32(to))
}
