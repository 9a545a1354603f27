package intake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/ring"
)

// Stamps may lie so far outside of the time between the session's start and now:
// one source's nonsense must not move the zero of the whole run.
const (
	stampBefore = 5 * time.Second
	stampAfter  = 2 * time.Second
	// noticed is how long a consumer may take to see a death: it looks ten times a
	// second.
	noticed = 5 * time.Second
)

// Inlet is one session's way into the ring. Formats belong to one goroutine at a
// time; lanes of different classes may be used at the same time.
type Inlet struct {
	p     *ring.Producer
	conn  *net.UnixConn
	hello *Hello
	from  int64 // CLOCK_MONOTONIC of the start

	mu      sync.Mutex
	formats map[uint32]known
	lanes   [2]*ring.Writer

	Copied, CopiedBytes [Streams]atomic.Int64
}

type known struct {
	stream int
	id     uint32
}

// Enter attaches a session to the ring at addr and returns when its consumer takes
// it.
func Enter(ctx context.Context, addr string, h *Hello) (*Inlet, error) {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unixpacket", addr)
		if err == nil {
			var in *Inlet
			if in, err = enter(ctx, conn.(*net.UnixConn), h); err == nil {
				return in, nil
			}
			conn.Close()
		}
		var refused *ring.RefusedError
		if errors.As(err, &refused) || ctx.Err() != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func enter(ctx context.Context, conn *net.UnixConn, h *Hello) (*Inlet, error) {
	f, err := conn.File()
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // Attach closes what it is given
	f.Close()
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	p, err := ring.Attach(ctx, "fd:"+strconv.Itoa(fd), h.Streams, ring.AttachOptions{Name: h.String()})
	if err != nil {
		return nil, err
	}
	in := &Inlet{p: p, conn: conn, hello: h, from: ring.Now(), formats: map[uint32]known{}}
	for i := range in.lanes {
		if in.lanes[i], err = p.Writer(); err != nil {
			in.Close()
			return nil, err
		}
	}
	return in, nil
}

// Publish makes a page's format known under the page's number for it.
func (in *Inlet) Publish(id uint32, f Format) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, have := in.formats[id]; have || id < 1 || id > Formats {
		return fmt.Errorf("format %d is published twice, or out of range", id)
	}
	if f.Stream >= len(in.hello.Streams) {
		return fmt.Errorf("format %d is for stream %d of %d", id, f.Stream, len(in.hello.Streams))
	}
	var rid uint32
	var err error
	if f.Video != nil {
		rid, err = in.p.SetVideo(f.Stream, *f.Video)
	} else {
		rid, err = in.p.SetAudio(f.Stream, *f.Audio)
	}
	if err != nil {
		return err
	}
	in.formats[id] = known{f.Stream, rid}
	return nil
}

// Known tells whether the page's format was published.
func (in *Inlet) Known(id uint32) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	_, ok := in.formats[id]
	return ok
}

// Check tells what is wrong with a frame of a class, apart from its format.
func (in *Inlet) Check(class int, f Frame) error {
	if f.Stream >= len(in.hello.Streams) || int(in.hello.Streams[f.Stream].Kind) != class+1 {
		return fmt.Errorf("a frame of stream %d, which is none of its class", f.Stream)
	}
	s, now := in.hello.Streams[f.Stream], ring.Now()
	const flags = ring.FlagKey | ring.FlagDiscont | ring.FlagCorrupt | ring.FlagEOS
	switch {
	case f.Flags&^flags != 0:
		return fmt.Errorf("a frame of stream %s with the flags %#x", s.Name, uint32(f.Flags))
	case f.Length > s.MaxFrame:
		return fmt.Errorf("a frame of %d bytes in stream %s, which declared at most %d", f.Length, s.Name, s.MaxFrame)
	case (f.Length == 0) != (f.Flags&ring.FlagEOS != 0):
		return fmt.Errorf("a frame of %d bytes in stream %s with the flags %#x", f.Length, s.Name, uint32(f.Flags))
	case f.Length == 0:
		return nil
	case f.PTS < in.from-int64(stampBefore) || f.PTS > now+int64(stampAfter) || f.Duration < 0 || f.Duration > int64(time.Minute):
		return fmt.Errorf("a frame of stream %s that was captured %v ago and lasts %v, %v after its start; stamps are CLOCK_MONOTONIC",
			s.Name, time.Duration(now-f.PTS), time.Duration(f.Duration), time.Duration(now-in.from))
	}
	return nil
}

// Claim waits for space for a checked frame whose format is known.
func (in *Inlet) Claim(class int, f Frame) (ring.Slot, error) {
	in.mu.Lock()
	k, ok := in.formats[f.Format]
	in.mu.Unlock()
	if !ok || k.stream != f.Stream {
		return ring.Slot{}, fmt.Errorf("a frame of stream %s in format %d, which was not published for it", in.hello.Streams[f.Stream].Name, f.Format)
	}
	return in.lanes[class].Claim(f.Stream, k.id, f.Length, ring.Block(0))
}

// CountCopy counts a frame that was copied into the ring.
func (in *Inlet) CountCopy(stream, n int) {
	in.Copied[stream].Add(1)
	in.CopiedBytes[stream].Add(int64(n))
}

// End ends one stream behind what was committed of it.
func (in *Inlet) End(stream int) error { return in.p.End(stream) }

// Fill tells how full the ring is: bytes in use, of how many, and frames held by
// the graph.
func (in *Inlet) Fill(class int) (used, capacity int64, held int) {
	return in.p.Fill(ring.Kind(class + 1))
}

// Stopped tells that an error of Claim means that the graph takes nothing more.
func Stopped(err error) bool {
	return errors.Is(err, ring.ErrStopped) || errors.Is(err, ring.ErrGone) || errors.Is(err, ring.ErrClosed)
}

// Close ends the session in good order. No lane may be in use.
func (in *Inlet) Close() {
	in.closeLanes()
	_ = in.p.Close() // tells the consumer in any case
	in.conn.Close()
}

// Abandon ends it as a producer's death does: what was committed is delivered.
// seen tells whether the consumer has noticed.
func (in *Inlet) Abandon(seen func() bool) {
	if raw, err := in.conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	in.closeLanes()
	// Close says that all is well, and the consumer looks at that first.
	for end := time.Now().Add(noticed); !seen() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	_ = in.p.Close()
	in.conn.Close()
}

func (in *Inlet) closeLanes() {
	for _, w := range in.lanes {
		if w != nil {
			_ = w.Close()
		}
	}
}
