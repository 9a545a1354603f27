package cli

import (
	"fmt"
	"strings"

	"github.com/mpipe/mpipe/ring"
)

func ringVerb() *verb {
	return &verb{
		name:  "ring",
		short: "look into live rings, capture and replay them, explain them",
		long: `A ring is what a producer and mpipe share: its address is what the graph's source
and the producer use, a name under /dev/shm, a path, or unix:/path.sock.`,
		subs: []*verb{ringStatVerb(), ringTapVerb(), ringRecordVerb(), ringReplayVerb(), ringDoctorVerb()},
	}
}

// checkRing refuses what is no address.
func (c *call) checkRing(addr string) error {
	if err := ring.CheckAddr(addr); err != nil {
		return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "ring: "))
	}
	return nil
}

// noRing reports that there is nothing to look at, and what one may have meant.
func (c *call) noRing(addr string, err error) int {
	code := c.failed(err)
	if names := ringNames(); len(names) > 0 && !strings.ContainsAny(addr, "/:") {
		fmt.Fprintf(c.stderr, "rings in /dev/shm: %s\n", strings.Join(names, ", "))
	}
	return code
}

// failed reports what went wrong outside of graphs: exit code 1. The verb's name
// stands for the prefix of package ring.
func (c *call) failed(err error) int {
	fmt.Fprintf(c.stderr, "mpipe %s: %s\n", c.verb.name, strings.TrimPrefix(err.Error(), "ring: "))
	return 1
}
