package ring

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// soakVar sets how long TestSoak runs: `make soak SOAK=2h`.
const soakVar = "MPIPE_SOAK"

// soakRate is the video of all producers together.
const soakRate = 150 << 20 // bytes/s

// TestSoak runs producers and consumers in processes of their own, over a socket
// and by name: 150 MB/s of pictures that change in size and 50 audio packets a
// second from each producer. Producers are killed, stopped and replaced, and
// consumers are stopped or killed and replaced, at times that follow from the
// seed. After each round all is compared with what each process noted before it
// did it: every claim is delivered, aborted or abandoned, every drop is counted,
// every byte delivered is as it was drawn, all space came back, and a consumer
// has as many files open and as much memory as before.
func TestSoak(t *testing.T) {
	length, round, rate := 8*time.Second, 1500*time.Millisecond, int64(soakRate)
	if testing.Short() {
		length, rate = 3*time.Second, rate/8 // with the race detector
	}
	if text := os.Getenv(soakVar); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length <= 0 {
			t.Fatalf("%s=%q: want a time such as 2m or 3h", soakVar, text)
		}
		round = 4 * time.Second
	}
	rng := testSeed(t)
	if in, out, err := os.Pipe(); err == nil { // so that Go's poller has its files
		_, _ = in.Close(), out.Close()
	}
	filesBefore, goroutinesBefore := openFiles(t, os.Getpid()), runtime.NumGoroutine()
	dir := t.TempDir()
	sites := []*soakSite{
		{name: "socket", addr: "unix:" + filepath.Join(dir, "s"), producers: 2, rate: rate / 3},
		{name: "named", addr: fmt.Sprintf("mpipe-test-%d-soak", os.Getpid()), producers: 1, rate: rate / 3},
	}
	var running sync.WaitGroup
	begin := time.Now()
	for _, s := range sites {
		s.t, s.rng, s.round = t, rand.New(rand.NewSource(rng.Int63())), round
		s.ledgerFile = filepath.Join(dir, s.name)
		running.Add(1)
		go func() {
			defer running.Done()
			s.run(begin.Add(length))
		}()
	}
	running.Wait()
	for _, s := range sites {
		fmt.Printf("soak: %s: %s\n", s.name, s.total)
	}
	fmt.Printf("soak: %v\n", time.Since(begin).Round(time.Second))
	if left, _ := filepath.Glob("/dev/shm/mpipe-test-" + strconv.Itoa(os.Getpid()) + "-soak*"); len(left) > 0 {
		t.Errorf("left in /dev/shm: %v", left)
	}
	if n := openFiles(t, os.Getpid()); n != filesBefore {
		t.Errorf("%d files open, %d before", n, filesBefore)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutinesBefore; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutinesBefore)
		}
	}
}

// soakSite is one address with its consumer and its producers.
type soakSite struct {
	t          *testing.T
	name, addr string
	producers  int
	rate       int64 // bytes/s of each producer
	rng        *rand.Rand
	round      time.Duration

	ledgerFile string
	ledger     mem
	checked    int // rows that are accounted for

	consumer *soakProcess
	least    soakFootprint // the least of this consumer when it was idle
	lost     bool          // a consumer was killed since the last account
	total    soakTotal
}

// soakTotal is what the test prints.
type soakTotal struct {
	rounds, attachments, killed, stopped, consumers, consumersKilled int
	delivered, bytes, aborted, abandoned, dropped, policy, unread    int64
}

func (s soakTotal) String() string {
	return fmt.Sprintf("%d rounds, %d attachments, %d producers killed, %d stopped for a while; %d consumers, %d of them killed; "+
		"%d frames and %.1f GB delivered, %d aborted, %d abandoned, %d dropped full, %d by policy, %d unread when their consumer was killed; 0 corrupt",
		s.rounds, s.attachments, s.killed, s.stopped, s.consumers, s.consumersKilled,
		s.delivered, float64(s.bytes)/1e9, s.aborted, s.abandoned, s.dropped, s.policy, s.unread)
}

// soakProcess is a helper that is being waited for.
type soakProcess struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	over   chan error
	killed bool
}

func (s *soakSite) spawn(ctx context.Context, role string, args ...string) (*soakProcess, error) {
	p := &soakProcess{cmd: helper(ctx, role, append([]string{s.addr, s.ledgerFile}, args...)...), over: make(chan error, 1)}
	var stderr bytes.Buffer
	p.cmd.Stderr = &stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if role == "soak-consume" {
		_, _ = out.Read(make([]byte, 64)) // "listening", or its end, which is noticed below
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		err := p.cmd.Wait()
		if err != nil && stderr.Len() > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
		}
		p.over <- err
	}()
	return p, nil
}

