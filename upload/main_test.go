package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(childVariable); task != "" {
		os.Exit(runChild(task))
	}
	// Nothing of this machine's own configuration, and no asking of clouds.
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	os.Exit(m.Run())
}

// bench is a store and where to upload to it.
type bench struct {
	*servers.S3
	t      testing.TB
	bucket string
	spool  string
	log    *bytes.Buffer
	logMu  sync.Mutex
}

func newBench(t testing.TB, s *servers.S3) *bench {
	return &bench{S3: s, t: t, bucket: s.NewBucket(), spool: filepath.Join(t.TempDir(), "spool"), log: &bytes.Buffer{}}
}

func (b *bench) Write(p []byte) (int, error) {
	b.logMu.Lock()
	defer b.logMu.Unlock()
	return b.log.Write(p)
}

func (b *bench) options(key string) Options {
	return Options{
		Place: Place{Endpoint: b.URL, PathStyle: true, CAFile: b.CA, Bucket: b.bucket, Key: key},
		Keys:  func() (Keys, error) { return Keys{AccessKey: b.Access, SecretKey: b.Secret}, nil },
		Spool: b.spool, PartSize: MinPart,
		Log: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// through is options by way of another address, such as a proxy's.
func (b *bench) through(url, key string) Options {
	o := b.options(key)
	o.Endpoint = url
	return o
}

// clean checks that nothing is left over and nothing secret was said.
func (b *bench) clean() {
	b.t.Helper()
	if u := b.Uploads(b.bucket); len(u) > 0 {
		b.t.Errorf("uploads left in the store: %q", u)
	}
	left, _ := os.ReadDir(b.spool)
	for _, d := range left {
		if !strings.HasPrefix(d.Name(), halfMade) { // of one that was killed before it began
			b.t.Errorf("left in the spool: %v", left)
		}
	}
	b.logMu.Lock()
	defer b.logMu.Unlock()
	if strings.Contains(b.log.String(), b.Secret) {
		b.t.Error("the secret is in the log")
	}
	if b.t.Failed() {
		b.t.Logf("log:\n%s", tailOf(b.log.String()))
	}
}

func tailOf(s string) string { return s[max(0, len(s)-6000):] }

// check compares the object with the first n bytes of the stream of a seed.
func (b *bench) check(key string, seed uint64, n int64) {
	b.t.Helper()
	c := &comparer{want: stream(seed)}
	b.CopyObject(c, b.bucket, key)
	if c.wrong || c.n != n {
		b.t.Errorf("%s: %d bytes, want %d; differs: %v", key, c.n, n, c.wrong)
	}
}

// comparer compares what is written to it with a stream.
type comparer struct {
	want  io.Reader
	n     int64
	wrong bool
	buf   []byte
}

func (c *comparer) Write(p []byte) (int, error) {
	if cap(c.buf) < len(p) {
		c.buf = make([]byte, len(p))
	}
	io.ReadFull(c.want, c.buf[:len(p)])
	c.wrong = c.wrong || !bytes.Equal(p, c.buf[:len(p)])
	c.n += int64(len(p))
	return len(p), nil
}

// stream is endless noise.
func stream(seed uint64) io.Reader {
	var k [32]byte
	copy(k[:], fmt.Sprintf("%d", seed))
	return rand.NewChaCha8(k)
}

// fill writes n bytes of the stream, in writes of many sizes.
func fill(w io.Writer, seed uint64, n int64) error {
	from, r := io.LimitReader(stream(seed), n), rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 1<<20)
	for {
		k, err := io.ReadFull(from, b[:1+r.IntN(len(b))])
		if k > 0 {
			if _, err := w.Write(b[:k]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

func crcOf(seed uint64, n int64) string {
	h := crc32.NewIEEE()
	io.CopyN(h, stream(seed), n)
	return fmt.Sprintf("%08x", h.Sum32())
}

func mustStart(t testing.TB, o Options) *Upload {
	t.Helper()
	u, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Suspend() })
	return u
}

func mustClose(t testing.TB, u *Upload) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := u.Close(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// noneLeft checks that goroutines and open files end with the test.
func noneLeft(t *testing.T) {
	goroutines, files := runtime.NumGoroutine(), openFiles()
	t.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			g, f := runtime.NumGoroutine(), openFiles()
			if g <= goroutines && f <= files {
				return
			}
			if time.Now().After(end) {
				b := make([]byte, 1<<16)
				t.Errorf("%d goroutines and %d files more than before\n%s", g-goroutines, f-files, b[:runtime.Stack(b, true)])
				return
			}
		}
	})
}

func openFiles() int {
	l, _ := os.ReadDir("/proc/self/fd")
	return len(l)
}

// wantKind checks who is to act, and that the text says what it has to.
func wantKind(t testing.TB, err error, k Kind, words ...string) {
	t.Helper()
	if KindOf(err) != k {
		t.Errorf("error of kind %v, want %v: %v", KindOf(err), k, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%T is no Error", err)
	}
}
