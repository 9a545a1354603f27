package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/mpipe/mpipe/hls"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/upload"
)

// Fetch puts the recording together from its playlist and the files that it
// names: an initial part and segments are a fragmented MP4, segments an MPEG-TS.
// Of a live recording the beginning is gone, so it is not wanted; nor is one for
// which there is no room.
func (h *hlsSink) Fetch(ctx context.Context) (string, func(), error) {
	none := func() {}
	if hls.Kind(h.kind) == hls.Live || h.remote() && h.verify != "read" {
		return "", none, nil
	}
	list, err := h.playlist(ctx)
	if err != nil {
		return "", none, err
	}
	dir := os.TempDir()
	if !h.remote() {
		dir = string(h.folder())
		size, err := h.size(list)
		if err != nil {
			return "", none, err
		}
		if free, err := freeBelow(dir); err == nil && free-size < max(h.minFree, size) {
			return "", none, nil
		}
	}
	f, err := os.CreateTemp(dir, ".mpipe-hls-*")
	if err != nil {
		return "", none, err
	}
	remove := func() { os.Remove(f.Name()) }
	for _, name := range files(list) {
		if err = h.copy(ctx, f, name); err != nil {
			break
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		remove()
		return "", none, err
	}
	return f.Name(), remove, nil
}

// files lists what a playlist names, the initial part first.
func files(list *hls.Playlist) (names []string) {
	if list.Map != "" {
		names = append(names, list.Map)
	}
	for _, s := range list.Segments {
		names = append(names, s.Name)
	}
	return names
}

// size adds up the files that a playlist names; one that is not there is an error.
func (h *hlsSink) size(list *hls.Playlist) (n int64, err error) {
	for _, name := range files(list) {
		st, err := os.Stat(filepath.Join(string(h.folder()), name))
		if err != nil {
			return 0, fmt.Errorf("the playlist names a segment that is not there: %w", err)
		}
		n += st.Size()
	}
	return n, nil
}

// playlist reads the finished playlist back and compares it with what was made.
func (h *hlsSink) playlist(ctx context.Context) (*hls.Playlist, error) {
	made, n := h.rec.Length()
	if n == 0 {
		return nil, errors.New("nothing was recorded: no frame came")
	}
	var b bytes.Buffer
	if err := h.copy(ctx, &b, path.Base(h.list())); err != nil {
		return nil, err
	}
	list, err := hls.Parse(b.String())
	if err != nil {
		return nil, err
	}
	const rounding = time.Microsecond // of each duration in the text
	switch d := list.Length(); {
	case !list.Ended:
		return nil, errors.New("the playlist has no end")
	case hls.Kind(h.kind) == hls.Live && list.First+len(list.Segments) != n:
		return nil, fmt.Errorf("the playlist ends with segment %d, %d were made", list.First+len(list.Segments), n)
	case hls.Kind(h.kind) != hls.Live && (len(list.Segments) != n || (d-made).Abs() > time.Duration(n)*rounding):
		return nil, fmt.Errorf("the playlist has %d segments of %v together, %d of %v were made", len(list.Segments), d, n, made)
	}
	return list, nil
}

// copy reads one of the files, wherever it is.
func (h *hlsSink) copy(ctx context.Context, w io.Writer, name string) error {
	if h.remote() {
		o := h.options(nil)
		o.Key = path.Join(path.Dir(h.o.Key), name)
		return said(upload.Fetch(ctx, o, w))
	}
	f, err := os.Open(filepath.Join(string(h.folder()), name))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// Verify looks at a recording that is not read back: its playlist says what was
// made, and all that it names is there. What a store has confirmed it has.
func (h *hlsSink) Verify(ctx context.Context, _ pipeline.Delivery) error {
	if h.remote() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.res == nil {
			return errors.New("the store has not confirmed the recording")
		}
		return nil
	}
	list, err := h.playlist(ctx)
	if err == nil {
		_, err = h.size(list)
	}
	return err
}
