package run

import (
	"regexp"
	"strconv"

	"github.com/mpipe/mpipe/pipeline"
)

// sourcesOf gives the ids of all source pads that end up in a node.
func (r *runner) sourcesOf(node string) (ids []string) {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		if r.nodes[id].Source {
			ids = append(ids, id)
		}
		for _, l := range r.into[id] {
			visit(l.From)
		}
	}
	visit(node)
	return ids
}

// spot is a pad where frames are counted.
type spot struct{ node, pad string }

// encoderOf gives the input of the encoder that an encoded stream leaves; false
// where another stage lies between it and the output.
func (r *runner) encoderOf(m measured) (spot, bool) {
	stage := ""
	for node := m.node; ; {
		n, into := r.nodes[node], r.into[node]
		if s := stageByID(r.plan.Graph, n.Stage); stage == "" && s.Role == pipeline.RoleStage {
			stage = n.Stage
		}
		if n.Source || len(into) != 1 || stage != "" && n.Stage != stage {
			return spot{}, false
		}
		if into[0].Kind.IsRaw() {
			if stage == "" {
				return spot{}, false // nothing encodes it
			}
			return spot{node, into[0].ToPad}, true
		}
		node = into[0].From
	}
}

var rateInCaps = regexp.MustCompile(`framerate=(?:\(fraction\))?(\d+)/(\d+)`)

// rateInto gives the frame rate of what comes into a node: the nearest that
// something before it fixes, else that of the source; 0 when unknown or variable.
func (r *runner) rateInto(node string) float64 {
	for {
		n, into := r.nodes[node], r.into[node]
		if n.Source {
			f, _ := r.feeds[node].known()
			if f == nil || f.Video == nil || f.Video.FPSDen <= 0 {
				return 0
			}
			return float64(f.Video.FPSNum) / float64(f.Video.FPSDen)
		}
		texts := []string{}
		for _, s := range n.Set {
			if n.Factory == "capsfilter" && s.Name == "caps" {
				texts = append(texts, s.Value)
			}
		}
		for _, l := range into {
			texts = append(texts, l.Caps)
		}
		for _, text := range texts {
			if m := rateInCaps.FindStringSubmatch(text); m != nil {
				num, _ := strconv.ParseFloat(m[1], 64)
				den, _ := strconv.ParseFloat(m[2], 64)
				return num / max(den, 1)
			}
		}
		if len(into) != 1 {
			return 0
		}
		node = into[0].From
	}
}
