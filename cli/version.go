package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/mpipe/mpipe/pipeline/run"
)

// version is set by the linker (see the Makefile); a build without it says what
// Go knows of the module.
var version string

// versions is `mpipe version --json`.
type versions struct {
	Mpipe     string `json:"mpipe"`
	Go        string `json:"go"`
	GStreamer string `json:"gstreamer"`
	Platform  string `json:"platform"`
}

func versionVerb() *verb {
	var asJSON bool
	return &verb{
		name:     "version",
		short:    "show the versions of mpipe, Go and GStreamer",
		examples: []example{{"mpipe version --json", "for bug reports and programs"}},
		declare: func(f *flags) func(*call) int {
			f.switchOn(&asJSON, "json", "print JSON")
			return func(c *call) int {
				v := versions{moduleVersion(), runtime.Version(), run.GStreamerVersion(), runtime.GOOS + "/" + runtime.GOARCH}
				if asJSON {
					printJSON(c.stdout, v)
				} else {
					fmt.Fprintf(c.stdout, "mpipe %s, %s, GStreamer %s, %s\n", v.Mpipe, v.Go, v.GStreamer, v.Platform)
				}
				return 0
			}
		},
	}
}

// moduleVersion finds mpipe's version: the linker's, or the module's in a binary
// that somebody built from their own main.go.
func moduleVersion() string {
	if version != "" {
		return version
	}
	const module = "github.com/mpipe/mpipe"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return "unknown"
}
