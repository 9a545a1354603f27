package upload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/mpipe/mpipe/test/servers"
)

// away is a bench whose store is away after the start.
func away(t *testing.T, change func(*Options)) (*bench, *servers.Link, *Upload) {
	b := newBench(t, servers.StartS3(t))
	l := servers.StartToxiproxy(t).Proxy(b.Addr)
	o := b.through("http://"+l.Addr, "k")
	o.GiveUp = 2 * time.Second
	change(&o)
	u := mustStart(t, o)
	l.Down()
	return b, l, u
}

// TestSpoolCapBlocks: with the store away Write waits when the spool has reached
// its limit, and goes on when the store is back.
func TestSpoolCapBlocks(t *testing.T) {
	const most = 4 * MinPart
	b, l, u := away(t, func(o *Options) { o.SpoolMax, o.GiveUp = most, time.Minute })
	written := make(chan error)
	go func() { written <- fill(u, 1, 2*most) }()
	waitFor(t, func() bool { return u.Stats().Blocked > 0.5 })
	if s := u.Stats(); s.Written != most || s.Spooled != most || onDisk(t, u.Spool()) != most {
		t.Errorf("blocked at %+v, %d on disk", s, onDisk(t, u.Spool()))
	}
	l.Up()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	mustClose(t, u)
	if s := u.Stats(); s.SpooledMost > most {
		t.Errorf("%+v", s)
	}
	b.check("k", 1, 2*most)
	b.clean()
}

func onDisk(t *testing.T, dir string) (n int64) {
	sizes, err := (&spool{dir: dir}).partSizes()
	if err != nil {
		t.Error(err)
	}
	for _, size := range sizes {
		n += size
	}
	return n
}

// TestSpoolCapFails: or it fails, and what was written until then is kept.
func TestSpoolCapFails(t *testing.T) {
	const most = 4 * MinPart
	b, l, u := away(t, func(o *Options) { o.SpoolMax, o.WhenFull = most, Fail })
	wantKind(t, fill(u, 1, 2*most), Full, "the spool has reached its limit of 20 MiB")
	_, err := u.Write([]byte("more"))
	wantKind(t, err, Full)
	_, err = u.Close(context.Background())
	wantKind(t, err, Away, "mpipe upload --resume")
	l.Up()
	o := b.options("")
	if r, err := Resume(context.Background(), u.Spool(), o); err != nil || r.Size != most {
		t.Error(r, err)
	}
	b.check("k", 1, most)
	b.clean()
}

// TestWaitingWriteIsFreed: whatever ends an upload ends a Write that waits.
func TestWaitingWriteIsFreed(t *testing.T) {
	for name, end := range map[string]func(*Upload) error{
		"suspend": (*Upload).Suspend,
		"abort":   func(u *Upload) error { u.Abort(context.Background()); return nil },
		"close": func(u *Upload) error {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_, err := u.Close(ctx)
			wantKind(t, err, Stopped)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, u := away(t, func(o *Options) { o.SpoolMax = 4 * MinPart })
			written := make(chan error)
			go func() { written <- fill(u, 1, 8*MinPart) }()
			waitFor(t, func() bool { return u.Stats().Blocked > 0 })
			if err := end(u); err != nil {
				t.Error(err)
			}
			wantKind(t, <-written, Stopped)
		})
	}
}

// TestNothingTwice: whoever takes up an upload sends only what the store lacks.
func TestNothingTwice(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	p := servers.StartProxy(t, b.URL, 1)
	o := b.through(p.URL, "k")
	u := mustStart(t, o)
	fill(u, 1, 3*MinPart+100)
	waitFor(t, func() bool { return u.Stats().PartsConfirmed == 3 })
	if err := u.Suspend(); err != nil {
		t.Fatal(err)
	}
	if l, _ := List(b.spool); len(l) != 1 || l[0].State != "cut" || l[0].Waiting != 100 || l[0].Target != "s3://"+b.bucket+"/k" {
		t.Errorf("list: %+v", l)
	}
	// The process died between the store's answer and the journal, and the part's
	// file is still there.
	dropLines(t, u.Spool(), `"part":{"n":2`)
	part := make([]byte, 2*MinPart)
	stream(1).Read(part)
	os.WriteFile(filepath.Join(u.Spool(), "part-00002"), part[MinPart:], 0o600)

	r, err := Resume(context.Background(), filepath.Join(u.Spool(), journalName), o)
	if err != nil || r.Size != 3*MinPart+100 {
		t.Fatal(r, err)
	}
	if n := p.Count("PUT", "partNumber"); n != 4 {
		t.Errorf("%d parts were sent for 4", n)
	}
	b.check("k", 1, 3*MinPart+100)
	b.clean()
}

