package upload

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Entry is one upload in a spool.
type Entry struct {
	Spool   string    `json:"spool"` // its folder
	Target  string    `json:"target"`
	Begun   time.Time `json:"begun"`
	PID     int       `json:"pid"`            // of the process that began it
	File    string    `json:"file,omitempty"` // that is being sent; "" for a stream
	Waiting int64     `json:"waiting"`        // bytes on disk
	// State is "busy" while a live process works on it, "cut" when its writer
	// died, "ended" when all was written and only sending is left, "aborting" when
	// it was being given up, "unreadable" with Error.
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

// IsUpload is whether the folder is that of one upload, rather than a spool.
func IsUpload(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, journalName))
	return err == nil
}

// List gives the uploads of a spool, the oldest first. A spool that is not there
// has none.
func List(root string) ([]Entry, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, localError(root, "the spool cannot be found", err)
	}
	list, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, localError(root, "the spool cannot be read", err)
	}
	var entries []Entry
	for _, d := range list {
		dir := filepath.Join(root, d.Name())
		if !IsUpload(dir) || strings.HasPrefix(d.Name(), halfMade) {
			continue
		}
		entries = append(entries, look(dir))
	}
	sort.SliceStable(entries, func(i, k int) bool { return entries[i].Begun.Before(entries[k].Begun) })
	return entries, nil
}

// look reads one without holding its lock for longer than that takes.
func look(dir string) Entry {
	e := Entry{Spool: dir, State: "unreadable"}
	name := filepath.Join(dir, journalName)
	text, err := os.ReadFile(name)
	var h *history
	if err == nil {
		h, err = readHistory(name, text)
	}
	if err != nil {
		e.Error = err.Error()
		return e
	}
	e.Target, e.Begun, e.PID = h.Place.String(), h.Created, h.PID
	if h.File != nil {
		e.File = h.File.Path
	}
	sizes, err := (&spool{dir: dir}).partSizes()
	if err != nil {
		e.Error = err.Error()
	}
	for n, size := range sizes {
		if _, sent := h.parts[n]; !sent {
			e.Waiting += size
		}
	}
	for _, w := range h.waiting {
		e.Waiting += w.Size
	}
	e.State = stateOf(dir, h)
	return e
}

func stateOf(dir string, h *history) string {
	sp, _, err := openSpool(dir)
	if err == nil {
		sp.close()
	}
	switch {
	case KindOf(err) == Busy:
		return "busy"
	case h.aborting:
		return "aborting"
	case h.end != nil || h.File != nil:
		return "ended"
	}
	return "cut"
}
