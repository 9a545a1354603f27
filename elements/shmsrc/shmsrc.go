package shmsrc

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/ring"
)

func init() {
	pipeline.Register[source]("shmsrc", "Frames and sound that another process writes into a shared-memory ring.")
}

// The frames' cells are handed on as they are.
var _ = [1]struct{}{}[unsafe.Sizeof(ring.Cell{})-unsafe.Sizeof(pipeline.Cell{})]

type source struct {
	// properties
	addr           string
	capacity       int64
	audioCapacity  int64
	copyLimit      int64
	attachTimeout  time.Duration
	stallTimeout   time.Duration
	writerTimeout  time.Duration
	allowUID       []string
	socketMode     string
	onProducerExit string
	onFormatChange string
	streams        map[string]any

	// of a Delivery
	who    string        // what feeds the source; "" is a producer
	absent func() string // what to do when nobody came

	env      *pipeline.SourceEnv
	listener *ring.Listener
	pads     map[string]*pad
	order    []*pad                             // pads sorted by name
	refused  atomic.Value                       // refusal: why the latest producer was not taken
	giveUp   atomic.Pointer[context.CancelFunc] // ends the wait for a producer
	adviser  adviser                            // Run's goroutine
	offered  time.Time                          // when the first frame of all was seen; Run's goroutine
	depth    map[ring.Kind]int64                // most frames held downstream since the last eviction; Run's goroutine

	mu      sync.Mutex
	reader  *ring.Reader           // the current attachment
	retired bool                   // its counters are in past already
	past    totals                 // what ended attachments counted
	died    bool                   // the latest producer did, without ending its streams
	final   *pipeline.SourceReport // of Close
}

func (s *source) Props(p *pipeline.Props) {
	p.String(&s.addr, "ring", "", "Where producers find the ring: a name under /dev/shm, a path, or unix:/path.sock for sealed memory.", pipeline.Required)
	p.Size(&s.capacity, "capacity", "64MiB", "Memory for video frames, used up in advance; a 1080p I420 frame is 3.0MiB.", pipeline.AtLeast("64KiB"))
	p.Size(&s.audioCapacity, "audio_capacity", "1MiB", "Memory for audio packets.", pipeline.AtLeast("16KiB"))
	p.Size(&s.copyLimit, "copy_limit", "256MiB", "Most memory for copies of frames, made only while an encoder looks further ahead than the ring is long.")
	p.Duration(&s.attachTimeout, "attach_timeout", "30s", "How long to wait for a producer; \"0s\" is for ever.")
	p.Duration(&s.stallTimeout, "stall_timeout", "0s", "End the recording with an error when a producer gives nothing for so long; \"0s\" waits for ever.")
	p.Duration(&s.writerTimeout, "writer_timeout", "5s", "How long one thread of a live producer may stop in the middle of a frame while others wait for it; then the producer gets another ring and that frame is lost. \"0s\" waits for ever.")
	p.Strings(&s.allowUID, "allow_uid", "Users whose processes may write into the ring, by number or name; without it mpipe's own and root.")
	p.String(&s.socketMode, "socket_mode", "0600", "Permissions of the socket, or of the two files of a named ring, in octal digits; a producer of another user needs to read and write.")
	p.String(&s.onProducerExit, "on_producer_exit", "eos", "When the producer dies: end the recording in good order, or wait for the next one.", pipeline.OneOf("eos", "wait"))
	p.String(&s.onFormatChange, "on_format_change", "scale", formatChange, pipeline.OneOf("scale", "segment", "fail"))
	p.Table(&s.streams, "streams", "Kinds of streams whose names do not begin with video or audio: { screen = \"video\" }.")
}

// OnFormatChange tells the planner whether to put in a fixed canvas.
func (s *source) OnFormatChange() string { return s.onFormatChange }

func (s *source) Check() error {
	if err := ring.CheckAddr(s.addr); err != nil {
		return pipeline.At("ring", "%w", err)
	}
	for _, c := range []struct {
		prop  string
		bytes int64
	}{{"capacity", s.capacity}, {"audio_capacity", s.audioCapacity}} {
		if c.bytes > ring.MaxArena {
			return pipeline.At(c.prop, "%s is more than a ring can have; allowed are at most %s", pipeline.FormatSize(c.bytes), pipeline.FormatSize(ring.MaxArena))
		}
	}
	if _, err := s.mode(); err != nil {
		return err
	}
	if _, err := s.uids(); err != nil {
		return err
	}
	names := make([]string, 0, len(s.streams))
	for n := range s.streams {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		if k := s.streams[n]; k != "video" && k != "audio" {
			return pipeline.At("streams."+n, `want "video" or "audio", got %v; write what the stream carries`, k)
		}
	}
	return nil
}

// Output: the name tells what a pad carries, as the producer need not be there.
func (s *source) Output(name string) (pipeline.Kind, error) {
	kind, declared := s.streams[name].(string)
	switch {
	case kind == "video" || !declared && strings.HasPrefix(name, "video"):
		return pipeline.RawVideo, nil
	case kind == "audio" || !declared && strings.HasPrefix(name, "audio"):
		return pipeline.RawAudio, nil
	case name == "":
		return pipeline.Kind{}, errors.New(`a ring carries several streams; name one, such as ".video" or ".audio"`)
	default:
		return pipeline.Kind{}, fmt.Errorf(`cannot tell what stream %q carries; add streams = { %s = "video" } or "audio" to the source, or use a name that begins with video or audio`, name, name)
	}
}

