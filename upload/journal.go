package upload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// journalName is the file in a spool's folder that says what it is for. It is
// JSON, one entry a line, only ever appended to. Lines have to outlive the
// process, not the machine; what that takes with it can be asked of the store, so
// the journal is forced to disk once, when the store has given an upload's id.
const journalName = "journal.jsonl"

const journalVersion = 1

// entry is one line; exactly one field is set.
type entry struct {
	Begin    *begin     `json:"begin,omitempty"`    // the first line
	Creating *time.Time `json:"creating,omitempty"` // a multipart upload is about to be asked for
	Upload   string     `json:"upload,omitempty"`   // the id it got
	Part     *partEntry `json:"part,omitempty"`     // the store has confirmed it
	End      *endEntry  `json:"end,omitempty"`      // nothing more will be written
	Abort    *time.Time `json:"abort,omitempty"`    // it is being given up
	Publish  *pubEntry  `json:"publish,omitempty"`  // a small file to be sent, or deleted
	Sent     int        `json:"sent,omitempty"`     // the number of a small file that needs nothing more
}

// begin is what was asked for. It holds no secret.
type begin struct {
	Version  int       `json:"version"`
	Created  time.Time `json:"created"`
	PID      int       `json:"pid"`
	Place    Place     `json:"place"`
	Object   Object    `json:"object"`
	Schedule Schedule  `json:"schedule"`
	Keep     bool      `json:"keep,omitempty"`
	// File is set when the bytes are in a file that is not the spool's.
	File *fileEntry `json:"file,omitempty"`
	// Publish is set when small files are sent, whose keys begin like Place's.
	Publish bool `json:"publish,omitempty"`
}

type fileEntry struct {
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
}

type partEntry struct {
	N    int    `json:"n"`
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32"`
	ETag string `json:"etag"`
}

type endEntry struct {
	Size  int64 `json:"size"`
	Parts int   `json:"parts"`
}

// history is what a journal tells.
type history struct {
	begin
	id       string
	creating time.Time // when one was asked for first without hearing of it; zero: all are known
	parts    map[int]partEntry
	end      *endEntry
	aborting bool
	waiting  []pubEntry // small files that were not sent
}

// readHistory replays a journal. A last line that was cut by the death of its
// writer counts as unwritten.
func readHistory(path string, text []byte) (*history, error) {
	h := &history{parts: map[int]partEntry{}}
	for i, line := range bytes.SplitAfter(text, []byte("\n")) {
		var e entry
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if err := json.Unmarshal(line, &e); err != nil {
			if i > 0 { // a line cut by a full disk; the next one was begun anew
				continue
			}
			return nil, &Error{Kind: Local, Where: path, Msg: "this is no journal of an upload", Err: err}
		}
		if i == 0 {
			if e.Begin == nil || e.Begin.Version == 0 {
				return nil, &Error{Kind: Local, Where: path, Msg: "this is no journal of an upload"}
			}
			if e.Begin.Version > journalVersion {
				return nil, &Error{Kind: Local, Where: path, Msg: fmt.Sprintf("journal version %d is newer than this mpipe", e.Begin.Version), Remedy: "use the mpipe that wrote it"}
			}
		}
		h.apply(e)
	}
	if h.Version == 0 {
		return nil, &Error{Kind: Local, Where: path, Msg: "the journal is empty"}
	}
	return h, nil
}

func (h *history) apply(e entry) {
	switch {
	case e.Begin != nil:
		h.begin = *e.Begin
	case e.Creating != nil:
		if h.creating.IsZero() {
			h.creating = *e.Creating
		}
		h.id = ""
		clear(h.parts) // they belonged to an upload that is no more
	case e.Upload != "":
		h.id, h.creating = e.Upload, time.Time{}
	case e.Part != nil && e.Part.N >= 1 && e.Part.N <= MaxParts:
		h.parts[e.Part.N] = *e.Part
	case e.End != nil:
		h.end = e.End
	case e.Abort != nil:
		h.aborting = true
	case e.Publish != nil:
		h.waiting = append(h.waiting, *e.Publish)
	case e.Sent > 0:
		h.waiting = slices.DeleteFunc(h.waiting, func(p pubEntry) bool { return p.N == e.Sent })
	}
}

// journal appends to the file; it belongs to whoever holds the spool's lock.
type journal struct {
	f    *os.File
	torn bool // the last line was not written whole
}

func (j *journal) append(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if j.torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := j.f.Write(line); err != nil {
		j.torn = true
		return localError(j.f.Name(), "the journal cannot be written", err)
	}
	j.torn = false
	return nil
}

// mend makes the next line begin at the start of a line.
func (j *journal) mend(text []byte) {
	j.torn = len(text) > 0 && text[len(text)-1] != '\n'
}

var errInUse = errors.New("in use")
