package hls

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"time"
)

// Store keeps the files of a recording, under names without a folder.
type Store interface {
	// Create begins a file, which is seen whole or not at all and takes the place
	// of one that is there.
	Create(name string) (File, error)
	Remove(name string) error
}

// File is one being written. Exactly one of Commit and Discard ends it.
type File interface {
	io.Writer
	Commit() error
	Discard()
}

// Options of a recording.
type Options struct {
	Store    Store
	Playlist string // its name, such as "index.m3u8"; the other files' names begin like it
	Kind     Kind
	TS       bool          // MPEG-TS instead of fragmented MP4
	Segment  time.Duration // a segment ends before the first key frame after this
	Window   int           // segments that a live playlist names
	// Starts tells when each stream began. It is asked when the first frames have
	// come; nil knows nothing. Of MPEG-TS, which has the times in it, only what
	// the first stream says counts, for Zero.
	Starts func() []Start
	// Zero is the time of day at which running time was 0; zero: not known.
	Zero func() time.Time
	Log  *slog.Logger // nil: nothing is logged
}

// Recorder writes a recording. Its methods belong to one goroutine.
type Recorder struct {
	o      Options
	cutter cutter
	pace   *pacer
	list   Playlist
	file   File // the open segment; nil while there is none
	number int  // of the segment that comes next
	gone   []string
	total  time.Duration
	count  int
}

// New begins a recording.
func New(o Options) *Recorder {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{o: o, list: Playlist{Kind: o.Kind}}
	if o.TS {
		c := newTS(o.Segment, open{r})
		r.cutter, r.pace = c, &c.pacer
	} else {
		c := newFMP4(o.Segment, o.Starts, open{r})
		r.cutter, r.pace = c, &c.pacer
	}
	return r
}

// Stem is what the names of a playlist's files begin with.
func Stem(playlist string) string { return strings.TrimSuffix(playlist, ".m3u8") }

// InitName is the name of the initial part of fragmented MP4.
func InitName(playlist string) string { return Stem(playlist) + "-init.mp4" }

func (r *Recorder) segmentName(n int) string {
	ending := "m4s"
	if r.o.TS {
		ending = "ts"
	}
	return fmt.Sprintf("%s-%05d.%s", Stem(r.o.Playlist), n, ending)
}

// Unfinished is the name under which the playlist of a VOD grows.
func Unfinished(playlist string) string { return playlist + ".part" }

// Write takes the next bytes of the muxer.
func (r *Recorder) Write(p []byte) (int, error) { return r.cutter.Write(p) }

// Finish ends the last segment and the playlist. A recording without a frame
// has none.
func (r *Recorder) Finish() error {
	if err := r.cutter.end(); err != nil {
		r.Abandon()
		return err
	}
	if r.file != nil { // tables, and no frame behind them
		r.file.Discard()
		r.file = nil
	}
	if r.count == 0 {
		return nil
	}
	r.list.Ended = true
	if err := r.put(r.o.Playlist, r.list.String()); err != nil {
		return err
	}
	if r.o.Kind == VOD {
		return r.o.Store.Remove(Unfinished(r.o.Playlist))
	}
	return nil
}

// Abandon leaves what is whole.
func (r *Recorder) Abandon() {
	if r.file != nil {
		r.file.Discard()
		r.file = nil
	}
}

// Length is how long what was recorded is, in how many segments.
func (r *Recorder) Length() (time.Duration, int) { return r.total, r.count }

// initial and cut are what the cutter calls, and Write of open.
func (r *Recorder) initial(b []byte) error {
	r.list.Map = InitName(r.o.Playlist)
	return r.put(r.list.Map, string(b))
}

// open takes what the cutter gives to the open segment.
type open struct{ *Recorder }

func (r open) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.file == nil {
		f, err := r.o.Store.Create(r.segmentName(r.number))
		if err != nil {
			return 0, err
		}
		r.file = f
	}
	return r.file.Write(p)
}

func (r *Recorder) cut(start, d time.Duration) error {
	if r.file == nil {
		return nil
	}
	s := Segment{Name: r.segmentName(r.number), Duration: d, At: r.at(start)}
	f := r.file
	r.file = nil
	if err := f.Commit(); err != nil {
		return err
	}
	r.number, r.count, r.total = r.number+1, r.count+1, r.total+d
	r.list.Segments = append(r.list.Segments, s)
	r.target(d)
	if err := r.slide(); err != nil {
		return err
	}
	name := r.o.Playlist
	list := r.list
	if r.o.Kind == VOD { // what a kill leaves is a playlist too, under another name
		name, list.Ended = Unfinished(name), true
	}
	return r.put(name, list.String())
}

// target sets the duration that no segment exceeds. It may not change, so it
// allows for a key frame that comes just before a segment may end. Should that
// not be enough because the pictures stopped for a while, it has to grow.
func (r *Recorder) target(d time.Duration) {
	seconds := func(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
	if r.list.Target == 0 {
		r.list.Target = seconds(max(d, r.o.Segment+r.pace.widest))
	}
	if n := seconds(d - 500*time.Millisecond); n > r.list.Target { // what is compared is rounded: 4.4.3.1
		r.o.Log.Warn("a segment is longer than the playlist allows for: key frames are too far apart", "seconds", d.Seconds(), "target", r.list.Target)
		r.list.Target = n
	}
}

// slide takes old segments out of a live playlist. Their files stay for as many
// segments more as the playlist names, and one: a player that has just read it
// may ask for them until then (RFC 8216, 6.2.2).
func (r *Recorder) slide() error {
	if r.o.Kind != Live {
		return nil
	}
	for len(r.list.Segments) > r.o.Window {
		r.gone = append(r.gone, r.list.Segments[0].Name)
		r.list.Segments = r.list.Segments[1:]
		r.list.First++
	}
	for len(r.gone) > r.o.Window+1 {
		if err := r.o.Store.Remove(r.gone[0]); err != nil {
			return err
		}
		r.gone = r.gone[1:]
	}
	return nil
}

// at is the time of day of a time of the container, which begins with 0 at the
// first frame of all.
func (r *Recorder) at(start time.Duration) time.Time {
	if r.o.Zero == nil {
		return time.Time{}
	}
	zero := r.o.Zero()
	if zero.IsZero() {
		return zero
	}
	return zero.Add(start + r.first())
}

// first is the running time that the container's zero stands for: the earliest of
// all streams in fragmented MP4; in MPEG-TS the cutter counts from the first
// frame of the stream that it cuts by.
func (r *Recorder) first() time.Duration {
	least, video := time.Duration(-1), time.Duration(-1)
	if r.o.Starts != nil {
		for _, s := range r.o.Starts() {
			if s.First >= 0 && (least < 0 || s.First < least) {
				least = s.First
			}
			if s.Media == Video && video < 0 {
				video = s.First
			}
		}
	}
	if r.o.TS && video >= 0 {
		return video
	}
	return max(0, least)
}

// put writes a small file.
func (r *Recorder) put(name, text string) error {
	f, err := r.o.Store.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, text); err != nil {
		f.Discard()
		return err
	}
	return f.Commit()
}
