package ring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The processes of TestSoak, and the ledger in which they say what they did: a
// file that all map, with a row for each attachment. Whoever is killed leaves its
// last words there.
const (
	ledgerRow  = 512
	ledgerRows = 1 << 17
	ledgerSize = ledgerRow * ledgerRows

	// Row 0.
	ledgerLast     = 0 // the last row that is taken
	ledgerAttached = 8 // attachments that the consumer has open

	// The producer's part.
	ledgerEnd     = 0 // how the attachment ended for it
	ledgerStreams = 64
	ledgerStream  = 64 // bytes for each of two streams
	ledTried      = 0
	ledClaimed    = 8
	ledCommitting = 16
	ledCommitted  = 24
	ledAborting   = 32
	ledAborted    = 40
	ledDropped    = 48
	ledPolicy     = 56

	// The consumer's part.
	ledgerTaken     = 256 // 1: taken, 2: drained and closed
	ledgerClaims    = 264 // by the write cursors
	ledgerAbandoned = 272
	ledgerEOS       = 280
	ledgerAborts    = 288 // by the writer table
	ledgerCorrupt   = 296
	ledgerConsumer  = 320 // for each stream: delivered, dropped full, dropped by policy, bytes
	ledDelivered    = 0
	ledFull         = 8
	ledByPolicy     = 16
	ledBytes        = 24

	endOrderly  = 1 // it closed
	endConsumer = 2 // the consumer stopped or went
)

func openLedger(path string) (mem, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(ledgerSize); err != nil {
		return nil, err
	}
	return mapFile(int(f.Fd()), 0, ledgerSize, unix.PROT_READ|unix.PROT_WRITE)
}

func ledgerAt(ledger mem, n int) mem { return ledger[n*ledgerRow:][:ledgerRow] }

// soakSizes are the pictures that a stream changes between.
var soakSizes = []VideoFormat{I420(1920, 1080, 30, 1), I420(1280, 720, 30, 1), I420(854, 480, 30, 1), I420(640, 360, 30, 1), I420(322, 182, 30, 1)}

const soakAudio = 1920 // bytes of the largest packet

var soakStreams = []StreamSpec{{"v", KindVideo, soakSizes[0].Size()}, {"a", KindAudio, soakAudio}}

// soakKey is what a frame's bytes follow from.
func soakKey(row, stream int, n int64) uint64 {
	return killMix(uint64(row)<<40 ^ uint64(stream)<<36 ^ uint64(n))
}

// soakDraw writes 8 bytes from each key on, the rest zero: sizes need not be
// multiples of 8.
func soakDraw(b []byte, key uint64) {
	whole := len(b) &^ 7
	killDraw(b[:whole], key)
	clear(b[whole:])
}

func soakIntact(b []byte, key uint64) bool {
	k := 0
	for ; k+8 <= len(b); k += 8 {
		if binary.LittleEndian.Uint64(b[k:]) != killMix(key+uint64(k/8)) {
			return false
		}
	}
	for ; k < len(b); k++ {
		if b[k] != 0 {
			return false
		}
	}
	return true
}

// helperSoakProduce attaches, again and again, until its time is over: ADDRESS
// LEDGER SEED UNTIL BYTES/S, the time being ns of CLOCK_MONOTONIC.
func helperSoakProduce(args []string) error {
	ledger, err := openLedger(args[1])
	if err != nil {
		return err
	}
	var n [3]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(args[2+i], 10, 64); err != nil {
			return err
		}
	}
	rng := rand.New(rand.NewSource(n[0]))
	until, rate := n[1], n[2]
	for Now() < until {
		err := soakAttached(args[0], ledger, rng, until, rate)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}

// soakAttached is one attachment, with a thread for each stream.
func soakAttached(addr string, ledger mem, rng *rand.Rand, until, rate int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(until-Now()))
	defer cancel()
	n := int(ledger.a64(ledgerLast).Add(1))
	if n >= ledgerRows {
		return errors.New("the ledger is full")
	}
	row := ledgerAt(ledger, n)
	p, err := Attach(ctx, addr, soakStreams, AttachOptions{Name: fmt.Sprintf("soak-%d", n)})
	if err != nil {
		row.a64(ledgerEnd).Store(endOrderly) // without a single claim
		return err
	}
	policy := Drop
	if rng.Intn(2) == 0 {
		policy = Block(30 * time.Millisecond)
	}
	var threads sync.WaitGroup
	errs := [2]error{}
	for s := range errs {
		t := &soakThread{p: p, row: row, n: n, stream: s, rng: rand.New(rand.NewSource(rng.Int63())), policy: policy, until: until, rate: rate}
		threads.Add(1)
		go func() {
			defer threads.Done()
			errs[s] = t.run()
		}()
	}
	threads.Wait()
	err = errors.Join(errs[:]...)
	end := uint64(endOrderly)
	if errors.Is(err, ErrGone) || errors.Is(err, ErrStopped) {
		err, end = nil, endConsumer
	}
	_ = p.Close()
	row.a64(ledgerEnd).Store(end)
	return err
}

