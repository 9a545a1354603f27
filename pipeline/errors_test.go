package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestPositions(t *testing.T) {
	for want, p := range map[string]Pos{"": {}, "a.toml": {File: "a.toml"}, "a.toml:3:7": {"a.toml", 3, 7}} {
		if p.String() != want {
			t.Errorf("got %q, want %q", p, want)
		}
	}
}

func TestErrorReadsPlaceWhatCauseRemedy(t *testing.T) {
	e := &Error{Class: Config, Pos: Pos{"a.toml", 3, 7}, Stage: "h264", Msg: "cannot read", Remedy: "mend it", Err: fs.ErrNotExist}
	if got, want := e.Error(), "a.toml:3:7: stage h264: cannot read: file does not exist; mend it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (&Error{Msg: "bare"}).Error(); got != "bare" {
		t.Errorf("got %q", got)
	}
	if !errors.Is(e, fs.ErrNotExist) {
		t.Error("the cause is not found")
	}
}

func TestErrorsAreSeenOneByOne(t *testing.T) {
	second := &Error{Class: Environment, Msg: "second", Err: fs.ErrPermission}
	var err error = Errors{{Class: Config, Msg: "first"}, second}
	if got := err.Error(); got != "first\nsecond: permission denied" {
		t.Errorf("got %q", got)
	}
	if !errors.Is(err, second) || !errors.Is(err, fs.ErrPermission) {
		t.Error("the second error is not found")
	}
	if ClassOf(fmt.Errorf("wrapped: %w", err)) != Config || ClassOf(second) != Environment || ClassOf(errors.New("x")) != Internal {
		t.Error("wrong class")
	}
}
