package graph

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Dot writes the plan as a Graphviz digraph, a box around each stage. What the
// planner put in is dashed.
func (p *Plan) Dot(w io.Writer) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "digraph %s {\n\trankdir=LR;\n\tnode [shape=box, fontname=\"sans-serif\"];\n\tedge [fontname=\"sans-serif\", fontsize=10];\n", dotText(p.Name))
	for i, group := range p.byStage() {
		fmt.Fprintf(&b, "\tsubgraph cluster_%d {\n\t\tlabel=%s;\n", i, dotText(p.stageLabel(group[0].Stage)))
		for _, n := range group {
			style := ""
			if n.Why != "" {
				style = ", style=dashed, tooltip=" + dotText(n.Why)
			}
			fmt.Fprintf(&b, "\t\t%s [label=%s%s];\n", dotText(n.ID), dotText(nodeLabel(n)), style)
		}
		fmt.Fprintf(&b, "\t}\n")
	}
	for _, l := range p.Links {
		fmt.Fprintf(&b, "\t%s -> %s [label=%s];\n", dotText(l.From), dotText(l.To), dotText(l.Kind.String()))
	}
	fmt.Fprintf(&b, "}\n")
	_, _ = w.Write(b.Bytes())
}

// Mermaid writes the plan as a Mermaid flowchart, which Markdown viewers draw.
func (p *Plan) Mermaid(w io.Writer) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "flowchart LR\n")
	number := map[string]int{} // Mermaid's ids may not hold dots
	for i, n := range p.Nodes {
		number[n.ID] = i
	}
	for i, group := range p.byStage() {
		fmt.Fprintf(&b, "  subgraph s%d [%s]\n", i, mermaidText(p.stageLabel(group[0].Stage)))
		for _, n := range group {
			open, shut := "[", "]"
			if n.Why != "" {
				open, shut = "([", "])"
			}
			fmt.Fprintf(&b, "    n%d%s%s%s\n", number[n.ID], open, mermaidText(nodeLabel(n)), shut)
		}
		fmt.Fprintf(&b, "  end\n")
	}
	for _, l := range p.Links {
		fmt.Fprintf(&b, "  n%d -->|%s| n%d\n", number[l.From], mermaidText(l.Kind.String()), number[l.To])
	}
	_, _ = w.Write(b.Bytes())
}

// byStage groups the nodes by stage, in the order of the flow.
func (p *Plan) byStage() [][]*Node {
	var groups [][]*Node
	at := map[string]int{}
	for _, n := range p.Nodes {
		i, ok := at[n.Stage]
		if !ok {
			i = len(groups)
			at[n.Stage] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], n)
	}
	return groups
}

func (p *Plan) stageLabel(id string) string {
	if s := p.Graph.stage(id); s != nil {
		return fmt.Sprintf("%s: %s", id, s.Type)
	}
	return id
}

func nodeLabel(n *Node) string {
	if n.Source {
		return n.ID
	}
	return n.Factory
}

func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// mermaidText quotes a label; Mermaid takes character codes where HTML has
// entities.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '"' || r == '#' || r == '<' || r == '>' || r == '&' || r < ' ' {
			b.WriteString("#" + strconv.Itoa(int(r)) + ";")
		} else {
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}
