package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The guide's commands, in their order, from an empty folder: a new element is
// written, tested, built, inspected and recorded through, and the code that the
// guide shows is the code that is written.
func TestGuideToCustomElements(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds two binaries")
	}
	text, err := os.ReadFile("../docs/guide/custom-elements.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir, script := t.TempDir(), "set -e\n"
	for _, b := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script += strings.ReplaceAll(b[1], "~/src/mpipe", root)
	}
	cmd := exec.Command("bash", "-c", strings.NewReplacer("ring=guide", "ring="+dir+"/ring", "--ring guide", "--ring "+dir+"/ring").Replace(script))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"ok  \twatermark", "grey  integer, 16 to 235; default 235", "graph.toml: ok", "codec_name=h264|nb_frames=60", "mpipe-with-watermark has watermark",
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the commands do not say %q in\n%s", want, out)
		}
	}
	written, err := os.ReadFile(filepath.Join(dir, "watermark", "watermark.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(text), "```go\n")
	shown, _, _ = strings.Cut(shown, "```")
	if got := withoutComments(string(written)); got != withoutComments(shown) {
		t.Errorf("the guide shows\n%s\nand what is written is\n%s", shown, got)
	}
}

func withoutComments(code string) string {
	var lines []string
	for _, l := range strings.Split(code, "\n") {
		if !strings.HasPrefix(strings.TrimSpace(l), "//") && strings.TrimSpace(l) != "" {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// What is there is never overwritten, and a name that cannot be is refused before
// anything is written.
func TestNewRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("there", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"there": "is there already", "x264": "has an element x264 already", "Big": "cannot be the type"} {
		got := start(t, nil, "new", "element", name).exit(1)
		if !strings.Contains(got.stderr.String(), want) {
			t.Errorf("%s: %s", name, got.stderr.String())
		}
	}
	start(t, nil, "new", "graph", "g.toml").exit(0)
	start(t, nil, "check", "g.toml", "--param", "ring=x", "--param", "out=a.mp4").exit(0)
	start(t, nil, "new", "graph", "g.toml").exit(1)
}
