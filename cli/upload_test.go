package cli

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
	"github.com/mpipe/mpipe/upload"
)

// storeFor starts a store that `mpipe upload` finds by its environment.
func storeFor(t *testing.T) (s *servers.S3, bucket, spool string) {
	s = servers.StartS3(t)
	spool = filepath.Join(t.TempDir(), "spool")
	t.Setenv("AWS_ACCESS_KEY_ID", s.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.Secret)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("MPIPE_SPOOL", spool)
	return s, s.NewBucket(), spool
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestUpload(t *testing.T) {
	s, bucket, spool := storeFor(t)
	data := noise(13 << 20)
	file := filepath.Join(t.TempDir(), "rec 42.mp4")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	place := []string{"--endpoint", s.URL, "--path-style"}

	p := start(t, nil, append([]string{"upload", file, "s3://" + bucket + "/2026/", "--json", "--progress", "10ms"}, place...)...).exit(0)
	_, r := jsonLines[upload.Stats, upload.Result](t, p, "status", "result")
	if r.Location != "s3://"+bucket+"/2026/rec 42.mp4" || r.Size != int64(len(data)) || r.Verified != "crc32" {
		t.Errorf("%+v", r)
	}
	if !bytes.Equal(s.Object(bucket, "2026/rec 42.mp4"), data) {
		t.Error("the object differs from the file")
	}
	p = start(t, nil, append([]string{"upload", file, "s3://" + bucket + "/2026/"}, place...)...).exit(1)
	if !strings.Contains(p.stderr.String(), "there is an object already") {
		t.Errorf("stderr: %s", p.stderr)
	}
	start(t, data[:100], append([]string{"upload", "-", "s3://" + bucket + "/2026/rec 42.mp4", "--overwrite"}, place...)...).exit(0)
	if !bytes.Equal(s.Object(bucket, "2026/rec 42.mp4"), data[:100]) {
		t.Error("the object differs from standard input")
	}
	if left, _ := os.ReadDir(spool); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

// TestUploadLeft: what a killed and what an interrupted upload left is listed,
// finished and given up.
func TestUploadLeft(t *testing.T) {
	s, bucket, spool := storeFor(t)
	place := []string{"--endpoint", s.URL, "--path-style"}
	data := noise(7 << 20)
	killed, stopped := left(t, "killed", data, bucket, place), left(t, "stopped", data, bucket, place)
	killed.cmd.Process.Kill()
	killed.cmd.Wait()
	stopped.cmd.Process.Signal(syscall.SIGINT)
	stopped.exit(130)
	if !strings.Contains(stopped.stderr.String(), "mpipe upload --resume "+spool) {
		t.Errorf("it does not say how to go on:\n%s", stopped.stderr)
	}
	var list []upload.Entry
	p := start(t, nil, "upload", "--list", "--json").exit(0)
	if err := json.Unmarshal([]byte(p.stdout.String()), &list); err != nil || len(list) != 2 {
		t.Fatalf("%v: %s", err, p.stdout)
	}
	if p = start(t, nil, "upload", "--list").exit(0); !strings.Contains(p.stdout.String(), "s3://"+bucket+"/stopped") {
		t.Errorf("list:\n%s", p.stdout)
	}
	start(t, nil, "upload", "--abort", list[1].Spool).exit(0)
	start(t, nil, "upload", "--resume", spool).exit(0)
	if !bytes.Equal(s.Object(bucket, "killed"), data) {
		t.Error("the object differs from what was written")
	}
	if u, k := s.Uploads(bucket), s.Keys(bucket); len(u) > 0 || len(k) != 1 {
		t.Errorf("uploads %q, objects %q", u, k)
	}
	p = start(t, nil, "upload", "--resume").exit(0)
	if !strings.Contains(p.stdout.String(), "nothing to finish in "+spool) {
		t.Errorf("resume:\n%s", p.stdout)
	}
}

// left starts an upload of standard input that has read data and waits for more.
func left(t *testing.T, key string, data []byte, bucket string, place []string) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	p := startWith(t, r, append([]string{"upload", "-", "s3://" + bucket + "/" + key, "--json", "--progress", "20ms", "--part-size", "5MiB"}, place...)...)
	r.Close()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if out := p.stdout.String(); strings.Contains(out, `"written":7340032,"confirmed":5242880`) {
			return p
		}
		if time.Now().After(end) {
			t.Fatalf("it never took all:\n%s\n%s", p.stdout, p.stderr)
		}
	}
}
