package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

// Options of one repair. The zero value writes beside the file.
type Options struct {
	Output    string // path of the repaired file; "" is [DefaultOutput]
	InPlace   bool   // take the place of the file instead
	Overwrite bool   // replace what is at Output
	DryRun    bool   // look only
	// Progress is called now and then while data is written; nil for none.
	Progress func(done, total int64)
}

// Report says what a file was and what became of it.
type Report struct {
	File      string    `json:"file"`
	Container string    `json:"container"`
	Whole     bool      `json:"whole"`            // nothing had to be done
	Output    string    `json:"output,omitempty"` // the repaired file, when one was written
	Found     []string  `json:"found,omitempty"`  // what was wrong, a sentence each
	CutBytes  int64     `json:"cut_bytes"`        // bytes of the file that belong to no frame that is kept
	Duration  float64   `json:"duration_s"`       // of the whole or repaired file
	Bytes     int64     `json:"bytes"`            // its size
	Streams   []*Stream `json:"streams"`
}

// Stream is one stream of the file.
type Stream struct {
	Codec  string `json:"codec"`
	Frames int64  `json:"frames"` // kept; samples for WAV
	// Cut is how many further frames the file knows of whose data is not all
	// there. What was never indexed is in CutBytes alone.
	Cut        int64   `json:"cut_frames"`
	CutSeconds float64 `json:"cut_s"`

	// readBack is how many packets a demuxer gives; -1 when that cannot be told.
	readBack int64
	bytes    int64 // how many bytes it gives instead; 0 for any number
}

// found is a file taken apart.
type found struct {
	container string // as gstbin.ReadFile knows it
	whole     bool
	unread    bool // GStreamer cannot read this whole file
	notes     []string
	cutBytes  int64
	size      int64 // of the file that write writes
	streams   []*Stream
	write     func(w io.Writer) error
}

func (f *found) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// input is the file, read at random.
type input struct {
	*os.File
	size   int64
	window []byte // what was read last, so that headers are not read one by one
	at     int64  // its place
}

// windowSize is how much is read ahead for reads of up to half of it.
const windowSize = 256 << 10

// read gives n bytes at an offset, fewer at the end of the file. They are not to
// be changed.
func (in *input) read(off int64, n int) ([]byte, error) {
	if off >= in.size || off < 0 {
		return nil, nil
	}
	n = int(min(int64(n), in.size-off))
	if n > windowSize/2 {
		b := make([]byte, n)
		_, err := in.ReadAt(b, off)
		return b, err
	}
	if off < in.at || off+int64(n) > in.at+int64(len(in.window)) {
		b := make([]byte, min(windowSize, in.size-off))
		if _, err := in.ReadAt(b, off); err != nil {
			return nil, err
		}
		in.window, in.at = b, off
	}
	from := off - in.at
	return in.window[from : from+int64(n) : from+int64(n)], nil
}

// copy writes n bytes from an offset on to w.
func (in *input) copy(w io.Writer, off, n int64) error {
	m, err := io.Copy(w, io.NewSectionReader(in, off, n))
	if err == nil && m < n {
		err = fmt.Errorf("the file ended at byte %d while it was copied: %w", off+m, io.ErrUnexpectedEOF)
	}
	return err
}

// readBackLimit bounds reading a file back, should GStreamer hang: a minute, and
// what it takes from a slow disk.
func readBackLimit(size int64) time.Duration {
	const slow = 10 << 20 // bytes a second
	return time.Minute + time.Duration(size/slow)*time.Second
}

// DefaultOutput is where the repaired file goes unless something else is said:
// "a.repaired.mp4" for "a.mp4".
func DefaultOutput(path string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + ".repaired" + ext
}

