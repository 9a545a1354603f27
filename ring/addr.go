package ring

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// address is a parsed ring address.
type address struct {
	text string
	path string // of the segment's file in named mode, of the socket otherwise
	sock bool
	fd   int // an already connected socket; -1 otherwise. Producers only
}

// addressHelp names the forms an address can have.
const addressHelp = `want a name of letters, digits, '.', '_' and '-', a path that starts with '/' or './', or unix:/path/of.sock`

// parseAddr understands NAME (a file of that name under /dev/shm), a path,
// unix:PATH, and fd:N for a connected socket that was inherited.
func parseAddr(s string) (address, error) {
	a := address{text: s, fd: -1}
	switch {
	case strings.HasPrefix(s, "unix:"):
		a.sock, a.path = true, strings.TrimPrefix(s, "unix:")
		// sun_path has 108 bytes, unix(7).
		if a.path == "" || len(a.path) > 107 || strings.HasPrefix(a.path, "@") {
			return a, fmt.Errorf("ring: %q is no address: the socket's path must have 1 to 107 bytes and be a file's", s)
		}
	case strings.HasPrefix(s, "fd:"):
		n, err := strconv.Atoi(strings.TrimPrefix(s, "fd:"))
		if err != nil || n < 0 {
			return a, fmt.Errorf("ring: %q is no address: want fd:N with the number of a connected socket", s)
		}
		a.sock, a.fd = true, n
	case strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../"):
		a.path = filepath.Clean(s)
	case validName(s) && strings.Trim(s, ".") != "":
		a.path = filepath.Join("/dev/shm", s)
	default:
		return a, fmt.Errorf("ring: %q is no address: %s", s, addressHelp)
	}
	if !a.sock && strings.HasSuffix(a.path, consumerSuffix) {
		return a, fmt.Errorf("ring: %q is no address: names that end in %s are taken", s, consumerSuffix)
	}
	return a, nil
}

// CheckAddr tells whether a text is a ring's address: a name, a path or
// unix:PATH. The ring need not exist.
func CheckAddr(addr string) error {
	_, err := parseAddr(addr)
	return err
}

// consumerSuffix is added to a ring's file for its consumer page.
const consumerSuffix = ".consumer"

// checkPages refuses machines whose pages are larger than the layout's parts.
func checkPages() error {
	if n := os.Getpagesize(); n != pageSize {
		return fmt.Errorf("ring: this kernel has pages of %d bytes; the layout needs %d", n, pageSize)
	}
	return nil
}
