package graph

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

// What raw frames are reckoned as where their format is not known before the
// run: 1080p I420 at 30 frames a second, and 20 ms of 48 kHz stereo F32LE.
const (
	frameBytes       = 1920 * 1080 * 3 / 2
	frameRate        = 30
	audioBufferBytes = 48000 / 50 * 2 * 4
	audioByteRate    = 48000 * 2 * 4
)

// Explain writes the plan for people: the stages in the order of the flow with
// what was put in ("+") and why, the edges with their copies, the queues with
// their bounds, and what each output will hold.
func (p *Plan) Explain(w io.Writer) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s)\n\n", p.Name, p.File)
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	p.explainStages(tw)
	p.explainEdges(tw)
	p.explainQueues(tw)
	_ = tw.Flush() // into a buffer: cannot fail
	p.explainOutputs(&b)
	p.explainNotes(&b)
	// As with fmt.Print, who owns w knows what became of it.
	_, _ = w.Write(trailingBlanks.ReplaceAll(b.Bytes(), nil))
}

// trailingBlanks is what the tabwriter leaves behind an empty last column.
var trailingBlanks = regexp.MustCompile(`(?m) +$`)

func (p *Plan) explainStages(w io.Writer) {
	shown := map[string]bool{}
	for _, n := range p.Nodes {
		if !shown[n.Stage] {
			shown[n.Stage] = true
			p.explainStage(w, n.Stage)
		}
		switch {
		case n.Source:
			fmt.Fprintf(w, "    %s\t%s\t%s\n", n.ID, n.Factory, n.Kind)
		case n.Why != "":
			fmt.Fprintf(w, "  + %s\t%s\t%s\n", n.ID, n.Factory, n.Why)
		default:
			fmt.Fprintf(w, "    %s\t%s\t%s\n", n.ID, n.Factory, p.settings(n))
			p.explainPads(w, n)
		}
	}
}

// explainPads writes what is set on the pads of a node with several inputs.
func (p *Plan) explainPads(w io.Writer, n *Node) {
	for _, l := range p.Links {
		if l.To == n.ID && len(l.Set) > 0 {
			fmt.Fprintf(w, "\t\t%s: %s\n", l.ToPad, strings.Join(written(l.Set), " "))
		}
	}
}

func (p *Plan) explainStage(w io.Writer, id string) {
	s := p.Graph.stage(id)
	if s == nil {
		return
	}
	fmt.Fprintf(w, "%s\t%s %s\t%s\n", s.ID, s.Role, s.Type, p.inOut(s))
}

// inOut writes what a stage takes and gives: "raw video -> h264 video".
func (p *Plan) inOut(s *Stage) string {
	var in, out []string
	for _, l := range p.Links {
		if from := p.node(l.From); strings.HasSuffix(l.Edge, " -> "+s.ID) && p.node(l.To).Why == "" && (from.Stage != s.ID || from.Why != "") {
			in = append(in, l.Kind.String())
		}
	}
	for _, n := range p.Nodes {
		if n.Stage == s.ID && n.Why == "" {
			if n.Source {
				out = append(out, n.Kind.String())
			} else if s.Role == pipeline.RoleStage {
				out = []string{n.Kind.String()} // what leaves the last one
			}
		}
	}
	for _, o := range p.Outputs {
		if o.Stage == s.ID && o.File+o.Where != "" {
			out = []string{o.File + o.Where}
		}
	}
	switch {
	case len(in) == 0:
		return "-> " + strings.Join(out, ", ")
	case len(out) == 0:
		return strings.Join(in, ", ") + " ->"
	default:
		return strings.Join(in, ", ") + " -> " + strings.Join(out, ", ")
	}
}

// settings writes a node's properties as gst-launch takes them, and the caps
// that its two ends are held to.
func (p *Plan) settings(n *Node) string {
	parts := written(n.Set)
	if n.KeyInterval > 0 {
		parts = append(parts, fmt.Sprintf("with a key frame every %v", n.KeyInterval))
	}
	if n.Patience > 0 {
		parts = append(parts, fmt.Sprintf("waits up to %v for an input that says nothing", n.Patience))
	}
	for _, l := range p.Links {
		if l.Caps != "" && l.To == n.ID {
			parts = append(parts, "takes "+l.Caps)
		}
		if l.Caps != "" && l.From == n.ID {
			parts = append(parts, "gives "+l.Caps)
		}
	}
	return strings.Join(parts, " ")
}

// written are properties as gst-launch takes them.
func written(set []pipeline.Setting) []string {
	parts := make([]string, len(set))
	for i, s := range set {
		value := s.Value
		if value == "" || strings.ContainsAny(value, " \t\n\"'\\;!") {
			value = strconv.Quote(value)
		}
		parts[i] = s.Name + "=" + value
	}
	return parts
}

// node finds a node by its id; every link's ends exist.
func (p *Plan) node(id string) *Node {
	for _, n := range p.Nodes {
		if n.ID == id {
			return n
		}
	}
	return &Node{}
}

func (p *Plan) explainEdges(w io.Writer) {
	fmt.Fprintf(w, "\nedges, and how often each raw frame is copied on its way\n")
	var edges []string
	links := map[string][]Link{}
	for _, l := range p.Links {
		if links[l.Edge] == nil {
			edges = append(edges, l.Edge)
		}
		links[l.Edge] = append(links[l.Edge], l)
	}
	for _, e := range edges {
		inside := !strings.Contains(e, " -> ")
		if text := copies(p, links[e]); !inside || text != "0" && text != "compressed" {
			fmt.Fprintf(w, "    %s\t%s\t%s\n", e, links[e][0].Kind, text)
		}
	}
}

