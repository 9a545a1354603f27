package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block gives the first code block of the README in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "```"+language+"\n")
	body, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatalf("the README has no block of %s", language)
	}
	return body
}

func TestReadmeGraphIsRight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meeting.toml")
	if err := os.WriteFile(path, []byte(block(t, "toml")), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, nil, "check", path, "--param", "id=42").exit(0)
	start(t, nil, "check", path, "--param", "id=42", "--set", "h264.type=openh264").exit(0)
}

func TestReadmeProducerCompiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(path, []byte(block(t, "go")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReadmeCommands: every mpipe command line of the README and of the guide to
// rings parses.
func TestReadmeCommands(t *testing.T) {
	for _, path := range []string{"../README.md", "../docs/guide/ring.md"} {
		checkCommands(t, path)
	}
}

func checkCommands(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^ *(mpipe \S.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(lines) < 6 {
		t.Fatalf("only %d command lines found", len(lines))
	}
	for _, l := range lines {
		words := strings.Fields(l[1])[1:]
		v, rest := findVerb(words...)
		if v == nil {
			continue // "mpipe records and streams …"
		}
		f := newFlags()
		v.declare(f)
		if rest, err := f.parse(rest); err != nil || len(rest) < v.min {
			t.Errorf("%s: %v, arguments %q", l[1], err, rest)
		}
	}
}
