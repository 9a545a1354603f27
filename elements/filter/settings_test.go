package filter_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/pipeline"
)

// filters are the types of this package, with what they take and need.
var filters = map[string]struct{ pad, needs string }{
	"scale": {"video", "width = 320\nheight = 180"}, "framerate": {"video", `fps = "25"`}, "crop": {"video", "width = 80\nheight = 60"},
	"overlay": {"video", `text = "a"`}, "volume": {"audio", ""}, "resample": {"audio", "rate = 44100"}, "gate": {"video", ""},
	"compose": {"video", ""}, "mix": {"audio", ""},
}

func planOf(typ, pad, props string) error {
	_, err := parse(one(pad, "", fmt.Sprintf("type = %q\n%s", typ, props)) + "[sinks.n]\ntype = \"null\"\ninputs = [\"it\"]\n")
	return err
}

// Every value that the properties allow is one that GStreamer's elements take: the
// planner checks each against the plugins.
func TestEveryAllowedValueSuitsThePlugins(t *testing.T) {
	for typ, f := range filters {
		reg, ok := pipeline.Lookup(typ)
		if !ok {
			t.Fatalf("no %s", typ)
		}
		for _, s := range pipeline.Specs(reg.New()) {
			var values []string
			for _, v := range s.OneOf {
				values = append(values, fmt.Sprintf("%q", v))
			}
			if s.Max != "" && s.Max != "16384" {
				values = append(values, s.Min, s.Max)
			}
			if s.Type == pipeline.TBool {
				values = append(values, "true", "false")
			}
			for _, v := range values {
				if strings.Contains(f.needs, s.Name+" =") || typ == "resample" && s.Name == "rate" {
					continue
				}
				if err := planOf(typ, f.pad, f.needs+"\n"+s.Name+" = "+v); err != nil {
					t.Errorf("%s with %s = %s: %v", typ, s.Name, v, err)
				}
			}
		}
	}
}

// What cannot be is refused with the reason and what to do, before anything starts.
func TestWhatCannotBeIsRefused(t *testing.T) {
	for _, c := range []struct{ typ, pad, props, want, remedy string }{
		{"scale", "video", "", "scale to which size is not said", "add width, height or both"},
		{"scale", "video", "width = 321", "width: 321 is odd", "write 322"},
		{"scale", "video", "width = 20000", "out of range", ""},
		{"scale", "video", "width = 320\nfit = \"fill\"", "not one of", `fit = "contain"`},
		{"scale", "audio", "width = 320", "scale takes raw video", ""},
		{"framerate", "video", "", "fps", ""},
		{"framerate", "video", `fps = "fast"`, "no frame rate", `"30000/1001"`},
		{"framerate", "video", `fps = "0"`, "cannot be", "up to 1000"},
		{"framerate", "video", `fps = "-5"`, "cannot be", "up to 1000"},
		{"framerate", "video", `fps = "30/0"`, "no frame rate", ""},
		{"crop", "video", "", "takes nothing away", "add width"},
		{"crop", "video", "width = 33", "odd", "write 34"},
		{"overlay", "video", "", "shows nothing", "add text, clock or image"},
		{"overlay", "video", "text = \"a\"\nclock = \"%H\"", "one overlay shows one thing", "second stage"},
		{"overlay", "video", "text = \"a\"\nfontcolor = \"blueish\"", "no colour", "#rrggbb"},
		{"overlay", "video", "text = \"a\"\nfontcolor = \"red@2\"", "no opacity", "0 to 1"},
		{"overlay", "video", "text = \"a\"\nposition = \"middle\"", "not one of", ""},
		{"volume", "audio", `volume = "loud"`, "no volume", `"-6dB"`},
		{"volume", "audio", `volume = "30dB"`, "out of range", "up to 20dB"},
		{"volume", "audio", `volume = "-1"`, "out of range", ""},
		{"volume", "video", ``, "volume takes raw audio", ""},
		{"resample", "audio", "", "changes nothing", "add rate, channels or format"},
		{"resample", "audio", "rate = 48", "too few", "such as 48000"},
		{"resample", "audio", `format = "s24"`, "not one of", ""},
		{"gate", "video", `closed = "red"`, "not one of", ""},
		{"compose", "video", `spotlight = "b.video"`, "not one of the inputs", "p.video"},
		{"compose", "video", `labels = ["a", "b"]`, "2 labels for 1 input", "one for each"},
		{"compose", "video", "width = 101", "odd", "write 102"},
		{"compose", "video", "width = 64\nheight = 64\ngap = 30", "small", "make the whole larger"},
		{"compose", "audio", "", "compose takes raw video", ""},
		{"compose", "video", `fps = "x"`, "no frame rate", ""},
		{"mix", "audio", `volumes = ["1", "1"]`, "2 volumes for 1 input", "one for each"},
		{"mix", "audio", `volumes = ["x"]`, "no volume", ""},
		{"mix", "video", "", "mix takes raw audio", ""},
	} {
		err := planOf(c.typ, c.pad, c.props)
		var e *pipeline.Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), c.want) || !strings.Contains(e.Remedy, c.remedy) || e.Remedy == "" || e.Class != pipeline.Config || e.Pos.Line == 0 {
			t.Errorf("%s with %q: got %v, want %q and the remedy %q", c.typ, c.props, err, c.want, c.remedy)
		}
	}
}

// A gate takes what it is given, and gives that.
func TestAGateIsOfTheKindOfItsInput(t *testing.T) {
	const text = "[sources.p]\ntype = \"painter\"\n[stages.g]\ntype = \"gate\"\ninputs = [\"p.%s\"]\n[stages.e]\ntype = %q\ninputs = [\"g\"]\n[sinks.f]\ntype = \"file\"\npath = \"a.mkv\"\ninputs = [\"e\"]\n"
	for _, c := range []struct {
		pad, encoder string
		ok           bool
	}{{"video", "x264", true}, {"audio", "opus", true}, {"audio", "x264", false}, {"video", "opus", false}} {
		if _, err := parse(fmt.Sprintf(text, c.pad, c.encoder)); (err == nil) != c.ok {
			t.Errorf("%s through a gate into %s: %v", c.pad, c.encoder, err)
		}
	}
}
