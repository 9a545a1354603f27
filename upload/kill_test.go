package upload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/mpipe/mpipe/test/servers"
)

// TestSIGKILL kills a process at random moments from its start to its end, also
// while it takes up what another one left, and finishes what it left: every byte
// that Write had taken is in the object, nothing that the store had was sent
// again, and no multipart upload is left.
func TestSIGKILL(t *testing.T) {
	moments := 50
	if testing.Short() {
		moments = 12
	}
	seed := seedOf(t)
	r := rand.New(rand.NewPCG(seed, 2))
	s := servers.StartS3(t)
	k := &killer{bench: newBench(t, s), t: t, r: r, proxy: servers.StartProxy(t, s.URL, seed)}
	whole := k.lasts()
	counts := map[string]int{}
	for i := range moments {
		// Half of them by the clock, from start to end; half when a number of bytes
		// has been written, since the machine is not always as fast.
		when := moment{after: time.Duration(r.Int64N(int64(whole)))}
		if i%2 == 1 {
			when = moment{written: 1 + r.Int64N(killBytes), after: time.Duration(r.Int64N(int64(20 * time.Millisecond)))}
		}
		counts[k.once(i, when)]++
		if t.Failed() {
			break
		}
	}
	t.Logf("a whole upload takes %v; killed: %v", whole, counts)
	if counts["cut"] < moments/4 {
		t.Errorf("too few kills struck: %v", counts)
	}
}

// moment is when a process is killed: a while after it has written so much.
type moment struct {
	written int64
	after   time.Duration
}

const killBytes = 3*MinPart + MinPart/2

type killer struct {
	*bench
	t     *testing.T
	r     *rand.Rand
	proxy *servers.Proxy
}

func (k *killer) task(i int) task {
	o := k.through(k.proxy.URL, fmt.Sprintf("kill/%d", i))
	return task{Options: o, Seed: uint64(i), Bytes: killBytes, Rate: 60 << 20, Progress: filepath.Join(k.t.TempDir(), "progress")}
}

// start starts a child with the store's credentials.
func (k *killer) start(t task) *exec.Cmd {
	k.t.Helper()
	c, err := child(t)
	if err != nil {
		k.t.Fatal(err)
	}
	c.Env = append(c.Env, "AWS_ACCESS_KEY_ID="+k.Access, "AWS_SECRET_ACCESS_KEY="+k.Secret)
	if err := c.Start(); err != nil {
		k.t.Fatal(err)
	}
	return c
}

// lasts measures an upload that nobody disturbs.
func (k *killer) lasts() time.Duration {
	began := time.Now()
	if err := k.start(k.task(1000)).Wait(); err != nil {
		k.t.Fatal(err)
	}
	k.check("kill/1000", 1000, killBytes)
	return time.Since(began)
}

// once kills one upload after a while and finishes it; it says what was found.
func (k *killer) once(i int, when moment) string {
	k.t.Helper()
	w := k.task(i)
	k.kill(w, when)
	left, err := List(k.spool)
	if err != nil {
		k.t.Fatal(err)
	}
	if len(left) == 0 {
		return k.without(i, w)
	}
	state := left[0].State
	if len(left) != 1 || state != "cut" && state != "ended" || left[0].Target != w.Options.Place.String() {
		k.t.Errorf("%d: list: %+v", i, left)
		return "wrong"
	}
	for k.r.IntN(3) == 0 { // whoever resumes may die as well
		again := w
		again.Resume = left[0].Spool
		k.kill(again, moment{after: time.Duration(k.r.Int64N(int64(150 * time.Millisecond)))})
	}
	if now, _ := List(k.spool); len(now) == 0 { // it was finished before it could die
		k.judge(i, w, k.found(w))
		return state
	}
	res, err := Resume(context.Background(), left[0].Spool, k.through(k.proxy.URL, ""))
	if err != nil {
		k.t.Errorf("%d, killed at %+v: %v", i, when, err)
		return "wrong"
	}
	k.judge(i, w, res)
	return state
}

func (k *killer) kill(w task, when moment) {
	c := k.start(w)
	waitFor(k.t, func() bool { return noted(w.Progress) >= when.written })
	time.Sleep(when.after)
	c.Process.Kill()
	c.Wait()
	waitFor(k.t, k.proxy.Idle) // what was under way has arrived or not
}

// without: there is no spool, since it had not begun or was complete.
func (k *killer) without(i int, w task) string {
	k.clean()
	if noted(w.Progress) == 0 && len(k.keysOf(i)) == 0 {
		return "not begun"
	}
	k.check(w.Options.Key, w.Seed, killBytes)
	return "complete"
}

// found is the result of whoever finished without telling.
func (k *killer) found(w task) *Result {
	o := w.Options
	h, err := k.Client().HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return &Result{Nothing: true}
	}
	return &Result{Size: *h.ContentLength, Verified: "crc32"}
}

func (k *killer) keysOf(i int) (found []string) {
	for _, key := range k.Keys(k.bucket) {
		if key == fmt.Sprintf("kill/%d", i) {
			found = append(found, key)
		}
	}
	return found
}

func (k *killer) judge(i int, w task, res *Result) {
	k.t.Helper()
	k.clean()
	took := noted(w.Progress)
	if res.Nothing {
		if took > 0 || len(k.keysOf(i)) > 0 {
			k.t.Errorf("%d: %d bytes were written, and nothing came of it", i, took)
		}
		return
	}
	if res.Size < took || res.Size > took+1<<20 || res.Verified != "crc32" {
		k.t.Errorf("%d: %d bytes were written; %+v", i, took, res)
	}
	k.check(w.Options.Key, w.Seed, res.Size)
	sent := map[string]int{}
	for _, q := range k.proxy.Requests() {
		if q.Done && q.Is("PUT", "partNumber") && q.Path == "/"+k.bucket+"/"+w.Options.Key {
			sent[q.Query.Get("partNumber")]++
		}
	}
	for n, times := range sent {
		// A part that was cut short by the first death is no part of which the
		// store had anything.
		if times > 1 {
			k.t.Errorf("%d: part %s was sent %d times", i, n, times)
		}
	}
}

// TestBusySpool: what a live process works on is left alone.
func TestBusySpool(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	k := &killer{bench: b, t: t, proxy: servers.StartProxy(t, b.URL, 1)}
	w := k.task(1)
	w.Rate = 1 << 20
	c := k.start(w)
	defer c.Wait()
	defer c.Process.Kill()
	waitFor(t, func() bool { return noted(w.Progress) > 0 })
	l, err := List(b.spool)
	if err != nil || len(l) != 1 || l[0].State != "busy" || l[0].PID != c.Process.Pid || l[0].Waiting == 0 {
		t.Fatalf("list: %+v, %v", l, err)
	}
	_, err = Open(l[0].Spool, b.options(""))
	wantKind(t, err, Busy, "a live process")
	c.Process.Kill()
	c.Wait()
	u, err := Open(l[0].Spool, b.options(""))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Abort(context.Background()); err != nil {
		t.Error(err)
	}
	b.clean()
	if _, err := os.Stat(l[0].Spool); !os.IsNotExist(err) {
		t.Error("the spool stays after Abort")
	}
}
