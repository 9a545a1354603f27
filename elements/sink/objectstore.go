package sink

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/upload"
)

// objectStore is what the outputs into an S3-compatible store share.
type objectStore struct {
	o         upload.Options
	access    pipeline.Secret
	secret    pipeline.Secret
	session   pipeline.Secret
	checksums bool
	whenFull  string
	verify    string
	tags      map[string]any
	metadata  map[string]any
}

func (s *objectStore) props(p *pipeline.Props) {
	p.String(&s.o.Endpoint, "endpoint", "", "URL of a store that is not Amazon's: \"https://s3.example.com\".")
	p.String(&s.o.Region, "region", "", "Region; empty takes what the environment says.")
	p.Bool(&s.o.PathStyle, "path_style", false, "Name the bucket in the path and not in the host name, as many stores of one's own want it.")
	p.String(&s.o.Profile, "profile", "", "Profile of the AWS configuration files.")
	p.Secret(&s.access, "access_key", "Access key; without it the standard chain of AWS's tools is followed.")
	p.Secret(&s.secret, "secret_key", "Secret key that belongs to access_key.")
	p.Secret(&s.session, "session_token", "Session token that belongs to access_key, where there is one.")
	p.String(&s.o.CAFile, "ca_file", "", "PEM file with a CA to trust in addition to the system's.")
	p.String(&s.o.Spool, "spool", "", "Folder in which parts wait until the store has them; empty is $MPIPE_SPOOL or a folder for such files of the user's.")
	p.Size(&s.o.SpoolMax, "spool_max", "10GiB", "How much may wait there while the store is away.", pipeline.AtLeast("16MiB"))
	p.String(&s.whenFull, "when_spool_full", "block", "What a full spool does: hold up the encoders, or fail this output.", pipeline.OneOf("block", "fail"))
	p.Duration(&s.o.GiveUp, "finish_timeout", "10m", "How long the rest may take when the store is away at the end; it can be resumed after that.", pipeline.AtLeast("1s"))
	p.String(&s.verify, "verify", "store", "How the finished object is checked: by the checksums and size that the store tells, or by reading all of it back.", pipeline.OneOf("store", "read"))
	p.Bool(&s.checksums, "checksums", true, "Send a CRC32 with each part; some stores refuse it.")
	p.String(&s.o.CacheControl, "cache_control", "", "Cache-Control header of the object.")
	p.String(&s.o.StorageClass, "storage_class", "", "Storage class, in the store's words.")
	p.String(&s.o.ACL, "acl", "", "Canned ACL, such as \"private\".")
	p.String(&s.o.SSE, "sse", "", "Server-side encryption.", pipeline.OneOf("", "AES256", "aws:kms", "aws:kms:dsse"))
	p.String(&s.o.KMSKey, "kms_key", "", "Id of the key for sse = \"aws:kms\".")
	p.Table(&s.tags, "tags", "Tags of the object.")
	p.Table(&s.metadata, "metadata", "Metadata of the object.")
}

func (s *objectStore) check() error {
	if s.access.IsSet() != s.secret.IsSet() {
		return pipeline.At("access_key", "access_key and secret_key belong together; give both, or neither for the standard chain")
	}
	return nil
}

// options are those of the upload, with what the properties say in other words.
func (s *objectStore) options(log *slog.Logger) upload.Options {
	o := s.o
	o.NoChecksum, o.Log = !s.checksums, log
	if o.Spool == "" {
		o.Spool = upload.DefaultSpool()
	}
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
func (s *objectStore) keys() (k upload.Keys, err error) {
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
