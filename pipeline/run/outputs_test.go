package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

func init() {
	pipeline.RegisterSink[collector]("collector", "Keeps a TS in memory.")
	pipeline.RegisterSink[stubborn]("stubborn", "Keeps a TS in memory, and takes its time or fails before.")
	pipeline.RegisterSink[caller]("caller", "Sends a TS to a TCP server, again and again.")
}

// tsInputs is what mpegtsmux is given here.
var tsInputs = []pipeline.Input{{Pad: "sink_%d", Accepts: []pipeline.Kind{{Media: pipeline.Video, Codec: "h264"}, {Media: pipeline.Audio, Codec: "opus"}}}}

// collector is a sink in Go with everything that can go wrong in one.
type collector struct {
	id         string
	slow       time.Duration
	fail, hang int // at this write
	guard      time.Duration
	begun      time.Time
	writes     int
	unhang     chan struct{}
}

// collected is what each collector got, by id.
var collected = struct {
	sync.Mutex
	bytes map[string]*bytes.Buffer
	said  map[string][]string
}{bytes: map[string]*bytes.Buffer{}, said: map[string][]string{}}

func (c *collector) Props(p *pipeline.Props) {
	p.String(&c.id, "id", "", "Where the test finds it.", pipeline.Required)
	p.Duration(&c.slow, "slow", "0s", "Wait at each write.")
	p.Int(&c.fail, "fail", 0, "Fail at this write.")
	p.Int(&c.hang, "hang", 0, "Block for ever at this write.")
	p.Duration(&c.guard, "guard", "0s", "Have enough after this.")
}

func (c *collector) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return pipeline.Fragment{Nodes: []pipeline.Node{{Factory: "mpegtsmux"}}, Inputs: tsInputs, Container: "ts", Where: "memory:" + c.id}, nil
}

func (c *collector) say(what string) {
	collected.Lock()
	defer collected.Unlock()
	collected.said[c.id] = append(collected.said[c.id], what)
}

func (c *collector) Begin(context.Context, *pipeline.OutputEnv) error {
	c.begun, c.unhang = time.Now(), make(chan struct{})
	c.say("begin")
	return nil
}

func (c *collector) Write(p []byte) (int, error) {
	c.writes++
	time.Sleep(c.slow)
	switch c.writes {
	case c.fail:
		return 0, errors.New("the shelf is full")
	case c.hang:
		<-c.unhang
		return 0, errors.New("woken")
	}
	collected.Lock()
	defer collected.Unlock()
	if collected.bytes[c.id] == nil {
		collected.bytes[c.id] = &bytes.Buffer{}
	}
	return collected.bytes[c.id].Write(p)
}

func (c *collector) Finish(context.Context) error { c.say("finish"); return nil }
func (c *collector) Abandon(reason error) {
	select {
	case <-c.unhang:
	default:
		c.say("abandon: " + reason.Error())
		close(c.unhang)
	}
}

func (c *collector) Watch() error {
	if c.guard > 0 && time.Since(c.begun) > c.guard {
		return errors.New("that is enough")
	}
	return nil
}

// got stores what a collector has as a file, and says how it ended.
func got(t *testing.T, id string) (path, said string) {
	t.Helper()
	collected.Lock()
	defer collected.Unlock()
	path = filepath.Join(t.TempDir(), id+".ts")
	if b := collected.bytes[id]; b != nil {
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path, strings.Join(collected.said[id], "; ")
}

func collect(id, more string) string {
	return fmt.Sprintf("[sinks.%s]\ntype = \"collector\"\nid = %q\ninputs = [\"v\", \"a\"]\n%s\n", id, id, more)
}

func TestASinkInGoGetsEveryByteAndItsEnd(t *testing.T) {
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "frames = 90")+collect("all", `slow = "1ms"`)), run.Options{})
	if err != nil || !m.Complete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	path, said := got(t, "all")
	if n := frames(t, path, "v"); n != "90" || said != "begin; finish" {
		t.Errorf("%s frames, said %q", n, said)
	}
	if o := m.Outputs[0]; o.Where != "memory:all" || o.Streams[0].Sent != 90 {
		t.Errorf("manifest says %+v", o)
	}
}

// A required output that fails at any write leaves the other one whole; the
// exit code says that one is missing.
func TestAFailedOutputLeavesTheOthersWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "frames = 150")+fmt.Sprintf(mp4, path)+collect("broken", "fail = 20")), run.Options{})
	var e *pipeline.Error
	if !errors.As(err, &e) || e.Stage != "broken" || e.Pos.Line == 0 || !strings.Contains(err.Error(), "the shelf is full") || run.ExitCode(m, err) != run.ExitFailed {
		t.Errorf("got %v", err)
	}
	if _, said := got(t, "broken"); said != "begin; abandon: the shelf is full" {
		t.Errorf("said %q", said)
	}
	if !m.Outputs[0].Complete || frames(t, path, "v") != "150" || m.Outputs[1].Complete {
		t.Errorf("outputs are %+v", m.Outputs)
	}
}

