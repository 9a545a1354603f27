package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// A store that is away while one records costs nothing but space on the disk; one
// that never comes back leaves a spool that is finished later.
func TestS3OutageWhileRecording(t *testing.T) {
	s := startStore(t)
	link := servers.StartToxiproxy(t).Proxy(s.Addr)
	url := "http://" + link.Addr
	for _, back := range []bool{true, false} {
		key, spool := fmt.Sprintf("outage-%v.mp4", back), t.TempDir()
		r := recordTo(t, graph(t, record+s.sink(url, key, spool, `finish_timeout = "2s"`)), ringName(), "a.mp4", "--set", "v.bitrate=20M", "--set", "archive.part_size=5MiB")
		feed := start(t, "feed", "--ring", r.ring, "--pattern", "1280x720@30", "--frames", "300")
		r.says("stream=video")
		time.Sleep(2 * time.Second)
		link.Down()
		time.Sleep(3 * time.Second)
		if back {
			link.Up()
		}
		if code := feed.wait(time.Minute); code != 0 {
			t.Fatalf("feed ended with %d", code)
		}
		code := r.wait(time.Minute)
		whole(t, r.out, 300)
		if (code == 0) != back {
			t.Errorf("exit code %d with the store back: %v", code, back)
		}
		if !back {
			link.Up()
			m := r.account()
			if m.Outputs[1].Resume == "" || !m.Outputs[0].Complete {
				t.Errorf("the manifest says %+v", m.Outputs)
			}
			if code := start(t, "upload", "--resume", "--spool", spool).wait(time.Minute); code != 0 {
				t.Fatalf("resuming ended with %d", code)
			}
		}
		whole(t, s.object(key), 300)
		s.nothingLeft(spool)
	}
}

// kill -9 at random moments: mpipe upload --resume makes an object of what was
// recorded up to the last fragment, and no upload is left behind.
func TestS3AfterSIGKILL(t *testing.T) {
	kills := 20 // upload has 50 more, of a process that only uploads
	if testing.Short() {
		kills = 3
	}
	s, rng := startStore(t), seed(t)
	for i := range kills {
		c := []string{"mp4", "mkv", "ts"}[i%3]
		key, spool := fmt.Sprintf("killed-%d.%s", i, c), t.TempDir()
		text := strings.Replace(record, "[sinks.file]\ntype = \"file\"\ninputs = [\"v\", \"a\"]\npath = \"${out}\"\n", "", 1)
		r := recordTo(t, graph(t, text+s.sink(s.URL, key, spool, "part_size = \"5MiB\"\n# ${out}")), ringName(), "unused", "--set", "v.bitrate=30M")
		start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30")
		r.says("stream=video")
		began := time.Now()
		time.Sleep(1500*time.Millisecond + time.Duration(rng.Int63n(int64(2*time.Second))))
		r.signal(syscall.SIGKILL)
		lived := time.Since(began).Seconds()
		<-r.done
		p := start(t, "upload", "--resume", "--spool", spool)
		if code := p.wait(time.Minute); code != 0 {
			t.Fatalf("%s: resuming ended with %d", key, code)
		}
		got := measure(t, s.object(key))
		// A fragment of one second, and what the machine was behind.
		if c == "ts" && got.Repeated+got.Unreadable == 1 {
			got.Repeated, got.Unreadable = 0, 0 // the last picture is cut: it decodes in part, or the one before is shown again
		}
		if got.VideoEnd < lived-2 || got.First != 0 || got.Missing+got.Repeated+got.OutOfOrder+got.Unreadable != 0 {
			t.Errorf("%s killed after %.2f s holds %+v", key, lived, got)
		}
		s.nothingLeft(spool)
		os.Remove("/dev/shm/" + r.ring)
		os.Remove("/dev/shm/" + r.ring + ".consumer")
	}
}

// Wrong credentials and a missing bucket are found before anything starts; where
// the store is not required, the recording is made without it.
func TestS3ThatRefuses(t *testing.T) {
	s := startStore(t)
	for _, c := range []struct{ set, want string }{
		{"archive.bucket=nowhere", "bucket"},
		{`archive.access_key={ env = "WRONG_KEY" }`, ""},
	} {
		t.Setenv("WRONG_KEY", "nobody")
		more := "secret_key = { env = \"WRONG_KEY\" }\naccess_key = { env = \"WRONG_KEY\" }"
		if c.want != "" {
			more = ""
		}
		spool := t.TempDir()
		for _, required := range []bool{true, false} {
			r := recordTo(t, graph(t, record+s.sink(s.URL, "a.mp4", spool, fmt.Sprintf("%s\nrequired = %v", more, required))), ringName(), "a.mp4", "--set", "archive.bucket="+map[bool]string{true: "nowhere", false: s.bucket}[c.want != ""])
			if required {
				if code := r.wait(time.Minute); code != 1 && code != 78 || !strings.Contains(r.err.String(), "stage archive: ") || !strings.Contains(r.err.String(), c.want) {
					t.Errorf("%s: exit code %d: %s", c.set, code, r.err.String())
				}
				if _, err := os.Stat(r.out); err == nil {
					t.Error("a file was left of a run that did not start")
				}
				continue
			}
			if code := start(t, "feed", "--ring", r.ring, "--pattern", "640x360@30", "--frames", "60", "--pace", "reader").wait(time.Minute); code != 0 {
				t.Fatalf("feed ended with %d", code)
			}
			m := r.finish(time.Minute)
			whole(t, r.out, 60)
			if m.Outputs[1].Complete || m.Outputs[1].Error == "" {
				t.Errorf("the manifest says %+v", m.Outputs[1])
			}
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
