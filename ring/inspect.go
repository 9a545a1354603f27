package ring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Info is what Inspect finds at an address.
type Info struct {
	Addr        string  `json:"addr"`
	Listening   bool    `json:"listening"` // a live consumer owns the address
	Consumer    Peer    `json:"consumer"`  // who owns it, or did
	Attachments []Stats `json:"attachments"`
}

// inspectLimit bounds how long Inspect waits for a consumer's answer.
const inspectLimit = 3 * time.Second

// Inspect reads the counters of a live ring without stopping anything: it maps
// what is there read-only. Over a socket it asks the consumer for read-only fds
// of all attachments, and shows the state of one whose header its producer
// overwrote as unreadable; a named ring shows its latest. The files a dead consumer
// left are shown with Listening false.
func Inspect(addr string) (Info, error) {
	v, err := lookAt(addr)
	if err != nil {
		return Info{}, err
	}
	defer v.close()
	info := Info{Addr: addr, Listening: v.listening, Consumer: v.consumer, Attachments: []Stats{}}
	for _, p := range v.pairs {
		switch {
		case p.err != nil:
			// Its producer wrote over the header, which is no reason not to see the others.
			info.Attachments = append(info.Attachments, Stats{State: "unreadable: " + p.err.Error()})
		case p.cons.a32(consState).Load() != consWaiting:
			info.Attachments = append(info.Attachments, readStats(p.g, p.seg, p.cons))
		}
	}
	return info, nil
}

// view is what an observer maps at an address, read-only.
type view struct {
	listening bool
	consumer  Peer
	pairs     []viewPair
}

// viewPair is one attachment's memory; or a named ring's that waits for one.
type viewPair struct {
	g         *geometry
	seg, cons mem
	err       error // why it is not mapped
}

func (p viewPair) epoch() uint64 {
	if p.err != nil {
		return math.MaxUint64
	}
	return p.g.epoch
}

func (p viewPair) unmap() {
	_ = p.seg.unmap()
	_ = p.cons.unmap()
}

func (v *view) close() {
	for _, p := range v.pairs {
		p.unmap()
	}
}

// lookAt maps what is at an address.
func lookAt(addr string) (*view, error) {
	a, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	if a.fd >= 0 {
		return nil, fmt.Errorf("ring: cannot inspect %q: %s", addr, addressHelp)
	}
	v := &view{}
	if a.sock {
		err = v.askUntilAnswered(a)
	} else {
		err = v.openFiles(a)
	}
	if err != nil {
		return nil, fmt.Errorf("ring: %s: %w", addr, err)
	}
	return v, nil
}

func (v *view) openFiles(a address) error {
	seg, cons, g, err := openNamed(a.path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	v.listening = consumerLives(seg)
	v.consumer = readPeer(cons, consPID, consUID, consBoot, consName)
	v.pairs = []viewPair{{g: g, seg: seg, cons: cons}}
	return nil
}

// askUntilAnswered asks again when the consumer hangs up: it does so to whoever
// it has no time for, and so may be asked again.
func (v *view) askUntilAnswered(a address) error {
	ctx, cancel := context.WithTimeout(context.Background(), inspectLimit)
	defer cancel()
	for {
		err := v.askSocket(ctx, a)
		if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) && !errors.Is(err, io.EOF) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(attachRetry):
		}
	}
}

func (v *view) askSocket(ctx context.Context, a address) error {
	conn, err := dial(ctx, a)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := conn.Write(hello{role: roleObserver}.encode()); err != nil {
		return fmt.Errorf("ask the consumer: %w", err)
	}
	buf, oob := make(mem, pageSize), make([]byte, unix.CmsgSpace(2*observerPairs*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	fds := receivedFDs(oob[:oobn])
	defer closeFDs(fds)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return fmt.Errorf("the consumer did not answer: %w", err)
	}
	w, err := parseWelcome(buf[:n])
	switch {
	case err != nil:
		return err
	case w.refused:
		return &RefusedError{Reason: w.reason}
	case len(fds) != 2*w.pairs:
		return errors.New("the consumer's answer is incomplete")
	}
	v.listening = true
	v.consumer = Peer{PID: w.pid, UID: uidOf(w.pid), Name: w.name, Start: startedAt(w.boot)}
	for i := 0; i < len(fds); i += 2 {
		seg, cons, g, err := mapPair(fds[i], fds[i+1], unix.PROT_READ)
		if err != nil {
			seg, cons = nil, nil // mapPair gave them back
		}
		v.pairs = append(v.pairs, viewPair{g: g, seg: seg, cons: cons, err: err})
	}
	slices.SortStableFunc(v.pairs, func(a, b viewPair) int { return cmp.Compare(a.epoch(), b.epoch()) })
	return nil
}
