package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

func ringVerb() *verb {
	var asJSON bool
	return &verb{
		name: "ring", args: "stat ADDR", min: 2, max: 2,
		short: "show the counters of a live ring, disturbing nobody",
		long: `ADDR is what the graph's source and the producer use: a name under /dev/shm, a
path, or unix:/path.sock.`,
		examples: []example{
			{"mpipe ring stat demo", "who is attached, how full it is, what was dropped"},
			{"watch -n1 mpipe ring stat demo", "the same, every second"},
		},
		complete: func() []string { return append([]string{"stat"}, ringNames()...) },
		declare: func(f *flags) func(*call) int {
			f.switchOn(&asJSON, "json", "print JSON")
			return func(c *call) int {
				if c.args[0] != "stat" {
					return c.usage("unknown command %q%s", c.args[0], suggest(c.args[0], []string{"stat"}))
				}
				if err := ring.CheckAddr(c.args[1]); err != nil {
					return c.usage("%s", strings.TrimPrefix(err.Error(), "ring: "))
				}
				info, err := ring.Inspect(c.args[1])
				if err != nil {
					code := c.failed(err)
					if !strings.ContainsAny(c.args[1], "/:") { // a name
						listRings(c)
					}
					return code
				}
				if asJSON {
					printJSON(c.stdout, info)
				} else {
					showRing(c, info)
				}
				return 0
			}
		},
	}
}

// listRings says what one may have meant.
func listRings(c *call) {
	if names := ringNames(); len(names) > 0 {
		fmt.Fprintf(c.stderr, "rings in /dev/shm: %s\n", strings.Join(names, ", "))
	}
}

// failed reports what went wrong outside of graphs: exit code 1. The verb's name
// stands for the prefix of package ring.
func (c *call) failed(err error) int {
	fmt.Fprintf(c.stderr, "mpipe %s: %s\n", c.verb.name, strings.TrimPrefix(err.Error(), "ring: "))
	return 1
}

func showRing(c *call, info ring.Info) {
	state := "nobody listens there"
	if info.Listening {
		state = fmt.Sprintf("%s (pid %d) listens", dash(info.Consumer.Name), info.Consumer.PID)
	}
	fmt.Fprintf(c.stdout, "%s: %s, %s attached\n", info.Addr, state, plural(len(info.Attachments), "producer"))
	for _, a := range info.Attachments {
		showAttachment(c, a)
	}
}

func showAttachment(c *call, a ring.Stats) {
	fmt.Fprintf(c.stdout, "\n%s (pid %d): %s", dash(a.Producer.Name), a.Producer.PID, a.State)
	if !a.Producer.Start.IsZero() {
		fmt.Fprintf(c.stdout, ", started %s", a.Producer.Start.Format(time.DateTime))
	}
	fmt.Fprintf(c.stdout, ", epoch %d\n", a.Epoch)
	t := table(c.stdout)
	fmt.Fprintln(t, "RING\tFULL\tOF\tSLOTS\tHELD\tHELD MOST\tEVICTED")
	for _, k := range a.Classes {
		fmt.Fprintf(t, "%s\t%.0f%%\t%s\t%d of %d\t%d\t%d\t%d\n", k.Kind, 100*float64(k.Used)/float64(max(k.Capacity, 1)),
			pipeline.FormatSize(k.Capacity), k.SlotsUsed, k.Slots, k.HeldFrames, k.HeldMost, k.Evicted)
	}
	fmt.Fprintln(t, "\nSTREAM\tKIND\tFRAMES\tBYTES\tCOPIED\tDROPPED FULL\tDROPPED BY POLICY\tPRODUCER WAITED")
	for _, s := range a.Streams {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%d\t%d\t%s\n", s.Name, s.Kind, s.Frames, pipeline.FormatSize(s.Bytes), s.Copied,
			s.DroppedFull, s.DroppedPolicy, s.Blocked.Round(time.Millisecond))
	}
	t.Flush()
}
