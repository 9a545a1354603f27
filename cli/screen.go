package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/pipeline/run"
)

// screen is standard error with a live line at its bottom: overwritten in place
// on a terminal, printed as ordinary lines elsewhere. What is written goes above
// the live line. It may be used from any goroutine.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	tty   bool
	width int
	live  string // on a terminal: what stands there
	last  string // elsewhere: what was printed last, not worth saying again
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && os.Getenv("TERM") != "dumb" {
			s.tty, s.width = true, max(20, int(ws.Col))
		}
	}
	return s
}

const eraseLine = "\r\x1b[K"

// status shows how things stand.
func (s *screen) status(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tty {
		if line != s.last {
			fmt.Fprintln(s.w, line)
		}
		s.last = line
		return
	}
	if r := []rune(line); len(r) >= s.width {
		line = string(r[:s.width-1]) // a wrapped line could not be overwritten
	}
	s.live = line
	fmt.Fprint(s.w, eraseLine+line)
}

// Write puts whole lines above the live line.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == "" {
		return s.w.Write(p)
	}
	var b bytes.Buffer
	b.WriteString(eraseLine)
	b.Write(p)
	b.WriteString(s.live)
	_, err := s.w.Write(b.Bytes())
	return len(p), err
}

// clear takes the live line away.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live != "" {
		fmt.Fprint(s.w, eraseLine)
		s.live = ""
	}
}

// stopper turns signals into a drain and a kill.
type stopper struct {
	ctx  context.Context // done at the first signal
	kill chan struct{}   // closed at the second
	done chan struct{}
	once sync.Once
	ch   chan os.Signal
	end  context.CancelFunc
}

// sameStop is how long after the first signal another one counts as the same
// wish to stop: timeout(1) sends its signal to the child and then to the group.
const sameStop = 300 * time.Millisecond

// onSignals listens to SIGINT, SIGTERM and, unless it came ignored as nohup(1)
// leaves it, SIGHUP. The first is answered with `says`; the third ends the
// process, should something hang.
//
// It ignores SIGPIPE: whoever reads standard output or standard error may end
// before mpipe does, such as a tee that Ctrl-C reaches too, and what was worth
// starting is worth finalising. Nothing looks at the errors of such writes.
func onSignals(sc *screen, says string) *stopper {
	s := &stopper{kill: make(chan struct{}), done: make(chan struct{}), ch: make(chan os.Signal, 3)}
	s.ctx, s.end = context.WithCancel(context.Background())
	signal.Ignore(syscall.SIGPIPE)
	stops := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		stops = append(stops, syscall.SIGHUP)
	}
	signal.Notify(s.ch, stops...)
	go s.listen(sc, says)
	return s
}

func (s *stopper) listen(sc *screen, says string) {
	var first time.Time
	for n := 0; ; {
		select {
		case <-s.done:
			return
		case <-s.ch:
		}
		if n == 1 && time.Since(first) < sameStop {
			continue
		}
		switch n++; n {
		case 1:
			first = time.Now()
			s.end()
			fmt.Fprintf(sc, "%s\n", says)
		case 2:
			close(s.kill)
			fmt.Fprintf(sc, "stopping now\n")
		default:
			os.Exit(run.ExitKilled)
		}
	}
}

// release gives the signals back to the system's defaults.
func (s *stopper) release() {
	s.once.Do(func() {
		signal.Stop(s.ch)
		signal.Reset(syscall.SIGPIPE)
		close(s.done)
		s.end()
	})
}
