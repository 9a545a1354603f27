package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	a, err := parseAddr(addr)
	if err != nil {
		return Info{}, err
	}
	if a.fd >= 0 {
		return Info{}, fmt.Errorf("ring: cannot inspect %q: %s", addr, addressHelp)
	}
	info := Info{Addr: addr, Attachments: []Stats{}}
	if a.sock {
		err = info.askUntilAnswered(a)
	} else {
		err = info.readFiles(a)
	}
	if err != nil {
		return Info{}, fmt.Errorf("ring: %s: %w", addr, err)
	}
	return info, nil
}

func (info *Info) readFiles(a address) error {
	seg, cons, g, err := openNamed(a.path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer seg.unmap()
	defer cons.unmap()
	info.Listening = consumerLives(seg)
	info.Consumer = readPeer(cons, consPID, consUID, consBoot, consName)
	if cons.a32(consState).Load() != consWaiting {
		info.Attachments = append(info.Attachments, readStats(g, seg, cons))
	}
	return nil
}

// askUntilAnswered asks again when the consumer hangs up: it does so to whoever
// it has no time for, and so may be asked again.
func (info *Info) askUntilAnswered(a address) error {
	ctx, cancel := context.WithTimeout(context.Background(), inspectLimit)
	defer cancel()
	for {
		err := info.askSocket(ctx, a)
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

func (info *Info) askSocket(ctx context.Context, a address) error {
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
	info.Listening = true
	info.Consumer = Peer{PID: w.pid, UID: uidOf(w.pid), Name: w.name, Start: startedAt(w.boot)}
	for i := 0; i < len(fds); i += 2 {
		seg, cons, g, err := mapPair(fds[i], fds[i+1], unix.PROT_READ)
		if err != nil {
			// Its producer wrote over the header, which is no reason not to see the others.
			info.Attachments = append(info.Attachments, Stats{State: "unreadable: " + err.Error()})
			continue
		}
		info.Attachments = append(info.Attachments, readStats(g, seg, cons))
		_ = seg.unmap()
		_ = cons.unmap()
	}
	return nil
}
