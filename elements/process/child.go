package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/ring/stdio"
)

// child is one process with its two rings. All but done belongs to one goroutine.
type child struct {
	cmd   *exec.Cmd
	dir   string        // of the sockets
	done  chan struct{} // closed when the process was waited for
	state *os.ProcessState

	in     *ring.Producer
	lane   *ring.Writer
	format uint32
	out    *ring.Listener
	reader *ring.Reader
	kind   ring.Kind
	shape  shape
}

// program finds the file of a command, as a shell in dir would.
func program(name, dir string) (string, error) {
	if filepath.Base(name) == name {
		return exec.LookPath(name)
	}
	if !filepath.IsAbs(name) && dir != "" {
		name = filepath.Join(dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// start runs the command and returns when both rings are attached.
func start(command []string, dir string, env []string, s shape, run *pipeline.StageEnv, limit time.Duration) (c *child, err error) {
	c = &child{done: make(chan struct{}), kind: s.kind(), shape: s}
	if c.dir, err = os.MkdirTemp("", "mpipe-process-"); err != nil {
		return nil, err
	}
	in, out := "unix:"+filepath.Join(c.dir, "in"), "unix:"+filepath.Join(c.dir, "out")
	room := int64(max(leastRing, ringFrames*s.size()))
	if c.out, err = ring.Listen(out, ring.Config{VideoBytes: room, AudioBytes: room, CopyLimit: room, Name: "mpipe " + run.Stage, Log: run.Log,
		Check: func(p ring.Peer, streams []ring.Stream) error {
			if len(streams) != 1 || streams[0].Kind != s.kind() {
				return fmt.Errorf("a process of this stage gives one stream of %s", s.kind())
			}
			return nil
		}}); err != nil {
		os.RemoveAll(c.dir)
		return nil, err
	}
	c.cmd = exec.Command(command[0], command[1:]...)
	c.cmd.Dir, c.cmd.Env = dir, append(env, stdio.EnvIn+"="+in, stdio.EnvOut+"="+out)
	// A group of its own: the user's Ctrl-C is mpipe's to tell, and what it starts
	// dies with it.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.cmd.WaitDelay = time.Second // for what it started that keeps stderr open
	said, to := io.Pipe()
	c.cmd.Stderr, c.cmd.Stdout = to, to
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			run.Log.Info("process", "says", lines.Text())
		}
		_, _ = io.Copy(io.Discard, said) // a line too long for the log
	}()
	began := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig is for the death of this thread
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		began <- err
		if err == nil {
			_ = c.cmd.Wait()
			c.state = c.cmd.ProcessState
		}
		to.Close()
		<-logged
		close(c.done)
	}()
	if err := <-began; err != nil {
		c.release()
		return nil, err
	}
	if err := c.attach(in, limit); err != nil {
		if how := c.kill(); how != "" {
			err = fmt.Errorf("%w; it %s", err, how)
		}
		return nil, err
	}
	return c, nil
}

// attach waits for both sides of the process.
func (c *child) attach(in string, limit time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	if c.in, err = ring.Attach(ctx, in, []ring.StreamSpec{c.shape.spec()}, ring.AttachOptions{Name: "mpipe"}); err != nil {
		return c.late(ctx, fmt.Errorf("it does not read the ring in %s within %v: %w", stdio.EnvIn, limit, err))
	}
	if c.lane, err = c.in.Writer(); err != nil {
		return err
	}
	if c.kind == ring.KindVideo {
		c.format, err = c.in.SetVideo(0, c.shape.video)
	} else {
		c.format, err = c.in.SetAudio(0, c.shape.audio)
	}
	if err != nil {
		return err
	}
	if c.reader, err = c.out.Accept(ctx); err != nil {
		return c.late(ctx, fmt.Errorf("it does not write to the ring in %s within %v: %w", stdio.EnvOut, limit, err))
	}
	return nil
}

// late says that the process ended, rather than that it did not come.
func (c *child) late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("it ended before it attached to its rings")
	}
	return err
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// errNotGiven: the process was gone, or had no room, before a frame reached it.
var errNotGiven = errors.New("it takes no frame")

