package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	o         upload.Options
	access    pipeline.Secret
	secret    pipeline.Secret
	session   pipeline.Secret
	container string
	checksums bool
	whenFull  string
	verify    string
	tags      map[string]any
	metadata  map[string]any
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
	p.String(&s.o.Endpoint, "endpoint", "", "URL of a store that is not Amazon's: \"https://s3.example.com\".")
	p.String(&s.o.Region, "region", "", "Region; empty takes what the environment says.")
	p.Bool(&s.o.PathStyle, "path_style", false, "Name the bucket in the path and not in the host name, as many stores of one's own want it.")
	p.String(&s.o.Profile, "profile", "", "Profile of the AWS configuration files.")
	p.Secret(&s.access, "access_key", "Access key; without it the standard chain of AWS's tools is followed.")
	p.Secret(&s.secret, "secret_key", "Secret key that belongs to access_key.")
	p.Secret(&s.session, "session_token", "Session token that belongs to access_key, where there is one.")
	p.String(&s.o.CAFile, "ca_file", "", "PEM file with a CA to trust in addition to the system's.")
	p.Bool(&s.o.Overwrite, "overwrite", false, "Replace an object that is already there.")
	p.Size(&s.o.PartSize, "part_size", "8MiB", "Size of the first parts; they grow so that 10,000 parts hold any length.", pipeline.AtLeast("5MiB"))
	p.Int(&s.o.Parallel, "parallel", 4, "Parts that are sent at the same time.", pipeline.Between(1, 64))
	p.Size(&s.o.ExpectedSize, "expected_size", "0", "How large the object may get; settings that cannot hold it are refused before the start.")
	p.String(&s.o.Spool, "spool", "", "Folder in which parts wait until the store has them; empty is $MPIPE_SPOOL or a folder for such files of the user's.")
	p.Size(&s.o.SpoolMax, "spool_max", "10GiB", "How much may wait there while the store is away.", pipeline.AtLeast("16MiB"))
	p.String(&s.whenFull, "when_spool_full", "block", "What a full spool does: hold up the encoders, or fail this output.", pipeline.OneOf("block", "fail"))
	p.Duration(&s.o.GiveUp, "finish_timeout", "10m", "How long the rest may take when the store is away at the end; it can be resumed after that.", pipeline.AtLeast("1s"))
	p.String(&s.verify, "verify", "store", "How the finished object is checked: by the checksums and size that the store tells, or by reading all of it back.", pipeline.OneOf("store", "read"))
	p.Bool(&s.checksums, "checksums", true, "Send a CRC32 with each part; some stores refuse it.")
	p.Bool(&s.o.EqualParts, "equal_parts", false, "Make all parts alike, for stores that want that.")
	p.String(&s.o.ContentType, "content_type", "", "Content type; empty takes the container's.")
	p.String(&s.o.CacheControl, "cache_control", "", "Cache-Control header of the object.")
	p.String(&s.o.StorageClass, "storage_class", "", "Storage class, in the store's words.")
	p.String(&s.o.ACL, "acl", "", "Canned ACL, such as \"private\".")
	p.String(&s.o.SSE, "sse", "", "Server-side encryption.", pipeline.OneOf("", "AES256", "aws:kms", "aws:kms:dsse"))
	p.String(&s.o.KMSKey, "kms_key", "", "Id of the key for sse = \"aws:kms\".")
	p.Table(&s.tags, "tags", "Tags of the object.")
	p.Table(&s.metadata, "metadata", "Metadata of the object.")
	p.Table(&s.raw, "gst", "Properties of the GStreamer muxer in its own words; they win over everything above.")
}

func (s *s3) Check() error {
	if s.access.IsSet() != s.secret.IsSet() {
		return pipeline.At("access_key", "access_key and secret_key belong together; give both, or neither for the standard chain")
	}
	if _, err := s.name(); err != nil {
		return err
	}
	return nil
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

// options are those of the upload, with what the properties say in other words.
func (s *s3) options(log *slog.Logger) upload.Options {
	o := s.o
	o.NoChecksum, o.Log = !s.checksums, log
	if s.whenFull == "fail" {
		o.WhenFull = upload.Fail
	}
	o.Tags, o.Metadata = texts(s.tags), texts(s.metadata)
	if s.access.IsSet() {
		o.Keys = s.keys
	}
	return o
}

func texts(table map[string]any) map[string]string {
	if len(table) == 0 {
		return nil
	}
	out := map[string]string{}
	for k, v := range table {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// keys reads the secrets, again when the store says that they have expired.
func (s *s3) keys() (k upload.Keys, err error) {
	if k.AccessKey, err = s.access.Reveal(); err != nil {
		return k, err
	}
	if k.SecretKey, err = s.secret.Reveal(); err != nil {
		return k, err
	}
	if s.session.IsSet() {
		k.SessionToken, err = s.session.Reveal()
	}
	return k, err
}

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

// said turns an error of an upload into one of a stage: what was wrong, what to
// do, and who must act.
func said(err error) error {
	var e *upload.Error
	if !errors.As(err, &e) {
		return err
	}
	class := pipeline.Environment
	if e.Kind == upload.Settings {
		class = pipeline.Config
	}
	msg := e.Msg
	if e.Where != "" {
		msg = e.Where + ": " + msg
	}
	return &pipeline.Error{Class: class, Msg: msg, Remedy: e.Remedy, Err: e.Err}
}
