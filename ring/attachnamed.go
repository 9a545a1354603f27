package ring

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// attachNamed tries once to attach to the files of a named ring.
func attachNamed(ctx context.Context, a address, h hello) (*attachment, error) {
	seg, cons, g, err := openNamed(a.path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	var at *attachment
	if consumerLives(seg) {
		at, err = postHello(ctx, seg, cons, g, h)
	} else {
		err = &tryLaterError{fmt.Sprintf("its consumer, pid %d, is dead", seg.u32(segConsumerPID))}
	}
	if err != nil {
		_ = seg.unmap()
		_ = cons.unmap()
		return nil, err
	}
	return at, nil
}

// openNamed maps the files at a path.
func openNamed(path string, mode int) (seg, cons mem, g *geometry, err error) {
	prot := unix.PROT_READ
	if mode == unix.O_RDWR {
		prot |= unix.PROT_WRITE
	}
	segFD, err := unix.Open(path, mode|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err == unix.ENOENT {
		return nil, nil, nil, &tryLaterError{"the ring does not exist"}
	}
	if err != nil {
		return nil, nil, nil, err
	}
	defer closeFD(segFD)
	consFD, err := unix.Open(path+consumerSuffix, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err == unix.ENOENT {
		return nil, nil, nil, &tryLaterError{"its consumer page does not exist"}
	}
	if err != nil {
		return nil, nil, nil, err
	}
	defer closeFD(consFD)
	seg, cons, g, err = mapPair(segFD, consFD, prot)
	if errors.Is(err, errOtherRing) {
		err = &tryLaterError{"the consumer is replacing the ring"}
	}
	if err != nil {
		return nil, nil, nil, err
	}
	return seg, cons, g, nil
}

// consumerLives tells whether the process that made a segment is still there.
func consumerLives(seg mem) bool {
	return processIs(int(seg.u32(segConsumerPID)), seg.u64(segConsumerBoot))
}

// processIs tells whether the process with this pid and start time lives.
// ticks 0 skips the comparison.
func processIs(pid int, ticks uint64) bool {
	if unix.Kill(pid, 0) == unix.ESRCH {
		return false
	}
	now, err := startTicks(pid)
	return err == nil && (ticks == 0 || now == ticks)
}

// postHello puts the HELLO in the mailbox and waits for the answer.
func postHello(ctx context.Context, seg, cons mem, g *geometry, h hello) (*attachment, error) {
	box := seg.a32(wordsOff + wordMailbox)
	state := cons.a32(consState)
	fault(faultFound)
	if state.Load() != consWaiting || !box.CompareAndSwap(mailboxOpen, uint32(h.pid)) {
		return nil, &tryLaterError{"the ring has a producer already"}
	}
	fault(faultMailbox)
	copy(seg[mailboxOff:mailboxOff+pageSize], h.encode())
	fault(faultHello)
	box.Store(uint32(h.pid) | mailboxPosted) // SYNC POINT hello
	fault(faultPosted)
	futexWake(box, 1)
	for {
		seq := cons.a32(consStateSeq)
		key := seq.Load()
		switch state.Load() {
		case consWaiting:
		case consRefused:
			return nil, &RefusedError{Reason: cons.text(consReason, consReasonSize)}
		case consClosed:
			return nil, &tryLaterError{"the consumer left"}
		default:
			fault(faultWelcome)
			return watchConsumer(seg, cons, g, h)
		}
		if err := ctx.Err(); err != nil {
			return nil, withdraw(seg, box, h)
		}
		if !consumerLives(seg) {
			return nil, &tryLaterError{"the consumer died"}
		}
		futexWait(seq, key, waitSlice)
	}
}

// withdraw takes the HELLO back; when it was accepted a moment ago, the
// attachment ends before it began.
func withdraw(seg mem, box interface {
	CompareAndSwap(old, new uint32) bool
}, h hello) error {
	if !box.CompareAndSwap(uint32(h.pid)|mailboxPosted, mailboxOpen) {
		seg.a32(wordsOff + wordProducerState).Store(producerEnded) // SYNC POINT end
		dataSeq := seg.a32(wordsOff + wordDataSeq)
		dataSeq.Add(1)
		futexWake(dataSeq, 1)
	}
	return &tryLaterError{"the consumer did not accept in time"}
}

// watchConsumer completes the attachment.
func watchConsumer(seg, cons mem, g *geometry, h hello) (*attachment, error) {
	g.populate(seg, usedClasses(h.streams), unix.MADV_POPULATE_WRITE)
	at := newAttachment(g, seg, cons)
	pid, boot := int(seg.u32(segConsumerPID)), seg.u64(segConsumerBoot)
	if pid == os.Getpid() {
		return at, nil // both ends in one process die together
	}
	w, err := watchProcess(pid, boot, at.consumerGone)
	if err != nil {
		seg.a32(wordsOff + wordProducerState).Store(producerEnded)
		return nil, err
	}
	at.stop = w.stop
	return at, nil
}
