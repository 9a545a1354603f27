package pipeline

import (
	"errors"
	"fmt"
	"strings"
)

// Pos is a place in a graph file. Line and Col count from 1; Col counts
// characters, not bytes. A zero Line is "the file as a whole".
type Pos struct {
	File string
	Line int
	Col  int
}

func (p Pos) String() string {
	switch {
	case p.File == "" && p.Line == 0:
		return ""
	case p.Line == 0:
		return p.File
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
}

// Class sorts errors by who must act.
type Class uint8

const (
	Config      Class = iota + 1 // the graph's author: nothing was started; exit 78
	Environment                  // the operator: a plugin, a disk, a server, a producer is missing or failed; exit 1
	Internal                     // mpipe's developers; exit 70
)

// Error is what a user reads: where, what was wrong, what to do.
type Error struct {
	Class  Class
	Pos    Pos
	Stage  string // stage id, "" when no stage is concerned
	Msg    string // what was wrong, lower case, no full stop
	Remedy string // what to do; may be ""
	Err    error  // the cause, may be nil; not printed twice
}

func (e *Error) Error() string {
	var b strings.Builder
	if p := e.Pos.String(); p != "" {
		b.WriteString(p)
		b.WriteString(": ")
	}
	if e.Stage != "" {
		fmt.Fprintf(&b, "stage %s: ", e.Stage)
	}
	b.WriteString(e.Msg)
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Remedy != "" {
		b.WriteString("; ")
		b.WriteString(e.Remedy)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Errors is every error of a file in one go, in the order of the file.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As see each of them.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// ClassOf finds who must act on err; an error nobody classified is Internal.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Internal
}
