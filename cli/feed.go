package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline/feed"
	"github.com/mpipe/mpipe/pipeline/run"
	"github.com/mpipe/mpipe/ring"
)

// feedFlags are the flags of `mpipe feed`.
type feedFlags struct {
	ring             string
	pattern          []string
	video, audio     string
	fourcc, sample   string
	audioIn          string
	maxSize          string
	noVideo, noAudio bool
	pace, whenFull   string
	duration         time.Duration
	frames           int64
	attach           time.Duration
	every            time.Duration
	json             bool
	adapt, reattach  bool
}

func feedVerb() *verb {
	return &verb{
		name: "feed", args: "[FILE]", max: 1,
		short: "write a test pattern, a media file or raw frames into a ring",
		long: `What is fed:
  nothing named      the test pattern with sound: a frame counter in the picture, a
                     white square and a click on each second, by which "mpipe
                     measure" finds lost frames and A/V skew in the recording
  FILE               the first video and audio of anything GStreamer decodes, a path
                     or a URI
  --video, --audio   raw frames from standard input; with both, the sound comes from
                     --audio-in

Stamps are start + time of the frame, on CLOCK_MONOTONIC. With --pace clock each
frame is written when its time comes, with --pace reader as fast as the reader
takes them; the stamps are the same. When the ring is full the feed waits and
loses nothing. With --when-full drop it leaves that frame out and counts it, as a
renderer does that must not wait. With --adapt it leaves out as many as the consumer
says it cannot take. With --reattach it goes on when the consumer starts again.

exit codes: 0 all was fed, or the consumer asked to stop, or the first SIGINT,
SIGTERM or SIGHUP ended the streams; 1 something failed, or the feed was stopped
before a consumer took the ring; 2 wrong command line; 130 stopped by the second
signal.`,
		examples: []example{
			{"mpipe feed --ring demo --duration 10s", "ten seconds of the test pattern, 1280x720 at 30 frames a second"},
			{"mpipe feed --ring demo --pattern 1920x1080@60 --pace reader --frames 600", "600 frames of another size, as fast as the encoder allows"},
			{"mpipe feed --ring demo film.mkv", "a media file, in real time"},
			{"mpipe feed --ring demo --when-full drop", "behave like a renderer: never wait, count what is lost"},
			{"ffmpeg -i rtsp://camera -f rawvideo -pix_fmt yuv420p -s 1280x720 -r 30 - |\n  mpipe feed --ring demo --video 1280x720@30", "what another program writes into a pipe"},
			{"mpipe feed --ring demo --video 1280x720@30 --audio 48000x2 --audio-in sound.pcm < pictures.yuv", "raw pictures and raw sound"},
		},
		declare: func(f *flags) func(*call) int {
			o := &feedFlags{}
			f.text(&o.ring, "ring", "ADDR", "", "the ring: a name under /dev/shm, a path, or unix:/path.sock")
			f.texts(&o.pattern, "pattern", "WxH@FPS", "size and rate of the test pattern; each further one is another stream, video2, …")
			f.text(&o.video, "video", "WxH@FPS", "", "raw pictures of this size come from standard input")
			f.text(&o.audio, "audio", "RATExCHANNELS", "", "raw sound comes from standard input or --audio-in; of the pattern, its form (48000x2)")
			f.text(&o.fourcc, "format", "NAME", "I420", "layout of raw pictures, or of a file's pictures in the ring: GStreamer's name, such as NV12, BGRA").values = ring.FourCCs()
			f.text(&o.sample, "sample", "NAME", "S16LE", "sample format of raw sound: GStreamer's name").values = ring.SampleNames()
			f.text(&o.audioIn, "audio-in", "PATH", "", "file, FIFO or /dev/fd/N that raw sound comes from")
			f.text(&o.maxSize, "max-size", "WxH", "", "largest picture to come, for a file whose size grows")
			f.switchOn(&o.noVideo, "no-video", "leave the video out")
			f.switchOn(&o.noAudio, "no-audio", "leave the sound out")
			f.choice(&o.pace, "pace", "clock", "when a frame is written", "clock", "reader")
			f.choice(&o.whenFull, "when-full", "block", "what to do when the ring is full: wait, or leave the frame out", "block", "drop")
			f.switchOn(&o.adapt, "adapt", "feed no more pictures a second than the consumer says it can take")
			f.switchOn(&o.reattach, "reattach", "go on when the consumer starts again, and count what was lost")
			f.duration(&o.duration, "duration", "", "feed this long, by the stamps")
			f.count(&o.frames, "frames", "N", "feed N pictures, and sound of the same length")
			f.duration(&o.attach, "attach-timeout", "30s", "how long to wait for a consumer; 0s for ever")
			f.duration(&o.every, "progress", "1s", "how often to show progress; 0s for never")
			f.switchOn(&o.json, "json", "print progress and result as JSON lines")
			return o.run
		},
	}
}

