package upload

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Place is where an object is to be, and how to reach the store.
type Place struct {
	Endpoint  string `json:"endpoint,omitempty"` // such as https://s3.example.com; "" is what the environment says, or Amazon's
	Region    string `json:"region,omitempty"`   // "" is what the environment says; us-east-1 for an Endpoint of one's own
	PathStyle bool   `json:"path_style,omitempty"`
	CAFile    string `json:"ca_file,omitempty"` // PEM; trusted in addition to the system's
	Profile   string `json:"profile,omitempty"` // of the AWS configuration files
	Bucket    string `json:"bucket"`
	Key       string `json:"key"`
}

func (p Place) String() string { return "s3://" + p.Bucket + "/" + p.Key }

// Object is how the store is to keep it. Zero values leave it to the store.
type Object struct {
	ContentType  string            `json:"content_type,omitempty"`
	CacheControl string            `json:"cache_control,omitempty"`
	StorageClass string            `json:"storage_class,omitempty"`
	ACL          string            `json:"acl,omitempty"`     // a canned one, such as private
	SSE          string            `json:"sse,omitempty"`     // AES256, aws:kms or aws:kms:dsse
	KMSKey       string            `json:"kms_key,omitempty"` // its id; SSE is aws:kms then
	Tags         map[string]string `json:"tags,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	// NoChecksum leaves out the CRC32 that every part carries, for stores that
	// refuse it.
	NoChecksum bool `json:"no_checksum,omitempty"`
	// Overwrite allows the key to be in use. Without it an object that is there
	// already is an error, at the start and again at the end.
	Overwrite bool `json:"overwrite,omitempty"`
}

// Keys are credentials given by the caller.
type Keys struct{ AccessKey, SecretKey, SessionToken string }

// WhenFull is what Write does when the spool has reached its limit.
type WhenFull uint8

const (
	Block WhenFull = iota // wait until the store has taken a part
	Fail                  // return an error of Kind Full
)

// Options is all that an upload can be told.
type Options struct {
	Place
	Object

	// Keys gives credentials; it is asked again when the store says that they
	// have expired. Without it the standard chain of AWS's tools is followed, and
	// followed again then: environment, configuration files, containers, EC2.
	Keys func() (Keys, error) `json:"-"`

	Spool    string // the folder in which each upload makes one of its own
	SpoolMax int64  // bytes that may wait on disk; 0 is 10 GiB
	WhenFull WhenFull
	// Keep leaves parts on disk until the whole object is verified. Without it a
	// part is deleted when the store has confirmed it.
	Keep bool

	PartSize     int64 // bytes of the first parts, 5 MiB to 5 GiB; 0 is DefaultPart
	EqualParts   bool  // for stores that want all parts alike, such as Cloudflare R2: the longest object is then PartSize x 10,000
	ExpectedSize int64 // bytes; an upload that cannot hold them does not start; 0 is unknown
	Parallel     int   // parts under way at a time; 0 is 4

	// Stall ends an attempt in which nothing has moved for so long; 0 is 30 s.
	Stall time.Duration
	// GiveUp is how long Close goes on when the store is away or the credentials
	// have expired; 0 is 10 min. While writing goes on nothing is given up.
	GiveUp time.Duration
	// Reach is how long Start and Probe ask a store that does not answer; 0 is 10 s.
	Reach time.Duration
	// Offline lets Start succeed while the store cannot be reached.
	Offline bool

	Log *slog.Logger `json:"-"` // nil: nothing is logged
}

const (
	defaultSpoolMax = 10 << 30
	defaultParallel = 4
	defaultStall    = 30 * time.Second
	defaultGiveUp   = 10 * time.Minute
	defaultReach    = 10 * time.Second
	// spoolParts is how many of the largest parts the spool has to hold, so that
	// one can be filled while others are under way.
	spoolParts = 4
)

// complete fills in defaults and refuses what cannot work.
func (o Options) complete() (Options, Schedule, error) {
	setDefault(&o.SpoolMax, defaultSpoolMax)
	setDefault(&o.PartSize, DefaultPart)
	setDefault(&o.Parallel, defaultParallel)
	setDefault(&o.Stall, defaultStall)
	setDefault(&o.GiveUp, defaultGiveUp)
	setDefault(&o.Reach, defaultReach)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.KMSKey != "" && o.SSE == "" {
		o.SSE = "aws:kms"
	}
	s := Schedule{First: o.PartSize, Most: min(MaxPart, o.SpoolMax/spoolParts)}
	if o.EqualParts {
		s.Most = s.First
	}
	err := errors.Join(o.Place.check(), o.Object.check(), o.checkParts())
	if err == nil {
		err = s.check(o.ExpectedSize)
	}
	if err != nil {
		return o, s, &Error{Kind: Settings, Where: o.Place.String(), Msg: strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	return o, s, nil
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (o Options) checkParts() error {
	switch {
	case o.PartSize < MinPart || o.PartSize > MaxPart:
		return fmt.Errorf("part size %s: S3 wants %s to %s", size(o.PartSize), size(MinPart), size(MaxPart))
	case o.SpoolMax < spoolParts*o.PartSize:
		return fmt.Errorf("a spool of %s is too small for parts of %s: it has to hold %d, %s", size(o.SpoolMax), size(o.PartSize), spoolParts, size(spoolParts*o.PartSize))
	case o.Parallel < 1 || o.Parallel > 64:
		return fmt.Errorf("%d parts at a time: want 1 to 64", o.Parallel)
	case o.Stall < 0 || o.GiveUp < 0 || o.Reach < 0 || o.ExpectedSize < 0:
		return errors.New("a time or size is negative")
	}
	return nil
}

func (p Place) check() error {
	switch {
	case p.Bucket == "":
		return errors.New("no bucket is given")
	case strings.ContainsAny(p.Bucket, "/ "):
		return fmt.Errorf("%q is no name of a bucket: it goes up to the first slash, the rest is the key", p.Bucket)
	case p.Key == "":
		return errors.New("no key is given")
	case len(p.Key) > 1024:
		return fmt.Errorf("the key has %d bytes: S3 takes 1024", len(p.Key))
	}
	return checkEndpoint(p.Endpoint)
}

func checkEndpoint(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil: // the error would print what may hold a password
		return errors.New("the endpoint is no URL: want one such as https://s3.example.com")
	case u.User != nil:
		return errors.New("the endpoint holds a user or password: give credentials in their own place")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("endpoint %q: want a URL such as https://s3.example.com", s)
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("the endpoint has a query: want a URL such as https://s3.example.com")
	}
	return nil
}

func (o Object) check() error {
	switch {
	case len(o.Tags) > 10:
		return fmt.Errorf("%d tags: S3 takes 10", len(o.Tags))
	case o.SSE != "" && o.SSE != "AES256" && o.SSE != "aws:kms" && o.SSE != "aws:kms:dsse":
		return fmt.Errorf("server-side encryption %q: want AES256, aws:kms or aws:kms:dsse", o.SSE)
	case o.KMSKey != "" && o.SSE == "AES256":
		return errors.New("a KMS key goes with aws:kms, not with AES256")
	}
	for k, v := range o.Metadata {
		if k == "" || strings.ContainsAny(k+v, "\r\n") {
			return fmt.Errorf("metadata %q: want a name, and values of one line", k)
		}
	}
	return nil
}
