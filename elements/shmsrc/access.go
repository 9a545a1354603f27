package shmsrc

import (
	"os"
	"os/user"
	"strconv"

	"github.com/mpipe/mpipe/pipeline"
)

// mode is socket_mode as a number.
func (s *source) mode() (os.FileMode, error) {
	n, err := strconv.ParseUint(s.socketMode, 8, 32)
	if err != nil || n > 0o777 || n&0o600 != 0o600 {
		return 0, pipeline.At("socket_mode", `%q is no mode of a ring; write octal digits from "0600" to "0777"`, s.socketMode)
	}
	return os.FileMode(n), nil
}

// uids is allow_uid as numbers; nil when it is not given.
func (s *source) uids() (out []int, err error) {
	for _, text := range s.allowUID {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			u, uerr := user.Lookup(text)
			if uerr != nil {
				return nil, pipeline.At("allow_uid", "there is no user %q here; write a name that this machine knows, or the number", text)
			}
			n, _ = strconv.ParseUint(u.Uid, 10, 32) // a number on Linux
		}
		out = append(out, int(n))
	}
	return out, nil
}
