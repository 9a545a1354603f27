package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// Toxiproxy is a running toxiproxy: TCP proxies whose connections can be slowed,
// cut and swallowed. Any protocol passes, TLS too.
type Toxiproxy struct {
	*Process
	t testing.TB
	n int
}

// StartToxiproxy starts one without proxies.
func StartToxiproxy(t testing.TB) *Toxiproxy {
	t.Helper()
	p := Start(t, Command{
		Path: Tool(t, "toxiproxy-server"),
		Args: func(addr string) []string { return []string{"-host", "127.0.0.1", "-port", portOf(addr)} },
	})
	return &Toxiproxy{Process: p, t: t}
}

// Link is one proxy of a toxiproxy.
type Link struct {
	Addr string // where clients connect
	name string
	tox  *Toxiproxy
	n    int
}

// Proxy passes connections on to target, an address such as 127.0.0.1:1935.
func (x *Toxiproxy) Proxy(target string) *Link {
	x.t.Helper()
	x.n++
	l := &Link{name: fmt.Sprintf("link%d", x.n), tox: x}
	var made struct{ Listen string }
	x.call("POST", "/proxies", map[string]any{"name": l.name, "listen": "127.0.0.1:0", "upstream": target, "enabled": true}, &made)
	l.Addr = made.Listen
	return l
}

// Down cuts all connections and refuses new ones until Up.
func (l *Link) Down() { l.tox.t.Helper(); l.enable(false) }

// Up accepts connections again, at the same address.
func (l *Link) Up() { l.tox.t.Helper(); l.enable(true) }

func (l *Link) enable(on bool) {
	l.tox.t.Helper()
	// Without its address, toxiproxy would take another port.
	l.tox.call("POST", "/proxies/"+l.name, map[string]any{"enabled": on, "listen": l.Addr}, nil)
}

// BlackHole swallows all that either side sends, until Heal; connections stay.
func (l *Link) BlackHole() {
	l.tox.t.Helper()
	l.toxic("timeout", "upstream", map[string]any{"timeout": 0})
	l.toxic("timeout", "downstream", map[string]any{"timeout": 0})
}

// ResetAfter cuts each connection with a TCP reset once it has sent so many
// bytes to the server.
func (l *Link) ResetAfter(bytes int64) {
	l.tox.t.Helper()
	l.toxic("limit_data", "upstream", map[string]any{"bytes": bytes})
	l.toxic("reset_peer", "downstream", map[string]any{"timeout": 0})
}

// Bandwidth limits what each connection may send to the server, in bytes a
// second (toxiproxy counts in KB).
func (l *Link) Bandwidth(bytes int64) {
	l.tox.t.Helper()
	l.toxic("bandwidth", "upstream", map[string]any{"rate": max(1, bytes/1000)})
}

// Latency delays what the server answers, in milliseconds, give or take jitter.
func (l *Link) Latency(ms, jitter int) {
	l.tox.t.Helper()
	l.toxic("latency", "downstream", map[string]any{"latency": ms, "jitter": jitter})
}

// Heal takes all faults away.
func (l *Link) Heal() {
	l.tox.t.Helper()
	for ; l.n > 0; l.n-- {
		l.tox.call("DELETE", fmt.Sprintf("/proxies/%s/toxics/t%d", l.name, l.n), nil, nil)
	}
}

func (l *Link) toxic(kind, stream string, attributes map[string]any) {
	l.tox.t.Helper()
	l.n++
	l.tox.call("POST", "/proxies/"+l.name+"/toxics", map[string]any{
		"name": fmt.Sprintf("t%d", l.n), "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes,
	}, nil)
}

func (x *Toxiproxy) call(method, path string, in, out any) {
	x.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			x.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequest(method, "http://"+x.Addr+path, body)
	if err != nil {
		x.t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer a.Body.Close()
	b, _ := io.ReadAll(a.Body)
	if a.StatusCode/100 != 2 {
		x.t.Fatalf("toxiproxy: %s %s: %s: %s", method, path, a.Status, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			x.t.Fatal(err)
		}
	}
}
