package rtmp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Step is how far a stream had come when it failed.
type Step string

const (
	Dial      Step = "connecting"
	TLS       Step = "TLS"
	Handshake Step = "handshake"
	Connect   Step = "connect" // the command, which names the application
	Create    Step = "createStream"
	Publish   Step = "publish" // the command, which names the stream key
	Sending   Step = "sending"
	Ending    Step = "ending"
)

// Error is why a stream was not published or did not go on. Its text holds no
// stream key.
type Error struct {
	Step Step
	// Code and Said are the server's own words, "" when it gave none:
	// "NetStream.Publish.BadName", "stream already exists".
	Code, Said string
	// Permanent tells that the server or the certificate says no, in words, and
	// will again; a server that is not there or closes without a word may be one
	// that restarts.
	Permanent bool
	Err       error // the cause, nil when the server said it

	text string
}

func (e *Error) Error() string { return e.text }
func (e *Error) Unwrap() error { return e.Err }

// errQuiet is a peer that is there, but takes or answers nothing.
var errQuiet = errors.New("the server has taken or confirmed nothing")

// fail words what went wrong at a step.
func (a Address) fail(step Step, err error, limit time.Duration) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{Step: step, Err: err}
	var cert *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	within := ""
	if limit > 0 {
		within = " for " + limit.Round(100*time.Millisecond).String()
	}
	switch {
	case errors.Is(err, errQuiet):
		e.text = errQuiet.Error() + within
	case errors.As(err, &cert):
		e.Permanent = true
		e.text = fmt.Sprintf("the server's certificate is not trusted: %v", cert.Err)
	case errors.As(err, &notTLS):
		e.Permanent = true
		e.text = "the server does not speak TLS there: is it rtmp:// instead of rtmps://, or another port?"
	case step == Dial:
		e.text = fmt.Sprintf("cannot connect: %v", err)
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		e.text = fmt.Sprintf("the server took the connection but did not answer%s (%s)", within, step)
	case closed && step == Connect:
		e.text = "the server closed the connection at connect, as some do when they do not know the application"
	case closed && step == Publish:
		e.text = "the server closed the connection at publish, as some do when they refuse the stream key"
	case closed:
		e.text = fmt.Sprintf("the server closed the connection (%s)", step)
	default:
		e.text = fmt.Sprintf("%s: %v", step, err)
	}
	e.text = a.Hide(e.text)
	return e
}

// passing are refusals that may end by themselves: a name that is still taken by
// a connection that broke, a server that goes or comes.
var passing = map[string]bool{
	"NetStream.Publish.BadName":         true,
	"NetConnection.Connect.Closed":      true,
	"NetConnection.Connect.AppShutdown": true,
	"NetConnection.Connect.Failed":      true,
	"NetStream.Publish.Idle":            true,
}

// refused is what the server said instead of yes.
func (a Address) refused(step Step, info Object) *Error {
	code, _ := info.Get("code").(string)
	said, _ := info.Get("description").(string)
	e := &Error{Step: step, Code: a.Hide(code), Said: a.Hide(said), Permanent: code != "" && !passing[code]}
	e.text = fmt.Sprintf("the server refuses %s", step)
	if step == Sending {
		e.text = "the server ended the stream"
	}
	for _, word := range []string{e.Code, e.Said} {
		if word != "" {
			e.text += ": " + word
		}
	}
	return e
}
