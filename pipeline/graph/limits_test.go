package graph_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/graph"
)

// TestLargeFiles gives the largest files of the kinds that cost most: each must
// be answered with errors, in a time that somebody would wait.
func TestLargeFiles(t *testing.T) {
	const size = 250 << 10
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	stages := func(count int, body string) string {
		var b strings.Builder
		b.WriteString("version = 1\n")
		for i := range count {
			fmt.Fprintf(&b, "[stages.s%d]\n%s\n", i, strings.ReplaceAll(body, "NEXT", fmt.Sprint(i+1)))
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"lists":          "a = " + fill("["),
		"inline tables":  "a = " + fill("{a="),
		"dotted key":     fill("a.") + "a = 1",
		"dotted header":  "[" + fill("a.") + "a]",
		"quotes":         "a = " + fill(`"`),
		"escapes":        `a = "` + fill(`\`),
		"params":         "version = 1\n[graph]\nname = \"" + fill("${x}") + "\"\n",
		"dollars":        "version = 1\n[graph]\nname = \"" + fill("$") + "\"\n",
		"long id":        "version = 1\n[stages." + fill("a") + "]\ntype = \"x264\"\n",
		"long names":     "version = 1\n[stages." + strings.Repeat("a", size/2) + "]\ntype = \"x264\"\ninputs = [\"" + strings.Repeat("b", size/2-100) + "\"]\n",
		"dangling":       stages(450, "type = \"x264\"\ninputs = [\"b\"]"),
		"chain":          stages(450, "type = \"flip\"\ninputs = [\"sNEXT\"]"),
		"unknown types":  stages(450, "type = \"flop\""),
		"many stages":    stages(10000, ""),
		"missing values": stages(450, ""),
		"inputs":         "version = 1\n[sinks.a]\ntype = \"show\"\ninputs = [" + fill(`"b",`) + "]\n",
		"too large":      fill("#") + fill("#"),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			plan, err := graph.ParsePlan("large.toml", []byte(text), graph.Options{}, installed)
			if plan != nil || err == nil {
				t.Fatal("a plan came out")
			}
			complete(t, err)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
