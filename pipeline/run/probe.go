package run

import (
	"context"
	"sync"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
)

// Probed is what one output of a plan answered when it was tried.
type Probed struct {
	Stage string
	Where string // file or place, without secrets
	Asked bool   // there was something to try
	Err   error  // a [pipeline.Error]; nil when all is there
}

// Probe tries each output of the plan, all at the same time, without starting
// anything or leaving a trace. An answer that takes longer than limit is an
// error.
func Probe(ctx context.Context, plan *graph.Plan, limit time.Duration) []Probed {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out := make([]Probed, len(plan.Outputs))
	var wg sync.WaitGroup
	for i, o := range plan.Outputs {
		out[i] = Probed{Stage: o.Stage, Where: o.File + o.Where}
		s := stageByID(plan.Graph, o.Stage)
		p, ok := s.Element.(pipeline.Prober)
		if !ok {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			out[i].Asked = true
			if err := p.Probe(ctx); err != nil {
				out[i].Err = stageError(s, pipeline.Environment, err)
			}
		}()
	}
	wg.Wait()
	return out
}
