// Package stdio is the program of a process stage for one that knows of nothing but
// standard input and output: it goes between the stage's two rings and that program.
// It interprets nothing of a frame, and knows nothing of graphs.
package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/ring"
)

// A program of a process stage finds its rings in these variables: addresses for the
// consumer's side of package ring, and for a producer.
const (
	EnvIn  = "MPIPE_RING_IN"  // to listen at: mpipe comes and writes
	EnvOut = "MPIPE_RING_OUT" // to attach to: mpipe listens and reads
)

// pipeBytes is how much a pipe holds; the most that a user may ask for by default.
const pipeBytes = 1 << 20

// Run is between the two rings of a process stage and a command's standard input and
// output, until the stage ends its stream. The command finds what a frame is in its
// environment, see `mpipe help pipe`.
func Run(ctx context.Context, command []string, stderr io.Writer) error {
	if os.Getenv(EnvIn) == "" || os.Getenv(EnvOut) == "" {
		return errors.New("it is started by a stage of type \"process\", which says in the environment where its rings are; docs/guide/custom-elements.md has an example")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	l, err := ring.Listen(os.Getenv(EnvIn), ring.Config{Name: "mpipe pipe"})
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
	out, err := ring.Attach(ctx, os.Getenv(EnvOut), []ring.StreamSpec{stream.StreamSpec}, ring.AttachOptions{Name: "mpipe pipe " + command[0]})
	if err != nil {
		return err
	}
	defer out.Close()
	w, err := out.Writer()
	if err != nil {
		return err
	}
	defer w.Close()
	var child *piped
	for {
		f := in.Take(stream.Kind)
		if f.Cell == nil {
			if f.Flags&ring.FlagEOS != 0 || in.State() != ring.Live && in.Drained(stream.Kind) {
				return errors.Join(in.Err(), child.end())
			}
			in.Wait(ctx, time.Second)
			continue
		}
		err := func() error {
			format, ok := in.Format(f.Stream, f.FormatID)
			if !ok {
				return fmt.Errorf("format %d was not published", f.FormatID)
			}
			// The stage starts a process for each form of frames: this is the only one.
			if child == nil {
				if child, err = startPiped(path, command, stderr, format, out); err != nil {
					return err
				}
			}
			slot, err := w.Claim(0, child.format, len(f.Data), ring.Block(10*time.Second))
			if err != nil {
				return err
			}
			if err := child.exchange(f.Data, slot.Data); err != nil {
				return err
			}
			slot.Commit(f.PTS, f.Duration, f.Flags)
			return nil
		}()
		f.Cell.Release()
		in.Reclaim()
		if err != nil {
			return err
		}
	}
}

// piped is the command while it runs.
type piped struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	format uint32 // of what it gives, in the ring that goes back
	frames int
}

func startPiped(path string, command []string, stderr io.Writer, f ring.Format, out *ring.Producer) (*piped, error) {
	p := &piped{cmd: exec.Command(path, command[1:]...)}
	p.cmd.Stderr = stderr
	p.cmd.Env = os.Environ()
	var err error
	if f.Video != nil {
		v := f.Video
		var strides, offsets []string
		for i := range v.Planes {
			strides, offsets = append(strides, strconv.Itoa(v.Strides[i])), append(offsets, strconv.Itoa(v.Offsets[i]))
		}
		p.cmd.Env = append(p.cmd.Env, fmt.Sprint("MPIPE_FRAME_BYTES=", v.Size()), "MPIPE_FORMAT="+v.FourCC,
			fmt.Sprint("MPIPE_WIDTH=", v.Width), fmt.Sprint("MPIPE_HEIGHT=", v.Height), fmt.Sprintf("MPIPE_FPS=%d/%d", v.FPSNum, v.FPSDen),
			"MPIPE_STRIDES="+strings.Join(strides, ","), "MPIPE_OFFSETS="+strings.Join(offsets, ","))
		p.format, err = out.SetVideo(0, *v)
	} else {
		a := f.Audio
		p.cmd.Env = append(p.cmd.Env, "MPIPE_FORMAT="+a.Sample, fmt.Sprint("MPIPE_RATE=", a.Rate), fmt.Sprint("MPIPE_CHANNELS=", a.Channels))
		p.format, err = out.SetAudio(0, *a)
	}
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	// The signal is sent when the thread ends that started it.
	runtime.LockOSThread()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, end := range []any{p.in, p.out} {
		if f, ok := end.(*os.File); ok {
			_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeBytes) // where it may be: fewer switches
		}
	}
	return p, p.cmd.Start()
}

// exchange gives a frame and takes what became of it. A command may give the
// beginning back before it has read the end.
func (p *piped) exchange(from, to []byte) error {
	given := make(chan error, 1)
	go func() {
		_, err := p.in.Write(from)
		given <- err
	}()
	n, err := io.ReadFull(p.out, to)
	if err == nil {
		p.frames++
		return <-given
	}
	// It is over: what it says at its end tells more than the pipe.
	_ = p.in.Close()
	if end := p.cmd.Wait(); end != nil {
		err = end
	}
	return fmt.Errorf("%s gave %d of %d bytes of frame %d: %w", p.cmd.Path, n, len(to), p.frames, err)
}

// end waits for the command once there is nothing more for it.
func (p *piped) end() error {
	if p == nil {
		return nil
	}
	_ = p.in.Close()
	_, _ = io.Copy(io.Discard, p.out)
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.cmd.Path, err)
	}
	return nil
}
