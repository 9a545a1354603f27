package ring

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// killsVar sets how many producers TestKill kills.
const killsVar = "MPIPE_RING_KILLS"

func killsWanted(t *testing.T) int {
	if text := os.Getenv(killsVar); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q: want a number from 1", killsVar, text)
		}
		return n
	}
	if testing.Short() {
		return 600
	}
	return 10000
}

// TestKill kills producers, in C and in Go, over a socket and by name, at every
// fault point in turn. What each had done stands in a log in shared memory, so
// that every claim can be accounted for: all that was committed is delivered with
// every byte as it was drawn, nothing else is, and all space comes back.
func TestKill(t *testing.T) {
	total := killsWanted(t)
	seed := testSeed(t).Int63()
	killedC := compile(t, "killed", "-std=c11", "testdata/killed.c")
	killedGo := filepath.Join(testDir, "killed-go")
	if msg, err := exec.Command("go", "test", "-c", "-tags", "mpipe_faults", "-o", killedGo, ".").CombinedOutput(); err != nil {
		t.Fatalf("building with fault points: %v\n%s", err, msg)
	}
	// Processes of Go take ten times as long to start.
	runs := []*killRun{
		{name: "c/unix", share: 60}, {name: "c/named", share: 20},
		{name: "go/unix", share: 12}, {name: "go/named", share: 8},
	}
	begin := time.Now()
	t.Run("runs", func(t *testing.T) {
		for i, k := range runs {
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				k.rng = rand.New(rand.NewSource(seed + int64(i)))
				k.prepare(t, killedC, killedGo)
				k.run(t, max(total*k.share/100, int(faultCount)))
			})
		}
	})
	reportKills(t, runs, time.Since(begin))
}

func reportKills(t *testing.T, runs []*killRun, took time.Duration) {
	var recovery []time.Duration
	var points [faultCount + 1]int
	kills, corrupt, wedged := 0, 0, 0
	for _, k := range runs {
		recovery = append(recovery, k.recovery...)
		kills += k.kills
		corrupt += k.corrupt
		wedged += k.wedged
		for p, n := range k.points {
			points[p] += n
		}
	}
	slices.Sort(recovery)
	at := func(percent int) time.Duration {
		if len(recovery) == 0 {
			return 0
		}
		return recovery[(len(recovery)-1)*percent/100].Round(time.Microsecond)
	}
	fmt.Printf("kills: %d in %v; corrupt %d, wedged %d; recovery p50 %v, p99 %v, most %v\n",
		kills, took.Round(time.Second), corrupt, wedged, at(50), at(99), at(100))
	t.Logf("by fault point, 0 for after Close: %v", points)
	for p := faultPoint(1); p <= faultCount; p++ {
		if points[p] == 0 {
			t.Errorf("no producer died at fault point %d", p)
		}
	}
	if p50 := at(50); p50 > 50*time.Millisecond {
		t.Errorf("recovery takes %v", p50)
	}
}

// killRun is one series: a language and a mode.
type killRun struct {
	name  string
	share int // percent
	rng   *rand.Rand

	addr    string
	spawn   func(order string) (pid int, over func() string)
	log     mem
	readers chan *Reader

	kills, corrupt, wedged int
	points                 [faultCount + 1]int
	recovery               []time.Duration

	// Of the producer at hand.
	got     [killStreams][killFrames + 1]bool
	drained int64 // ns
}

// killOrder is one producer's fate.
type killOrder struct {
	point   faultPoint
	after   int
	seed    uint64
	threads int
}

func (o killOrder) String() string {
	return fmt.Sprintf("%d %d %d %d", o.point, o.after, o.seed, o.threads)
}

func (k *killRun) prepare(t *testing.T, killedC, killedGo string) {
	dir := t.TempDir()
	k.addr = "unix:" + filepath.Join(dir, "s")
	if strings.HasSuffix(k.name, "named") {
		k.addr = fmt.Sprintf("mpipe-test-%d-%s", os.Getpid(), strings.ReplaceAll(k.name, "/", "-"))
	}
	logFile := filepath.Join(dir, "log")
	f, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(pageSize); err != nil {
		t.Fatal(err)
	}
	if k.log, err = mapFile(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.log.unmap() })
	if strings.HasPrefix(k.name, "c/") {
		k.spawn = spawnC(t, killedC, k.addr, logFile)
	} else {
		k.spawn = spawnGo(t, killedGo, k.addr, logFile)
	}
	l, err := Listen(k.addr, Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10, Slots: 8, startAtWrap: true, Log: textLog(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.readers = make(chan *Reader, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			r, err := l.Accept(ctx)
			if err != nil {
				return
			}
			k.readers <- r
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		<-done
		for len(k.readers) > 0 {
			(<-k.readers).Close()
		}
	})
}

// spawnC has one process fork the producers.
func spawnC(t *testing.T, program, addr, logFile string) func(string) (int, func() string) {
	cmd := exec.Command(program, addr, logFile)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, cmd)
	return func(order string) (int, func() string) {
		fmt.Fprintln(in, order)
		out.Scan()
		pid, _ := strconv.Atoi(out.Text())
		return pid, func() string {
			out.Scan()
			return out.Text()
		}
	}
}

