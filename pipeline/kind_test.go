package pipeline

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestKindsAreReadable(t *testing.T) {
	for want, k := range map[string]Kind{"raw video": RawVideo, "opus audio": {Audio, "opus"}, "data": {Data, ""}} {
		if k.String() != want {
			t.Errorf("got %q, want %q", k, want)
		}
		if j, err := json.Marshal(k); err != nil || string(j) != `"`+want+`"` {
			t.Errorf("in JSON %s, %v, want %q", j, err, want)
		}
	}
	if !RawVideo.IsRaw() || !RawAudio.IsRaw() || (Kind{Video, "h264"}).IsRaw() {
		t.Error("raw is what is not compressed")
	}
}

func TestEveryCodecIsFoundByItsCaps(t *testing.T) {
	for _, c := range codecs {
		if got, ok := CodecOf(c.Kind); !ok || got != c {
			t.Errorf("%s: not found by its kind", c.Kind)
		}
		if kinds := KindsOfCaps([]string{c.Caps}); len(kinds) != 1 || kinds[0] != c.Kind {
			t.Errorf("%s: its caps %s give %v", c.Kind, c.Caps, kinds)
		}
	}
	if _, ok := CodecOf(Kind{Video, "opus"}); ok {
		t.Error("opus video was found")
	}
}

func TestKindsOfCaps(t *testing.T) {
	for _, c := range []struct {
		caps []string
		want string
	}{
		{nil, "[]"},
		{[]string{"ANY"}, "[]"},
		{[]string{"application/x-rtp"}, "[]"},
		{[]string{"video/x-h264, stream-format=(string)avc, alignment=(string)au"}, "[h264 video]"},
		{[]string{"video/x-raw(memory:SystemMemory), format=(string){ I420, NV12 }, width=(int)[ 1, 2147483647 ]"}, "[raw video]"},
		{[]string{"audio/mpeg"}, "[aac audio mp2 audio mp3 audio]"},
		{[]string{"audio/mpeg, mpegversion=(int)1, layer=(int)[ 1, 3 ]"}, "[mp2 audio mp3 audio]"},
		{[]string{"audio/mpeg, mpegversion=(int){ 2, 4 }, stream-format=(string)raw"}, "[aac audio]"},
		{[]string{"audio/mpeg, mpegversion=(int){ (int)2, (int)4 }"}, "[aac audio]"},
		{[]string{"audio/mpeg, mpegversion=(int)2"}, "[]"},
		{[]string{"audio/mpeg, mpegversion=(int)1, layer=(int)[ 10, 20 ]"}, "[]"},
		{[]string{"video/mpeg, mpegversion=(int){ 1, 2 }, systemstream=(boolean)false"}, "[mpeg2 video]"},
		{[]string{"video/mpeg, mpegversion=(int)2, systemstream=(boolean)true"}, "[]"},
		{[]string{"video/x-h264", "audio/x-opus", "video/x-h264"}, "[h264 video opus audio]"},
		{[]string{"", ",", "video/x-h264,=,x", "(", "}]"}, "[h264 video]"},
	} {
		if got := fmt.Sprint(KindsOfCaps(c.caps)); got != c.want {
			t.Errorf("%v: got %s, want %s", c.caps, got, c.want)
		}
	}
}
