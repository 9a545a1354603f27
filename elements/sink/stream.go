package sink

import (
	"fmt"
	"slices"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// streamFragment is how often a streamed MP4 begins a fragment: nothing goes out
// before one is whole.
const streamFragment = time.Second

// streaming is how each container is written from front to back, for outputs in
// which nobody can go back. WebM and MKV then have no duration, MP4 consists of
// fragments.
var streaming = map[string][]pipeline.Setting{
	"mp4":  {{Name: "fragment-duration", Value: millis(streamFragment)}},
	"mkv":  append(matroskaSettings(time.Second), pipeline.Setting{Name: "streamable", Value: "true"}),
	"webm": append(matroskaSettings(time.Second), pipeline.Setting{Name: "streamable", Value: "true"}),
	"ogg":  containers["ogg"].settings(time.Second),
	"ts":   {{Name: "alignment", Value: "7"}}, // 1316 bytes: one datagram
}

// streamable lists the containers that can be written so.
func streamable() []string {
	return slices.DeleteFunc(containerNames(), func(n string) bool { return streaming[n] == nil })
}

// muxed is the fragment of a sink that takes a container's bytes.
func muxed(name string, raw map[string]any, behind ...pipeline.Node) pipeline.Fragment {
	c := containers[name]
	mux := pipeline.Node{Factory: c.muxer, Package: c.pkg, Set: append(slices.Clone(streaming[name]), pipeline.Settings(raw)...)}
	return pipeline.Fragment{Nodes: append([]pipeline.Node{mux}, behind...), Inputs: c.inputs, Container: name, Change: changeIn(name)}
}

// changeIn is how a container that nobody can begin anew follows a new size: in
// MPEG-TS every key frame says what is needed to decode it.
func changeIn(name string) pipeline.Change {
	if name == "ts" {
		return pipeline.ChangeInBand
	}
	return pipeline.ChangeRefused
}

// containersFor lists which of some containers hold a kind of stream.
func containersFor(names []string, k pipeline.Kind) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return !slices.ContainsFunc(containers[n].inputs, func(in pipeline.Input) bool { return slices.Contains(in.Accepts, k) })
	})
}

// remote is what outputs over a network share.
type remote struct {
	connect time.Duration
	min     time.Duration
	max     time.Duration
	giveUp  time.Duration
	stall   time.Duration
}

func (r *remote) props(p *pipeline.Props, connect string) {
	p.Duration(&r.connect, "connect_timeout", connect, "How long the other side may take to answer.", pipeline.AtLeast("100ms"))
	p.Duration(&r.stall, "stall_timeout", "10s", "How long the other side may take nothing before the connection is made anew; \"0s\" waits for ever.")
	p.Duration(&r.min, "reconnect_min", "500ms", "Wait before the first new attempt; it doubles with each, and is varied at random.", pipeline.AtLeast("10ms"))
	p.Duration(&r.max, "reconnect_max", "15s", "The longest such wait.", pipeline.AtLeast("10ms"))
	p.Duration(&r.giveUp, "give_up", "0s", "When to stop trying; \"0s\" tries until the recording ends.")
}

func (r *remote) restart() *pipeline.Restart {
	return &pipeline.Restart{Min: r.min, Max: max(r.min, r.max), GiveUp: r.giveUp, Stall: r.stall}
}

// unreachable is the error of another side that is not there, for check and run.
func unreachable(where string, err error) error {
	return &pipeline.Error{Class: pipeline.Environment, Msg: fmt.Sprintf("%s cannot be reached", where), Err: err,
		Remedy: "see whether it runs, and whether the address is right"}
}
