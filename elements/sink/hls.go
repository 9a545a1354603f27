package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mpipe/mpipe/hls"
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/upload"
)

func init() {
	pipeline.RegisterSink[hlsSink]("hls", "An HLS recording, live or to keep: segments of fragmented MP4 or MPEG-TS with a playlist, in a folder or an S3-compatible store.")
}

// hlsSink hands a muxer's bytes to package hls, and what that makes to a folder
// or to package upload.
type hlsSink struct {
	path      string
	keyPrefix string
	objectStore
	format  string
	segment time.Duration
	kind    string
	window  int
	minFree int64
	raw     map[string]any

	writing   sync.Mutex // held by Write, so that Abandon waits for it
	rec       *hls.Recorder
	abandoned bool

	mu  sync.Mutex
	pub *upload.Publication // nil in a folder, and before Begin
	res *upload.Result
	err error // of the publication's end
}

func (h *hlsSink) Props(p *pipeline.Props) {
	p.String(&h.path, "path", "", "The folder, or in it the playlist (\"live/index.m3u8\"); the other files' names begin like the playlist's. Missing folders are made.")
	p.String(&h.o.Bucket, "bucket", "", "The bucket, instead of path.")
	p.String(&h.keyPrefix, "key_prefix", "", "In the bucket, what path is on disk: \"talks/42\" or \"talks/42/index.m3u8\".")
	p.String(&h.format, "format", "fmp4", "What segments are: fragmented MP4 or MPEG-TS.", pipeline.OneOf("fmp4", "ts"))
	p.Duration(&h.segment, "segment_time", "4s", "A segment ends at the first key frame after this; the encoder's keyframe_interval should divide it. Sound alone is cut anywhere.", pipeline.AtLeast("500ms"))
	p.String(&h.kind, "playlist", "event", "Whether the playlist names all segments and grows, names the latest only and the others are deleted, or appears at the end.", pipeline.OneOf("event", "live", "vod"))
	p.Int(&h.window, "window", 6, "Segments that a live playlist names; their files stay for as many segments more.", pipeline.Between(3, 10_000))
	p.Size(&h.minFree, "min_free_disk", "32MiB", "The recording is finished, and the output fails, when less than this is free on its disk; \"0\" writes to the end.")
	h.objectStore.props(p)
	p.Bool(&h.o.Overwrite, "overwrite", false, "Replace a recording that is already there.")
	p.Table(&h.raw, "gst", "Properties of the GStreamer muxer in its own words; they win over everything above.")
}

func (h *hlsSink) Check() error {
	switch {
	case (h.path == "") == (h.o.Bucket == ""):
		return pipeline.At("path", `want either path = "live/index.m3u8" or a bucket with a key_prefix`)
	case h.keyPrefix != "" && h.o.Bucket == "":
		return pipeline.At("key_prefix", "it goes with a bucket; give that, or path for a folder")
	}
	if h.o.Bucket != "" {
		h.o.Key = playlistAt(h.keyPrefix)
		h.o.ContentType = playlistType
	}
	return h.objectStore.check()
}

// playlistAt gives the playlist of a folder, or what names one itself.
func playlistAt(at string) string {
	if strings.HasSuffix(at, ".m3u8") {
		return at
	}
	return path.Join(at, "index.m3u8")
}

func (h *hlsSink) remote() bool { return h.o.Bucket != "" }

// list is where the playlist is: a path, or a key.
func (h *hlsSink) list() string {
	if h.remote() {
		return h.o.Key
	}
	return playlistAt(h.path)
}

func (h *hlsSink) folder() hls.Folder { return hls.Folder(filepath.Dir(h.list())) }

// disk is the playlist as a file, whose rules are the same.
func (h *hlsSink) disk() *file {
	return &file{path: h.list(), container: "ts", overwrite: h.o.Overwrite, minFree: h.minFree}
}

// hlsFragment is how often mp4mux begins a fragment besides at each key frame:
// sound goes into a segment by so much.
const hlsFragment = 500 * time.Millisecond

func (h *hlsSink) container() string {
	if h.format == "ts" {
		return "ts"
	}
	return "mp4"
}

func (h *hlsSink) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	c := containers[h.container()]
	set := streaming["ts"]
	if h.format == "fmp4" {
		set = []pipeline.Setting{{Name: "fragment-duration", Value: millis(hlsFragment)}, {Name: "streamable", Value: "true"}}
	}
	set = append(append([]pipeline.Setting(nil), set...), pipeline.Settings(h.raw)...)
	f := pipeline.Fragment{
		Nodes:  []pipeline.Node{{Factory: c.muxer, Package: c.pkg, Set: set}},
		Inputs: hlsInputs[h.container()], Container: h.container(),
		Recovery: fmt.Sprintf("every segment that is whole, and a playlist of them: all but the last %v and a key-frame interval", h.segment),
	}
	if hls.Kind(h.kind) == hls.VOD {
		f.Recovery += ", under the name " + path.Base(hls.Unfinished(h.list()))
	}
	if h.remote() {
		f.Where = "s3://" + h.o.Bucket + "/" + h.o.Key
		f.Recovery += "; mpipe upload --resume sends what the store lacks"
	} else {
		f.File = h.list()
	}
	return f, nil
}

