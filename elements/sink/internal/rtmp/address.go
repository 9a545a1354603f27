package rtmp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Address is where a stream is published.
type Address struct {
	TLS    bool
	Host   string // as written, with or without a port
	App    string // "live"; it may have further parts
	Stream string // the stream key, with what follows it after "?"

	shown  string // App as it may be shown
	hidden *strings.Replacer
}

// Default ports, where an address has none.
const (
	defaultPort    = "1935"
	defaultTLSPort = "443"
)

// ParseAddress reads "rtmp://host[:port]/app/key", or without the key when that
// is given apart; "rtmps" is RTMP in TLS. Nothing is decoded: servers are told
// what stands there. What may be a key is in no error.
func ParseAddress(address, key string) (Address, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	var a Address
	switch {
	case ok && strings.EqualFold(scheme, "rtmp"):
	case ok && strings.EqualFold(scheme, "rtmps"):
		a.TLS = true
	default:
		return Address{}, errors.New(`it does not begin with "rtmp://" or "rtmps://"`)
	}
	var path string
	a.Host, path, _ = strings.Cut(rest, "/")
	if err := a.checkHost(); err != nil {
		return Address{}, err
	}
	if strings.ContainsFunc(address+key, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Address{}, errors.New("it holds a blank or a control character")
	}
	if key != "" {
		a.App, a.Stream = strings.Trim(path, "/"), strings.TrimLeft(key, "/")
		a.shown = a.App
	} else {
		a.App, a.Stream = cutKey(path)
		// Some keys have more than one part: what is behind the first may be one.
		a.shown, _, _ = strings.Cut(a.App, "/")
		a.shown, _, _ = strings.Cut(a.shown, "?")
	}
	if a.App == "" || a.Stream == "" {
		return Address{}, errors.New("it has no application or no stream key: rtmp://host/application/key")
	}
	a.hidden = strings.NewReplacer(a.secrets()...)
	return a, nil
}

// cutKey parts a path at its last slash; slashes of a query are not meant.
func cutKey(path string) (app, stream string) {
	before, _, _ := strings.Cut(path, "?")
	at := strings.LastIndexByte(before, '/')
	if at < 0 { // "app?…/key"
		at = strings.LastIndexByte(path, '/')
	}
	if at < 0 {
		return path, ""
	}
	return strings.Trim(path[:at], "/"), path[at+1:]
}

func (a Address) checkHost() error {
	if strings.Contains(a.Host, "@") {
		return errors.New("it has a user name and password, which are not supported; most servers take them as part of the key, such as key?user=…")
	}
	host, port, err := net.SplitHostPort(a.dialAddress())
	if err != nil || host == "" {
		return fmt.Errorf("%q is no host, or host and port", a.Host)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return fmt.Errorf("%q is no port", port)
	}
	return nil
}

// dialAddress is the host with a port.
func (a Address) dialAddress() string {
	port := defaultPort
	if a.TLS {
		port = defaultTLSPort
	}
	i := strings.LastIndexByte(a.Host, ':')
	if i >= 0 && i > strings.LastIndexByte(a.Host, ']') {
		return a.Host
	}
	return a.Host + ":" + port
}

func (a Address) serverName() string {
	host, _, _ := net.SplitHostPort(a.dialAddress())
	return host
}

func (a Address) scheme() string {
	if a.TLS {
		return "rtmps://"
	}
	return "rtmp://"
}

// tcURL is what the connect command tells of the way to the server (7.2.1.1).
func (a Address) tcURL() string { return a.scheme() + a.Host + "/" + a.App }

// String gives the address without secrets: "rtmp://host/app/[secret]".
func (a Address) String() string { return a.scheme() + a.Host + "/" + a.shown + "/" + secret }

// GoString is String, so that no way of printing shows more.
func (a Address) GoString() string { return a.String() }

const secret = "[secret]"

// shortestSecret is how long a text must be to be taken out of others: a key of
// one letter is none.
const shortestSecret = 3

// Hide takes all of the address that is secret out of a text.
func (a Address) Hide(text string) string {
	if a.hidden == nil {
		return text
	}
	return a.hidden.Replace(text)
}

// secrets lists what Hide replaces, each with its replacement, the longest first.
func (a Address) secrets() []string {
	key, query, _ := strings.Cut(a.Stream, "?")
	found := []string{a.Stream, key}
	for _, pair := range strings.Split(query, "&") {
		_, value, _ := strings.Cut(pair, "=")
		if len(value) >= 6 { // shorter ones are switches
			found = append(found, value)
		}
	}
	if more := strings.TrimPrefix(a.App, a.shown); more != "" {
		found = append(found, strings.Trim(more, "/?"))
	}
	for _, s := range slices.Clone(found) {
		found = append(found, url.QueryEscape(s), url.PathEscape(s))
		if decoded, err := url.QueryUnescape(s); err == nil {
			found = append(found, decoded)
		}
	}
	found = slices.DeleteFunc(found, func(s string) bool { return len(s) < shortestSecret })
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range found {
		pairs = append(pairs, s, secret)
	}
	return pairs
}
