package upload

import (
	"errors"
	"fmt"
)

// Kind sorts errors by who must act.
type Kind uint8

const (
	Settings Kind = iota + 1 // whoever wrote the settings: they cannot work, or the store refuses them
	Denied                   // whoever gives out credentials: there are none, they are wrong, or may not do this
	Missing                  // whoever keeps the store: no such bucket
	Exists                   // whoever chose the key: there is an object already
	Expired                  // whoever renews credentials: they were right and are so no longer
	Away                     // nobody yet: the store cannot be reached, is too busy or answers with its own errors
	Gone                     // whoever aborted it: the store has no such upload any more
	Full                     // the operator: the spool has reached its limit
	Local                    // the operator: the spool's disk or the file to send
	Busy                     // nobody: a live process works on this spool
	Stopped                  // nobody: it was stopped on purpose
	Damaged                  // mpipe's developers, or the store's: what is there is not what was sent
)

var kindNames = map[Kind]string{
	Settings: "settings", Denied: "denied", Missing: "missing", Exists: "exists", Expired: "expired", Away: "away", Gone: "gone",
	Full: "full", Local: "local", Busy: "busy", Stopped: "stopped", Damaged: "damaged",
}

func (k Kind) String() string { return kindNames[k] }

// Error is what every function of this package returns.
type Error struct {
	Kind   Kind
	Where  string // s3://bucket/key, a spool or a file; may be ""
	Msg    string // what was wrong, lower case, no full stop
	Remedy string // what to do; may be ""
	Spool  string // the folder that holds what is not in the store, to be resumed; "" when there is none
	Err    error  // the cause; may be nil

	unsure bool // the store may have carried out what it did not answer
}

func (e *Error) Error() string {
	s := e.Msg
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf finds who must act on err; 0 for errors that are not of this package.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func localError(path, msg string, err error) *Error {
	return &Error{Kind: Local, Where: path, Msg: msg, Err: err}
}

// resumable says where the rest is and how to finish.
func resumable(err error, dir string) error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Kind: Local, Msg: "the upload failed", Err: err}
	}
	c := *e
	c.Spool = dir
	how := fmt.Sprintf("what the store lacks is in %s: finish it with `mpipe upload --resume %s`", dir, dir)
	if c.Remedy != "" {
		how = c.Remedy + "; " + how
	}
	c.Remedy = how
	return &c
}
