package filter_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/pipeline/run"
)

// level tells that the sound of a file has one loudness from a time to another, in
// tenths of a second; the ones at the edges are left out.
func level(t *testing.T, got []int, from, to, want int) {
	t.Helper()
	for i := from; i < to; i++ {
		if i >= len(got) {
			t.Errorf("the sound ends at %d tenths of a second", len(got))
			return
		}
		if d := got[i] - want; d > want/50+2 || d < -want/50-2 {
			t.Errorf("at %d tenths of a second the level is %d, want %d", i, got[i], want)
			return
		}
	}
}

func TestVolume(t *testing.T) {
	long(t)
	for props, want := range map[string]int{
		`volume = "0.5"`: 2000, `volume = "-6dB"`: 2005, `volume = "6dB"`: 7981, "mute = true": 0, "": 4000,
	} {
		path, _ := record(t, "audio", one("audio", "level = 4000", "type = \"volume\"\n"+props), run.Options{})
		level(t, levels(t, path), 0, 20, want)
	}
}

func TestVolumeChanges(t *testing.T) {
	c, done := run.NewControl(), make(chan struct{})
	go func() {
		time.Sleep(800 * time.Millisecond)
		if err := c.Set(done, "it", "volume", "loud"); err == nil || !strings.Contains(err.Error(), "decibels") {
			t.Errorf("no volume got %v", err)
		}
		if err := c.Set(done, "it", "volume", "0.25"); err != nil {
			t.Error(err)
		}
	}()
	path, _ := record(t, "audio", one("audio", "level = 4000\npace = \"20ms\"\nframes = 120", `type = "volume"`), run.Options{Control: c})
	close(done)
	got := levels(t, path)
	level(t, got, 0, 3, 4000)
	level(t, got, 37, 40, 1000)
}

func TestResample(t *testing.T) {
	long(t)
	for props, want := range map[string]string{
		"rate = 44100": "44100,2,s16", "channels = 1": "48000,1,s16", "rate = 16000\nchannels = 1": "16000,1,s16",
	} {
		path, _ := record(t, "audio", one("audio", "level = 4000", "type = \"resample\"\n"+props), run.Options{})
		if got := probe(t, path, "stream=sample_rate,channels,sample_fmt"); got != want && got != reorder(want) {
			t.Errorf("%s: the file has %q, want %q", props, got, want)
		}
		got := levels(t, path)
		level(t, got, 1, 19, got[10])
		if got[10] < 3700 || got[10] > 4300 {
			t.Errorf("%s: the level became %d", props, got[10])
		}
	}
}

// reorder puts ffprobe's columns in its own order: sample_fmt comes first.
func reorder(want string) string {
	f := strings.Split(want, ",")
	return strings.Join([]string{f[2], f[0], f[1]}, ",")
}

func TestMix(t *testing.T) {
	for props, want := range map[string]int{
		"": 4000, `volumes = ["0.5", "1"]`: 3500, `volumes = ["1", "-20dB"]`: 1300, "channels = 1": 4000, "rate = 44100": 4000,
	} {
		path, m := record(t, "audio", several("audio", "type = \"mix\"\nwait = \"0s\"\n"+props, "level = 1000", "level = 3000"), run.Options{})
		got := levels(t, path)
		if len(got) != 20 {
			t.Errorf("%s: %d tenths of a second of sound, want 20", props, len(got))
		}
		if props == "rate = 44100" { // two rates more on the way round the corners of the wave
			continue
		}
		level(t, got, 1, 19, want)
		for _, in := range m.Stages["it"].Inputs {
			if in.Frames != 60 || in.Late != 0 || in.Missing != 0 {
				t.Errorf("%s: the account of the inputs says %+v", props, in)
			}
		}
	}
}

// Sounds begin, pause and end at different times.
func TestMixComingAndGoing(t *testing.T) {
	long(t)
	path, m := record(t, "audio", several("audio", "type = \"mix\"\nwait = \"0s\"",
		"level = 1000\nframes = 60", "level = 3000\nframes = 60\nfrom = \"1s\"\nhole_at = 30\nhole = \"1s\""), run.Options{})
	got := levels(t, path)
	level(t, got, 0, 10, 1000)
	level(t, got, 11, 19, 4000)
	level(t, got, 21, 29, 0)
	level(t, got, 31, 39, 3000)
	if len(got) != 40 || m.Outputs[0].Streams[0].Captured != 120 {
		t.Errorf("%d tenths of a second of sound, want 40; %+v", len(got), m.Outputs[0].Streams[0])
	}
}

