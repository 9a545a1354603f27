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
	in, _ := json.Marshal(cases)
	out, err := exec.Command("node", "--input-type=module", "-e", `
		import { Clock } from "../../browser/pump.js";
		const got = {};
		for (const [name, c] of Object.entries(`+string(in)+`)) {
			const clock = new Clock(c.Known);
			got[name] = c.Stamps.map((stamp, i) => clock.map(stamp, c.Now[i]));
		}
		console.log(JSON.stringify(got));`).CombinedOutput()
	var got map[string][]float64
	if err != nil || json.Unmarshal(out, &got) != nil {
		t.Fatalf("node: %v %s", err, out)
	}
	for name, c := range cases {
		for i, want := range c.Want {
			if d := got[name][i] - want; d > 0.1 || d < -0.1 {
				t.Errorf("%s: got %v, want %v", name, got[name], c.Want)
				break
			}
		}
	}
}