func (p *soakProcess) kill() {
	p.killed = true
	_ = p.cmd.Process.Kill()
}

// end waits for a process; killed ones end as they were told to.
func (p *soakProcess) end(within time.Duration) error {
	select {
	case err := <-p.over:
		_ = p.stdin.Close()
		if p.killed {
			return nil
		}
		return err
	case <-time.After(within):
		p.kill()
		<-p.over
		return fmt.Errorf("pid %d did not end in %v", p.cmd.Process.Pid, within)
	}
}

// run plays rounds until the time is over or something is wrong.
func (s *soakSite) run(until time.Time) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	if s.ledger, err = openLedger(s.ledgerFile); err != nil {
		s.t.Error(err)
		return
	}
	defer s.ledger.unmap()
	if err = s.consume(ctx); err != nil {
		s.t.Error(err)
		return
	}
	for err == nil && time.Now().Before(until) && !s.t.Failed() {
		if err = s.play(ctx); err == nil {
			err = s.account()
		}
		s.total.rounds++
	}
	_ = s.consumer.stdin.Close()
	if e := s.consumer.end(20 * time.Second); err == nil {
		err = e
	}
	if err != nil {
		s.t.Errorf("%s, round %d: %v", s.name, s.total.rounds, err)
	}
}

// consume starts the next consumer.
func (s *soakSite) consume(ctx context.Context) (err error) {
	s.total.consumers++
	s.least = soakFootprint{}
	s.consumer, err = s.spawn(ctx, "soak-consume", strconv.FormatInt(s.rng.Int63(), 10))
	return err
}

// play is one round: the producers, and what happens to them and the consumer.
func (s *soakSite) play(ctx context.Context) error {
	until := Now() + int64(s.round)
	produce := func() (*soakProcess, error) {
		return s.spawn(ctx, "soak-produce", strconv.FormatInt(s.rng.Int63(), 10), strconv.FormatInt(until, 10), strconv.FormatInt(s.rate, 10))
	}
	var all []*soakProcess
	live := make([]*soakProcess, s.producers)
	for i := range live {
		p, err := produce()
		if err != nil {
			return err
		}
		live[i], all = p, append(all, p)
	}
	for range s.rng.Intn(4) {
		time.Sleep(time.Duration(s.rng.Int63n(int64(s.round) / 4)))
		i := s.rng.Intn(len(live))
		switch what := s.rng.Intn(8); {
		case what < 3: // kill -9, and another one comes
			live[i].kill()
			s.total.killed++
			p, err := produce()
			if err != nil {
				return err
			}
			live[i], all = p, append(all, p)
		case what < 5:
			_ = live[i].cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(s.rng.Int63n(int64(200 * time.Millisecond))))
			_ = live[i].cmd.Process.Signal(syscall.SIGCONT)
			s.total.stopped++
		default:
			if err := s.replaceConsumer(ctx, what < 7); err != nil {
				return err
			}
		}
	}
	for _, p := range all {
		if err := p.end(s.round + 20*time.Second); err != nil {
			return fmt.Errorf("producer: %w", err)
		}
	}
	return nil
}

// replaceConsumer stops it in good order, or kills it.
func (s *soakSite) replaceConsumer(ctx context.Context, orderly bool) error {
	if orderly {
		_ = s.consumer.stdin.Close()
	} else {
		s.consumer.kill()
		s.lost = true
		s.total.consumersKilled++
	}
	if err := s.consumer.end(20 * time.Second); err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	return s.consume(ctx)
}

// account compares what everybody wrote down, once the consumer is idle.
func (s *soakSite) account() error {
	for end := time.Now().Add(20 * time.Second); !s.idle(); time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-s.consumer.over:
			s.consumer.over <- err
			return fmt.Errorf("the consumer ended: %w", err)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d attachments are not over", s.ledger.a64(ledgerAttached).Load())
		}
	}
	last := int(s.ledger.a64(ledgerLast).Load())
	for n := s.checked + 1; n <= last; n++ {
		if err := s.reconcile(ledgerAt(s.ledger, n)); err != nil {
			return fmt.Errorf("attachment %d: %w", n, err)
		}
	}
	s.checked, s.lost = last, false
	return s.flat()
}

