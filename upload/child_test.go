package upload

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Some tests need a process of its own that uploads, to kill it or to weigh it:
// the test binary again, with this variable in its environment.
const childVariable = "MPIPE_UPLOAD_TEST_CHILD"

// task is what a child does; its credentials are in the environment.
type task struct {
	Options  Options
	Seed     uint64
	Bytes    int64
	Rate     int64  // bytes a second; 0 is as fast as it goes
	Progress string // a file with the number of bytes that Write has taken
	Resume   string // a spool to finish instead
}

// child starts one.
func child(t task) (*exec.Cmd, error) {
	t.Options.Log, t.Options.Keys = nil, nil
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childVariable+"="+string(b))
	c.Stderr = os.Stderr
	return c, nil
}

func runChild(text string) int {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := t.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (t task) run() error {
	if t.Resume != "" {
		_, err := Resume(context.Background(), t.Resume, t.Options)
		return err
	}
	u, err := Start(context.Background(), t.Options)
	if err != nil {
		return err
	}
	w, err := newPaced(u, t)
	if err != nil {
		return err
	}
	if err := fill(w, t.Seed, t.Bytes); err != nil {
		return err
	}
	_, err = u.Close(context.Background())
	return err
}

// paced writes at a rate and notes how far it is.
type paced struct {
	u     *Upload
	t     task
	f     *os.File
	n     int64
	began time.Time
}

func newPaced(u *Upload, t task) (*paced, error) {
	f, err := os.Create(t.Progress)
	return &paced{u: u, t: t, f: f, began: time.Now()}, err
}

func (p *paced) Write(b []byte) (int, error) {
	n, err := p.u.Write(b)
	p.n += int64(n)
	var text [8]byte
	binary.LittleEndian.PutUint64(text[:], uint64(p.n))
	p.f.WriteAt(text[:], 0)
	if p.t.Rate > 0 {
		time.Sleep(time.Until(p.began.Add(time.Duration(float64(p.n) / float64(p.t.Rate) * float64(time.Second)))))
	}
	return n, err
}

// noted reads what a child noted.
func noted(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil || len(b) < 8 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b))
}
