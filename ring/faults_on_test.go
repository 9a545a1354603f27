//go:build mpipe_faults

package ring

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func init() { helpers["killed"] = helperKilled }

// killed is the Go twin of testdata/killed.c: ADDRESS LOG POINT AFTER SEED THREADS.
type killed struct {
	point   faultPoint
	after   atomic.Int64
	seed    uint64
	threads int
	log     mem
	p       *Producer
	formats [killStreams]uint32
}

func helperKilled(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("%d arguments", len(args))
	}
	var n [4]uint64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(args[2+i], 10, 64); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	k := &killed{point: faultPoint(n[0]), seed: n[2], threads: int(n[3])}
	k.after.Store(int64(n[1]))
	if k.log, err = mapFile(int(f.Fd()), 0, pageSize, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		return err
	}
	faultHook = func(p faultPoint) {
		if p == k.point && k.after.Add(-1) == 0 {
			k.log.a32(killPoint).Store(uint32(p))
			k.die()
		}
	}
	return k.produce(args[0])
}

func (k *killed) die() {
	k.log.a64(killDiedAt).Store(uint64(Now()))
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way to some thread
}

func (k *killed) set(stream, n int, state byte) { k.log[killStates+stream*killRow+n] = state }

func (k *killed) produce(addr string) (err error) {
	k.p, err = Attach(context.Background(), addr, []StreamSpec{
		{"v", KindVideo, killVideoMost}, {"w", KindVideo, killVideoMost}, {"a", KindAudio, killAudioMost},
	}, AttachOptions{Name: "killed"})
	for i := 0; i < killStreams && err == nil; i++ {
		if i < 2 {
			k.formats[i], err = k.p.SetVideo(i, grey)
		} else {
			k.formats[i], err = k.p.SetAudio(i, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
		}
	}
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for t := range k.threads {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := k.write(t); err != nil {
				panic(err)
			}
		}()
	}
	wg.Wait()
	for i := range killStreams {
		k.set(i, killFrames, killEnding)
		if err := k.p.End(i); err != nil {
			return err
		}
		k.set(i, killFrames, killEnd)
	}
	if err := k.p.Close(); err != nil {
		return err
	}
	k.die()
	return nil
}

func (k *killed) write(t int) error {
	w, err := k.p.Writer()
	if err != nil {
		return err
	}
	defer w.Close()
	for n := range killFrames {
		streams := []int{t}
		if k.threads == 1 {
			streams = []int{0, 1, 2}
		}
		for _, s := range streams {
			if err := k.frame(w, s, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *killed) frame(w *Writer, stream, n int) error {
	key, size := killFrame(k.seed, stream, n)
	if k.point == faultTookWait || k.point == faultMovedSeq {
		time.Sleep(time.Millisecond) // so that the consumer sleeps
	}
	k.set(stream, n, killTrying)
	s, err := w.Claim(stream, k.formats[stream], size, Block(0))
	if err != nil {
		return err
	}
	k.set(stream, n, killClaimed)
	killDraw(s.Data, key)
	if key>>60 == 0 || (k.point == faultAborting || k.point == faultAborted) && key>>62 == 0 {
		k.set(stream, n, killAborting)
		s.Abort()
		k.set(stream, n, killAborted)
		return nil
	}
	k.set(stream, n, killCommitting)
	s.Commit(int64(n), 0, 0)
	k.set(stream, n, killCommitted)
	return nil
}
