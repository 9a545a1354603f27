package cli

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"text/template"

	"github.com/mpipe/mpipe/pipeline"
)

//go:embed templates
var templates embed.FS

// goVersion is the Go that mpipe's own go.mod asks for.
const goVersion = "1.24.0"

const mpipeModule = "github.com/mpipe/mpipe"

// newElement are the flags of `mpipe new`.
type newElement struct {
	module string
	mpipe  string
}

func newVerb() *verb {
	return &verb{
		name: "new", args: "element|graph NAME", min: 2, max: 2,
		short: "write an element's module, or a graph, to begin with",
		long: `element writes a folder NAME with a Go module: the element, its tests, a graph
that uses it, and a main package for an mpipe that has it. It builds, passes the
suite for elements and runs as it is; change it from there.

graph writes the file NAME: a ring into H.264 and Opus in one file.

Nothing that is there already is overwritten.`,
		examples: []example{
			{"mpipe new element watermark", "an element in the folder watermark"},
			{"mpipe new element watermark --module example.com/video/watermark --mpipe ~/src/mpipe", "with a module path of its own, against a checkout of mpipe"},
			{"mpipe new graph meeting.toml", "a graph to change"},
		},
		complete: func() []string { return []string{"element", "graph"} },
		declare: func(f *flags) func(*call) int {
			o := &newElement{}
			f.text(&o.module, "module", "PATH", "", "the module path; the name alone when empty")
			f.text(&o.mpipe, "mpipe", "DIR", "", "a checkout of mpipe to build against; empty takes the one around this folder, or the release of this binary")
			return func(c *call) int {
				var err error
				switch c.args[0] {
				case "element":
					err = o.element(c, c.args[1])
				case "graph":
					err = newGraph(c, c.args[1])
				default:
					return c.usage("%q cannot be made; want element or graph", c.args[0])
				}
				return c.result(err)
			}
		},
	}
}

// result ends a verb that works on files: what went wrong is the user's to mend.
func (c *call) result(err error) int {
	if err == nil {
		return 0
	}
	return c.fail(&pipeline.Error{Class: pipeline.Environment, Msg: err.Error()})
}

var elementName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// element writes the module and has Go find what it needs.
func (o *newElement) element(c *call, dir string) error {
	typ := filepath.Base(dir)
	if !elementName.MatchString(typ) {
		return fmt.Errorf(`%q cannot be the type of an element; use lower-case letters, digits, "_" and "-", and a letter first`, typ)
	}
	if reg, taken := pipeline.Lookup(typ); taken {
		return fmt.Errorf("mpipe has an element %s already (%s); choose another name", typ, strings.TrimSuffix(reg.Doc, "."))
	}
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s is there already; choose another name, or remove it", dir)
	}
	module := o.module
	if module == "" {
		module = typ
	}
	data := map[string]any{
		"Type": typ, "Package": strings.NewReplacer("-", "", "_", "").Replace(typ), "Imports": []string{module},
		"Says": "Record through " + typ + ".", "File": "graph.toml",
	}
	for file, tmpl := range map[string]string{
		typ + ".go": "element.go", typ + "_test.go": "element_test.go", "cmd/mpipe/main.go": "main.go", "graph.toml": "graph.toml", "README.md": "README.md",
	} {
		if err := writeTemplate(filepath.Join(dir, file), tmpl, data); err != nil {
			return err
		}
	}
	if err := goModule(c, dir, module, o.mpipe, nil); err != nil {
		return fmt.Errorf("%s is written, but Go could not find what it needs: %w", dir, err)
	}
	fmt.Fprintf(c.stdout, "%s is an element that works: a grey square in the corner. Next:\n\n  cd %s\n  go test ./...\n  go build -o mpipe ./cmd/mpipe\n  ./mpipe inspect %s\n", dir, dir, typ)
	return nil
}

func newGraph(c *call, path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s is there already; choose another name, or remove it", path)
	}
	if err := writeTemplate(path, "graph.toml", map[string]any{"Type": "", "Says": "Record what another process writes into a ring.", "File": path}); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s records a ring into a file; see: mpipe explain %s --param ring=demo --param out=demo.mp4\n", path, path)
	return nil
}

func writeTemplate(path, name string, data any) error {
	t, err := template.ParseFS(templates, "templates/"+name+".tmpl")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	return errors.Join(err, f.Close())
}

// goModule writes the go.mod of a module that uses mpipe, and has Go complete it.
// local are modules on this disk, by path.
func goModule(c *call, dir, module, mpipe string, local map[string]string) error {
	if mpipe == "" {
		mpipe = checkout()
	}
	if err := goTool(dir, "go", "mod", "init", module); err != nil {
		return err
	}
	if err := goTool(dir, "go", "mod", "edit", "-go="+goVersion, "-toolchain=none"); err != nil {
		return err
	}
	replace := map[string]string{}
	for path, at := range local {
		replace[path] = at
	}
	if mpipe != "" {
		at, err := filepath.Abs(mpipe)
		if err != nil {
			return err
		}
		if moduleOf(at) != mpipeModule {
			return fmt.Errorf("%s is no checkout of mpipe: it has no go.mod of %s", mpipe, mpipeModule)
		}
		replace[mpipeModule] = at
	} else if err := goTool(dir, "go", "mod", "edit", "-require="+mpipeModule+"@"+release()); err != nil {
		return err
	}
	for path, at := range replace {
		if err := goTool(dir, "go", "mod", "edit", "-require="+path+"@v0.0.0", "-replace="+path+"="+at); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.stderr, "go mod tidy")
	return goTool(dir, "go", "mod", "tidy")
}

// goTool runs a command of the Go tools in a folder; its error is what that said.
func goTool(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("the command go is not to be found; install Go, or put it into PATH")
	}
	if err != nil {
		return fmt.Errorf("%s %s: %s", name, strings.Join(args, " "), strings.TrimSpace(string(out)))
	}
	return nil
}

// checkout is the folder of mpipe's module around the present one, "" for none.
func checkout() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if moduleOf(dir) == mpipeModule {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

var moduleLine = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)`)

// moduleOf reads a folder's module path, "" when it has none.
func moduleOf(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return ""
	}
	if m := moduleLine.FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return ""
}

// release is the version of mpipe that this binary was built from.
func release() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range append(info.Deps, &info.Main) {
			if d.Path == mpipeModule && strings.HasPrefix(d.Version, "v") && !strings.Contains(d.Version, "+dirty") {
				return d.Version
			}
		}
	}
	return "latest"
}