// spawnGo starts a process for each.
func spawnGo(t *testing.T, program, addr, logFile string) func(string) (int, func() string) {
	return func(order string) (int, func() string) {
		cmd := exec.Command(program, append([]string{addr, logFile}, strings.Fields(order)...)...)
		cmd.Env = append(os.Environ(), helperVar+"=killed", "GOGC=off")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return 0, func() string { return "" }
		}
		return cmd.Process.Pid, func() string {
			_ = cmd.Wait()
			if ws := cmd.ProcessState.Sys().(interface{ Signaled() bool }); ws.Signaled() {
				return "over -9"
			}
			return "over " + cmd.ProcessState.String()
		}
	}
}

func (k *killRun) run(t *testing.T, kills int) {
	bound := 5 * time.Minute
	deadline := time.Now().Add(bound)
	for i := range kills {
		o := killOrder{point: faultPoint(i%int(faultCount)) + 1, after: 1, seed: k.rng.Uint64(), threads: 1 + 2*(i/int(faultCount)%2)}
		if strings.HasSuffix(k.name, "unix") && (o.point == faultMailbox || o.point == faultHello) {
			o.point = faultMoved // those two do not exist over a socket
		}
		switch {
		case o.point >= faultRoom && o.point <= faultCommitted:
			o.after += k.rng.Intn(40)
		case o.point == faultAborting || o.point == faultAborted:
			o.after += k.rng.Intn(5)
		case o.point == faultFormat || o.point == faultPublished:
			o.after += k.rng.Intn(3)
		case o.point >= faultTookWait && o.point <= faultWoken:
			o.after += k.rng.Intn(4)
		}
		k.one(t, o)
		if t.Failed() {
			t.Logf("%s: producer %d, order %v", k.name, i, o)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d kills in %v", i, kills, bound)
		}
	}
}

// one runs one producer to its end.
func (k *killRun) one(t *testing.T, o killOrder) {
	clear(k.log)
	pid, over := k.spawn(o.String())
	gone := make(chan string, 1)
	go func() { gone <- over() }()
	wait := time.After(20 * time.Second)
	r, how := k.await(t, pid, gone, wait)
	if t.Failed() {
		return
	}
	if r != nil {
		k.drain(t, r, o)
		if how == "" {
			select {
			case how = <-gone:
			case <-wait:
			}
		}
	}
	if how != "over -9" {
		t.Errorf("the producer was not killed: %q", how)
		return
	}
	k.kills++
	k.points[k.log.a32(killPoint).Load()]++
	if r != nil && !t.Failed() {
		k.recovery = append(k.recovery, time.Duration(k.drained-int64(k.log.a64(killDiedAt).Load())))
		k.account(t, r, o)
	}
}

// await gives the producer's reader, or nil and how it ended when it died before
// it could be accepted.
func (k *killRun) await(t *testing.T, pid int, gone chan string, wait <-chan time.Time) (r *Reader, how string) {
	for {
		select {
		case r := <-k.readers:
			if r.Producer().PID == pid {
				return r, how
			}
			k.late(t, r)
		case how = <-gone:
			gone = nil
			if p := faultPoint(k.log.a32(killPoint).Load()); p != 0 && p <= faultPosted {
				return nil, how
			}
		case <-wait:
			k.wedged++
			t.Errorf("pid %d (over: %q) was never accepted", pid, how)
			return nil, how
		}
	}
}

// late ends the attachment of a producer that died before it was accepted.
func (k *killRun) late(t *testing.T, r *Reader) {
	defer r.Close()
	ctx := testCtx(t)
	for !r.Drained(KindVideo) && ctx.Err() == nil {
		r.Wait(ctx, time.Second)
	}
	if st := r.Stats(); st.Classes[0].SlotsUsed != 0 || r.State() != Dead {
		t.Errorf("a producer that died while it attached: %v, %+v", r.State(), st)
	}
}