// Open makes the ring and waits for the first producer.
func (s *source) Open(ctx context.Context, env *pipeline.SourceEnv) error {
	s.env = env
	s.pads = map[string]*pad{}
	s.depth = map[ring.Kind]int64{}
	for name, out := range env.Outlets {
		kind, err := s.Output(name)
		if err != nil {
			return err
		}
		p := &pad{name: name, out: out, kind: ring.KindVideo}
		if kind == pipeline.RawAudio {
			p.kind = ring.KindAudio
		}
		s.pads[name] = p
		s.order = append(s.order, p)
	}
	sort.Slice(s.order, func(i, j int) bool { return s.order[i].name < s.order[j].name })

	cfg, err := s.config()
	if err != nil {
		return err
	}
	l, err := ring.Listen(s.addr, cfg)
	if err != nil {
		return pipeline.At("ring", "%w", err)
	}
	s.listener = l
	env.Log.Info("waiting for a producer", "ring", s.addr)
	return s.attach(ctx)
}

func (s *source) config() (ring.Config, error) {
	cfg := ring.Config{
		VideoBytes:    s.capacity,
		AudioBytes:    s.audioCapacity,
		CopyLimit:     s.copyLimit,
		WriterTimeout: s.writerTimeout,
		Name:          "mpipe " + s.env.Stage,
		Check: func(_ ring.Peer, streams []ring.Stream) error {
			_, err := s.match(streams)
			return err
		},
		Refused: s.onRefusal,
		Log:     s.env.Log,
	}
	if s.writerTimeout == 0 {
		cfg.WriterTimeout = -1
	}
	var err error
	if cfg.Mode, err = s.mode(); err != nil {
		return cfg, err
	}
	cfg.AllowUID, err = s.uids()
	return cfg, err
}

// onRefusal remembers why a producer was not taken; without memory there is no
// point in waiting for another.
func (s *source) onRefusal(reason error) {
	s.refused.Store(refusal{reason})
	if noMemory(reason) {
		if cancel := s.giveUp.Load(); cancel != nil {
			(*cancel)()
		}
	}
}

// refusal gives every stored reason the same concrete type, as atomic.Value wants.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// attach waits for a producer and ties its streams to the pads.
func (s *source) attach(ctx context.Context) error {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.attachTimeout > 0 {
		wait, cancel = context.WithTimeout(ctx, s.attachTimeout)
		defer cancel()
	}
	s.giveUp.Store(&cancel)
	r, err := s.listener.Accept(wait)
	if err != nil {
		return s.notAttached(ctx, wait, err)
	}
	if err := s.bind(r); err != nil {
		r.StopProducer()
		r.Close()
		return err
	}
	s.use(r)
	p := r.Producer()
	s.env.Log.Info("producer attached", "producer", p.Name, "pid", p.PID)
	return nil
}

func (s *source) use(r *ring.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader, s.retired, s.died = r, false, false
}

// notAttached says why no producer came. What one was refused for matters more
// than that none was taken in time; no memory is final.
func (s *source) notAttached(ctx, wait context.Context, err error) error {
	refusal, _ := s.refused.Load().(error)
	timedOut := ctx.Err() == nil && wait.Err() != nil
	switch {
	case refusal != nil && (timedOut || noMemory(refusal)):
		remedy := "change the producer, or the source's properties"
		if noMemory(refusal) {
			remedy = "give the source a smaller capacity, or /dev/shm more room (in a container: docker run --shm-size=256m)"
		}
		return &timeoutError{fmt.Sprintf("a producer was refused: %v; %s", refusal, remedy)}
	case timedOut:
		return s.nobody()
	default:
		return err
	}
}

func noMemory(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) }

type timeoutError struct{ text string }

func (e *timeoutError) Error() string { return e.text }

// match finds the stream of each pad: by its name, or, for a pad that is just
// "video" or "audio", the first of that kind. The error is for the producer, too.
func (s *source) match(streams []ring.Stream) (map[*pad]*ring.Stream, error) {
	found := map[*pad]*ring.Stream{}
	for _, p := range s.order {
		for i := range streams {
			st := &streams[i]
			if st.Kind == p.kind && (st.Name == p.name || found[p] == nil && p.name == p.kind.String()) {
				found[p] = st
			}
			if st.Kind == p.kind && st.Name == p.name {
				break
			}
		}
		if found[p] == nil {
			return nil, fmt.Errorf("the graph uses %s.%s, but the producer offers %s; name one of these as an input, or have the producer offer it",
				s.env.Stage, p.name, offered(streams))
		}
	}
	return found, nil
}

// bind ties the streams of an attachment to the pads.
func (s *source) bind(r *ring.Reader) error {
	found, err := s.match(r.Streams())
	if err != nil {
		return err
	}
	waiters, seq := r.Wake()
	for p, st := range found {
		p.stream, p.format = st, 0
		p.out.Notify(pipeline.Wake{Waiters: waiters, Seq: seq})
	}
	return nil
}

func offered(streams []ring.Stream) string {
	var names []string
	for _, st := range streams {
		names = append(names, fmt.Sprintf("%s (%s)", st.Name, st.Kind))
	}
	if len(names) == 0 {
		return "no streams"
	}
	return strings.Join(names, ", ")
}

// Close removes the ring. Frames that GStreamer could not be made to give back
// stay mapped.
func (s *source) Close() error {
	var errs []error
	for _, p := range s.order {
		p.out.Notify(pipeline.Wake{})
	}
	if s.reader != nil {
		s.reader.Reclaim()
		rep := s.Report()
		s.mu.Lock()
		s.final = &rep
		s.mu.Unlock()
		errs = append(errs, s.reader.Close())
	}
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	return errors.Join(errs...)
}
