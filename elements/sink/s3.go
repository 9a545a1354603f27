package sink

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/upload"
)

func init() {
	pipeline.RegisterSink[s3]("s3", "An object in an S3-compatible store, uploaded while it is recorded; outages and the death of mpipe lose nothing.")
}

// s3 hands a container's bytes to package upload, which does all the rest.
type s3 struct {
	objectStore
	container string
	raw       map[string]any

	mu     sync.Mutex
	up     *upload.Upload
	result *upload.Result
	failed error
	last   upload.Stats // of an upload that has ended
}

func (s *s3) Props(p *pipeline.Props) {
	p.String(&s.o.Bucket, "bucket", "", "The bucket; it must be there.", pipeline.Required)
	p.String(&s.o.Key, "key", "", "The object's key; its ending says the container.", pipeline.Required)
	p.String(&s.container, "container", "", "The container; empty takes it from the ending of the key.", pipeline.OneOf(append([]string{""}, streamable()...)...))
	s.objectStore.props(p)
	p.Bool(&s.o.Overwrite, "overwrite", false, "Replace an object that is already there.")
	p.Size(&s.o.PartSize, "part_size", "8MiB", "Size of the first parts; they grow so that 10,000 parts hold any length.", pipeline.AtLeast("5MiB"))
	p.Int(&s.o.Parallel, "parallel", 4, "Parts that are sent at the same time.", pipeline.Between(1, 64))
	p.Size(&s.o.ExpectedSize, "expected_size", "0", "How large the object may get; settings that cannot hold it are refused before the start.")
	p.Bool(&s.o.EqualParts, "equal_parts", false, "Make all parts alike, for stores that want that.")
	p.String(&s.o.ContentType, "content_type", "", "Content type; empty takes the container's.")
	p.Table(&s.raw, "gst", "Properties of the GStreamer muxer in its own words; they win over everything above.")
}

func (s *s3) Check() error {
	if err := s.objectStore.check(); err != nil {
		return err
	}
	_, err := s.name()
	return err
}

func (s *s3) name() (string, error) {
	name := s.container
	if name == "" {
		name, _ = containerOf(s.o.Key)
	}
	if !slices.Contains(streamable(), name) {
		return "", pipeline.At("key", `the ending of %q says no container that can be written from front to back; end the key in .mp4, .mkv, .webm, .ogg or .ts, or add container = "mp4" or the like`, s.o.Key)
	}
	return name, nil
}

// contentTypes by container, as IANA and the containers' authors register them.
var contentTypes = map[string]string{"mp4": "video/mp4", "mkv": "video/x-matroska", "webm": "video/webm", "ogg": "application/ogg", "ts": "video/mp2t"}

func (s *s3) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	name, err := s.name()
	if err != nil {
		return pipeline.Fragment{}, err
	}
	if s.o.ContentType == "" {
		s.o.ContentType = contentTypes[name]
	}
	f := muxed(name, s.raw)
	f.Where = s.where()
	f.Recovery = "everything: the spool holds what the store lacks, and mpipe upload --resume finishes it"
	return f, nil
}

// ContainersFor is for the error about a stream that the container cannot hold.
func (s *s3) ContainersFor(k pipeline.Kind) []string { return containersFor(streamable(), k) }

func (s *s3) where() string { return "s3://" + s.o.Bucket + "/" + s.o.Key }

// Probe begins an upload and gives it up.
func (s *s3) Probe(ctx context.Context) error { return said(upload.Probe(ctx, s.options(nil))) }

// Open finds wrong credentials and a missing bucket before anything starts.
func (s *s3) Open(ctx context.Context) error { return s.Probe(ctx) }

func (s *s3) Begin(ctx context.Context, env *pipeline.OutputEnv) error {
	up, err := upload.Start(ctx, s.options(env.Log))
	if err != nil {
		return said(err)
	}
	s.mu.Lock()
	s.up = up
	s.mu.Unlock()
	return nil
}

func (s *s3) Write(p []byte) (int, error) {
	n, err := s.up.Write(p)
	return n, said(err)
}

func (s *s3) Finish(ctx context.Context) error {
	res, err := s.up.Close(ctx)
	s.end(res, err)
	return said(err)
}

// Abandon leaves a spool that can be resumed, and nothing when there is nothing
// to resume.
func (s *s3) Abandon(error) {
	if s.up.Stats().Written > 0 {
		s.end(nil, errors.Join(errors.New("abandoned"), s.up.Suspend()))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), abortLimit)
	defer cancel()
	s.end(nil, s.up.Abort(ctx))
}

// abortLimit is how long a store may take to be told that nothing comes.
const abortLimit = 5 * time.Second

func (s *s3) end(res *upload.Result, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result, s.failed, s.last = res, err, s.up.Stats()
}

func (s *s3) ReportOutput() pipeline.OutputReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := pipeline.OutputReport{Where: s.where()}
	if s.up == nil {
		return r
	}
	st := s.last
	if s.result == nil && s.failed == nil {
		st = s.up.Stats()
	}
	r.Confirmed, r.Spooled, r.Retries, r.LastError = st.Confirmed, st.Spooled, st.Retries, st.LastError
	if s.failed != nil && st.Written > 0 {
		r.Resume = "mpipe upload --resume " + s.up.Spool()
	}
	return r
}

// Fetch reads the object back when the graph asks for that.
func (s *s3) Fetch(ctx context.Context) (path string, remove func(), err error) {
	remove = func() {}
	if s.verify != "read" {
		return "", remove, nil
	}
	f, err := os.CreateTemp("", "mpipe-s3-*")
	if err != nil {
		return "", remove, err
	}
	remove = func() { os.Remove(f.Name()) }
	if err := errors.Join(said(upload.Fetch(ctx, s.options(nil), f)), f.Close()); err != nil {
		return "", remove, err
	}
	return f.Name(), remove, nil
}

// Verify is what the upload itself asked the store when it had finished.
func (s *s3) Verify(context.Context, pipeline.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.result == nil {
		return errors.New("the store has not confirmed the object")
	}
	return nil
}