// copies words the copies on the links of one edge. Inside a source they are
// those of its canvas, between two stages those of a converter.
func copies(p *Plan, links []Link) string {
	always, most := 0, 0
	why := ""
	for _, l := range links {
		always += l.Copies
		most += l.CopiesMost
		if l.CopiesMost > 0 {
			why = strings.TrimPrefix(p.node(l.To).Why, "only ")
		}
	}
	if !strings.Contains(links[0].Edge, " -> ") {
		why = "while the format is not the first frame's"
	}
	switch {
	case !links[0].Kind.Samples():
		return "compressed"
	case most <= always:
		return strconv.Itoa(always)
	case most == 1:
		return "0, or 1 " + why
	default:
		return fmt.Sprintf("%d, or up to %d %s", always, most, why)
	}
}

func (p *Plan) explainQueues(w io.Writer) {
	var total int64
	reckoned := false
	for _, n := range p.Nodes {
		if n.Factory != "queue" || n.Why == "" {
			continue
		}
		if total == 0 {
			fmt.Fprintf(w, "\nqueues, and what each may hold\n")
		}
		text, worst, guess := queueWorst(n)
		total += worst
		reckoned = reckoned || guess
		fmt.Fprintf(w, "    %s\t%s\t%s%s\n", n.ID, n.Kind, text, atLimit[n.Gate])
	}
	if total == 0 {
		return
	}
	fmt.Fprintf(w, "    in all\t\tat most %s", pipeline.FormatSize(total))
	if reckoned {
		fmt.Fprintf(w, ", raw video reckoned as 1080p30 I420 and raw audio as 48 kHz stereo")
	}
	fmt.Fprintln(w)
}

// atLimit words what becomes of a frame that finds a queue full, where that is
// not to wait.
var atLimit = map[string]string{
	WhenFullDropGOP:    "; then frames are left out up to the next key frame",
	WhenFullDropNewest: "; then new frames are left out",
	WhenFullDropOldest: "; then the oldest frames are left out",
}

// queueWorst words a queue's bounds and gives the most bytes it can hold, and
// whether that had to be reckoned from a format not yet known.
func queueWorst(n *Node) (text string, worst int64, reckoned bool) {
	frames, size, span := n.Bounds()
	perFrame, rate := int64(frameBytes), float64(frameBytes*frameRate)
	if n.Kind.Media == pipeline.Audio {
		perFrame, rate = audioBufferBytes, audioByteRate
	}
	switch {
	case frames > 0:
		return fmt.Sprintf("%d frames, about %s", frames, pipeline.FormatSize(frames*perFrame)), frames * perFrame, true
	case size > 0 && span > 0:
		return fmt.Sprintf("%v or %s, whichever is less", span, pipeline.FormatSize(size)), size, false
	case size > 0:
		return pipeline.FormatSize(size), size, false
	default:
		worst = int64(min(span.Seconds()*rate, 1<<60))
		return fmt.Sprintf("%v, about %s", span, pipeline.FormatSize(worst)), worst, true
	}
}

// Bounds reads the limits of a queue that the planner put in; 0 is none.
func (n *Node) Bounds() (frames, size int64, span time.Duration) {
	get := func(name string) int64 {
		for _, s := range n.Set {
			if s.Name == name {
				v, _ := strconv.ParseInt(s.Value, 10, 64)
				return v
			}
		}
		return 0
	}
	return get("max-size-buffers"), get("max-size-bytes"), time.Duration(get("max-size-time"))
}

func (p *Plan) explainOutputs(w io.Writer) {
	fmt.Fprintf(w, "\noutputs\n")
	for _, o := range p.Outputs {
		fmt.Fprintf(w, "    %s: %s\n", o.Stage, destination(o))
		if o.Optional {
			fmt.Fprintf(w, "        not required: it can neither hold up nor end the others\n")
		}
		for _, s := range o.Streams {
			fmt.Fprintf(w, "        %s from %s\n", s.Kind, s.From)
		}
		if o.Change != "" {
			fmt.Fprintf(w, "        when the picture changes its size: %s\n", o.Change)
		}
		if o.Recovery != "" {
			fmt.Fprintf(w, "        after a kill -9: %s\n", o.Recovery)
		}
	}
}

func destination(o Output) string {
	switch {
	case o.Where != "" && o.Container != "":
		return fmt.Sprintf("%s, %s", o.Where, o.Container)
	case o.Where != "":
		return o.Where
	case o.File != "" && o.Container != "":
		return fmt.Sprintf("%s, %s", o.File, o.Container)
	case o.File != "":
		return o.File
	case o.Container != "":
		return o.Container
	default:
		return "no file"
	}
}

func (p *Plan) explainNotes(w io.Writer) {
	if len(p.Notes) == 0 {
		return
	}
	fmt.Fprintf(w, "\nnotes\n")
	for _, n := range p.Notes {
		fmt.Fprintf(w, "    %s\n", n)
	}
}

// String writes a note like an error: place, stage, text.
func (n Note) String() string {
	text := n.Text
	if n.Stage != "" {
		text = "stage " + n.Stage + ": " + text
	}
	if n.Pos != "" {
		text = n.Pos + ": " + text
	}
	return text
}
