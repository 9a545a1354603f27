package browser

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/mpipe/mpipe/bench"
)

// The comparison brings pictures and sound out of a browser, and every frame that the
// page wrote is received, or there are no figures.
func TestTheComparisonHasABrowser(t *testing.T) {
	cmd := exec.Command(mpipe, "bench", "transports", "--only", "chromium-mpipe", "--payload", "360p,audio", "--quick", "--json")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	var r bench.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"360p", "audio"} {
		row := r.Row(payload, "chromium-mpipe")
		if row == nil || row.FlatOut == nil || row.Paced == nil {
			t.Fatalf("%s: no figures in %s", payload, out)
		}
		if row.FlatOut.CPU <= 0 || row.Paced.CPU <= 0 || row.FlatOut.Rate < row.Paced.Rate {
			t.Errorf("%s: %+v, paced %+v", payload, *row.FlatOut, *row.Paced)
		}
	}
}