// drain takes everything, checks it when it comes and when it is given back,
// and makes sure that all space is returned.
func (k *killRun) drain(t *testing.T, r *Reader, o killOrder) {
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	k.got = [killStreams][killFrames + 1]bool{}
	var held []Frame
	check := func(f Frame) {
		if err := killCheck(f.Data, o.seed, int(f.Stream), int(f.PTS)); err != nil {
			k.corrupt++
			t.Error(err)
		}
	}
	giveBack := func(keep int) {
		for len(held) > keep {
			check(held[0])
			held[0].Cell.Release()
			held = held[1:]
		}
	}
	slow := o.point == faultWaiting || o.point == faultWoken || o.seed%16 == 0
	next := [killStreams]int{}
	for !r.Drained(KindVideo) || !r.Drained(KindAudio) {
		idle := true
		for _, kind := range kinds {
			f := r.Take(kind)
			if f.Kind == 0 {
				continue
			}
			idle = false
			n, s := int(f.PTS), int(f.Stream)
			if f.Flags&FlagEOS != 0 {
				n = killFrames
			} else {
				check(f)
				held = append(held, f)
			}
			if n < next[s] || n > killFrames || n == killFrames && f.Flags&FlagEOS == 0 {
				t.Fatalf("stream %d: frame %d after %d", s, n, next[s])
			}
			k.got[s][n], next[s] = true, n+1
		}
		giveBack(2)
		r.Reclaim()
		if slow {
			time.Sleep(200 * time.Microsecond)
		}
		if idle {
			giveBack(0) // two that are held can be all that keeps a small ring full
			r.Wait(ctx, time.Second)
		}
		if ctx.Err() != nil {
			k.wedged++
			t.Fatalf("wedged: %v, %v, %+v", r.State(), r.Err(), r.Stats())
		}
	}
	k.drained = Now()
	giveBack(0)
	r.Reclaim()
	if want := map[bool]State{true: Ended, false: Dead}[k.said()]; r.State() != want {
		t.Errorf("state %v (%v), want %v", r.State(), r.Err(), want)
	}
	for _, c := range r.Stats().Classes {
		if c.Used != 0 || c.SlotsUsed != 0 || c.HeldFrames != 0 || c.HeldBytes != 0 {
			t.Errorf("not every byte came back: %+v", c)
		}
	}
}

// said tells whether the producer had ended its attachment before it died.
func (k *killRun) said() bool {
	p := faultPoint(k.log.a32(killPoint).Load())
	return p == 0 || p >= faultEnded
}

// fate is what became of claims, by the log or by the reader.
type fate struct{ claimed, delivered, aborted, abandoned int }

// account compares the reader's books with the log. With one thread, the fault
// point decides what the frame in hand had come to; with several, the others
// were somewhere between two entries of the log.
func (k *killRun) account(t *testing.T, r *Reader, o killOrder) {
	point := faultPoint(k.log.a32(killPoint).Load())
	var least, most, have fate
	for s := range killStreams {
		for n := range killFrames + 1 {
			state := k.log[killStates+s*killRow+n]
			lo, hi := fateOf(state)
			// A wake-up at an end of stream is one of the commit, or one because of a full ring.
			if o.threads == 1 && !(state == killEnding && (point == faultTookWait || point == faultMovedSeq)) {
				lo = fateAt(state, point)
				hi = lo
			}
			got := 0
			if k.got[s][n] {
				got = 1
			}
			if got < lo.delivered || got > hi.delivered {
				t.Errorf("stream %d, frame %d, state %d: delivered %d", s, n, state, got)
			}
			have.delivered += got
			least.add(lo)
			most.add(hi)
		}
	}
	have.abandoned = int(r.Stats().Abandoned)
	for _, c := range r.classes {
		have.claimed += int(seqDist(c.start.seq(), c.end.seq()))
	}
	have.aborted = have.claimed - have.delivered - have.abandoned
	if have.claimed < least.claimed || have.claimed > most.claimed || have.aborted < least.aborted || have.aborted > most.aborted ||
		have.abandoned < least.abandoned || have.abandoned > most.abandoned {
		t.Errorf("%+v; the log says %+v to %+v", have, least, most)
	}
}

func (f *fate) add(g fate) {
	f.claimed += g.claimed
	f.delivered += g.delivered
	f.aborted += g.aborted
	f.abandoned += g.abandoned
}

// fateOf bounds what an entry of the log can mean.
func fateOf(state byte) (least, most fate) {
	switch state {
	case killNone:
	case killTrying:
		most = fate{claimed: 1, abandoned: 1}
	case killClaimed:
		least = fate{claimed: 1, abandoned: 1}
		most = least
	case killCommitting:
		least, most = fate{claimed: 1}, fate{claimed: 1, delivered: 1, abandoned: 1}
	case killAborting:
		least, most = fate{claimed: 1}, fate{claimed: 1, aborted: 1, abandoned: 1}
	case killAborted:
		least = fate{claimed: 1, aborted: 1}
		most = least
	case killCommitted, killEnd:
		least = fate{claimed: 1, delivered: 1}
		most = least
	case killEnding:
		most = fate{claimed: 1, delivered: 1, abandoned: 1}
	}
	return least, most
}

// fateAt is exact: the frame in hand was at the fault point.
func fateAt(state byte, point faultPoint) fate {
	moved := point >= faultMoved && point <= faultMovedSeq
	done := point >= faultCommitted && point <= faultMovedSeq && point != faultAborting
	switch {
	case state == killTrying && moved && point <= faultClaimed:
		return fate{claimed: 1, abandoned: 1}
	case state == killTrying:
		return fate{}
	case state == killCommitting && done:
		return fate{claimed: 1, delivered: 1}
	case state == killAborting && done:
		return fate{claimed: 1, aborted: 1}
	case state == killCommitting || state == killAborting:
		return fate{claimed: 1, abandoned: 1}
	case state == killEnding && done:
		return fate{claimed: 1, delivered: 1}
	case state == killEnding && moved && point <= faultStamped:
		return fate{claimed: 1, abandoned: 1}
	}
	least, _ := fateOf(state)
	return least
}
