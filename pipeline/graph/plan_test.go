package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/graph"
)

func mustPlan(t *testing.T, text string, cat pipeline.Catalog) *graph.Plan {
	t.Helper()
	p, err := graph.ParsePlan("small.toml", []byte(text), graph.Options{}, cat)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func node(t *testing.T, p *graph.Plan, id string) *graph.Node {
	t.Helper()
	for _, n := range p.Nodes {
		if n.ID == id {
			return n
		}
	}
	t.Fatalf("no node %s", id)
	return nil
}

// route writes the links as "from>to", in order.
func route(p *graph.Plan) string {
	var parts []string
	for _, l := range p.Links {
		parts = append(parts, l.From+">"+l.To)
	}
	return strings.Join(parts, " ")
}

func TestPlanOfSmall(t *testing.T) {
	p := mustPlan(t, small, installed)
	want := "bot.video>bot.video.scale bot.video.scale>bot.video.canvas bot.video.canvas>h264.convert h264.convert>h264 " +
		"h264>local.queue.0 local.queue.0>local.parse.0 local.parse.0>local.mp4mux local.mp4mux>local.filesink"
	if got := route(p); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	src, canvas := node(t, p, "bot.video"), node(t, p, "bot.video.canvas")
	if !src.Source || src.Pad != "video" || src.Factory != "appsrc" || src.Kind != pipeline.RawVideo || !canvas.Canvas || canvas.Pad != "video" || canvas.Stage != "bot" {
		t.Errorf("got %+v and %+v", src, canvas)
	}
	mux := p.Links[6]
	if mux.ToPad != "video_%u" || mux.Edge != "h264 -> local" || mux.Kind != h264Video || p.Links[4].Caps != "video/x-h264,profile=high" || p.Links[3].Caps != "video/x-raw,format=I420" {
		t.Errorf("got %+v", p.Links)
	}
	if got := fmt.Sprint(node(t, p, "local.queue.0").Set); got != "[{max-size-buffers 0} {max-size-bytes 67108864} {max-size-time 4000000000}]" {
		t.Errorf("the queue is bounded by %s", got)
	}
	out := p.Outputs[0]
	if len(p.Outputs) != 1 || out.Stage != "local" || out.Node != "local.mp4mux" || out.File != "a.mp4" || out.Container != "mp4" ||
		out.Recovery == "" || fmt.Sprint(out.Streams) != "[{h264 -> local h264 video h264}]" {
		t.Errorf("got %+v", out)
	}
	for _, n := range p.Nodes {
		inserted := strings.Contains(" bot.video.scale bot.video.canvas h264.convert local.queue.0 local.parse.0 ", " "+n.ID+" ")
		if inserted != (n.Why != "") {
			t.Errorf("%s: why %q", n.ID, n.Why)
		}
	}
}

func TestCopiesAreCountedWhereTheyHappen(t *testing.T) {
	most := map[string]int{}
	for _, l := range mustPlan(t, small, installed).Links {
		if l.Copies != 0 {
			t.Errorf("%s>%s: %d copies whatever the format", l.From, l.To, l.Copies)
		}
		most[l.Edge] += l.CopiesMost
	}
	if want := map[string]int{"bot.video": 1, "bot.video -> h264": 1, "h264 -> local": 0, "local": 0}; fmt.Sprint(most) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", most, want)
	}
}

