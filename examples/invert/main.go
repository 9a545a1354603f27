// Invert is a program for a stage of type "process": it turns the brightness of
// every picture round.
//
//	go build -o invert ./examples/invert
//	mpipe run graphs/process.toml --param ring=demo --param filter=./invert --param out=demo.mp4
//
// mpipe says in MPIPE_RING_IN where it wants to be listened to, and in
// MPIPE_RING_OUT where it listens itself. For every frame that comes there goes one
// of the same form and stamp.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/mpipe/mpipe/ring"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "invert:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	l, err := ring.Listen(os.Getenv("MPIPE_RING_IN"), ring.Config{Name: "invert"})
	if err != nil {
		return err
	}
	defer l.Close()
	in, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	stream := in.Streams()[0]
	if stream.Kind != ring.KindVideo {
		return fmt.Errorf("it takes pictures, not %s", stream.Kind)
	}
	out, err := ring.Attach(ctx, os.Getenv("MPIPE_RING_OUT"), []ring.StreamSpec{stream.StreamSpec}, ring.AttachOptions{Name: "invert"})
	if err != nil {
		return err
	}
	defer out.Close() // the end of its stream
	w, err := out.Writer()
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		f := in.Take(ring.KindVideo)
		if f.Cell == nil {
			if f.Flags&ring.FlagEOS != 0 || in.State() != ring.Live && in.Drained(ring.KindVideo) {
				return in.Err()
			}
			in.Wait(ctx, time.Second)
			continue
		}
		err := invert(in, out, w, f)
		f.Cell.Release()
		in.Reclaim()
		if err != nil {
			return err
		}
	}
}

// invert gives one picture for another.
func invert(in *ring.Reader, out *ring.Producer, w *ring.Writer, f ring.Frame) error {
	format, ok := in.Format(f.Stream, f.FormatID)
	if !ok {
		return fmt.Errorf("format %d was not published", f.FormatID)
	}
	id, err := out.SetVideo(0, *format.Video) // the same one gives the same number
	if err != nil {
		return err
	}
	slot, err := w.Claim(0, id, len(f.Data), ring.Block(10*time.Second))
	if err != nil {
		return err
	}
	luma := format.Video.Strides[0] * format.Video.Height
	for i, b := range f.Data[:luma] {
		slot.Data[i] = 251 - min(b, 251) // video range: 16 is black, 235 white
	}
	copy(slot.Data[luma:], f.Data[luma:])
	slot.Commit(f.PTS, f.Duration, f.Flags)
	return nil
}
