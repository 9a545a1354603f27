package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
)

// Exit codes beside those of pipeline/run.
const exitUsage = 2

// Main runs one command line, without the program's name, and returns the exit
// code: 0 complete, 1 failed, 2 usage, 70 a defect of mpipe, 78 configuration,
// 130 stopped by the second signal.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(stderr, "mpipe: internal error: %v\nthis is a defect of mpipe: please report it with the lines below\n%s", p, debug.Stack())
			code = run.ExitInternal
		}
	}()
	c := &call{stdin: stdin, stdout: stdout, stderr: stderr}
	if len(args) == 0 {
		overview(stderr)
		return exitUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "-h", "-help", "--help":
		overview(stdout)
		return 0
	case "-version", "--version":
		name = "version"
	case completeVerb:
		complete(c, rest)
		return 0
	case peerVerb:
		return benchPeer(c, rest)
	}
	v, rest := findVerb(append([]string{name}, rest...)...)
	if v == nil {
		return c.unknownVerb(name)
	}
	return v.call(c, rest)
}

// call is one use of a verb.
type call struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	verb           *verb
	args           []string // what is not a flag
}

// otherWords are what people of other tools try, and mpipe's word for it.
var otherWords = map[string]string{
	"record": "run", "start": "run", "play": "run", "launch": "run",
	"validate": "check", "lint": "check", "test": "check", "plan": "explain", "dot": "graph", "mermaid": "graph",
	"ls": "list", "elements": "list", "show": "inspect", "push": "feed", "benchmark": "bench", "compare": "bench", "send": "feed", "verify": "measure", "fix": "repair", "recover": "repair", "remux": "repair",
	"stat": "ring stat", "stats": "ring stat", "tap": "ring tap", "capture": "ring record", "replay": "ring replay", "doctor": "ring doctor",
	"cp": "upload", "put": "upload", "copy": "upload", "resume": "upload", "s3": "upload", "store": "upload",
}

func (c *call) unknownVerb(name string) int {
	hint := suggest(name, verbNames())
	if hint == "" {
		word := otherWords[name]
		if word == "" {
			word = otherWords[pipeline.Nearest(name, sortedKeys(otherWords))]
		}
		if word != "" {
			hint = fmt.Sprintf("; did you mean %q?", word)
		}
	}
	if hint == "" {
		hint = "; `mpipe help` lists all"
	}
	fmt.Fprintf(c.stderr, "mpipe: unknown command %q%s\n", name, hint)
	return exitUsage
}

// usage reports a wrong command line.
func (c *call) usage(format string, args ...any) int {
	fmt.Fprintf(c.stderr, "mpipe %s: %s\nusage: %s\nrun `mpipe help %s` for its flags and examples\n",
		c.verb.name, fmt.Sprintf(format, args...), c.verb.synopsis(), c.verb.name)
	return exitUsage
}

// fail reports an error that ends the verb and gives the exit code it asks for.
// Errors of a graph file come one on a line.
func (c *call) fail(err error) int {
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(c.stderr, "%s\n", line)
	}
	code := run.ExitCode(nil, err)
	if code == run.ExitConfig {
		fmt.Fprintf(c.stderr, "%s; nothing was started\n", plural(countErrors(err), "error"))
	}
	return code
}

func countErrors(err error) int {
	if es, ok := err.(pipeline.Errors); ok {
		return len(es)
	}
	return 1
}

// errorLine is one error of {"errors": [ … ]}, which --json prints beside the
// text on standard error when nothing was started.
type errorLine struct {
	Pos    string `json:"pos,omitempty"` // file:line:column
	Stage  string `json:"stage,omitempty"`
	Msg    string `json:"msg"`
	Remedy string `json:"remedy,omitempty"`
}

func errorLines(err error) (lines []errorLine) {
	if es, ok := err.(pipeline.Errors); ok {
		for _, e := range es {
			lines = append(lines, errorLines(e)...)
		}
		return lines
	}
	var e *pipeline.Error
	if !errors.As(err, &e) {
		return []errorLine{{Msg: err.Error()}}
	}
	l := errorLine{Pos: e.Pos.String(), Stage: e.Stage, Msg: e.Msg, Remedy: e.Remedy}
	if e.Err != nil {
		l.Msg = strings.TrimPrefix(l.Msg+": "+e.Err.Error(), ": ")
	}
	return []errorLine{l}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func suggest(name string, allowed []string) string {
	if n := pipeline.Nearest(name, allowed); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}
