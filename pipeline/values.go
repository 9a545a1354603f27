package pipeline

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

func trimFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// wrongType says what was written and what is wanted.
func wrongType(v any, want string) error {
	var got string
	switch x := v.(type) {
	case string:
		got = fmt.Sprintf("the text %q", x)
	case int64:
		got = fmt.Sprintf("the whole number %d", x)
	case float64:
		got = "the number " + trimFloat(x)
	case bool:
		got = fmt.Sprint(x)
	case []any:
		got = "a list"
	case map[string]any:
		got = "a table"
	default:
		got = "a date or time"
	}
	return fmt.Errorf("want %s, got %s", want, got)
}

func parseDuration(v any) (time.Duration, error) {
	const want = `a time with its unit, such as "2s" or "150ms"`
	s, ok := v.(string)
	if !ok {
		return 0, wrongType(v, want)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, wrongType(v, want)
	}
	return d, nil
}

func parseBitrate(v any) (int64, error) {
	return parseScaled(v, `a bit rate in bits per second, such as "2500k" or "2.5M"`, map[string]float64{
		"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9,
	})
}

func parseSize(v any) (int64, error) {
	return parseScaled(v, `a size, such as "64MiB" or "10MB"`, map[string]float64{
		"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	})
}

func parseScaled(v any, want string, units map[string]float64) (int64, error) {
	if n, ok := v.(int64); ok && n >= 0 {
		return n, nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, wrongType(v, want)
	}
	num := strings.TrimRight(s, "kKMGTiB")
	scale, known := units[strings.TrimSpace(s[len(num):])]
	f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if !known || err != nil || f < 0 || f*scale > math.MaxInt64/2 || math.IsNaN(f) {
		return 0, wrongType(v, want)
	}
	return int64(math.Round(f * scale)), nil // 2.3 * 1e6 is a hair less than 2300000
}

// ParseSize reads bytes as graph files write them: "64MiB", "10MB", "4096".
func ParseSize(s string) (int64, error) { return parseSize(s) }

// FormatSize writes bytes as a graph file would, rounded for reading: "24.0MiB".
func FormatSize(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1fGiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1fKiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%dB", n)
	}
}

// Secret is a value that comes from the environment or a file when it is
// needed, and prints as "[secret]" everywhere.
type Secret struct {
	env, file string
	text      string // of one that may stand in the file
}

func parseSecret(v any) (Secret, error) {
	const want = `{ env = "NAME" } or { file = "path" }, so that the secret itself stays out of the file`
	m, ok := v.(map[string]any)
	if !ok {
		if _, isText := v.(string); isText {
			return Secret{}, fmt.Errorf("want %s, got a text", want) // the text may be the secret: not repeated
		}
		return Secret{}, wrongType(v, want)
	}
	env, hasEnv := m["env"].(string)
	file, hasFile := m["file"].(string)
	if len(m) != 1 || hasEnv == hasFile || env+file == "" {
		return Secret{}, fmt.Errorf("want %s", want)
	}
	return Secret{env: env, file: file}, nil
}

// IsSet tells whether the graph gave the secret a place to come from.
func (s Secret) IsSet() bool { return s.env != "" || s.file != "" || s.text != "" }

// InFile tells that it stands in the graph file as a text; see
// [Props.SecretOrText].
func (s Secret) InFile() bool { return s.text != "" }

// Reveal reads the secret: the variable's value, or the file's content without
// trailing newlines. An unset or empty one is an error that names the place.
func (s Secret) Reveal() (string, error) {
	if s.text != "" {
		return s.text, nil
	}
	if s.env != "" {
		v := os.Getenv(s.env)
		if v == "" {
			return "", fmt.Errorf("the environment variable %s is not set", s.env)
		}
		return v, nil
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		return "", err
	}
	v := strings.TrimRight(string(b), "\r\n")
	if v == "" {
		return "", fmt.Errorf("%s is empty", s.file)
	}
	return v, nil
}

func (s Secret) String() string               { return "[secret]" }
func (s Secret) GoString() string             { return "[secret]" }
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal("[secret]") }

// Nearest finds the allowed name a user most likely meant, or "" when none is
// near: at most two edits away, and fewer than half of what was written.
func Nearest(name string, allowed []string) string {
	const longest = 64 // nobody mistypes a longer name, and the work grows with its square
	best, dist := "", 3
	for _, a := range allowed {
		if len(name) > longest || len(a) > 2*longest {
			continue
		}
		if d := editDistance(strings.ToLower(name), strings.ToLower(a)); d < dist && 2*d < len(name)+1 {
			best, dist = a, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours (optimal string alignment).
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	d := make([][]int, len(x)+1)
	for i := range d {
		d[i] = make([]int, len(y)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(x)][len(y)]
}

// Settings turns a gst = {…} table into settings of a GStreamer element, sorted
// by name.
func Settings(raw map[string]any) []Setting {
	out := make([]Setting, 0, len(raw))
	for k, v := range raw {
		var s string
		switch x := v.(type) {
		case float64:
			s = trimFloat(x)
		default:
			s = fmt.Sprint(x)
		}
		out = append(out, Setting{Name: k, Value: s})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
