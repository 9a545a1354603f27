package cli

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

// progressLine is one status for people:
//
//	00:00:12  30.0 fps  1.00x  ring 12% of 64.0MiB  dropped 0  written 3.4MiB
func progressLine(s run.Status) string {
	if waiting(s) {
		return "waiting for a producer"
	}
	parts := []string{clock(s.Media)}
	if s.State != run.Running.String() {
		parts = append(parts, s.State)
	}
	parts = append(parts, fmt.Sprintf("%.1f fps", s.FPS), fmt.Sprintf("%.2fx", s.Speed))
	var dropped int64
	for _, id := range sortedKeys(s.Sources) {
		src := s.Sources[id]
		dropped += lost(src)
		if src.Capacity > 0 {
			name := "ring"
			if len(s.Sources) > 1 {
				name += " " + id
			}
			parts = append(parts, fmt.Sprintf("%s %.0f%% of %s", name, 100*float64(src.Used)/float64(src.Capacity), pipeline.FormatSize(src.Capacity)))
		}
	}
	parts = append(parts, fmt.Sprintf("dropped %d", dropped))
	var written int64
	for _, o := range s.Outputs {
		written += o.Bytes
	}
	parts = append(parts, "written "+pipeline.FormatSize(written))
	for _, o := range s.Outputs {
		if t := trouble(o); t != "" && s.State == run.Running.String() {
			parts = append(parts, o.Stage+" "+t)
		}
	}
	return strings.Join(parts, "  ")
}

// trouble says what is not well with an output, "" for nothing.
func trouble(o run.OutputStatus) string {
	var what []string
	if o.Phase == run.Waiting || o.Phase == run.Failed {
		what = append(what, string(o.Phase))
	}
	if o.Spooled > 0 && o.LastError != "" {
		what = append(what, pipeline.FormatSize(o.Spooled)+" to send")
	}
	if o.Dropped > 0 {
		what = append(what, fmt.Sprintf("dropped %d", o.Dropped))
	}
	if len(what) > 0 && o.LastError != "" {
		what = append(what, "("+short(o.LastError)+")")
	}
	return strings.Join(what, ", ")
}

// waiting tells of a run whose sources wait for their producers.
func waiting(s run.Status) bool {
	return s.State == run.Building.String() || s.State == run.Opening.String()
}

// lost counts the frames that a producer made and no output will show.
func lost(r pipeline.SourceReport) (n int64) {
	for _, p := range r.Pads {
		n += p.DroppedFull + p.Dropped + p.Lost
	}
	return n
}

// clock writes a time as players do, tenths of seconds cut off.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// summary is the manifest for people.
func summary(w io.Writer, m *run.Manifest) {
	state := "complete"
	if !m.Complete {
		state = "NOT COMPLETE"
	}
	fmt.Fprintf(w, "%s after %.1fs: %s\n", state, m.Elapsed, m.Reason)
	sourceTable(w, m.Sources)
	if len(m.Outputs) > 0 {
		fmt.Fprintln(w)
		outputTable(w, m.Outputs)
	}
}

func sourceTable(w io.Writer, sources map[string]pipeline.SourceReport) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "\nSOURCE\tFRAMES\tBYTES\tCOPIED\tDROPPED\tLATE\tFILLED\tLOST\tPRODUCER WAITED\n"
	for _, id := range sortedKeys(sources) {
		for _, name := range sortedKeys(sources[id].Pads) {
			fmt.Fprint(t, head)
			head = ""
			p := sources[id].Pads[name]
			fmt.Fprintf(t, "%s.%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", id, name, p.Frames, pipeline.FormatSize(p.Bytes), p.Copied,
				p.DroppedFull+p.Dropped, p.Late, p.Filled, p.Lost, p.Blocked.Round(time.Millisecond))
		}
	}
	t.Flush()
}

func outputTable(w io.Writer, outputs []run.OutputResult) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OUTPUT\tTO\tDURATION\tSIZE\tSTREAMS\tDROPPED\tA/V SKEW\tSTATE")
	for _, o := range outputs {
		var streams []string
		var dropped int64
		for _, s := range o.Streams {
			dropped += s.Dropped
			streams = append(streams, fmt.Sprintf("%s %d", s.Kind, s.Frames))
		}
		skew := "-"
		if o.SkewMS != nil {
			skew = fmt.Sprintf("%+.1fms", *o.SkewMS)
		}
		fmt.Fprintf(t, "%s\t%s\t%.2fs\t%s\t%s\t%d\t%s\t%s\n", o.Stage, dash(o.Path+o.Where), o.Duration, pipeline.FormatSize(o.Bytes),
			strings.Join(streams, ", "), dropped, skew, outputState(o))
	}
	t.Flush()
	for _, o := range outputs {
		if !o.Complete && !o.Required && o.Error != "" { // one that is required is the run's error
			fmt.Fprintf(w, "%s: %s\n", o.Stage, o.Error)
			if o.LastError != "" && !strings.Contains(o.Error, o.LastError) {
				fmt.Fprintf(w, "%s: it last met: %s\n", o.Stage, o.LastError)
			}
		}
		if o.Resume != "" {
			fmt.Fprintf(w, "%s: complete it with: %s\n", o.Stage, o.Resume)
		}
	}
}

func outputState(o run.OutputResult) string {
	switch {
	case o.Complete:
		return "complete"
	case o.Playable:
		return "playable, not complete"
	case o.Checked && o.Path != "":
		return "not playable"
	case o.Error != "":
		return "not complete"
	default:
		return "not checked"
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