// soakThread writes one stream.
type soakThread struct {
	p           *Producer
	row         mem
	n, stream   int
	rng         *rand.Rand
	policy      Policy
	until, rate int64
	format      uint32
	size        int
	left        int // frames until the size changes
}

func (t *soakThread) count(word int) {
	t.row.a64(ledgerStreams + t.stream*ledgerStream + word).Add(1)
}

func (t *soakThread) run() error {
	w, err := t.p.Writer()
	if err != nil {
		return err
	}
	defer w.Close()
	due := Now()
	for i := int64(0); due < t.until; i++ {
		if t.left--; t.left < 0 {
			if err := t.change(); err != nil {
				return err
			}
		}
		if now := Now(); now < due {
			time.Sleep(time.Duration(due - now))
		} else if now > due+int64(time.Second/5) {
			due = now // it was stopped, or waited
		}
		if err := t.frame(w, i); err != nil {
			return err
		}
		if t.stream == 0 {
			due += int64(t.size) * int64(time.Second) / t.rate
		} else {
			due += int64(time.Second / 50)
		}
	}
	return nil
}

// change picks another size.
func (t *soakThread) change() (err error) {
	t.left = 5 + t.rng.Intn(40)
	if t.stream == 1 {
		t.size = 4 * (1 + t.rng.Intn(soakAudio/4))
		t.format, err = t.p.SetAudio(1, AudioFormat{Sample: "S16LE", Rate: 48000, Channels: 2})
		return err
	}
	f := soakSizes[t.rng.Intn(len(soakSizes))]
	t.size = f.Size()
	t.format, err = t.p.SetVideo(0, f)
	return err
}

func (t *soakThread) frame(w *Writer, i int64) error {
	if t.rng.Intn(64) == 0 {
		w.DropByPolicy(t.stream)
		t.count(ledPolicy)
		return nil
	}
	t.count(ledTried)
	s, err := w.Claim(t.stream, t.format, t.size, t.policy)
	if err == ErrFull {
		t.count(ledDropped)
		return nil
	}
	if err != nil {
		return err
	}
	t.count(ledClaimed)
	soakDraw(s.Data, soakKey(t.n, t.stream, i))
	if t.rng.Intn(16) == 0 { // a slow writer, and a good moment to be killed
		time.Sleep(time.Duration(t.rng.Int63n(int64(20 * time.Millisecond))))
	}
	if t.rng.Intn(32) == 0 {
		t.count(ledAborting)
		s.Abort()
		t.count(ledAborted)
		return nil
	}
	t.count(ledCommitting)
	s.Commit(i, 0, 0)
	t.count(ledCommitted)
	return nil
}

// helperSoakConsume takes producers until its standard input closes, then stops
// them in good order: ADDRESS LEDGER SEED.
func helperSoakConsume(args []string) error {
	ledger, err := openLedger(args[1])
	if err != nil {
		return err
	}
	seed, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	l, err := Listen(args[0], Config{VideoBytes: 12 << 20, AudioBytes: 64 << 10, Slots: 64, Name: "soak"})
	if err != nil {
		return err
	}
	fmt.Println("listening")
	ledger.a64(ledgerAttached).Store(0) // whoever was killed did not say that they went
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
		cancel()
	}()
	var open sync.WaitGroup
	failed := make(chan error, 1)
	for {
		r, err := l.Accept(ctx)
		if err != nil {
			break
		}
		ledger.a64(ledgerAttached).Add(1)
		seed++
		rng := rand.New(rand.NewSource(seed))
		open.Add(1)
		go func() {
			defer open.Done()
			if err := soakTake(r, ledger, rng, stop); err != nil {
				select {
				case failed <- err:
				default:
				}
			}
			ledger.a64(ledgerAttached).Add(^uint64(0))
		}()
	}
	open.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return l.Close()
	}
}

