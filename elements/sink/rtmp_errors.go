package sink

import (
	"errors"

	"github.com/mpipe/mpipe/elements/sink/internal/rtmp"
	"github.com/mpipe/mpipe/pipeline"
)

// failed words an error of a stream: where, what, what to do.
func (r *rtmpSink) failed(a rtmp.Address, err error) error {
	var e *rtmp.Error
	if !errors.As(err, &e) {
		return &pipeline.Error{Class: pipeline.Environment, Msg: a.String(), Err: err}
	}
	r.mu.Lock()
	up := r.up
	r.mu.Unlock()
	if e.Permanent && !up { // what was right once will be right again
		err = finalError{e}
	}
	return &pipeline.Error{Class: pipeline.Environment, Msg: a.String(), Err: err, Remedy: rtmpRemedy(e)}
}

// finalError is one that another attempt would meet again.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }
func (finalError) Final() bool     { return true }

func rtmpRemedy(e *rtmp.Error) string {
	switch {
	case e.Step == rtmp.Dial:
		return "see whether it runs, and whether the address is right"
	case e.Step == rtmp.TLS && e.Permanent:
		return "see whether host and port are right; tls_ca trusts a CA of your own, insecure = true any certificate"
	case e.Code == "NetStream.Publish.BadName":
		return "another publisher has this key, or the server has not yet noticed that one is gone"
	case e.Step == rtmp.Connect:
		return "see whether the application in the url is right"
	case e.Step == rtmp.Publish:
		return "see whether the stream key is right and not expired"
	}
	return ""
}
