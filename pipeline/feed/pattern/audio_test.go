package pattern

import (
	"bytes"
	"encoding/binary"
	"math/rand"
	"testing"
)

func mustAudio(t testing.TB, rate, channels int, r Rate) *Audio {
	t.Helper()
	a, err := NewAudio(rate, channels, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestClicksComeWithTheWhiteSquares(t *testing.T) {
	for _, c := range []struct {
		rate, channels int
		video          Rate
	}{
		{48000, 2, Rate{30, 1}}, {48000, 1, Rate{30000, 1001}}, {44100, 2, Rate{25, 1}}, {8000, 6, Rate{60, 1}}, {48000, 2, Rate{7, 3}},
	} {
		a := mustAudio(t, c.rate, c.channels, c.video)
		const seconds = 6
		pcm := make([]byte, seconds*c.rate*a.FrameSize())
		a.Play(pcm, 0)
		var want []int64
		for n := uint32(0); ; n++ {
			at := c.video.At(n)
			if at.Seconds() >= seconds-0.01 {
				break
			}
			if c.video.Flashes(n) {
				want = append(want, int64(at.Seconds()*float64(c.rate)+0.5))
			}
		}
		got := Clicks(pcm, c.rate, c.channels)
		if len(got) != len(want) {
			t.Fatalf("%+v: clicks at %v, white squares at %v", c, got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%+v: click %d at sample %d, white square at %d", c, i, got[i], want[i])
			}
		}
	}
}

func TestPacketsMakeTheSameSound(t *testing.T) {
	a := mustAudio(t, 44100, 2, Rate{30000, 1001})
	whole := make([]byte, 3*44100*a.FrameSize())
	a.Play(whole, 0)
	var joined []byte
	rng := rand.New(rand.NewSource(3))
	for len(joined) < len(whole) {
		n := min(1+rng.Intn(1000), (len(whole)-len(joined))/a.FrameSize())
		packet := make([]byte, n*a.FrameSize())
		a.Play(packet, int64(len(joined)/a.FrameSize()))
		joined = append(joined, packet...)
	}
	if !bytes.Equal(whole, joined) {
		t.Error("the sound depends on how it is cut into packets")
	}
}

func TestClickFinder(t *testing.T) {
	a := mustAudio(t, 48000, 2, Rate{30, 1})
	pcm := make([]byte, 4*48000*a.FrameSize())
	a.Play(pcm, 0)
	rng := rand.New(rand.NewSource(5))
	for i := 0; i < len(pcm); i += 2 { // what a codec adds
		s := int(int16(binary.LittleEndian.Uint16(pcm[i:]))) + int(rng.NormFloat64()*600)
		binary.LittleEndian.PutUint16(pcm[i:], uint16(int16(min(max(s, -32768), 32767))))
	}
	f := NewClickFinder(48000, 2)
	var got []int64
	for at := 0; at < len(pcm); at += 1234 * 4 {
		got = append(got, f.Add(pcm[at:min(at+1234*4, len(pcm))])...)
	}
	if len(got) != 4 {
		t.Fatalf("clicks at %v, want 4", got)
	}
	for i, at := range got {
		if d := at - int64(i)*48000; d < -2 || d > 2 {
			t.Errorf("click %d at sample %d", i, at)
		}
	}
	if quiet := Clicks(make([]byte, 48000*4), 48000, 2); len(quiet) != 0 {
		t.Errorf("clicks in silence at %v", quiet)
	}
}

func TestSoundsThatCannotBe(t *testing.T) {
	for _, c := range [][2]int{{0, 2}, {7999, 2}, {400000, 2}, {48000, 0}, {48000, 9}} {
		if _, err := NewAudio(c[0], c[1], Rate{30, 1}); err == nil {
			t.Errorf("%d Hz with %d channels was taken", c[0], c[1])
		}
	}
}
