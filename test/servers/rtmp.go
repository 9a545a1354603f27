package servers

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// RTMP is nginx with its RTMP module: it records what it receives, tells its own
// counters, asks the test who may publish, and takes RTMPS too.
//
// It is one process, so that Pause and Kill meet all of it.
type RTMP struct {
	*Process
	CA string // PEM file of the certificate to trust for RTMPS

	t         testing.TB
	dir       string
	http, tls string // addresses of statistics and control, and of RTMPS
	hook      *httptest.Server

	mu        sync.Mutex
	admit     func(context.Context, Publish) bool
	published []Publish
}

// RTMPOptions are nginx's own directives.
type RTMPOptions struct {
	AckWindow int           // ack_window, bytes; 0: 5,000,000 as nginx has it
	DropIdle  time.Duration // drop_idle_publisher; 0: a name whose publisher went silent is never free
}

// Publish is one request to publish, as the server asked whether to allow it.
type Publish struct {
	App, Key string
	Args     string // what followed the key after "?"
	At       time.Time
	Admitted bool
}

// StartRTMP starts one that takes every key.
func StartRTMP(t testing.TB, o RTMPOptions) *RTMP {
	t.Helper()
	s := &RTMP{t: t, dir: t.TempDir()}
	cert := NewCertificate(t)
	s.CA = cert.Cert
	if err := os.Mkdir(filepath.Join(s.dir, "rec"), 0o777); err != nil {
		t.Fatal(err)
	}
	s.hook = httptest.NewServer(http.HandlerFunc(s.onPublish))
	t.Cleanup(s.hook.Close)
	program, modules := nginx(t)
	conf := filepath.Join(s.dir, "nginx.conf")
	addr := ""
	s.Process = Start(t, Command{
		Path: program,
		Dir:  s.dir,
		Args: func(a string) []string {
			if a != addr { // a first start, or one after a port was taken
				addr, s.http, s.tls = a, FreeAddr(t), FreeAddr(t)
				if err := os.WriteFile(conf, []byte(s.config(a, modules, cert, o)), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			return []string{"-p", s.dir, "-c", conf, "-e", "stderr"}
		},
	})
	return s
}

// nginx finds the one that scripts/setup unpacked, or the system's.
func nginx(t testing.TB) (program, modules string) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	for _, root := range []string{filepath.Join(filepath.Dir(file), "../../.cache/nginx"), "/"} {
		program, modules = filepath.Join(root, "usr/sbin/nginx"), filepath.Join(root, "usr/lib/nginx/modules")
		if _, err := os.Stat(filepath.Join(modules, "ngx_rtmp_module.so")); err == nil {
			return program, modules
		}
	}
	t.Fatal("nginx with its RTMP module is not there: run scripts/setup")
	return "", ""
}

func (s *RTMP) config(addr, modules string, c Certificate, o RTMPOptions) string {
	var more strings.Builder
	if o.AckWindow > 0 {
		fmt.Fprintf(&more, "ack_window %d;\n", o.AckWindow)
	}
	if o.DropIdle > 0 {
		fmt.Fprintf(&more, "drop_idle_publisher %dms;\n", o.DropIdle.Milliseconds())
	}
	return fmt.Sprintf(`
load_module %[1]s/ngx_rtmp_module.so;
load_module %[1]s/ngx_stream_module.so;
daemon off;
master_process off;
pid nginx.pid;
error_log stderr info;
events { worker_connections 256; }
rtmp {
	access_log off;
	server {
		listen %[2]s;
		%[3]s
		application live {
			live on;
			on_publish %[4]s/publish;
			record all;
			record_path %[5]s/rec;
			record_unique on;
		}
	}
}
stream {
	server {
		listen %[6]s ssl;
		ssl_certificate %[7]s;
		ssl_certificate_key %[8]s;
		proxy_pass %[2]s;
	}
}
http {
	access_log off;
	client_body_temp_path tmp;
	proxy_temp_path tmp;
	fastcgi_temp_path tmp;
	uwsgi_temp_path tmp;
	scgi_temp_path tmp;
	server {
		listen %[9]s;
		location /stat { rtmp_stat all; }
		location /control { rtmp_control all; }
	}
}
`, modules, addr, more.String(), s.hook.URL, s.dir, s.tls, c.Cert, c.Key, s.http)
}

// URL is where to publish under a key.
func (s *RTMP) URL(key string) string { return RTMPURL(s.Addr, key) }

// RTMPURL is the same through a proxy at addr.
func RTMPURL(addr, key string) string { return "rtmp://" + addr + "/live/" + key }

// TLSURL is where to publish through TLS, with the certificate of CA.
func (s *RTMP) TLSURL(key string) string {
	_, port, _ := net.SplitHostPort(s.tls)
	return "rtmps://localhost:" + port + "/live/" + key
}

// StatURL is the page that Stat reads.
func (s *RTMP) StatURL() string { return "http://" + s.http + "/stat" }

// Admit has f decide who may publish from now on; the server waits for it, for
// ever if need be. The context ends when the server does. It runs in goroutines
// of its own.
func (s *RTMP) Admit(f func(context.Context, Publish) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admit = f
}

// Published lists what was asked of the server so far.
func (s *RTMP) Published() []Publish {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.published)
}

