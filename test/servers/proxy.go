package servers

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Faults says how often a Proxy misbehaves: each is a chance from 0 to 1 for a
// request.
type Faults struct {
	Busy     float64 // answered with 503 SlowDown, the body unread
	Internal float64 // answered with 500 InternalError after the body was read
	Cut      float64 // connection closed in the middle of the body
	Lost     float64 // carried out, and the connection closed without an answer
	// Of, when set, says which requests this is about; the others pass.
	Of func(Request) bool
}

// Request is one request as it was when its answer was there: what a client does
// because of that answer comes later in the list.
type Request struct {
	Method, Path string
	Query        url.Values
	AccessKey    string // of the signature
	Bytes        int64  // of the body that were passed on
	Status       int    // what the client was answered; 0: nothing
	Done         bool   // the store carried it out, whatever the client heard of it
}

// Is tells one kind of request from others: "PUT partNumber" is an UploadPart,
// "POST uploads" a CreateMultipartUpload, "POST uploadId" a Complete, "DELETE
// uploadId" an Abort, "PUT" a PutObject.
func (r Request) Is(method, key string) bool {
	return r.Method == method && (key == "" && len(r.Query["uploadId"])+len(r.Query["uploads"]) == 0 || key != "" && r.Query.Has(key))
}

// Proxy passes HTTP requests on to a store, remembers them, and answers some of
// them itself, as a busy store does.
type Proxy struct {
	URL string

	mu       sync.Mutex
	rand     *rand.Rand
	faults   Faults
	denied   map[string]deny
	requests []Request
	active   int
}

type deny struct {
	status int
	code   string
}

// StartProxy starts one in front of a store at url. What it does depends on the
// seed and on the order of the requests.
func StartProxy(t testing.TB, to string, seed uint64) *Proxy {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{rand: rand.New(rand.NewPCG(seed, 0)), denied: map[string]deny{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	pass := &httputil.ReverseProxy{
		// The host stays as the client wrote it: its signature covers it.
		Director:  func(r *http.Request) { r.URL.Scheme, r.URL.Host = u.Scheme, u.Host },
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, pass) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.URL = s.URL
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// Set changes how it misbehaves from now on.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
}

// Deny answers every request that is signed with this access key with an error
// of the store, such as 400 ExpiredToken.
func (p *Proxy) Deny(accessKey string, status int, code string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied[accessKey] = deny{status, code}
}

// Allow takes Deny back.
func (p *Proxy) Allow(accessKey string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.denied, accessKey)
}

// Requests are all requests that have ended, in the order of their end.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Request(nil), p.requests...)
}

// Idle is whether no request is under way.
func (p *Proxy) Idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active == 0
}

// Count counts the requests of one kind (see Request.Is) that the store carried
// out.
func (p *Proxy) Count(method, key string) (n int) {
	for _, r := range p.Requests() {
		if r.Done && r.Is(method, key) {
			n++
		}
	}
	return n
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	q := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), AccessKey: accessKey(r)}
	p.mu.Lock()
	p.active++
	p.mu.Unlock()
	note := sync.OnceFunc(func() {
		p.mu.Lock()
		p.requests = append(p.requests, q)
		p.mu.Unlock()
	})
	defer func() {
		note()
		p.mu.Lock()
		p.active--
		p.mu.Unlock()
	}()
	f, no := p.draw(q)
	switch {
	case no.status != 0:
		q.Status = no.status
		note()
		refuse(w, r, no)
		return
	case f.Busy > 0:
		q.Status = http.StatusServiceUnavailable
		note()
		refuse(w, r, deny{q.Status, "SlowDown"})
		return
	case f.Internal > 0:
		io.Copy(io.Discard, r.Body)
		q.Status = http.StatusInternalServerError
		note()
		refuse(w, r, deny{q.Status, "InternalError"})
		return
	}
	body := &counted{ReadCloser: r.Body, cut: -1}
	if f.Cut > 0 {
		body.cut = r.ContentLength / 2
	}
	r.Body = body
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	silent := f.Lost > 0 || f.Cut > 0
	pass.ServeHTTP(&answer{ResponseWriter: w, silent: silent, begins: func(status int) {
		q.Done, q.Bytes = status/100 == 2, body.n.Load()
		if !silent {
			q.Status = status
		}
		note()
	}}, r.WithContext(ctx))
	if silent {
		panic(http.ErrAbortHandler) // closes the connection
	}
}

// draw decides what becomes of a request; a fault that strikes is above 0.
func (p *Proxy) draw(q Request) (f Faults, no deny) {
	p.mu.Lock()
	defer p.mu.Unlock()
	no = p.denied[q.AccessKey]
	if p.faults.Of != nil && !p.faults.Of(q) {
		return f, no
	}
	x := p.rand.Float64()
	for _, c := range []struct {
		chance float64
		hit    *float64
	}{{p.faults.Busy, &f.Busy}, {p.faults.Internal, &f.Internal}, {p.faults.Cut, &f.Cut}, {p.faults.Lost, &f.Lost}} {
		if x < c.chance {
			*c.hit = 1
			break
		}
		x -= c.chance
	}
	return f, no
}

func refuse(w http.ResponseWriter, r *http.Request, d deny) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(d.status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>as the test wants it</Message></Error>", d.code)
	}
}

// accessKey reads it from "AWS4-HMAC-SHA256 Credential=KEY/DATE/…".
func accessKey(r *http.Request) string {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(rest, "/")
	return key
}

// counted counts a body and may end it early.
type counted struct {
	io.ReadCloser
	n   atomic.Int64 // the transport may still read when the answer is there
	cut int64        // after so many bytes; -1: not
}

func (c *counted) Read(b []byte) (int, error) {
	if c.cut >= 0 {
		left := c.cut - c.n.Load()
		if left <= 0 {
			return 0, io.ErrUnexpectedEOF
		}
		b = b[:min(int64(len(b)), left)]
	}
	n, err := c.ReadCloser.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// answer tells when the answer begins, and lets nothing through when it is silent.
type answer struct {
	http.ResponseWriter
	silent bool
	begins func(status int)
}

func (a *answer) WriteHeader(status int) {
	if status >= 200 {
		a.begins(status)
	}
	if !a.silent {
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *answer) Write(b []byte) (int, error) {
	if a.silent {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
