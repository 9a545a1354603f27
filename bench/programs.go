package bench

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mpipe/mpipe/ring"
)

//go:embed peers
var sources embed.FS

// builtProgram is a program of peers/, or why there is none.
type builtProgram struct {
	path string
	err  error
}

// program compiles one of peers/ once a comparison, as a release would be: -O2.
func (e *env) program(name string, modules ...string) (string, error) {
	if b, ok := e.built[name]; ok {
		return b.path, b.err
	}
	path, err := e.compile(name, modules)
	e.built[name] = builtProgram{path, err}
	return path, err
}

func (e *env) compile(name string, modules []string) (string, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", errors.New("there is no C compiler (Debian: gcc)")
	}
	source, err := e.unpack(name + ".c")
	if err != nil {
		return "", err
	}
	if _, err := e.unpack("peer.h"); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(e.dir, "mpipe_ring.h"), []byte(ring.CHeader), 0o600); err != nil {
		return "", err
	}
	out := filepath.Join(e.dir, name)
	args := []string{"-std=gnu11", "-O2", "-o", out, source}
	if len(modules) > 0 {
		flags, err := exec.Command("pkg-config", append([]string{"--cflags", "--libs"}, modules...)...).Output()
		if err != nil {
			return "", fmt.Errorf("pkg-config does not find %s (Debian: pkg-config libgstreamer1.0-dev)", strings.Join(modules, ", "))
		}
		args = append(args, strings.Fields(string(flags))...)
	}
	if text, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling %s.c: %w: %s", name, err, text)
	}
	return out, nil
}

// unpack writes one file of peers/.
func (e *env) unpack(name string) (string, error) {
	text, err := sources.ReadFile("peers/" + name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(e.dir, name)
	return path, os.WriteFile(path, text, 0o600)
}

// words are the arguments that peer.h parses.
func (s spec) words(role, addr string, copied bool) []string {
	digit := map[bool]string{false: "0", true: "1"}
	return []string{
		role, addr, strconv.Itoa(s.payload.Size), strconv.Itoa(s.payload.Rate),
		strconv.FormatFloat(s.seconds, 'g', -1, 64), digit[s.paced], digit[s.read], digit[copied],
	}
}

func needsCompiler(e *env) string {
	for _, name := range []string{"drawing", "minimal", "ring"} {
		if _, err := e.program(name); err != nil {
			return err.Error()
		}
	}
	return ""
}

// side makes the commands of a program of peers/.
func side(ctx context.Context, path string, s spec, role string, copied bool) func(string) *exec.Cmd {
	return func(addr string) *exec.Cmd { return exec.CommandContext(ctx, path, s.words(role, addr, copied)...) }
}

// runDrawingC measures drawing alone by drawing.c.
func runDrawingC(ctx context.Context, e *env, s spec) (sample, error) {
	path, err := e.program("drawing")
	if err != nil {
		return sample{}, err
	}
	return alone(side(ctx, path, s, "producer", false)("-"))
}

// runMinimal measures the yardstick of minimal.c.
func runMinimal(copied bool) runFunc {
	return func(ctx context.Context, e *env, s spec) (sample, error) {
		path, err := e.program("minimal")
		if err != nil {
			return sample{}, err
		}
		return pair(ctx, e, side(ctx, path, s, "consumer", copied), side(ctx, path, s, "producer", copied), false)
	}
}

// runRingC measures a producer in C and this binary's reader.
func runRingC(ctx context.Context, e *env, s spec) (sample, error) {
	path, err := e.program("ring")
	if err != nil {
		return sample{}, err
	}
	return pair(ctx, e, func(dir string) *exec.Cmd {
		o := s.order("consumer", dir)
		o.Transport = "ring"
		return e.peer(ctx, o)
	}, side(ctx, path, s, "producer", false), false)
}

func needsGStreamer(e *env) string {
	if _, err := e.program("shmsink", "gstreamer-1.0"); err != nil {
		return err.Error()
	}
	if err := exec.Command("gst-inspect-1.0", "--exists", "shmsink").Run(); err != nil {
		return "GStreamer has no shmsink (Debian: gstreamer1.0-plugins-bad gstreamer1.0-tools)"
	}
	return ""
}

// runShmsink measures shmsink and shmsrc by shmsink.c. The sink's side listens.
func runShmsink(copied bool) runFunc {
	return func(ctx context.Context, e *env, s spec) (sample, error) {
		path, err := e.program("shmsink", "gstreamer-1.0")
		if err != nil {
			return sample{}, err
		}
		return pair(ctx, e, side(ctx, path, s, "producer", copied), side(ctx, path, s, "consumer", copied), true)
	}
}
