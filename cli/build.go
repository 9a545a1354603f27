package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// buildFlags are the flags of `mpipe build`.
type buildFlags struct {
	with  []string
	out   string
	mpipe string
}

func buildVerb() *verb {
	return &verb{
		name:  "build",
		short: "build an mpipe that has your own elements in it",
		long: `It writes a main package that imports mpipe's elements and yours, and has Go
build it. Go 1.24 or later and the packages that mpipe itself is built with are
needed.`,
		examples: []example{
			{"mpipe build --with ./watermark --out ./mpipe", "with an element in a folder of this machine"},
			{"mpipe build --with ./watermark --with example.com/video/blur@v1.2.0 --out ./mpipe", "and one that Go fetches"},
		},
		declare: func(f *flags) func(*call) int {
			o := &buildFlags{}
			f.texts(&o.with, "with", "DIR|MODULE[@VERSION]", "a package with elements, in a folder with a go.mod or to be fetched; may be given more than once")
			f.text(&o.out, "out", "PATH", "mpipe", "where the binary goes").letter = "o"
			f.text(&o.mpipe, "mpipe", "DIR", "", "a checkout of mpipe to build against; empty takes the one around this folder, or the release of this binary")
			return func(c *call) int {
				if len(o.with) == 0 {
					return c.usage("--with is missing: what is to be built in?")
				}
				return c.result(o.build(c))
			}
		},
	}
}

func (o *buildFlags) build(c *call) error {
	out, err := filepath.Abs(o.out)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mpipe-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	local, imports := map[string]string{}, []string{}
	var fetch []string
	for _, w := range o.with {
		path, at, err := localModule(w)
		if err != nil {
			return err
		}
		if at != "" {
			local[path] = at
		} else {
			fetch = append(fetch, w)
			path, _, _ = strings.Cut(w, "@")
		}
		imports = append(imports, path)
	}
	if err := writeTemplate(filepath.Join(dir, "main.go"), "main.go", map[string]any{"Imports": imports}); err != nil {
		return err
	}
	if err := goModule(c, dir, "mpipe-with-elements", o.mpipe, local); err != nil {
		return err
	}
	for _, w := range fetch {
		if strings.Contains(w, "@") {
			if err := goTool(dir, "go", "get", w); err != nil {
				return err
			}
		}
	}
	fmt.Fprintln(c.stderr, "go build, which takes minutes the first time")
	if err := goTool(dir, "go", "build", "-o", out, "."); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s has %s\n", o.out, strings.Join(imports, ", "))
	return nil
}

// localModule tells what a folder's package is called, and where it is; at is ""
// for what is no folder.
func localModule(with string) (path, at string, err error) {
	st, serr := os.Stat(with)
	if serr != nil || !st.IsDir() {
		if strings.HasPrefix(with, ".") || filepath.IsAbs(with) {
			return "", "", fmt.Errorf("there is no folder %s", with)
		}
		return "", "", nil
	}
	at, err = filepath.Abs(with)
	if err != nil {
		return "", "", err
	}
	if path = moduleOf(at); path == "" {
		return "", "", errors.New(with + " has no go.mod; make one: go mod init NAME")
	}
	return path, at, nil
}
