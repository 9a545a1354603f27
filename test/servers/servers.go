// Package servers starts the real servers that tests talk to, on 127.0.0.1 and
// ports of their own, and ends them with the test: an S3 store, an
// RTMP server that records, a proxy that slows, resets and swallows connections,
// one that answers as a busy store does.
//
// For tests alone: nothing of the product imports it, and it imports nothing of
// the product. Each server has a file; what they share is here.
package servers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startWithin bounds how long a server may take until it answers. It is long
// since test machines are busy.
const startWithin = 30 * time.Second

// Tool gives the path of a program that scripts/setup puts into .cache/bin, or
// of one in PATH. The test fails if there is none: a test that leaves itself out
// where something is missing proves nothing.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if _, file, _, ok := runtime.Caller(0); ok {
		path := filepath.Join(filepath.Dir(file), "..", "..", ".cache", "bin", name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run scripts/setup", name)
	}
	return path
}

// FreeAddr gives an address of 127.0.0.1 on which nothing listens. Another
// process may take it before it is used: Start then takes another one.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Command is a server to start.
type Command struct {
	Path string
	Args func(addr string) []string // addr is 127.0.0.1:PORT
	Env  []string                   // in addition to the test's own
	Dir  string
	// Ready is asked until it gives nil; without it the server is ready when it
	// accepts a connection.
	Ready func(addr string) error
}

// Process is a server that runs until the test ends. It may be killed, stopped
// and started again, as servers are. Its methods belong to one goroutine.
type Process struct {
	Addr string // 127.0.0.1:PORT, the same after Restart

	t    testing.TB
	c    Command
	log  tail
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
}

// Start starts a server and waits until it is ready.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p := &Process{t: t, c: c}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s said last:\n%s", filepath.Base(c.Path), p.Log())
		}
	})
	var err error
	for range 5 { // the port may have been taken in between
		p.Addr = FreeAddr(t)
		if err = p.start(); err == nil {
			return p
		}
	}
	t.Fatalf("%s does not start: %v\n%s", c.Path, err, p.Log())
	return nil
}

func (p *Process) start() error {
	p.cmd = exec.Command(p.c.Path, p.c.Args(p.Addr)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.Dir, p.cmd.Env = p.c.Dir, append(os.Environ(), p.c.Env...)
	// A test binary that is killed takes its servers with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.gone = make(chan struct{})
	started := make(chan error)
	go func(cmd *exec.Cmd, gone chan struct{}) {
		// The death signal is sent when the thread that started the process ends,
		// so that thread has to last as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(gone)
	}(p.cmd, p.gone)
	if err := <-started; err != nil {
		return err
	}
	return p.ready()
}

func (p *Process) ready() (err error) {
	for end := time.Now().Add(startWithin); time.Now().Before(end); {
		select {
		case <-p.gone:
			return fmt.Errorf("it ended at once: %v", p.cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
		if err = p.ask(); err == nil {
			return nil
		}
	}
	p.Kill()
	return fmt.Errorf("not ready after %v: %w", startWithin, err)
}

func (p *Process) ask() error {
	if p.c.Ready != nil {
		return p.c.Ready(p.Addr)
	}
	conn, err := net.DialTimeout("tcp", p.Addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Kill ends the server with SIGKILL and waits for its end; again is harmless.
func (p *Process) Kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
	<-p.gone
}

// Restart kills the server if it runs and starts it at the same address.
func (p *Process) Restart() {
	p.t.Helper()
	p.Kill()
	if err := p.start(); err != nil {
		p.t.Fatalf("%s does not start again: %v\n%s", p.c.Path, err, p.Log())
	}
}

// Pause stops the process: it answers nobody, and its connections stay.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is the last of what the server printed, at most 64 KiB.
func (p *Process) Log() string { return p.log.String() }

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const tailSize = 64 << 10

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	if over := l.b.Len() - tailSize; over > 0 {
		l.b.Next(over)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