// An output that is not required and hangs for ever neither holds up the file
// nor keeps the run from ending, and does not spoil the exit code.
func TestAnOptionalOutputThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	text := fmt.Sprintf(head, "frames = 600") + fmt.Sprintf(mp4, path) + collect("stuck", "hang = 20\nrequired = false\nqueue = { time = \"1s\" }")
	m, err := run.Run(context.Background(), plan(t, text), run.Options{})
	if err != nil || !m.Complete || run.ExitCode(m, err) != run.ExitComplete {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	if n := frames(t, path, "v"); n != "600" {
		t.Errorf("%s frames in the file, want 600", n)
	}
	stuck := m.Outputs[1]
	if stuck.Complete || stuck.Required || stuck.Streams[0].Dropped == 0 {
		t.Errorf("the stuck output is %+v, want dropped frames and not complete", stuck)
	}
	if _, said := got(t, "stuck"); !strings.HasPrefix(said, "begin; abandon: ") {
		t.Errorf("said %q", said)
	}
}

// A sink that has had enough is finished in good order with what it has.
func TestAGuardFinishesItsOutputEarly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	text := fmt.Sprintf(head, "frames = 150\nslow = \"20ms\"") + fmt.Sprintf(mp4, path) + collect("short", `guard = "1s"`)
	m, err := run.Run(context.Background(), plan(t, text), run.Options{})
	if err == nil || !strings.Contains(err.Error(), "stage short: ") || !strings.Contains(err.Error(), "that is enough") {
		t.Errorf("got %v", err)
	}
	ts, said := got(t, "short")
	n := frames(t, ts, "v")
	if said != "begin; finish" {
		t.Errorf("said %q", said)
	}
	if n == "none" || n == "0" || n == "150" {
		t.Errorf("%s frames before it had enough", n)
	}
	if !m.Outputs[0].Complete || frames(t, path, "v") != "150" {
		t.Errorf("the other output is %+v", m.Outputs[0])
	}
}

// stubborn is a collector that is made anew when it fails, and takes a while to
// begin or ends with an error.
type stubborn struct {
	collector
	late           time.Duration
	finish, refuse bool
}

func (s *stubborn) Props(p *pipeline.Props) {
	s.collector.Props(p)
	p.Duration(&s.late, "late", "0s", "Begin so late.")
	p.Bool(&s.finish, "fail_finish", false, "Fail at the end.")
	p.Bool(&s.refuse, "refuse", false, "Fail at the beginning, for good.")
}

func (s *stubborn) Fragment(cat pipeline.Catalog) (pipeline.Fragment, error) {
	f, err := s.collector.Fragment(cat)
	f.Live, f.QueueTime, f.Restart = true, 4*time.Second, &pipeline.Restart{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}
	return f, err
}

// forGood is an error that a further attempt would meet again.
type forGood struct{}

func (forGood) Error() string { return "not here" }
func (forGood) Final() bool   { return true }

func (s *stubborn) Begin(ctx context.Context, env *pipeline.OutputEnv) error {
	if s.refuse {
		s.say("refuse")
		return fmt.Errorf("wrapped: %w", forGood{})
	}
	time.Sleep(s.late)
	return s.collector.Begin(ctx, env)
}

func (s *stubborn) Finish(ctx context.Context) error {
	if s.finish {
		s.say("fail")
		return errors.New("nobody confirmed it")
	}
	return s.collector.Finish(ctx)
}

func stubbornly(id, more string) string {
	return strings.Replace(collect(id, more), `"collector"`, `"stubborn"`, 1)
}