// A sound that says nothing for a while, or ever, stops nobody: there is silence. A
// run waits 2 s for the first formats of all.
func TestMixAPause(t *testing.T) {
	long(t)
	path, m := record(t, "audio", several("audio", "type = \"mix\"\nwait = \"700ms\"",
		"level = 1000\nframes = 150\npace = \"10ms\"",
		"level = 3000\nframes = 90\npace = \"10ms\"\nhole_at = 30\nhole = \"2s\"\nstall = \"1200ms\"",
		"level = 500\nframes = 15\ndelay = \"2500ms\"\nfrom = \"4500ms\"",
		"frames = 1\npace = \"6s\"\nlevel = 9000"), run.Options{})
	got := levels(t, path)
	level(t, got, 0, 9, 4000)
	level(t, got, 11, 29, 1000)
	if len(got) != 50 || got[44] < 3900 || got[44] > 4100 || got[49] < 4400 {
		t.Errorf("the sound that came back, or the one that came late, is not heard: %v; %+v", got, m.Stages["it"].Inputs)
	}
	in := m.Stages["it"].Inputs
	if in[0].Late != 0 || in[0].Missing != 0 || in[1].Missing < 0.1 || in[2].Late != 0 || in[3].Late != 1 || in[3].Missing < 2.5 {
		t.Errorf("the account of the inputs says %+v", in)
	}
}

func TestMixVolumesChange(t *testing.T) {
	c, done := run.NewControl(), make(chan struct{})
	go func() {
		time.Sleep(900 * time.Millisecond)
		for _, wrong := range []any{[]any{"1"}, []any{"1", "loud"}, "1"} {
			if err := c.Set(done, "it", "volumes", wrong); err == nil {
				t.Errorf("volumes took %v", wrong)
			}
		}
		if err := c.Set(done, "it", "volumes", []any{"0", "1"}); err != nil {
			t.Error(err)
		}
	}()
	path, _ := record(t, "audio", several("audio", "type = \"mix\"\nvolumes = [\"1\", \"1\"]",
		"level = 1000\npace = \"20ms\"\nframes = 120", "level = 3000\npace = \"20ms\"\nframes = 120"), run.Options{Control: c})
	close(done)
	got := levels(t, path)
	level(t, got, 1, 3, 4000)
	level(t, got, 37, 40, 3000)
}

func TestGate(t *testing.T) {
	long(t)
	for _, media := range []string{"video", "audio"} {
		for _, closed := range []string{"blank", "drop"} {
			t.Run(media+" "+closed, func(t *testing.T) { gates(t, media, closed) })
		}
	}
}

// gates closes a gate for a while in the middle.
func gates(t *testing.T, media, closed string) {
	c, done := run.NewControl(), make(chan struct{})
	go func() {
		for _, open := range []bool{false, true} {
			time.Sleep(800 * time.Millisecond)
			if err := c.Set(done, "it", "open", open); err != nil {
				t.Error(err)
			}
		}
	}()
	path, m := record(t, media, one(media, "level = 4000\nluma = 60\nstep = 1\npace = \"15ms\"\nframes = 180",
		fmt.Sprintf("type = \"gate\"\nclosed = %q", closed)), run.Options{Control: c})
	close(done)
	n := m.Outputs[0].Streams[0].Frames
	if media == "audio" {
		got := levels(t, path)
		silent := 0
		for _, l := range got {
			if l == 0 {
				silent++
			}
		}
		switch {
		case closed == "blank" && (len(got) != 60 || silent < 5 || got[0] == 0 || got[59] == 0):
			t.Errorf("%d tenths of a second, %d of them silent: %v", len(got), silent, got)
		case closed == "drop" && len(got) >= 58:
			t.Errorf("%d tenths of a second: nothing was left out", len(got))
		}
		return
	}
	f, at := watch(t, path), stamps(t, path)
	dark := 0
	for i := range f.frames {
		frame := int(at[i]*30 + 0.5) // its number, by its stamp
		switch got, blue := f.luma(i, 80, 60), f.blue(i, 80, 60); {
		case near(got, black) && near(blue, 128):
			dark++
		case !near(got, 60+frame):
			t.Fatalf("the picture at %v s has luma %d, want %d", at[i], got, 60+frame)
		}
	}
	switch {
	case closed == "blank" && (n != 180 || dark < 10 || dark > 150):
		t.Errorf("%d pictures, %d of them black", n, dark)
	case closed == "drop" && (n < 30 || n > 170 || dark > 0):
		t.Errorf("%d pictures, %d of them black; want fewer than 180 and none", n, dark)
	}
}
