package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const stage3 = `version = 1
[params]
ring = { required = true }
out = { required = true }
%s[stages.grid]
type = "compose"
inputs = ["s0.video", "s1.video", "s2.video"]
width = 640
height = 360
[stages.sound]
type = "mix"
inputs = ["s0.audio", "s1.audio", "s2.audio"]
[stages.v]
type = "x264"
inputs = ["grid"]
preset = "ultrafast"
[stages.a]
type = "opus"
inputs = ["sound"]
[sinks.file]
type = "file"
inputs = ["v", "a"]
path = "${out}"
`

// Producers come, die without a word, and come back in other sizes and with more
// or fewer streams beside those that are recorded: nothing stops, nothing is left
// behind, the file is whole. MPIPE_CHURN=2m takes longer.
func TestProducersComeAndGo(t *testing.T) {
	length := 10 * time.Second
	if text := os.Getenv("MPIPE_CHURN"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	sources, rings := "", []string{}
	for i := range 3 {
		rings = append(rings, ringName())
		sources += fmt.Sprintf("[sources.s%d]\ntype = \"shmsrc\"\nring = %q\ncapacity = \"16MiB\"\non_producer_exit = \"wait\"\n", i, rings[i])
	}
	r := recordTo(t, graph(t, fmt.Sprintf(stage3, sources)), "unused", "a.mkv")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	comings := 0
	for i, name := range rings {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for first := true; ; first = false {
				args := []string{"feed", "--ring", name, "--duration", "1h"}
				for range 1 + rng.IntN(3) { // the first is recorded
					args = append(args, "--pattern", fmt.Sprintf("%dx%d@%d", 2*(32+rng.IntN(160)), 2*(18+rng.IntN(90)), 5+rng.IntN(25)))
				}
				feed := exec.Command(mpipe, args...)
				if err := feed.Start(); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				comings++
				mu.Unlock()
				stay := time.Duration(500+rng.IntN(2500)) * time.Millisecond
				if first {
					r.says("stage=s" + fmt.Sprint(i) + " stream=video") // the recording begins when all are there
				}
				select {
				case <-time.After(stay):
				case <-stop:
				}
				feed.Process.Kill()
				feed.Wait()
				select {
				case <-time.After(time.Duration(rng.IntN(1500)) * time.Millisecond):
				case <-stop:
					return
				}
			}
		}()
	}
	fds := func() int {
		list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
		return len(list)
	}
	time.Sleep(length / 3)
	early := fds()
	time.Sleep(length * 2 / 3)
	late := fds()
	close(stop)
	wg.Wait()
	r.signal(syscall.SIGINT)
	m := r.finish(60 * time.Second)
	if late > early+15 { // an attachment has a handful
		t.Errorf("mpipe had %d open files, and %d after %d producers", early, late, comings)
	}
	got := measure(t, r.out)
	if got.Frames == 0 || int64(got.Frames) != m.Outputs[0].Streams[0].Frames || got.VideoEnd < length.Seconds()*0.6 {
		t.Errorf("after %d producers the recording holds %+v; %+v", comings, got, m.Outputs[0])
	}
	for _, name := range rings {
		if left, _ := filepath.Glob("/dev/shm/" + name + "*"); len(left) > 0 {
			t.Errorf("left behind: %s", strings.Join(left, " "))
		}
	}
	t.Logf("%d producers, %d pictures in %.1f s", comings, got.Frames, got.VideoEnd)
}