// CutsEvery is for the planner's note about key frames that come at other times.
func (h *hlsSink) CutsEvery() time.Duration { return h.segment }

// ContainersFor is for the error about a stream that the format cannot hold.
func (h *hlsSink) ContainersFor(k pipeline.Kind) []string {
	return slices.DeleteFunc([]string{"mp4", "ts"}, func(name string) bool {
		return !slices.ContainsFunc(hlsInputs[name], func(in pipeline.Input) bool { return slices.Contains(in.Accepts, k) })
	})
}

// hlsInputs is what the muxers take and players know, by container.
var hlsInputs = map[string][]pipeline.Input{
	"mp4": {
		{Pad: "video_%u", Accepts: videoKinds("h264", "h265", "av1", "vp9")},
		{Pad: "audio_%u", Accepts: audioKinds("aac", "opus", "mp3", "ac3")},
	},
	"ts": {{Pad: "sink_%d", Accepts: append(videoKinds("h264", "h265"), audioKinds("aac", "opus", "mp3", "ac3")...)}},
}

// Probe finds out whether the playlist could be written, and makes nothing.
func (h *hlsSink) Probe(ctx context.Context) error {
	if h.remote() {
		return said(upload.Probe(ctx, h.options(nil)))
	}
	return h.disk().Probe(ctx)
}

// Open claims the playlist's name, or finds wrong credentials and a missing
// bucket.
func (h *hlsSink) Open(ctx context.Context) error {
	if h.remote() {
		return h.Probe(ctx)
	}
	return h.disk().Open(ctx)
}

// Watch has the recording finished while there is room for its playlist.
func (h *hlsSink) Watch() error {
	if h.remote() {
		return nil
	}
	return h.disk().Watch()
}

func (h *hlsSink) Begin(ctx context.Context, env *pipeline.OutputEnv) error {
	o := hls.Options{
		Playlist: path.Base(h.list()), Kind: hls.Kind(h.kind), TS: h.format == "ts", Segment: h.segment, Window: h.window,
		Zero: env.Zero, Log: env.Log, Starts: func() []hls.Start { return starts(env.Starts()) },
	}
	if h.remote() {
		pub, err := upload.Publish(ctx, h.options(env.Log))
		if err != nil {
			return said(err)
		}
		h.mu.Lock()
		h.pub = pub
		h.mu.Unlock()
		o.Store = published{pub}
	} else {
		if err := h.folder().Clear(o.Playlist); err != nil {
			return err
		}
		o.Store = h.folder()
	}
	h.rec = hls.New(o)
	return nil
}

func starts(in []pipeline.StreamStart) []hls.Start {
	out := make([]hls.Start, len(in))
	for i, s := range in {
		out[i] = hls.Start{Media: hls.Audio, First: s.First}
		if s.Kind.Media == pipeline.Video {
			out[i].Media = hls.Video
		}
	}
	return out
}

func (h *hlsSink) Write(p []byte) (int, error) {
	h.writing.Lock()
	defer h.writing.Unlock()
	if h.abandoned {
		return 0, errors.New("the recording was abandoned")
	}
	n, err := h.rec.Write(p)
	return n, said(err)
}

func (h *hlsSink) Finish(ctx context.Context) error {
	err := h.rec.Finish()
	if _, n := h.rec.Length(); n == 0 && err == nil && !h.remote() {
		err = errors.Join(h.folder().Clear(path.Base(h.list())), os.Remove(h.list()))
	}
	if h.pub == nil {
		return err
	}
	if err != nil {
		err = errors.Join(err, h.pub.Suspend())
		h.end(nil, err)
		return said(err)
	}
	res, err := h.pub.Close(ctx)
	h.end(res, err)
	return said(err)
}

// Abandon leaves the segments that are whole and the playlist of them.
func (h *hlsSink) Abandon(error) {
	if h.pub != nil { // it ends a Write that waits
		h.end(nil, errors.Join(errors.New("abandoned"), h.pub.Suspend()))
	}
	h.writing.Lock()
	defer h.writing.Unlock()
	h.abandoned = true
	h.rec.Abandon()
}

func (h *hlsSink) end(res *upload.Result, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.res, h.err = res, err
}

func (h *hlsSink) ReportOutput() pipeline.OutputReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := pipeline.OutputReport{}
	if h.remote() {
		r.Where = "s3://" + h.o.Bucket + "/" + h.o.Key
	}
	if h.pub == nil {
		return r
	}
	st := h.pub.Stats()
	r.Confirmed, r.Spooled, r.Retries, r.LastError = st.Confirmed, st.Spooled, st.Retries, st.LastError
	if h.err != nil && st.Spooled > 0 {
		r.Resume = "mpipe upload --resume " + h.pub.Spool()
	}
	return r
}

const playlistType = "application/vnd.apple.mpegurl"

// published is a Publication as a store of a recording.
type published struct{ *upload.Publication }

func (p published) Create(name string) (hls.File, error) {
	kind := map[string]string{".m3u8": playlistType, ".part": playlistType, ".ts": "video/mp2t", ".mp4": "video/mp4", ".m4s": "video/iso.segment"}[path.Ext(name)]
	f, err := p.Publication.Create(name, kind)
	if err != nil {
		return nil, err
	}
	return f, nil
}