// soakTake takes everything of one attachment and closes it.
func soakTake(r *Reader, ledger mem, rng *rand.Rand, stop chan struct{}) error {
	defer r.Close()
	n, err := strconv.Atoi(strings.TrimPrefix(r.Producer().Name, "soak-"))
	if err != nil || n < 1 || n >= ledgerRows {
		return fmt.Errorf("a producer called %q", r.Producer().Name)
	}
	go func() {
		select {
		case <-stop:
			r.StopProducer()
		case <-r.over:
		}
	}()
	t := &soakTaker{r: r, n: n, row: ledgerAt(ledger, n), rng: rng, last: [2]int64{-1, -1}}
	t.row.a64(ledgerTaken).Store(1)
	for !r.Drained(KindVideo) || !r.Drained(KindAudio) {
		took := false
		for _, k := range kinds {
			if _, ok := r.Peek(k); ok {
				t.take(k)
				took = true
			}
		}
		if took && rng.Intn(64) == 0 { // long enough to fill the ring
			time.Sleep(time.Duration(rng.Int63n(int64(300 * time.Millisecond))))
		}
		t.giveBack(2)
		r.Reclaim()
		if !took {
			t.giveBack(0)
			r.Wait(context.Background(), 100*time.Millisecond)
		}
	}
	t.giveBack(0)
	r.Reclaim()
	return t.close()
}

// soakTaker is the consumer's part of an attachment.
type soakTaker struct {
	r    *Reader
	n    int
	row  mem
	rng  *rand.Rand
	held []Frame
	last [2]int64 // number of the latest frame of each stream
}

func (t *soakTaker) take(k Kind) {
	var f Frame
	if t.rng.Intn(16) == 0 {
		f, _ = t.r.TakeCopy(k)
	} else {
		f = t.r.Take(k)
	}
	switch {
	case f.Flags&FlagEOS != 0:
		t.row.a64(ledgerEOS).Add(1)
		return
	case f.Cell == nil:
		return
	}
	t.check(f)
	if f.PTS <= t.last[f.Stream] { // out of order
		t.row.a64(ledgerCorrupt).Add(1)
	}
	t.last[f.Stream] = f.PTS
	at := ledgerConsumer + int(f.Stream)*ledgerStream
	t.row.a64(at + ledDelivered).Add(1)
	t.row.a64(at + ledBytes).Add(uint64(len(f.Data)))
	t.held = append(t.held, f)
}

func (t *soakTaker) check(f Frame) {
	if !soakIntact(f.Data, soakKey(t.n, int(f.Stream), f.PTS)) {
		t.row.a64(ledgerCorrupt).Add(1)
	}
}

// giveBack releases held frames in any order until keep are left, checked once
// more: nobody may have written there.
func (t *soakTaker) giveBack(keep int) {
	for len(t.held) > keep {
		i := t.rng.Intn(len(t.held))
		t.check(t.held[i])
		t.held[i].Cell.Release()
		t.held[i] = t.held[len(t.held)-1]
		t.held = t.held[:len(t.held)-1]
	}
}

// close writes down what the ring says of the attachment.
func (t *soakTaker) close() error {
	r, st := t.r, t.r.Stats()
	claims, aborts := 0, int64(0)
	for _, c := range r.classes {
		claims += int(seqDist(c.start.seq(), c.end.seq()))
	}
	for i := range maxWriters {
		aborts += r.b.seg[writersOff+i*writerSize:][:writerSize].i64(writerAborted)
	}
	t.row.a64(ledgerClaims).Store(uint64(claims))
	t.row.a64(ledgerAborts).Store(uint64(aborts))
	t.row.a64(ledgerAbandoned).Store(uint64(st.Abandoned))
	for _, s := range st.Streams {
		at := ledgerConsumer + int(s.ID)*ledgerStream
		t.row.a64(at + ledFull).Store(uint64(s.DroppedFull))
		t.row.a64(at + ledByPolicy).Store(uint64(s.DroppedPolicy))
		if got := t.row.i64(at + ledDelivered); got != s.Frames || t.row.i64(at+ledBytes) != s.Bytes {
			return fmt.Errorf("attachment %d, stream %d: took %d frames, the ring counted %+v", t.n, s.ID, got, s)
		}
	}
	for _, c := range st.Classes {
		if c.HeldFrames != 0 || c.SlotsUsed != 0 || c.Used != 0 {
			return fmt.Errorf("attachment %d: not all space came back: %+v", t.n, c)
		}
	}
	if s := r.State(); s != Ended && s != Dead || st.CopiesAlive != 0 {
		return fmt.Errorf("attachment %d: %v: %v, %d bytes of copies", t.n, s, r.Err(), st.CopiesAlive)
	}
	t.row.a64(ledgerTaken).Store(2)
	return nil
}