// idle tells that the consumer has closed whatever claimed anything.
func (s *soakSite) idle() bool {
	for n := s.checked + 1; n <= int(s.ledger.i64(ledgerLast)) && !s.lost; n++ {
		row := ledgerAt(s.ledger, n)
		claimed := row.i64(ledgerStreams+ledClaimed) + row.i64(ledgerStreams+ledgerStream+ledClaimed)
		if taken := row.i64(ledgerTaken); taken == 1 || taken == 0 && claimed > 0 {
			return false
		}
	}
	return s.ledger.i64(ledgerAttached) == 0
}

// reconcile accounts for one attachment.
func (s *soakSite) reconcile(row mem) error {
	taken, end := row.i64(ledgerTaken), row.i64(ledgerEnd)
	claims, eos := row.i64(ledgerClaims), row.i64(ledgerEOS)
	aborts, abandoned := row.i64(ledgerAborts), row.i64(ledgerAbandoned)
	if n := row.i64(ledgerCorrupt); n != 0 {
		return fmt.Errorf("%d frames are corrupt or out of order", n)
	}
	delivered, claimed, dropped, policy := int64(0), int64(0), int64(0), int64(0)
	for i := range soakStreams {
		p, c := row[ledgerStreams+i*ledgerStream:], row[ledgerConsumer+i*ledgerStream:]
		got, least, most := c.i64(ledDelivered), p.i64(ledCommitted), p.i64(ledCommitting)
		switch {
		case taken == 2 && (got < least || got > most):
			return fmt.Errorf("stream %d: %d delivered, %d to %d committed", i, got, least, most)
		case taken != 2 && got > most:
			return fmt.Errorf("stream %d: %d delivered, at most %d committed", i, got, most)
		case taken == 2 && (!within(c.i64(ledFull), p.i64(ledDropped), end) || !within(c.i64(ledByPolicy), p.i64(ledPolicy), end)):
			return fmt.Errorf("stream %d: the ring counted %d and %d drops, the producer %d and %d", i, c.i64(ledFull), c.i64(ledByPolicy), p.i64(ledDropped), p.i64(ledPolicy))
		case end == endOrderly && p.i64(ledTried) != p.i64(ledClaimed)+p.i64(ledDropped):
			return fmt.Errorf("stream %d: %d tried, %d claimed, %d dropped", i, p.i64(ledTried), p.i64(ledClaimed), p.i64(ledDropped))
		}
		delivered += got
		claimed += p.i64(ledClaimed)
		dropped += p.i64(ledDropped)
		policy += p.i64(ledPolicy)
		s.total.bytes += c.i64(ledBytes)
		if taken != 2 {
			s.total.unread += least - min(got, least)
		}
	}
	switch {
	case taken == 2 && claims != delivered+eos+aborts+abandoned && !(end == 0 && claims == delivered+eos+aborts+abandoned+1):
		// Killed between the abort and its count, it leaves one more.
		return fmt.Errorf("%d claimed; %d delivered, %d ends, %d aborted, %d abandoned", claims, delivered, eos, aborts, abandoned)
	case taken == 2 && end != 0 && (abandoned != 0 || claims-eos != claimed):
		return fmt.Errorf("%d claimed by the ring, %d by the producer, %d abandoned, and nobody died", claims-eos, claimed, abandoned)
	case taken != 2 && delivered+claimed > 0 && !s.lost:
		return fmt.Errorf("%d claimed, the consumer lived and did not close it", claimed)
	}
	s.total.attachments++
	s.total.delivered += delivered
	s.total.aborted += aborts
	s.total.abandoned += abandoned
	s.total.dropped += dropped
	s.total.policy += policy
	return nil
}

// within allows a killed producer one count that it had not noted yet.
func within(ring, producer, end int64) bool {
	return ring == producer || end == 0 && ring == producer+1
}

// soakFootprint is what an idle consumer needs.
type soakFootprint struct{ files, anon, shared int }

// flat compares the idle consumer with the least that it needed before. It may
// be about to close an attachment whose producer died while it attached.
func (s *soakSite) flat() error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		now, least := footprint(s.t, s.consumer.cmd.Process.Pid), s.least
		if least.files == 0 {
			least = now
		}
		s.least = soakFootprint{min(least.files, now.files), min(least.anon, now.anon), min(least.shared, now.shared)}
		if now.files == s.least.files && now.anon < s.least.anon+32<<10 && now.shared < s.least.shared+1<<10 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the idle consumer grew from %+v to %+v (files, kB)", s.least, now)
		}
	}
}

func footprint(t *testing.T, pid int) (f soakFootprint) {
	f.files = openFiles(t, pid)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &f.anon)
		_, _ = fmt.Sscanf(line, "RssShmem: %d kB", &f.shared)
	}
	return f
}

func openFiles(t *testing.T, pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Error(err)
	}
	return len(entries)
}
