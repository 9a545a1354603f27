package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// env is what the runs of one comparison share.
type env struct {
	self  []string // starts this binary as a peer; the order follows
	mpipe string   // the program mpipe; "" when there is none
	dir   string   // for sockets and compiled programs
	built map[string]builtProgram
}

// grace is how much longer than it measures a run may take before it is ended.
const grace = 20 * time.Second

// run measures one transport once.
func (e *env) run(ctx context.Context, s spec) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.seconds*float64(time.Second))+grace)
	defer cancel()
	run := s.transport.run
	if run == nil {
		run = runPair
	}
	got, err := run(ctx, e, s)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("not finished in time: %w", err)
	}
	if err != nil {
		return got, fmt.Errorf("%s, %s: %w", s.transport.title, s.payload.Title, err)
	}
	return got, nil
}

// runDir makes the place for one run's sockets.
func (e *env) runDir() (string, func(), error) {
	dir, err := os.MkdirTemp(e.dir, "run")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// peer is the command of this binary's side of a run.
func (e *env) peer(ctx context.Context, o order) *exec.Cmd {
	b, _ := json.Marshal(o) // plain fields
	return exec.CommandContext(ctx, e.self[0], append(e.self[1:len(e.self):len(e.self)], string(b))...)
}

func runDrawing(ctx context.Context, e *env, s spec) (sample, error) {
	addr := ""
	if s.read {
		addr = readToo
	}
	return alone(e.peer(ctx, s.order("producer", addr)))
}

// alone runs a producer that has no consumer.
func alone(c *exec.Cmd) (sample, error) {
	p, err := spawn(c)
	if err != nil {
		return sample{}, err
	}
	out, err := p.outcome()
	if err != nil {
		return sample{}, err
	}
	return sampleOf(out, outcome{Frames: out.Frames, Wall: out.Wall})
}

// runPair runs a consumer that listens and a producer that connects.
func runPair(ctx context.Context, e *env, s spec) (sample, error) {
	return pair(ctx, e,
		func(dir string) *exec.Cmd { return e.peer(ctx, s.order("consumer", dir)) },
		func(addr string) *exec.Cmd { return e.peer(ctx, s.order("producer", addr)) }, false)
}

// pair starts the side that listens, then the one that connects to what the
// first one said, and waits for both. producerFirst says which is which.
func pair(ctx context.Context, e *env, listen, connect func(string) *exec.Cmd, producerFirst bool) (sample, error) {
	dir, remove, err := e.runDir()
	if err != nil {
		return sample{}, err
	}
	defer remove()
	first, err := spawn(listen(dir))
	if err != nil {
		return sample{}, err
	}
	defer first.kill()
	addr, err := first.line("at ")
	if err != nil {
		return sample{}, err
	}
	second, err := spawn(connect(addr))
	if err != nil {
		return sample{}, err
	}
	defer second.kill()
	b, errSecond := second.outcome()
	if errSecond != nil {
		first.kill() // it may wait for ever
	}
	a, errFirst := first.outcome()
	if err := errors.Join(errSecond, errFirst); err != nil {
		return sample{}, err
	}
	if producerFirst {
		a, b = b, a
	}
	return sampleOf(b, a)
}

// runPipe is runPair with a pipe that both inherit.
func runPipe(ctx context.Context, e *env, s spec) (sample, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return sample{}, err
	}
	defer in.Close()
	defer out.Close()
	with := func(c *exec.Cmd, f *os.File) *exec.Cmd {
		c.ExtraFiles = []*os.File{f} // becomes pipeFD
		return c
	}
	return pair(ctx, e,
		func(dir string) *exec.Cmd { return with(e.peer(ctx, s.order("consumer", dir)), in) },
		func(addr string) *exec.Cmd {
			return with(e.peer(ctx, s.order("producer", addr)), out)
		}, false)
}

// process is one side while it runs.
type process struct {
	cmd    *exec.Cmd
	in     io.Closer // closed when the other side is over, too
	out    *bufio.Reader
	stderr bytes.Buffer
	over   bool
}

func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd}
	// Nothing that a comparison starts outlives it, however that ends.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.Stderr = &p.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.out = bufio.NewReaderSize(out, 1<<16)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// line waits for a line that begins with a word, and gives the rest.
func (p *process) line(word string) (string, error) {
	for {
		text, err := p.out.ReadString('\n')
		if rest, ok := strings.CutPrefix(text, word); ok {
			return strings.TrimSpace(rest), nil
		}
		if err != nil {
			return "", p.died(err)
		}
	}
}

// outcome waits for the end and gives what the process said last.
func (p *process) outcome() (outcome, error) {
	var o outcome
	_ = p.in.Close()
	text, err := io.ReadAll(p.out)
	if err != nil {
		return o, p.died(err)
	}
	if err := p.wait(); err != nil {
		return o, p.died(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &o); err != nil {
		return o, fmt.Errorf("%s said %q: %w", filepath.Base(p.cmd.Path), text, err)
	}
	return o, nil
}

func (p *process) wait() error {
	p.over = true
	return p.cmd.Wait()
}

func (p *process) kill() {
	if !p.over {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
		// GStreamer's sink leaves its memory behind when it is killed; the name is
		// that of shmpipe.c.
		left, _ := filepath.Glob(fmt.Sprintf("/dev/shm/shmpipe.%5d.*", p.cmd.Process.Pid))
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
}

// died adds what a process complained about.
func (p *process) died(err error) error {
	p.kill()
	if text := strings.TrimSpace(p.stderr.String()); text != "" {
		lines := strings.Split(text, "\n")
		return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return err
}