// File looks at a file and, unless it is whole, writes a repaired one. The file
// itself is only replaced with InPlace, and never before what replaces it was
// read back to its end.
func File(ctx context.Context, path string, o Options) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case st.Size() == 0:
		return nil, fmt.Errorf("%s is empty: nothing was recorded into it", path)
	case beingWritten(f):
		return nil, fmt.Errorf("%s is being written by another process; repair it when that has ended", path)
	}
	in := &input{File: f, size: st.Size()}
	fd, err := takeApart(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := &Report{File: path, Container: fd.container, Whole: fd.whole, Found: fd.notes, CutBytes: fd.cutBytes, Bytes: in.size, Streams: fd.streams}
	if fd.whole && fd.unread {
		return r, nil
	}
	if fd.whole {
		rep, err := readBack(ctx, path, fd, in.size)
		if err != nil {
			return nil, fmt.Errorf("%s looks whole, but cannot be read: %w", path, err)
		}
		r.Duration = rep.Duration.Seconds()
		return r, nil
	}
	if o.DryRun {
		return r, nil
	}
	return r, r.rewrite(ctx, in, fd, o, st.Mode().Perm())
}

// beingWritten asks the kernel for a read lease, which it gives only for a file
// that nobody has open for writing. Where it cannot tell, it says no.
func beingWritten(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}

// rewrite writes the repaired file under a name of its own, reads it back and
// only then gives it its place.
func (r *Report) rewrite(ctx context.Context, in *input, fd *found, o Options, mode os.FileMode) error {
	place := o.Output
	switch {
	case o.InPlace:
		place = r.File
	case place == "":
		place = DefaultOutput(r.File)
	}
	if _, err := os.Lstat(place); err == nil && !o.InPlace && !o.Overwrite {
		return fmt.Errorf("%s is already there; choose another place with -o, or add --overwrite", place)
	}
	tmp, err := os.CreateTemp(filepath.Dir(place), "."+filepath.Base(place)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after the rename there is nothing under the name
	w := &meter{w: tmp, ctx: ctx, total: fd.size, tell: o.Progress, said: time.Now()}
	err = fd.write(w)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	rep, err := readBack(ctx, tmp.Name(), fd, w.done)
	if err != nil {
		return fmt.Errorf("%s was not repaired, the result cannot be read back: %w", r.File, err)
	}
	if err := put(tmp.Name(), place, o.InPlace || o.Overwrite); err != nil {
		return err
	}
	r.Output, r.Duration, r.Bytes = place, rep.Duration.Seconds(), w.done
	return nil
}

// put gives the finished file its name; a file that has come to be there
// meanwhile is kept unless it may be replaced.
func put(tmp, place string, replace bool) error {
	if replace {
		return os.Rename(tmp, place)
	}
	if err := os.Link(tmp, place); !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, unix.EPERM) {
		return err
	}
	return os.Rename(tmp, place) // a file system without links
}

// meter counts what is written and stops when the context ends.
type meter struct {
	w     io.Writer
	ctx   context.Context
	done  int64
	total int64
	tell  func(done, total int64)
	said  time.Time
}

// tellEvery is the time between two calls of Progress.
const tellEvery = time.Second

func (m *meter) Write(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.w.Write(p)
	m.done += int64(n)
	if m.tell != nil && time.Since(m.said) >= tellEvery {
		m.said = time.Now()
		m.tell(m.done, m.total)
	}
	return n, err
}

// readBack takes a file apart with GStreamer's demuxer and compares the number
// of packets of each stream with what must be in it.
func readBack(ctx context.Context, path string, fd *found, size int64) (gstbin.FileReport, error) {
	ctx, cancel := context.WithTimeout(ctx, readBackLimit(size))
	defer cancel()
	rep, err := gstbin.ReadFile(ctx, path, fd.container)
	if err != nil {
		return rep, err
	}
	if rep.Duration <= 0 { // MPEG-TS says none
		for _, s := range rep.Streams {
			rep.Duration = max(rep.Duration, s.LastEnd)
		}
	}
	used := make([]bool, len(rep.Streams))
	for _, s := range fd.streams {
		if s.readBack <= shortStream && s.bytes == 0 {
			continue
		}
		ok := false
		for i, got := range rep.Streams {
			if !used[i] && (got.Frames == s.readBack || s.bytes > 0 && got.Bytes == s.bytes) {
				used[i], ok = true, true
				break
			}
		}
		if !ok {
			return rep, fmt.Errorf("%s is not in it with all of its %d frames", s.Codec, s.Frames)
		}
	}
	return rep, nil
}

// shortStream is how many packets a stream may have for GStreamer's demuxers to
// leave it out.
const shortStream = 2
