package run

import (
	"errors"

	"github.com/mpipe/mpipe/pipeline"
)

// Exit codes of `mpipe run`. 78 is sysexits' EX_CONFIG, 70 its EX_SOFTWARE.
const (
	ExitComplete = 0
	ExitFailed   = 1
	ExitInternal = 70
	ExitConfig   = 78
	ExitKilled   = 130
)

// ExitCode turns the outcome of [Run], or of loading and planning, into the
// process's exit code. It is 0 only if every output is complete.
func ExitCode(m *Manifest, err error) int {
	switch {
	case err == nil && (m == nil || m.Complete):
		return ExitComplete
	case err == nil:
		return ExitFailed
	case errors.Is(err, ErrKilled):
		return ExitKilled
	}
	switch pipeline.ClassOf(err) {
	case pipeline.Config:
		return ExitConfig
	case pipeline.Environment:
		return ExitFailed
	default:
		return ExitInternal
	}
}