// To take a while before the first frame loses none of those that fit into the
// queue, over several key frames.
func TestAnOutputThatBeginsLate(t *testing.T) {
	text := fmt.Sprintf(head, "frames = 120\nslow = \"20ms\"") + stubbornly("late", `late = "1800ms"`)
	m, err := run.Run(context.Background(), plan(t, text), run.Options{})
	if err != nil || !m.Complete || m.Outputs[0].Streams[0].Sent != 120 {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	if ts, _ := got(t, "late"); frames(t, ts, "v") != "120" {
		t.Errorf("%s frames came, want 120", frames(t, ts, "v"))
	}
}

// What fails for good, or when nothing is left to send, is not tried again.
func TestAnOutputThatIsNotTriedAgain(t *testing.T) {
	for more, want := range map[string][2]string{
		"refuse = true":      {"refuse", "not here"},
		"fail_finish = true": {"begin; fail", "nobody confirmed it"},
	} {
		id := strings.Fields(more)[0]
		m, err := run.Run(context.Background(), plan(t, fmt.Sprintf(head, "frames = 60")+stubbornly(id, more)), run.Options{})
		if _, said := got(t, id); err == nil || !strings.Contains(err.Error(), want[1]) || said != want[0] || m.Outputs[0].Connects > 1 {
			t.Errorf("%s: got %v, said %q, manifest %+v", more, err, said, m.Outputs[0])
		}
	}
}

// caller is an output that is made anew when its server goes.
type caller struct {
	port   int
	giveUp time.Duration
	final  bool
}

func (c *caller) Props(p *pipeline.Props) {
	p.Int(&c.port, "port", 0, "Of the server on this machine.")
	p.Duration(&c.giveUp, "give_up", "0s", "When to give up.")
	p.Bool(&c.final, "final", false, "Give up at once.")
}

func (c *caller) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	return pipeline.Fragment{
		Nodes: []pipeline.Node{{Factory: "mpegtsmux"}, {Factory: "tcpclientsink", Set: []pipeline.Setting{
			{Name: "host", Value: "127.0.0.1"}, {Name: "port", Value: fmt.Sprint(c.port)}, {Name: "sync", Value: "false"}, {Name: "async", Value: "false"}}}},
		Inputs: tsInputs, Container: "ts", Where: "tcp", Live: true,
		Restart: &pipeline.Restart{Min: 50 * time.Millisecond, Max: 200 * time.Millisecond, GiveUp: c.giveUp, Final: func(string) bool { return c.final }},
	}, nil
}

// A server that cuts the line again and again gets, each time, a stream that
// begins with a key frame; the file beside it is whole.
func TestAnOutputIsMadeAnew(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var streams [][]byte
	var serving sync.WaitGroup
	serving.Add(1)
	go func() {
		defer serving.Done()
		for cut := 60_000; ; cut += 20_000 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var b bytes.Buffer
			buf := make([]byte, 4096)
			for b.Len() < cut {
				n, err := c.Read(buf)
				b.Write(buf[:n])
				if err != nil {
					break
				}
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			mu.Lock()
			streams = append(streams, b.Bytes())
			mu.Unlock()
		}
	}()
	path := filepath.Join(t.TempDir(), "a.mp4")
	text := fmt.Sprintf(head, "frames = 900\nslow = \"5ms\"") + fmt.Sprintf(mp4, path) +
		fmt.Sprintf("[sinks.far]\ntype = \"caller\"\nport = %d\nrequired = false\ninputs = [\"v\", \"a\"]\n", l.Addr().(*net.TCPAddr).Port)
	m, err := run.Run(context.Background(), plan(t, text), run.Options{})
	l.Close()
	serving.Wait()
	if err != nil || !m.Complete || frames(t, path, "v") != "900" {
		t.Fatalf("err %v, manifest %+v", err, m)
	}
	far := m.Outputs[1]
	if far.Connects < 3 || far.LastError+far.Error == "" || len(streams) < 3 {
		t.Fatalf("%d streams came, manifest %+v", len(streams), far)
	}
	for i, s := range streams[:len(streams)-1] {
		ts := filepath.Join(t.TempDir(), fmt.Sprintf("%d.ts", i))
		if err := os.WriteFile(ts, s, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0", ts).Output()
		flags := strings.Fields(string(out))
		if err != nil || len(flags) < 5 || !strings.HasPrefix(flags[0], "K") {
			t.Errorf("stream %d of %d bytes: %v, packets %v; want a key frame first", i, len(s), err, flags[:min(len(flags), 5)])
		}
	}
}

func TestAnOutputGivesUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close() // nobody is there
	for more, want := range map[string]string{`give_up = "300ms"`: "given up after 300ms: ", `final = true`: "stage far: "} {
		path := filepath.Join(t.TempDir(), "a.mp4")
		text := fmt.Sprintf(head, "frames = 300\nslow = \"5ms\"") + fmt.Sprintf(mp4, path) +
			fmt.Sprintf("[sinks.far]\ntype = \"caller\"\nport = %d\n%s\ninputs = [\"v\", \"a\"]\n", port, more)
		m, err := run.Run(context.Background(), plan(t, text), run.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || m.Complete || frames(t, path, "v") != "300" {
			t.Errorf("%s: got %v, manifest %+v", more, err, m)
		}
	}
}