// dropLines takes lines out of a journal.
func dropLines(t *testing.T, dir, with string) {
	t.Helper()
	name := filepath.Join(dir, journalName)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, line := range strings.SplitAfter(string(text), "\n") {
		if !strings.Contains(line, with) {
			kept = append(kept, line)
		}
	}
	if err := os.WriteFile(name, []byte(strings.Join(kept, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAbortedBySomebody: a rule of the bucket has aborted the upload. With all
// bytes here it begins again, live and when taken up; without them it says so.
func TestAbortedBySomebody(t *testing.T) {
	s := servers.StartS3(t)
	abort := func(b *bench) {
		t.Helper()
		for _, u := range b.Uploads(b.bucket) {
			key, id, _ := strings.Cut(u, " ")
			if _, err := b.Client().AbortMultipartUpload(context.Background(), &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: &key, UploadId: &id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := func(keep bool) (*bench, *Upload) {
		b := newBench(t, s)
		o := b.options("k")
		o.Keep = keep
		u := mustStart(t, o)
		fill(u, 1, 2*MinPart)
		waitFor(t, func() bool { return u.Stats().PartsConfirmed == 2 })
		return b, u
	}
	t.Run("live, while sending", func(t *testing.T) {
		b, u := begin(true)
		abort(b)
		fill(&skip{w: u, skip: 2 * MinPart}, 1, 4*MinPart)
		mustClose(t, u)
		b.check("k", 1, 4*MinPart)
		b.clean()
	})
	t.Run("live, at the end", func(t *testing.T) {
		b, u := begin(true)
		abort(b)
		mustClose(t, u)
		b.check("k", 1, 2*MinPart)
		b.clean()
	})
	t.Run("taken up", func(t *testing.T) {
		b, u := begin(true)
		u.Suspend()
		abort(b)
		if _, err := Resume(context.Background(), u.Spool(), b.options("")); err != nil {
			t.Fatal(err)
		}
		b.check("k", 1, 2*MinPart)
		b.clean()
	})
	t.Run("without the bytes", func(t *testing.T) {
		b, u := begin(false)
		abort(b)
		fill(&skip{w: u, skip: 2 * MinPart}, 1, 3*MinPart+5)
		_, err := u.Close(context.Background())
		wantKind(t, err, Gone, "NoSuchUpload")
		if n := onDisk(t, u.Spool()); n != MinPart+5 {
			t.Errorf("%d bytes are kept", n)
		}
		_, err = Resume(context.Background(), u.Spool(), b.options(""))
		wantKind(t, err, Gone, "no longer here", u.Spool())
	})
}

// TestAbort: nothing is left of what is given up, with the store away only after
// it is back.
func TestAbort(t *testing.T) {
	noneLeft(t)
	b, l, u := away(t, func(o *Options) { o.GiveUp = 500 * time.Millisecond })
	fill(u, 1, 2*MinPart)
	err := u.Abort(context.Background())
	wantKind(t, err, Away, "mpipe upload --abort "+u.Spool())
	l.Up()
	_, err = Resume(context.Background(), u.Spool(), b.options(""))
	wantKind(t, err, Stopped, "was being given up", "--abort")
	if list, _ := List(b.spool); len(list) != 1 || list[0].State != "aborting" {
		t.Errorf("list: %+v", list)
	}
	again, err := Open(u.Spool(), b.options(""))
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Abort(context.Background()); err != nil {
		t.Error(err)
	}
	if k := b.Keys(b.bucket); len(k) > 0 {
		t.Errorf("objects: %q", k)
	}
	b.clean()
}

// TestDiskError: the disk ends writing, what it took can be finished.
func TestDiskError(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	u := mustStart(t, b.options("k"))
	if err := fill(u, 1, MinPart); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return u.Stats().PartsConfirmed == 1 })
	// A folder in the next part's place stands for a disk that takes no more.
	if err := os.Mkdir(filepath.Join(u.Spool(), "part-00002"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := u.Write([]byte("x"))
	wantKind(t, err, Local, "the spool cannot be written")
	_, err = u.Write([]byte("x"))
	wantKind(t, err, Local)
	mustClose(t, u)
	b.check("k", 1, MinPart)
	b.clean()
}

// TestDamagedPart: a part whose bytes on disk changed is refused by the store's
// check, not stored.
func TestDamagedPart(t *testing.T) {
	b, l, u := away(t, func(o *Options) { o.GiveUp = time.Second })
	fill(u, 1, 2*MinPart)
	f, err := os.OpenFile(filepath.Join(u.Spool(), "part-00001"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("not what was written"), 1000)
	f.Close()
	l.Up()
	_, err = u.Close(context.Background())
	wantKind(t, err, Damaged, "part-00001", "not what was written")
	if len(b.Keys(b.bucket)) > 0 {
		t.Error("there is an object")
	}
}

// TestFileChanged: a file that is not the one the upload began with is not mixed
// into it.
func TestFileChanged(t *testing.T) {
	b, l, u := awayFile(t)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := u.Close(ctx)
	wantKind(t, err, Stopped, "mpipe upload --resume")
	l.Up()
	path := u.file.Path
	if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err = Resume(context.Background(), u.Spool(), b.options(""))
	wantKind(t, err, Local, "the file has changed", "--abort")
	os.Chtimes(path, time.Now(), u.file.ModTime)
	if _, err := Resume(context.Background(), u.Spool(), b.options("")); err != nil {
		t.Fatal(err)
	}
	b.check("k", 1, 3*MinPart)
	b.clean()
}

func awayFile(t *testing.T) (*bench, *servers.Link, *Upload) {
	b := newBench(t, servers.StartS3(t))
	l := servers.StartToxiproxy(t).Proxy(b.Addr)
	path := filepath.Join(t.TempDir(), "file")
	f, _ := os.Create(path)
	fill(f, 1, 3*MinPart)
	f.Close()
	l.Down()
	o := b.through("http://"+l.Addr, "k")
	o.Offline, o.Reach = true, 100*time.Millisecond
	u, err := StartFile(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return b, l, u
}

// TestNothingSecretOnDisk: keys are nowhere in the spool, nor in errors.
func TestNothingSecretOnDisk(t *testing.T) {
	b, _, u := away(t, func(o *Options) {})
	fill(u, 1, MinPart+1)
	_, err := u.Close(context.Background())
	wantKind(t, err, Away)
	if strings.Contains(err.Error(), b.Secret) {
		t.Error("the secret is in the error")
	}
	text, err := os.ReadFile(filepath.Join(u.Spool(), journalName))
	if err != nil || strings.Contains(string(text), b.Secret) || strings.Contains(string(text), b.Access) {
		t.Errorf("keys in the journal: %v\n%s", err, text)
	}
	st, err := os.Stat(u.Spool())
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the spool has mode %v, %v", st.Mode(), err)
	}
}

func TestHalfMade(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	dead, live := filepath.Join(b.spool, halfMade+"dead"), filepath.Join(b.spool, halfMade+"live")
	for _, dir := range []string{dead, live} {
		os.MkdirAll(dir, 0o700)
		os.WriteFile(filepath.Join(dir, journalName), nil, 0o600)
	}
	f, err := os.Open(filepath.Join(live, journalName))
	if err != nil || lock(f) != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, dir := range []string{dead, live} {
		os.Chtimes(dir, time.Time{}, time.Now().Add(-time.Hour))
	}
	mustClose(t, mustStart(t, b.options("k")))
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Error("what a dead process left is still there")
	}
	if _, err := os.Stat(live); err != nil {
		t.Error("what a live process makes is gone")
	}
}