func TestSharedOutputsGetTeeAndQueues(t *testing.T) {
	text, err := os.ReadFile("testdata/good/shared_outputs.toml")
	if err != nil {
		t.Fatal(err)
	}
	p := mustPlan(t, string(text), installed)
	for _, link := range []string{"bot.video>bot.video.tee", "bot.video.tee>h264.queue", "bot.video.tee>vp8.queue", "bot.video.tee>window.queue.0",
		"h264>h264.tee", "h264.tee>one.queue.0", "h264.tee>two.queue.0", "opus.tee>web.queue.1", "bot.audio>opus.convert"} {
		if !strings.Contains(route(p)+" ", link+" ") {
			t.Errorf("no link %s in %s", link, route(p))
		}
	}
	for id, want := range map[string]string{
		"h264.queue":  "[{max-size-buffers 8} {max-size-bytes 0} {max-size-time 0}]",
		"vp8.queue":   "[{max-size-buffers 0} {max-size-bytes 0} {max-size-time 500000000}]",
		"one.queue.1": "[{max-size-buffers 0} {max-size-bytes 67108864} {max-size-time 10000000000}]",
	} {
		if got := fmt.Sprint(node(t, p, id).Set); got != want {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
}

// TestNoQueueIsUnbounded: whatever the file asks for, a queue has a bound.
func TestNoQueueIsUnbounded(t *testing.T) {
	each(t, "good", func(t *testing.T, name, text string) {
		p, err := graph.ParsePlan(name+".toml", []byte(text), options(text), installed)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range p.Nodes {
			if n.Factory == "queue" && !strings.ContainsAny(strings.Trim(fmt.Sprint(n.Set), "[]"), "123456789") {
				t.Errorf("%s: %v", n.ID, n.Set)
			}
		}
	})
}

func TestPlansAreDeterministic(t *testing.T) {
	each(t, "good", func(t *testing.T, name, text string) {
		var first []byte
		for range 5 {
			p, err := graph.ParsePlan(name+".toml", []byte(text), options(text), installed)
			if err != nil {
				t.Fatal(err)
			}
			j, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = j
			}
			if !bytes.Equal(j, first) {
				t.Errorf("two plans of one file:\n%s\n%s", first, j)
			}
		}
	})
}

func TestMissingParserIsNoted(t *testing.T) {
	p := mustPlan(t, small, installed.without("h264parse"))
	if strings.Contains(route(p), "parse") || len(p.Notes) != 1 || p.Notes[0].Stage != "local" || p.Notes[0].Pos != "small.toml:10:1" {
		t.Errorf("got %s with the notes %v", route(p), p.Notes)
	}
}

func TestMissingSupportNamesThePackage(t *testing.T) {
	for factory, pkg := range map[string]string{"queue": "libgstreamer1.0-0", "videoconvert": "gstreamer1.0-plugins-base", "videoconvertscale": "gstreamer1.0-plugins-base",
		"appsrc": "gstreamer1.0-plugins-base", "mp4mux": "gstreamer1.0-plugins-good"} {
		_, err := graph.ParsePlan("small.toml", []byte(small), graph.Options{}, installed.without(factory))
		if text := errorText(err); strings.Count(text, "\n") != 0 || !strings.Contains(text, factory) || !strings.Contains(text, "apt-get install "+pkg) {
			t.Errorf("without %s: got %v", factory, err)
		}
	}
}

// TestNamesOfInsertedNodesYield has a stage whose own elements are called as the
// planner would call what it puts in.
func TestNamesOfInsertedNodesYield(t *testing.T) {
	text := strings.Replace(small, "[stages.h264]", "[stages.same]\ntype = \"clash\"\ninputs = [\"bot.video\"]\nqueue = { time = \"1s\" }\n[stages.h264]", 1)
	text = strings.Replace(text, `[ "bot.video" ]`, `["same"]`, 1)
	p := mustPlan(t, text, installed)
	consistent(t, p)
	if !strings.Contains(route(p), "bot.video.canvas>same.queue.1 same.queue.1>same.convert same.convert>same.queue same.queue>same.videoflip") {
		t.Errorf("got %s", route(p))
	}
}

func TestRemediesNameOnlyWhatWouldWork(t *testing.T) {
	// The types offered as a remedy are tried with their defaults: those that
	// cannot run with them are left out.
	text := strings.Replace(small, `["h264"]`, `["bot.video", "h264"]`, 1)
	_, err := graph.ParsePlan("small.toml", []byte(text), graph.Options{}, installed.without("openh264enc"))
	if text := errorText(err); !strings.Contains(text, `put an encoder between: type = "x264"`) || strings.Contains(text, "openh264") || strings.Contains(text, "svtav1") {
		t.Errorf("got %s", text)
	}
}
