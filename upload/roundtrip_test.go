package upload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/mpipe/mpipe/test/servers"
)

var sizes = []int64{0, 1, MinPart - 1, MinPart, MinPart + 1, 2 * MinPart, 23<<20 + 7}

func TestStream(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *servers.S3{"http": servers.StartS3, "https": servers.StartS3TLS} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			for i, n := range sizes {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					noneLeft(t)
					b := newBench(t, s)
					key := fmt.Sprintf("a folder/%d.mp4", n)
					u := mustStart(t, b.options(key))
					if err := fill(u, uint64(i), n); err != nil {
						t.Fatal(err)
					}
					r := mustClose(t, u)
					b.check(key, uint64(i), n)
					b.clean()
					if r.Size != n || r.Verified != "crc32" || r.CRC32 != crcOf(uint64(i), n) || r.Location != "s3://"+b.bucket+"/"+key || r.ETag == "" {
						t.Errorf("result %+v", r)
					}
					if st := u.Stats(); st.Written != n || st.Confirmed != n || st.Spooled != 0 || st.PartsConfirmed != r.Parts {
						t.Errorf("stats %+v", st)
					}
				})
			}
		})
	}
}

func TestFile(t *testing.T) {
	s := servers.StartS3(t)
	for i, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			noneLeft(t)
			b := newBench(t, s)
			path := filepath.Join(t.TempDir(), "file")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			fill(f, uint64(i), n)
			f.Close()
			u, err := StartFile(context.Background(), path, b.options("k"))
			if err != nil {
				t.Fatal(err)
			}
			r := mustClose(t, u)
			b.check("k", uint64(i), n)
			b.clean()
			if r.Size != n || r.Verified != "crc32" || r.CRC32 != crcOf(uint64(i), n) {
				t.Errorf("result %+v", r)
			}
			if st, err := os.Stat(path); err != nil || st.Size() != n {
				t.Error("the file itself was touched")
			}
		})
	}
}

// TestObject: what the store is told about an object comes back from it.
func TestObject(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	for _, n := range []int64{10, MinPart + 10} { // by one request, and in parts
		key := fmt.Sprint(n)
		o := b.options(key)
		o.Object = Object{ContentType: "video/mp4", CacheControl: "no-store", Tags: map[string]string{"a": "b c", "d": "é"}, Metadata: map[string]string{"meeting": "42"}}
		path := filepath.Join(t.TempDir(), "file")
		f, _ := os.Create(path)
		fill(f, 1, n)
		f.Close()
		u, err := StartFile(context.Background(), path, o)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, u)
		h, err := b.Client().HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: &b.bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		if *h.ContentType != "video/mp4" || *h.CacheControl != "no-store" || h.Metadata["meeting"] != "42" {
			t.Errorf("%+v", h)
		}
		tags, err := b.Client().GetObjectTagging(context.Background(), &s3.GetObjectTaggingInput{Bucket: &b.bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, x := range tags.TagSet {
			got[*x.Key] = *x.Value
		}
		if fmt.Sprint(got) != fmt.Sprint(o.Tags) {
			t.Errorf("tags %v, want %v", got, o.Tags)
		}
	}
	b.clean()
}

func TestWithoutChecksum(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	o := b.options("k")
	o.NoChecksum = true
	u := mustStart(t, o)
	if err := fill(u, 3, 12<<20); err != nil {
		t.Fatal(err)
	}
	if r := mustClose(t, u); r.Verified != "etag" && r.Verified != "crc32" {
		t.Errorf("%+v", r)
	}
	b.check("k", 3, 12<<20)
	b.clean()
}

func TestOverwrite(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	write := func(o Options, seed uint64) error {
		u, err := Start(context.Background(), o)
		if err != nil {
			return err
		}
		fill(u, seed, 100)
		_, err = u.Close(context.Background())
		return err
	}
	if err := write(b.options("k"), 1); err != nil {
		t.Fatal(err)
	}
	wantKind(t, write(b.options("k"), 2), Exists, "there is an object already", "another key")
	b.check("k", 1, 100)

	// Somebody else takes the key in between.
	u := mustStart(t, b.options("late"))
	fill(u, 3, 100)
	if err := write(b.options("late"), 4); err != nil {
		t.Fatal(err)
	}
	_, err := u.Close(context.Background())
	wantKind(t, err, Exists, "there is an object already", "mpipe upload --resume "+u.Spool())
	b.check("late", 4, 100)

	o := b.options("late")
	o.Overwrite = true
	if _, err := Resume(context.Background(), u.Spool(), o); err != nil {
		t.Error(err)
	}
	b.check("late", 3, 100)
	b.clean()
}
