package intake

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Address gives the path of the socket of a source's own ring: the one that a
// property names, as unix:PATH, or a new one in a directory to be removed.
func Address(named string) (sock, temp string, err error) {
	if named != "" {
		return strings.TrimPrefix(named, "unix:"), "", nil
	}
	temp, err = os.MkdirTemp("", "mpipe-ring-")
	if err != nil {
		return "", "", fmt.Errorf("a directory for the ring's socket: %w", err)
	}
	return filepath.Join(temp, "ring"), temp, nil
}
