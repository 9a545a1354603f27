package browser

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/browser/chromium"
)

// Pages that break the format in every way beside a good one, in one browser and one
// graph: each is left, and the good one's recording is whole.
func TestHostilePagesBesideAGoodOne(t *testing.T) {
	seed := time.Now().UnixNano()%1e9 + 1
	t.Logf("seed %d", seed)
	b := startBrowser(t, chromium.Options{})
	dir := t.TempDir()
	out := filepath.Join(dir, "good.mp4")
	hostile := []string{"truncates", "scribbles", "floods"}
	graph := fmt.Sprintf(graphText, browsersrc(b.Dir(), `page = "good"`), out)
	for _, how := range hostile {
		graph += fmt.Sprintf("[sources.%[1]s]\n%[2]s[stages.v_%[1]s]\ntype = \"x264\"\ninputs = [\"%[1]s.video\"]\npreset = \"ultrafast\"\n[sinks.%[1]s_file]\ntype = \"file\"\ninputs = [\"v_%[1]s\"]\npath = %[3]q\n",
			how, browsersrc(b.Dir(), fmt.Sprintf("page = %q", how), `capacity = "2MiB"`), filepath.Join(dir, how+".mp4"))
	}
	r := recordGraph(t, graph, out)
	good := open(t, b, "page=good", "frames=120", "wait=1")
	var bad []*tab
	for _, how := range hostile {
		p, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bad = append(bad, load(t, p, fmt.Sprintf("/hostile.html?how=%s&seed=%d", how, seed)))
	}
	for i, p := range bad {
		p.until(time.Minute, "being left: "+hostile[i], func(r result) bool { return r.State == "invalid" })
	}
	got := good.until(time.Minute, "its end", done)
	m := r.finish(time.Minute)
	whole(t, out, 120, got)
	for _, how := range hostile {
		src := m.Sources[how]
		if !src.ProducerDied || src.Pads["video"].Frames != 30 {
			t.Errorf("%s: the account says %+v, want the 30 frames before, and a death", how, src)
		}
	}
	if n := strings.Count(r.err.String(), "a page was left"); n != len(hostile) {
		t.Errorf("%d pages were left, want %d", n, len(hostile))
	}
}
