package servers

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func put(t *testing.T, c *s3.Client, url, bucket, key, body string) error {
	t.Helper()
	_, err := c.PutObject(context.Background(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)}, func(o *s3.Options) {
		o.BaseEndpoint = &url
		o.Retryer = aws.NopRetryer{}
	})
	return err
}

func TestS3(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *S3{"http": StartS3, "https": StartS3TLS} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			b := s.NewBucket()
			if err := put(t, s.Client(), s.URL, b, "a/b", "hello"); err != nil {
				t.Fatal(err)
			}
			if got := s.Object(b, "a/b"); string(got) != "hello" {
				t.Errorf("read back %q", got)
			}
			if _, err := s.Client().CreateMultipartUpload(context.Background(), &s3.CreateMultipartUploadInput{Bucket: &b, Key: aws.String("c")}); err != nil {
				t.Fatal(err)
			}
			if u, k := s.Uploads(b), s.Keys(b); len(u) != 1 || !strings.HasPrefix(u[0], "c ") || fmt.Sprint(k) != "[a/b]" {
				t.Errorf("uploads %q, keys %q", u, k)
			}
		})
	}
}

func TestS3Users(t *testing.T) {
	s := StartS3(t)
	b := s.NewBucket()
	s.AddUser("second", "second-secret")
	if err := put(t, s.ClientOf("second", "second-secret"), s.URL, b, "k", "v"); err != nil {
		t.Error(err)
	}
	if err := put(t, s.ClientOf("second", "wrong"), s.URL, b, "k", "w"); err == nil {
		t.Error("a wrong secret is taken")
	}
	s.DeleteUser("second")
	if err := put(t, s.ClientOf("second", "second-secret"), s.URL, b, "k", "w"); err == nil {
		t.Error("a deleted user may write")
	}
}

func TestProxy(t *testing.T) {
	s := StartS3(t)
	b := s.NewBucket()
	p := StartProxy(t, s.URL, 1)
	try := func(f Faults, want string, done bool) {
		t.Helper()
		p.Set(f)
		err := put(t, s.Client(), p.URL, b, "k", "value")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: error %v, want %q", f, err, want)
		}
		all := p.Requests()
		if last := all[len(all)-1]; last.Done != done || !last.Is("PUT", "") || last.AccessKey != s.Access {
			t.Errorf("%+v: %+v", f, last)
		}
	}
	try(Faults{}, "", true)
	try(Faults{Busy: 1}, "SlowDown", false)
	try(Faults{Internal: 1}, "InternalError", false)
	try(Faults{Cut: 1}, "EOF", false)
	try(Faults{Lost: 1}, "EOF", true)
	p.Deny(s.Access, 400, "ExpiredToken")
	try(Faults{}, "ExpiredToken", false)
	p.Allow(s.Access)
	try(Faults{}, "", true)
	if n := p.Count("PUT", ""); n != 3 {
		t.Errorf("%d were carried out, want 3", n)
	}
}

func TestToxiproxy(t *testing.T) {
	s := StartS3(t)
	b := s.NewBucket()
	l := StartToxiproxy(t).Proxy(s.Addr)
	url := "http://" + l.Addr
	timed := func(size int) (time.Duration, error) {
		from := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		defer cancel()
		_, err := s.Client().PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: aws.String("k"), Body: bytes.NewReader(make([]byte, size))},
			func(o *s3.Options) { o.BaseEndpoint, o.Retryer = &url, aws.NopRetryer{} })
		return time.Since(from), err
	}
	if _, err := timed(1 << 20); err != nil {
		t.Fatal(err)
	}
	l.ResetAfter(100_000)
	if _, err := timed(1 << 20); err == nil {
		t.Error("no reset")
	}
	l.Heal()
	l.Bandwidth(1 << 20)
	if d, err := timed(2 << 20); err != nil || d < time.Second {
		t.Errorf("2 MiB at 1 MiB/s took %v, %v", d, err)
	}
	l.Heal()
	l.BlackHole()
	if d, err := timed(10); err == nil || d < 3*time.Second {
		t.Errorf("a black hole answered after %v, %v", d, err)
	}
	l.Heal()
	l.Down()
	if d, err := timed(10); err == nil || d > 3*time.Second {
		t.Errorf("refused after %v, %v", d, err)
	}
	l.Up()
	l.Latency(500, 0)
	if d, err := timed(10); err != nil || d < 500*time.Millisecond {
		t.Errorf("with latency: %v, %v", d, err)
	}
}