func (o *feedFlags) run(c *call) int {
	if err := o.check(c.args); err != nil {
		return c.usage("%v", err)
	}
	opts := feed.Options{
		Ring: o.ring, AsFast: o.pace == "reader", Drop: o.whenFull == "drop", Adapt: o.adapt, Reattach: o.reattach,
		Duration: o.duration, AttachTimeout: o.attach, Every: o.every,
	}
	sc := newScreen(c.stderr)
	o.show(c, sc, &opts)
	stop := onSignals(sc, "ending the streams, press Ctrl-C again to stop now")
	defer stop.release()
	src, err := o.source(stop.ctx, c, &opts)
	var wrong *usageError
	switch {
	case errors.As(err, &wrong):
		return c.usage("%v", err)
	case err != nil && stop.ctx.Err() != nil:
		return c.failed(feed.ErrNotAttached)
	case err != nil:
		return c.failed(err)
	}
	return o.feed(c, sc, stop, src, opts)
}

// show has the feed tell how it goes, where and as the flags say.
func (o *feedFlags) show(c *call, sc *screen, opts *feed.Options) {
	switch {
	case o.json && o.every > 0:
		status := func(r feed.Report) { printLine(c.stdout, map[string]any{"status": r}) }
		opts.Progress = status
		opts.Waiting = func() { status(feed.Report{Ring: o.ring, Waiting: true, Streams: []feed.StreamReport{}}) }
	case o.json:
	default:
		opts.Waiting = func() { fmt.Fprintf(sc, "waiting for a consumer of ring %s\n", o.ring) }
		if o.every > 0 {
			opts.Progress = func(r feed.Report) { sc.status(feedLine(r)) }
		}
	}
}

// feed runs the feed and reports; the second signal does not wait for it.
func (o *feedFlags) feed(c *call, sc *screen, stop *stopper, src *feed.Source, opts feed.Options) int {
	type outcome struct {
		r   *feed.Report
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := feed.Run(stop.ctx, src, opts)
		src.Close()
		done <- outcome{r, err}
	}()
	select {
	case <-stop.kill:
		sc.clear()
		return run.ExitKilled
	case out := <-done:
		sc.clear()
		if o.json {
			printLine(c.stdout, map[string]any{"result": out.r})
		} else {
			feedSummary(c.stdout, out.r)
		}
		if out.err != nil {
			return c.failed(out.err)
		}
		return 0
	}
}

// usageError is a wrong command line that shows only when the source is made.
type usageError struct{ error }

// check finds flags that do not go together.
func (o *feedFlags) check(args []string) error {
	raw := o.video != "" || o.audioIn != "" || o.isRawAudio()
	switch {
	case o.ring == "":
		return errors.New("--ring is missing: the address that the graph's source has as ring")
	case ring.CheckAddr(o.ring) != nil:
		return fmt.Errorf("--ring: %s", strings.TrimPrefix(ring.CheckAddr(o.ring).Error(), "ring: "))
	case len(args) > 0 && (raw || len(o.pattern) > 0):
		return errors.New("a file, --pattern and raw frames (--video, --audio) exclude each other")
	case len(o.pattern) > 0 && (o.video != "" || o.audioIn != ""):
		return errors.New("--pattern and raw frames (--video, --audio-in) exclude each other")
	case o.video != "" && o.audio != "" && o.audioIn == "":
		return errors.New("standard input cannot hold both pictures and sound; say with --audio-in where the sound comes from")
	case o.audioIn != "" && o.audio == "":
		return errors.New("--audio-in needs --audio RATExCHANNELS")
	case raw && (o.noVideo || o.noAudio):
		return errors.New("--no-video and --no-audio are for the pattern and for files; of raw frames, say only what there is")
	case o.noVideo && o.noAudio:
		return errors.New("--no-video and --no-audio leave nothing")
	case o.fourcc != "I420" && o.video == "" && len(args) == 0:
		return errors.New("--format is for --video and for files; the pattern is drawn in I420")
	case o.sample != "S16LE" && !o.isRawAudio():
		return errors.New("--sample is for raw sound; the pattern and files come in S16LE")
	case o.maxSize != "" && len(args) == 0:
		return errors.New("--max-size is for files; everything else keeps its size")
	case o.pace == "reader" && o.whenFull == "drop":
		return errors.New("--pace reader waits for the reader; it cannot drop")
	case o.frames > 0 && (len(args) > 0 || o.duration > 0):
		return errors.New("--frames counts pattern or raw pictures and excludes --duration; with a file say --duration")
	}
	return nil
}

