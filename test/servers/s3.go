package servers

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"
)

// S3 is a running S3 store: versitygw over a folder. It checks signatures,
// checksums and part sizes as S3 does.
type S3 struct {
	*Process
	URL            string // http://127.0.0.1:PORT or https://…
	Region         string
	Access, Secret string // of the root user
	CA             string // PEM file to trust; "" over http

	t       testing.TB
	buckets atomic.Int32
	meta    []string // arguments for file systems without extended attributes
}

// StartS3 starts a store that holds nothing, over http.
func StartS3(t testing.TB) *S3 { return startS3(t, nil) }

// StartS3TLS starts one over https, with a certificate of its own.
func StartS3TLS(t testing.TB) *S3 {
	c := NewCertificate(t)
	return startS3(t, &c)
}

func startS3(t testing.TB, c *Certificate) *S3 {
	t.Helper()
	dir := t.TempDir()
	s := &S3{t: t, Region: "us-east-1", Access: "mpipe-test-root", Secret: "root-secret-of-the-tests"}
	data, iam, scheme := filepath.Join(dir, "data"), filepath.Join(dir, "iam"), "http"
	for _, d := range []string{data, iam} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(data, "user.mpipe", []byte("x"), 0); err != nil {
		s.meta = []string{"--sidecar", filepath.Join(dir, "meta")}
		os.Mkdir(s.meta[1], 0o700)
	}
	// No cache of users, so that a test may change them.
	args := []string{"--quiet", "--health", "/health", "--iam-dir", iam, "--iam-cache-disable", "--keep-alive"}
	if c != nil {
		args, s.CA, scheme = append(args, "--cert", c.Cert, "--key", c.Key), c.Cert, "https"
	}
	s.Process = Start(t, Command{
		Path: Tool(t, "versitygw"),
		Args: func(addr string) []string {
			return append(append(append([]string{"--port", addr}, args...), "posix"), append(s.meta, data)...)
		},
		Env:   []string{"ROOT_ACCESS_KEY_ID=" + s.Access, "ROOT_SECRET_ACCESS_KEY=" + s.Secret},
		Ready: func(addr string) error { return healthy(scheme + "://" + addr + "/health") },
	})
	s.URL = scheme + "://" + s.Addr
	return s
}

func healthy(url string) error {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // whether it is up, not who it is
	}}
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", r.Status)
	}
	return nil
}

// Client is a client of the root user, apart from anything under test.
func (s *S3) Client() *s3.Client { return s.ClientOf(s.Access, s.Secret) }

// ClientOf is a client of another user.
func (s *S3) ClientOf(access, secret string) *s3.Client {
	h := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		tr.DisableKeepAlives = true // it is made anew for each use
	})
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.URL), Region: s.Region, UsePathStyle: true, HTTPClient: h,
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
}

// NewBucket makes an empty bucket and gives its name.
func (s *S3) NewBucket() string {
	s.t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	if _, err := s.Client().CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// AddUser makes a user who may do everything in every bucket of the store, as
// the root user may, with keys of their own.
func (s *S3) AddUser(access, secret string) {
	s.t.Helper()
	s.admin("create-user", "-a", access, "-s", secret, "-r", "admin")
}

// DeleteUser makes a user's keys unknown.
func (s *S3) DeleteUser(access string) {
	s.t.Helper()
	s.admin("delete-user", "-a", access)
}

func (s *S3) admin(args ...string) {
	s.t.Helper()
	all := append([]string{"admin", "--access", s.Access, "--secret", s.Secret, "--endpoint-url", s.URL, "--allow-insecure"}, args...)
	if out, err := exec.Command(s.c.Path, all...).CombinedOutput(); err != nil {
		s.t.Fatalf("versitygw admin %s: %v\n%s", args[0], err, out)
	}
}

// Object gives what the store has under a key.
func (s *S3) Object(bucket, key string) []byte {
	s.t.Helper()
	var b bytes.Buffer
	s.CopyObject(&b, bucket, key)
	return b.Bytes()
}

// CopyObject writes what the store has under a key to w.
func (s *S3) CopyObject(w io.Writer, bucket, key string) {
	s.t.Helper()
	o, err := s.Client().GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		s.t.Fatal(err)
	}
	defer o.Body.Close()
	if _, err := io.Copy(w, o.Body); err != nil {
		s.t.Fatal(err)
	}
}

// Keys lists the objects of a bucket.
func (s *S3) Keys(bucket string) (keys []string) {
	s.t.Helper()
	l, err := s.Client().ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range l.Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}

// Uploads lists the multipart uploads of a bucket that are neither completed nor
// aborted, as "key id".
func (s *S3) Uploads(bucket string) (ids []string) {
	s.t.Helper()
	l, err := s.Client().ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, u := range l.Uploads {
		ids = append(ids, *u.Key+" "+*u.UploadId)
	}
	return ids
}

// portOf is the port of 127.0.0.1:PORT.
func portOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(errors.Join(err, errors.New("servers: no address: "+strings.TrimSpace(addr))))
	}
	return port
}
