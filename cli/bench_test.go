package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/bench"
)

// TestBench runs the comparison with this binary's own peers.
func TestBench(t *testing.T) {
	var r struct {
		bench.Report
		Savings []bench.Saving
	}
	p := start(t, nil, "bench", "transports", "--quick", "--payload", "1080p,audio", "--only", "ring,tcp", "--only", "websocket", "--json").exit(0)
	if err := json.Unmarshal([]byte(p.stdout.String()), &r); err != nil {
		t.Fatalf("%v\n%s", err, p.stdout)
	}
	if len(r.Payloads) != 2 || len(r.Savings) != 2 {
		t.Fatalf("%+v", r)
	}
	for _, payload := range []string{"1080p", "audio"} {
		for _, name := range []string{"drawing", "ring", "tcp", "websocket"} {
			row := r.Row(payload, name)
			if row == nil || row.FlatOut.Rate <= 0 || row.Paced.CPU <= 0 || (row.Paced.Samples > 0) != (name != "drawing") {
				t.Errorf("%s over %s: %+v", payload, name, row)
			}
		}
	}
	if !strings.Contains(p.stderr.String(), "16 of 16") {
		t.Errorf("progress:\n%s", p.stderr)
	}
	text := start(t, nil, "bench", "transports", "--quick", "--payload", "360p", "--only", "ring,pipe", "--price-per-core-hour", "2").exit(0).stdout.String()
	for _, want := range []string{"360p I420, 345600 bytes", "ring, drawn in place", "AT 2 EACH", "moving 1000 hours of 360p I420"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
