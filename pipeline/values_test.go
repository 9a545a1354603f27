package pipeline

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseBitrate(t *testing.T) {
	for text, want := range map[string]int64{
		"2500k": 2_500_000, "2.5M": 2_500_000, "2.3M": 2_300_000, "1.001M": 1_001_000, "96K": 96_000,
		"800": 800, "0": 0, "1G": 1_000_000_000, " 64 k": 64_000, "0.0004k": 0,
	} {
		if got, err := parseBitrate(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	if got, err := parseBitrate(int64(42)); err != nil || got != 42 {
		t.Errorf("42: got %d, %v", got, err)
	}
	for _, bad := range []any{"", "k", "2500kb", "2500 kbit", "-1k", "fast", "1e300G", "inf", "nan", "2k5", "1MiB", int64(-1), 2.5, true, []any{}} {
		if got, err := parseBitrate(bad); err == nil {
			t.Errorf("%v: got %d, want an error", bad, got)
		} else if !strings.Contains(err.Error(), `such as "2500k"`) {
			t.Errorf("%v: %q does not say how to write it", bad, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"64MiB": 64 << 20, "1.5GiB": 3 << 29, "10MB": 10_000_000, "1kB": 1000, "1KB": 1000, "1KiB": 1024, "7B": 7, "7": 7, "2TiB": 2 << 40,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, bad := range []any{"64M", "MiB", "1 MiB x", "-1B", "1e30TiB", false} {
		if got, err := parseSize(bad); err == nil {
			t.Errorf("%v: got %d, want an error", bad, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"2s": 2 * time.Second, "1m30s": 90 * time.Second, "0s": 0, "150ms": 150 * time.Millisecond} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []any{"2", "-2s", "soon", "", int64(2), 2.0} {
		if got, err := parseDuration(bad); err == nil {
			t.Errorf("%v: got %v, want an error", bad, got)
		}
	}
}

func TestWrongTypeSaysWhatWasWritten(t *testing.T) {
	for want, v := range map[string]any{
		`got the text "x"`: "x", "got the whole number 3": int64(3), "got the number 2.5": 2.5, "got true": true,
		"got a list": []any{}, "got a table": map[string]any{}, "got a date or time": time.Now(),
	} {
		if err := wrongType(v, "something"); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "want something") {
			t.Errorf("%v: got %q, want it to hold %q", v, err, want)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1.0KiB", 24 << 20: "24.0MiB", 3 << 29: "1.5GiB"} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestSecretComesFromItsPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("from file\r\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MPIPE_TEST_SECRET", "from env")
	for want, v := range map[string]map[string]any{
		"from env": {"env": "MPIPE_TEST_SECRET"}, "from file": {"file": path},
	} {
		s, err := parseSecret(v)
		if err != nil || !s.IsSet() {
			t.Fatalf("%v: %v, set %t", v, err, s.IsSet())
		}
		if got, err := s.Reveal(); err != nil || got != want {
			t.Errorf("%v: got %q, %v", v, got, err)
		}
		j, err := json.Marshal(struct{ S Secret }{s})
		shown := fmt.Sprintf("%s %v %+v %#v %s", s, s, struct{ S Secret }{s}, s, j)
		if err != nil || strings.Contains(shown, want) || !strings.Contains(shown, "[secret]") {
			t.Errorf("printed as %s, %v", shown, err)
		}
	}
}

func TestSecretThatIsNotThere(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, place string }{{"env", "MPIPE_TEST_UNSET_SECRET"}, {"file", empty}, {"file", empty + "-not"}} {
		s, err := parseSecret(map[string]any{c.from: c.place})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Reveal(); err == nil || !strings.Contains(err.Error(), c.place) {
			t.Errorf("%s: got %q, %v, want an error that names the place", c.place, got, err)
		}
	}
}

func TestSecretIsNeverATextInTheFile(t *testing.T) {
	for _, v := range []any{"hunter2", map[string]any{"env": ""}, map[string]any{}, map[string]any{"env": "A", "file": "B"},
		map[string]any{"env": int64(5)}, map[string]any{"env": "A", "x": "B"}, true} {
		s, err := parseSecret(v)
		if err == nil || s.IsSet() {
			t.Errorf("%v was taken as a secret", v)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestNearest(t *testing.T) {
	allowed := []string{"bitrate", "preset", "keyframe_interval", "x264", "h264"}
	for name, want := range map[string]string{
		"bitrat": "bitrate", "bit_rate": "bitrate", "BitRate": "bitrate", "birtate": "bitrate", "bitratee": "bitrate",
		"keyframe-interval": "keyframe_interval", "x246": "x264", "h265": "h264", "presets": "preset",
		"rate": "", "xyz": "", "": "", "p": "", strings.Repeat("b", 1<<20): "",
	} {
		if got := Nearest(name, allowed); got != want {
			t.Errorf("%.20q: got %q, want %q", name, got, want)
		}
	}
	if got := Nearest("bitrate", []string{strings.Repeat("b", 1<<20)}); got != "" {
		t.Errorf("got a name of %d bytes", len(got))
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abcd", "acbd", 1}, {"日本", "日", 1}, {"ca", "abc", 3}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
		if editDistance(c.a, c.b) != editDistance(c.b, c.a) {
			t.Errorf("%q and %q are not as far from each other both ways", c.a, c.b)
		}
	}
}

func TestSettingsAreSorted(t *testing.T) {
	got := Settings(map[string]any{"b": int64(10), "a": "text", "d": true, "c": 0.5})
	want := []Setting{{"a", "text"}, {"b", "10"}, {"c", "0.5"}, {"d", "true"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzValues(f *testing.F) {
	for _, s := range []string{"2500k", "2.5M", "64MiB", "1e9", "0x1p4k", "∞", "-0", "2s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, parse := range map[string]func(any) (int64, error){"bit rate": parseBitrate, "size": parseSize} {
			if n, err := parse(s); err == nil && (n < 0 || n > math.MaxInt64/2+1) {
				t.Errorf("%s %q: got %d", name, s, n)
			}
		}
		if d, err := parseDuration(s); err == nil && d < 0 {
			t.Errorf("duration %q: got %v", s, d)
		}
		if n := Nearest(s, []string{"bitrate", s}); n != "" && n != "bitrate" && n != s {
			t.Errorf("nearest to %q: %q", s, n)
		}
	})
}
