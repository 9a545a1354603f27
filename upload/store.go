package upload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// store is the way to one bucket. All requests go through do, which repeats
// them. Its methods may be called from any goroutine.
type store struct {
	place      Place
	noChecksum bool
	keys       func() (Keys, error)
	stall      time.Duration
	giveUp     time.Duration
	reach      time.Duration
	log        *slog.Logger
	chain      *awshttp.BuildableClient // for looking up credentials
	parallel   int

	hurried   chan struct{} // closed when waiting for better times ends: see hurry
	hurryOnce sync.Once
	since     time.Time // when hurried was closed; read after it was

	mu      sync.Mutex
	client  *s3.Client      // nil: to be made, with credentials looked up anew
	http    *http.Transport // of all clients, so that connections outlast them
	secrets []string        // what no text may hold
	health  health
}

// health is what Stats says of the store.
type health struct {
	retries   int64
	lastError error
	awaySince time.Time // zero: the last request was answered as wanted
	warned    bool      // that it is away
}

func newStore(o Options) (*store, error) {
	s := &store{
		place: o.Place, noChecksum: o.NoChecksum, keys: o.Keys, stall: o.Stall, giveUp: o.GiveUp, reach: o.Reach, log: o.Log,
		parallel: o.Parallel, hurried: make(chan struct{}),
	}
	roots, err := rootCAs(o.CAFile)
	if err != nil {
		return nil, err
	}
	// AWS_CA_BUNDLE is heeded only with a client of this type.
	s.chain = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		if tr.TLSClientConfig == nil {
			tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if roots != nil {
			tr.TLSClientConfig.RootCAs = roots
		}
	})
	return s, nil
}

// rootCAs is nil, the system's, unless there is a CA to add. The system's stay,
// since the services that give credentials are reached through them.
func rootCAs(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{Kind: Local, Where: path, Msg: "the CA file cannot be read", Err: err}
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &Error{Kind: Settings, Where: path, Msg: "there is no certificate in the CA file", Remedy: "give a PEM file, with BEGIN CERTIFICATE"}
	}
	return pool, nil
}

// api gives the client, and looks up credentials where there is none yet.
func (s *store) api(ctx context.Context) (*s3.Client, error) {
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	cfg, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	got, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, noCredentials(ctx, err)
	}
	transport := s.transport(cfg)
	c = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = &http.Client{Transport: transport, CheckRedirect: redirect}
		o.Retryer = aws.NopRetryer{} // do repeats
		o.UsePathStyle = s.place.PathStyle
		if s.place.Endpoint != "" {
			o.BaseEndpoint = aws.String(s.place.Endpoint)
		}
		if s.noChecksum {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		}
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = c
	for _, secret := range []string{got.SecretAccessKey, got.SessionToken} {
		if secret != "" {
			s.secrets = append(s.secrets, secret)
		}
	}
	return c, nil
}

func (s *store) config(ctx context.Context) (aws.Config, error) {
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(s.chain), config.WithLogger(logging.Nop{}),
	}
	if s.place.Region != "" {
		load = append(load, config.WithRegion(s.place.Region))
	}
	if s.place.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(s.place.Profile))
	}
	if s.keys != nil {
		k, err := s.keys()
		if err != nil {
			return aws.Config{}, &Error{Kind: Denied, Msg: "the credentials cannot be read", Err: err}
		}
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(k.AccessKey, k.SecretKey, k.SessionToken)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return cfg, &Error{Kind: Denied, Msg: "the AWS configuration cannot be used", Err: err, Remedy: "see the files ~/.aws/config and ~/.aws/credentials and the AWS_ variables"}
	}
	if cfg.Region == "" {
		if s.place.Endpoint == "" && cfg.BaseEndpoint == nil {
			return cfg, &Error{Kind: Settings, Msg: "no region is given", Remedy: "give the bucket's region, or an endpoint if it is not Amazon's"}
		}
		cfg.Region = "us-east-1"
	}
	return cfg, nil
}

// renew lets the next request look up credentials anew.
func (s *store) renew() {
	s.mu.Lock()
	s.client = nil
	s.mu.Unlock()
}

// hurry ends patience: from now on errors that somebody has to act on end a
// request, and others end it after the time that Options.GiveUp says.
func (s *store) hurry() {
	s.hurryOnce.Do(func() {
		s.since = time.Now()
		close(s.hurried)
	})
}

func (s *store) inHurry() bool {
	select {
	case <-s.hurried:
		return true
	default:
		return false
	}
}

// transport makes connections as the configuration asks, and can close them,
// which the client that the configuration holds cannot.
func (s *store) transport(cfg aws.Config) *http.Transport {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		from := s.chain
		if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
			from = b
		}
		s.http = from.GetTransport()
		s.http.MaxIdleConnsPerHost = s.parallel
	}
	return s.http
}

// redirect follows what keeps the method and the body.
func redirect(r *http.Request, via []*http.Request) error {
	if a := r.Response; len(via) < 5 && a != nil && (a.StatusCode == http.StatusTemporaryRedirect || a.StatusCode == http.StatusPermanentRedirect) {
		return nil
	}
	return http.ErrUseLastResponse
}

// close leaves no connection behind.
func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = nil
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
}

// clean takes secrets out of a text.
func (s *store) clean(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// hiccup is for how long nothing may succeed before it is worth a warning.
const hiccup = 2 * time.Second

// fine notes that the store answered as wanted.
func (s *store) fine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.health.warned {
		s.log.Info("the store is back", "target", s.place.String(), "away", time.Since(s.health.awaySince).Round(time.Millisecond))
	}
	s.health.awaySince, s.health.warned = time.Time{}, false
}

// failed notes an error and gives the time since which nothing has worked.
func (s *store) failed(op string, e *Error) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.health
	if h.awaySince.IsZero() {
		h.awaySince = time.Now()
	}
	h.retries++
	h.lastError = e
	level := slog.LevelDebug
	if !h.warned && (e.Kind != Away || time.Since(h.awaySince) > hiccup) {
		level, h.warned = slog.LevelWarn, true
	}
	s.log.Log(context.Background(), level, "a request failed", "target", s.place.String(), "request", op, "kind", e.Kind.String(), "error", e.Error())
	return h.awaySince
}

func (s *store) state() health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

func noCredentials(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{Kind: Denied, Msg: "there are no credentials", Err: fmt.Errorf("%s", firstLine(err)),
		Remedy: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile"}
}

func firstLine(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}