func (s *RTMP) onPublish(w http.ResponseWriter, r *http.Request) {
	p := Publish{App: r.FormValue("app"), Key: r.FormValue("name"), At: time.Now(), Admitted: true}
	var args []string
	for k, v := range r.Form { // what nginx adds is no argument of the client
		if !slices.Contains([]string{"app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid", "call", "name", "type"}, k) {
			args = append(args, k+"="+v[0])
		}
	}
	slices.Sort(args)
	p.Args = strings.Join(args, "&")
	s.mu.Lock()
	admit := s.admit
	s.mu.Unlock()
	if admit != nil {
		p.Admitted = admit(r.Context(), p)
	}
	if p.Admitted {
		s.nextSecond(&p)
	} else {
		w.WriteHeader(http.StatusForbidden)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = append(s.published, p)
}

// nextSecond waits until p is the first session of its key in this second: nginx
// names recordings by the second, and would begin an older one anew.
func (s *RTMP) nextSecond(p *Publish) {
	p.At = time.Now()
	for _, o := range s.Published() {
		if o.Admitted && o.Key == p.Key && o.At.Unix() == p.At.Unix() {
			time.Sleep(time.Until(time.Unix(p.At.Unix()+1, 0)))
			p.At = time.Now()
			return
		}
	}
}

// Recordings lists the files of what was published under a key, one a session,
// oldest first.
func (s *RTMP) Recordings(key string) []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "rec", key+"-*.flv")) // KEY-SECONDS.flv
	if err != nil {
		s.t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { // of a longer key
		second := strings.TrimSuffix(filepath.Base(f)[len(key)+1:], ".flv")
		return strings.Trim(second, "0123456789") != ""
	})
	slices.Sort(files)
	return files
}

// RTMPStat is what nginx counts.
type RTMPStat struct {
	Accepted uint64       `xml:"naccepted"` // connections
	BytesIn  uint64       `xml:"bytes_in"`  // of all connections, all that came over TCP
	Streams  []RTMPStream `xml:"server>application>live>stream"`
}

// RTMPStream is one name that somebody publishes or plays.
type RTMPStream struct {
	Key     string       `xml:"name"`
	BytesIn uint64       `xml:"bytes_in"` // payload of audio and video messages
	Clients []RTMPClient `xml:"client"`
}

// RTMPClient is one connection of a stream.
type RTMPClient struct {
	Publishing *struct{} `xml:"publishing"` // nil: it plays
	Timestamp  uint32    `xml:"timestamp"`  // of the latest message, ms
}

// Stat reads the server's counters.
func (s *RTMP) Stat() (st RTMPStat, err error) {
	b, err := get(s.StatURL())
	if err == nil {
		err = xml.Unmarshal(b, &st)
	}
	return st, err
}

// Stream gives the counters of one key; ok tells whether somebody publishes it.
func (s *RTMP) Stream(key string) (stream RTMPStream, ok bool) {
	s.t.Helper()
	st, err := s.Stat()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, stream := range st.Streams {
		if stream.Key == key {
			return stream, slices.ContainsFunc(stream.Clients, func(c RTMPClient) bool { return c.Publishing != nil })
		}
	}
	return stream, false
}

// Drop has the server end the connection of a key's publisher; it gives the
// number of connections that were ended.
func (s *RTMP) Drop(key string) (n int) {
	s.t.Helper()
	b, err := get("http://" + s.http + "/control/drop/publisher?app=live&name=" + url.QueryEscape(key))
	if err != nil {
		s.t.Fatal(err)
	}
	fmt.Sscan(string(b), &n)
	return n
}

func get(url string) ([]byte, error) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get(url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, r.Status)
	}
	return b, err
}