// exchange gives a frame and waits for its counterpart, which has the same stamp.
func (c *child) exchange(f *pipeline.Frame, stamp int64, limit time.Duration) error {
	n := c.shape.bytes(f)
	if n > c.shape.size() {
		return fmt.Errorf("a packet of %d bytes, more than half a second of sound", n)
	}
	slot, err := c.lane.Claim(0, c.format, n, ring.Block(limit))
	if err != nil {
		return c.broken(fmt.Errorf("%w: %w", errNotGiven, err))
	}
	c.shape.put(slot.Data, f)
	flags := ring.Flags(0)
	if f.Flags&pipeline.FlagDiscont != 0 {
		flags |= ring.FlagDiscont
	}
	slot.Commit(stamp, int64(f.Duration), flags)
	for end := time.Now().Add(limit); ; {
		got := c.reader.Take(c.kind)
		if got.Flags&ring.FlagEOS != 0 {
			return c.broken(errors.New("it ended its stream before mpipe did"))
		}
		if got.Cell != nil {
			done, err := c.receive(f, got, stamp)
			got.Cell.Release()
			c.reader.Reclaim()
			if done || err != nil {
				return err
			}
			continue
		}
		if st := c.reader.State(); st != ring.Live {
			return c.broken(errors.Join(errors.New("its ring is over"), c.reader.Err()))
		}
		if time.Now().After(end) {
			return fmt.Errorf("it gave nothing for a frame within %v", limit)
		}
		ctx, cancel := context.WithDeadline(context.Background(), end)
		c.reader.Wait(ctx, 100*time.Millisecond)
		cancel()
	}
}

// receive takes one frame of the process.
func (c *child) receive(f *pipeline.Frame, got ring.Frame, stamp int64) (done bool, err error) {
	switch {
	case got.PTS < stamp:
		return false, nil // of a frame that was given up, or a second one
	case got.PTS > stamp:
		return true, fmt.Errorf("it stamps a frame %v that was given as %v; it has to keep the stamp", time.Duration(got.PTS), time.Duration(stamp))
	}
	format, ok := c.reader.Format(got.Stream, got.FormatID)
	if !ok {
		return true, fmt.Errorf("a frame in format %d, which it did not publish", got.FormatID)
	}
	return true, take(f, format, got.Data)
}

// broken waits a moment for the process's end, which says more.
func (c *child) broken(err error) error {
	select {
	case <-c.done:
	case <-time.After(200 * time.Millisecond):
	}
	return err
}

// end closes the ring that the process reads, and waits for it to finish.
func (c *child) end(limit time.Duration) (how string) {
	if c.lane != nil {
		_ = c.lane.Close()
		c.lane = nil
	}
	_ = c.in.Close()
	c.in = nil
	for end := time.Now().Add(limit); time.Now().Before(end); {
		select {
		case <-c.done:
			return c.kill()
		default:
		}
		// What it gives for nothing has no place any more, and may not block it.
		if got := c.reader.Take(c.kind); got.Cell != nil {
			got.Cell.Release()
			c.reader.Reclaim()
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		c.reader.Wait(ctx, 20*time.Millisecond)
		cancel()
		if c.reader.State() != ring.Live { // Wait does not, then
			time.Sleep(5 * time.Millisecond)
		}
	}
	if how = c.kill(); how == "" {
		how = fmt.Sprintf("did not end within %v of its stream's end", limit)
	}
	return how
}

// kill ends the process and all that it started, and gives everything back. how is
// how it had ended, "" when it was well, or had not.
func (c *child) kill() (how string) {
	select {
	case <-c.done:
		if c.state != nil && !c.state.Success() {
			how = "ended with " + c.state.String()
		}
	default:
	}
	_ = syscall.Kill(-c.pid(), syscall.SIGKILL)
	<-c.done
	c.release()
	return how
}

func (c *child) release() {
	if c.lane != nil {
		_ = c.lane.Close()
	}
	if c.in != nil {
		_ = c.in.Close()
	}
	if c.reader != nil {
		c.reader.Reclaim()
		_ = c.reader.Close()
	}
	_ = c.out.Close()
	_ = os.RemoveAll(c.dir)
}