// source makes what is fed, and turns --frames into a duration.
func (o *feedFlags) source(ctx context.Context, c *call, opts *feed.Options) (*feed.Source, error) {
	switch {
	case len(c.args) > 0:
		return o.media(ctx, c.args[0])
	case o.video != "" || o.isRawAudio():
		return o.raw(c, opts)
	default:
		return o.test(opts)
	}
}

// isRawAudio: --audio alone means sound from standard input; with a pattern
// named, it is the form of the pattern's sound.
func (o *feedFlags) isRawAudio() bool { return o.audio != "" && len(o.pattern) == 0 }

func (o *feedFlags) media(ctx context.Context, path string) (*feed.Source, error) {
	m := feed.MediaOptions{NoVideo: o.noVideo, NoAudio: o.noAudio, FourCC: o.fourcc}
	if o.maxSize != "" {
		v, err := feed.ParseVideo(o.maxSize)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--max-size %w", err)}
		}
		m.MaxSize = v
	}
	s, err := feed.Media(ctx, path, m)
	return s, mediaError(path, err)
}

func (o *feedFlags) test(opts *feed.Options) (*feed.Source, error) {
	if len(o.pattern) == 0 {
		o.pattern = []string{"1280x720@30"}
	}
	if o.audio == "" {
		o.audio = "48000x2"
	}
	var videos []feed.VideoSpec
	for _, s := range o.pattern {
		v, err := feed.ParseVideo(s)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--pattern %w", err)}
		}
		videos = append(videos, v)
	}
	audio, err := feed.ParseAudio(o.audio)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--audio %w", err)}
	}
	o.limit(opts, videos[0])
	if o.noAudio {
		audio = feed.AudioSpec{}
	}
	if o.noVideo {
		videos = nil
	}
	s, err := feed.Pattern(videos, audio)
	if err != nil {
		return nil, &usageError{err}
	}
	return s, nil
}

// limit stops behind the last of --frames.
func (o *feedFlags) limit(opts *feed.Options, v feed.VideoSpec) {
	if o.frames > 0 {
		opts.Duration = v.Rate.At(uint32(o.frames))
	}
}

func (o *feedFlags) raw(c *call, opts *feed.Options) (*feed.Source, error) {
	const stdin = "standard input"
	var video *feed.RawVideo
	var audio *feed.RawAudio
	if o.video != "" {
		v, err := feed.ParseVideo(o.video)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--video %w", err)}
		}
		o.limit(opts, v)
		video = &feed.RawVideo{VideoSpec: v, FourCC: o.fourcc, From: c.stdin, Name: stdin}
	}
	if o.audio != "" {
		a, err := feed.ParseAudio(o.audio)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--audio %w", err)}
		}
		var from io.Reader = c.stdin
		name := stdin
		if o.audioIn != "" {
			f, err := os.Open(o.audioIn)
			if err != nil {
				return nil, err
			}
			from, name = f, o.audioIn
		}
		audio = &feed.RawAudio{AudioSpec: a, Sample: o.sample, From: from, Name: name}
	}
	s, err := feed.Raw(video, audio)
	if err != nil {
		return nil, &usageError{err}
	}
	return s, nil
}

// feedLine is one status for people:
//
//	00:00:12  video 360  audio 1200  ring 12%  dropped 0
func feedLine(r feed.Report) string {
	var media float64
	var parts []string
	var dropped int64
	var fill float64
	for _, s := range r.Streams {
		media = max(media, s.Media)
		dropped += s.Dropped
		fill = max(fill, float64(s.Used)/float64(max(s.Capacity, 1)))
		parts = append(parts, fmt.Sprintf("%s %d", s.Name, s.Frames))
	}
	return fmt.Sprintf("%s  %s  ring %.0f%%  dropped %d", clock(time.Duration(media*float64(time.Second))), strings.Join(parts, "  "), 100*fill, dropped)
}

func feedSummary(w io.Writer, r *feed.Report) {
	if len(r.Streams) == 0 {
		return // it never attached
	}
	fmt.Fprintf(w, "fed %s for %.1fs: %s\n\n", r.Ring, r.Elapsed, r.Reason)
	t := table(w)
	fmt.Fprintln(t, "STREAM\tFRAMES\tBYTES\tLENGTH\tDROPPED\tSKIPPED\tWAITED\tLATE AT MOST")
	for _, s := range r.Streams {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.3fs\t%d\t%d\t%s\t%s\n", s.Name, s.Frames, s.Bytes, s.Media, s.Dropped, s.Skipped,
			s.Blocked.Round(time.Millisecond), s.LateMost.Round(100*time.Microsecond))
	}
	t.Flush()
	if r.Epochs > 1 {
		fmt.Fprintf(w, "\n%d consumers or rings, %d frames lost in between\n", r.Epochs, r.Lost)
	}
	if r.SkewMS != nil {
		fmt.Fprintf(w, "\naudio ends %+.1fms after video\n", *r.SkewMS)
	}
}
