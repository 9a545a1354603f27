package cli

import (
	"context"

	"github.com/mpipe/mpipe/ring/stdio"
)

func pipeVerb() *verb {
	return &verb{
		name: "pipe", args: "-- COMMAND [ARG…]", min: 1, max: -1,
		short: "be the program of a process stage for one that reads and writes plain frames",
		long: `A stage of type "process" hands frames to a program through two rings. This is
such a program: it gives each frame to COMMAND on its standard input, without any
framing, and takes as many bytes from its standard output. So a filter can be
written in any language, at the price of two copies through the kernel.

COMMAND finds what a frame is in its environment: MPIPE_FRAME_BYTES, MPIPE_FORMAT
(I420, NV12, …), MPIPE_WIDTH, MPIPE_HEIGHT, MPIPE_FPS (30/1), and MPIPE_STRIDES and
MPIPE_OFFSETS, the bytes from row to row and to the beginning of each plane; of
sound MPIPE_FORMAT (S16LE, …), MPIPE_RATE and MPIPE_CHANNELS. It has to give each
frame back, flushed, before it waits for the next one, and ends when its input does.
When the form of the frames changes it is ended and started again.`,
		examples: []example{
			{"mpipe pipe -- python3 negate.py", "what a stage runs whose command is [\"mpipe\", \"pipe\", \"--\", \"python3\", \"negate.py\"]"},
		},
		declare: func(*flags) func(*call) int {
			return func(c *call) int {
				if err := stdio.Run(context.Background(), c.args, c.stderr); err != nil {
					return c.failed(err)
				}
				return 0
			}
		},
	}
}
