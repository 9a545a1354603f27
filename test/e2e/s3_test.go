package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

// store is an S3 store with a bucket, and what a graph has to say to reach it.
type store struct {
	*servers.S3
	t      *testing.T
	bucket string
}

func startStore(t *testing.T) *store {
	s := &store{S3: servers.StartS3(t), t: t}
	s.bucket = s.NewBucket()
	t.Setenv("AWS_ACCESS_KEY_ID", s.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.Secret)
	t.Setenv("AWS_REGION", s.Region)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return s
}

// sink is a sink of the graph, id "archive", that stores key by way of url.
func (s *store) sink(url, key, spool, more string) string {
	return fmt.Sprintf("[sinks.archive]\ntype = \"s3\"\ninputs = [\"v\", \"a\"]\nbucket = %q\nkey = %q\nendpoint = %q\npath_style = true\nspool = %q\n%s\n",
		s.bucket, key, url, spool, more)
}

// object brings an object to a file.
func (s *store) object(key string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), filepath.Base(key))
	if err := os.WriteFile(path, s.Object(s.bucket, key), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// nothingLeft fails when multipart uploads are left in the store, or spools.
func (s *store) nothingLeft(spool string) {
	s.t.Helper()
	if ids := s.Uploads(s.bucket); len(ids) > 0 {
		s.t.Errorf("multipart uploads are left in the store: %v", ids)
	}
	if left, _ := filepath.Glob(spool + "/*"); len(left) > 0 {
		s.t.Errorf("left in the spool: %v", left)
	}
}

// A file and an object from one encode: the same frames, all of them, in every
// container that can be streamed; the object read back by mpipe itself.
func TestS3BesideAFile(t *testing.T) {
	s := startStore(t)
	for _, c := range []string{"mp4", "mkv", "ts"} {
		spool := t.TempDir()
		r := recordTo(t, graph(t, record+s.sink(s.URL, "talks/a."+c, spool, "verify = \"read\"\nmetadata = { room = \"7\" }")), ringName(), "a.mp4")
		feed := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "240", "--pace", "reader")
		if code := feed.wait(time.Minute); code != 0 {
			t.Fatalf("feed ended with %d", code)
		}
		m := r.finish(time.Minute)
		whole(t, r.out, 240)
		whole(t, s.object("talks/a."+c), 240)
		o := m.Outputs[1]
		if !o.Checked || o.Where != "s3://"+s.bucket+"/talks/a."+c || o.Confirmed == 0 || o.Streams[0].Frames != 240 {
			t.Errorf("the manifest says %+v", o)
		}
		s.nothingLeft(spool)
	}
}

// Wrong credentials and a missing bucket are found before anything starts.
func TestS3ThatRefuses(t *testing.T) {
	s := startStore(t)
	t.Setenv("WRONG_KEY", "nobody")
	wrong := "secret_key = { env = \"WRONG_KEY\" }\naccess_key = { env = \"WRONG_KEY\" }"
	for _, c := range []struct{ more, bucket, want string }{{"", "nowhere", "make the bucket"}, {wrong, s.bucket, "access key"}} {
		spool := t.TempDir()
		r := recordTo(t, graph(t, record+s.sink(s.URL, "a.mp4", spool, c.more)), ringName(), "a.mp4", "--set", "archive.bucket="+c.bucket)
		if code := r.wait(time.Minute); code != 1 && code != 78 || !strings.Contains(r.err.String(), "stage archive: ") || !strings.Contains(r.err.String(), c.want) {
			t.Errorf("%+v: exit code %d: %s", c, code, r.err.String())
		}
		if _, err := os.Stat(r.out); err == nil {
			t.Error("a file was left of a run that did not start")
		}
		s.nothingLeft(spool)
	}
}

func TestS3CheckConnect(t *testing.T) {
	s := startStore(t)
	path := graph(t, record+s.sink(s.URL, "a.mp4", t.TempDir(), ""))
	check := func(more ...string) (string, int) {
		cmd := exec.Command(mpipe, append([]string{"check", path, "--connect", "--param", "ring=r", "--param", "out=" + t.TempDir() + "/o.mp4"}, more...)...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := check(); code != 0 || !strings.Contains(out, "archive: s3://"+s.bucket+"/a.mp4: ok") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := check("--set", "archive.bucket=nowhere"); code != 1 || !strings.Contains(out, "stage archive: ") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if ids := s.Uploads(s.bucket); len(ids) > 0 {
		t.Errorf("check left uploads: %v", ids)
	}
}
