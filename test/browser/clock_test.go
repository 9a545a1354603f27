package browser

import (
	"encoding/json"
	"os/exec"
	"testing"
)

// What the page makes of the stamps of a track, which it must not trust: for each case
// the moments of arrival and the stamps, in ms, and what comes of the stamps.
func TestClock(t *testing.T) {
	cases := map[string]struct {
		Known             bool
		Now, Stamps, Want []float64
	}{
		"its own zero":      {Now: []float64{1010, 1015, 1030}, Stamps: []float64{0, 10, 20}, Want: []float64{1010, 1015, 1025}},
		"a known clock":     {Known: true, Now: []float64{1010, 1700, 1705}, Stamps: []float64{1005, 1015, 1025}, Want: []float64{1005, 1015, 1025}},
		"another's zero":    {Known: true, Now: []float64{1010, 1020}, Stamps: []float64{500, 510}, Want: []float64{1010, 1020}},
		"another's zero, 2": {Known: true, Now: []float64{1010, 1020}, Stamps: []float64{2500, 2510}, Want: []float64{1010, 1020}},
		// The first packet of a track that comes over WebRTC.
		"begins anew":             {Known: true, Now: []float64{4866, 4870, 4880}, Stamps: []float64{4874, 3115, 3125}, Want: []float64{4866, 4870, 4880}},
		"begins anew, well known": {Known: true, Now: []float64{416, 417, 427}, Stamps: []float64{413, -1340, -1330}, Want: []float64{413, 417, 427}},
	}
	got := inNode(t, cases, `
		const clock = new pump.Clock(c.Known);
		return c.Stamps.map((stamp, i) => clock.map(stamp, c.Now[i]));`)
	for name, c := range cases {
		alike(t, name, got[name], c.Want)
	}
}

// Packets of sound that come late: what had only waited keeps its moment, what its
// source stood still for begins where it came, and nothing is out of order or missing.
func TestArrivals(t *testing.T) {
	// of is n packets of 10 ms, stamped from a stamp on, that arrive every so many ms.
	type run struct{ stamps, now []float64 }
	of := func(n int, stamp, at, every float64) (r run) {
		for i := range n {
			r.stamps = append(r.stamps, stamp+10*float64(i))
			r.now = append(r.now, at+every*float64(i))
		}
		return r
	}
	type given struct {
		Known             bool
		Now, Stamps, Want []float64
	}
	cases := map[string]given{}
	add := func(name string, known bool, want []run, in ...run) {
		g := given{Known: known}
		for _, r := range in {
			g.Stamps, g.Now = append(g.Stamps, r.stamps...), append(g.Now, r.now...)
		}
		for _, r := range want {
			g.Want = append(g.Want, r.now...)
		}
		cases[name] = g
	}
	// What is wanted is the moments alone, one for each packet.
	add("in time", true, []run{of(30, 0, 1000, 10)}, of(30, 1000, 1015, 10))
	add("its own zero", false, []run{of(30, 0, 1015, 10)}, of(30, 0, 1015, 10))
	add("a worker that was busy", true, []run{of(110, 0, 1000, 10)},
		of(20, 1000, 1015, 10), of(80, 1200, 2000, 0.5), of(10, 2000, 2040, 10))
	add("a context that stood still", true, []run{of(20, 0, 1000, 10), of(60, 0, 2015, 10)},
		of(20, 1000, 1015, 10), of(60, 1200, 2015, 10))
	add("still after three packets", true, []run{of(3, 0, 372, 10), of(60, 0, 1384, 10)},
		of(3, 372, 440, 10), of(60, 402, 1384, 10))
	add("still and back", true, []run{of(3, 0, 372, 10), of(60, 0, 1384, 10)},
		of(3, 372, 440, 10), of(60, 290, 1384, 10))
	add("another clock at first", true, []run{of(1, 0, 4866, 10), of(60, 0, 4870, 10)},
		of(1, 4874, 4866, 10), of(60, 3115, 4870, 10))
	got := inNode(t, cases, `
		const at = [];
		const arrivals = new pump.Arrivals(c.Known, (i, ms) => at.push(i === at.length ? ms : NaN));
		c.Stamps.forEach((stamp, i) => arrivals.take(i, stamp, c.Now[i]));
		arrivals.settle();
		return at;`)
	for name, c := range cases {
		alike(t, name, got[name], c.Want)
	}
}

// inNode runs a function over cases, each c, with what the page's library is made of.
func inNode(t *testing.T, cases any, js string) (got map[string][]float64) {
	t.Helper()
	in, _ := json.Marshal(cases)
	out, err := exec.Command("node", "--input-type=module", "-e", `
		import * as core from "../../browser/core.js";
		import * as pump from "../../browser/pump.js";
		import { Converter } from "../../browser/i420.js";
		const converter = await Converter.make();
		const got = {};
		for (const [name, c] of Object.entries(`+string(in)+`)) got[name] = ((c) => {`+js+`})(c);
		console.log(JSON.stringify(got));`).CombinedOutput()
	if err != nil || json.Unmarshal(out, &got) != nil {
		t.Fatalf("node: %v %s", err, out)
	}
	return got
}

func alike(t *testing.T, name string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d moments, want %d: %v", name, len(got), len(want), got)
		return
	}
	for i := range want {
		if d := got[i] - want[i]; d > 0.1 || d < -0.1 {
			t.Errorf("%s: got %v, want %v", name, got, want)
			return
		}
	}
}
