package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/mpipe/mpipe/test/servers"
)

func matrixRows() []*row {
	return append(append(fileRows(), liveRows()...), append(archiveRows(), processRows()...)...)
}

func fileRows() []*row {
	const disk, free = 10 << 20, 3 << 20
	return []*row{
		{of: "file", fault: "disk full", exit: 1, recovery: "the last second before the disk was full",
			prepare: func(s *scene) {
				size := disk + s.rnd.Int64N(2<<20)
				s.file = smallDisk(s.t, fmt.Sprint(size)) + "/talk.mp4"
				s.args = []string{"--set", "file.path=" + s.file, "--set", fmt.Sprintf("file.min_free_disk=%d", free)}
			},
			judge: map[string]judge{"file": func(s *scene) string {
				got := s.begins(s.file)
				if least := (disk-free)/matrixSecond*30 - gopFrames; got.Frames < least || !outputOf(s, "file").Playable {
					s.t.Errorf("the file has %d frames, want %d: %+v", got.Frames, least, outputOf(s, "file"))
				}
				s.said("file", "free space")
				return fmt.Sprintf("0 to %d, finished", got.Last)
			}}},
		{of: "file", fault: "directory removed", exit: 1, recovery: "none: it is removed",
			prepare: func(s *scene) {
				s.file = filepath.Join(s.t.TempDir(), "gone", "talk.mp4")
				s.args = []string{"--set", "file.path=" + s.file}
			},
			strike: func(s *scene) {
				if err := os.RemoveAll(filepath.Dir(s.file)); err != nil {
					s.t.Error(err)
				}
			},
			judge: map[string]judge{"file": func(s *scene) string {
				s.said("file", "gone")
				return "removed, and it says so"
			}}},
	}
}

// The proxies in front of the servers.
func (s *scene) linkLive() {
	s.link = servers.StartToxiproxy(s.t).Proxy(s.live.Addr)
	s.addr = s.link.Addr
}

func (s *scene) linkStore() {
	s.link = servers.StartToxiproxy(s.t).Proxy(s.store.Addr)
	s.url = "http://" + s.link.Addr
}

func (s *scene) proxyStore() {
	s.proxy = servers.StartProxy(s.t, s.store.URL, s.rnd.Uint64())
	s.url = s.proxy.URL
}

func liveRows() []*row {
	const point = "one GOP, and the time to connect"
	return []*row{
		{of: "live", fault: "refused, then not", exit: 1, recovery: point, judge: map[string]judge{"live": (*scene).came},
			prepare: func(s *scene) { s.linkLive(); s.link.Down() },
			strike:  func(s *scene) { time.Sleep(2 * time.Second); s.link.Up() }},
		{of: "live", fault: "black hole for 2 s", exit: 1, recovery: point, judge: map[string]judge{"live": (*scene).recovered},
			prepare: (*scene).linkLive,
			strike:  func(s *scene) { s.link.BlackHole(); time.Sleep(2 * time.Second); s.link.Heal() }},
		{of: "live", fault: "reset every 2 to 5 s", seconds: 14, exit: 1, recovery: point, judge: map[string]judge{"live": (*scene).reset},
			prepare: func(s *scene) { s.addr = resetting(s.t, s.live.Addr, s.rnd) }},
		{of: "live", fault: "half the rate", seconds: 12, exit: 1, recovery: "whole GOPs are left out", judge: map[string]judge{"live": (*scene).throttled},
			// On loopback, TCP opens its window in steps of seconds then.
			prepare: func(s *scene) { s.stall = 10 * time.Second; s.linkLive(); s.link.Bandwidth(matrixSecond / 2) }},
		{of: "live", fault: "server killed, started again", exit: 1, recovery: point, judge: map[string]judge{"live": (*scene).recovered},
			strike: func(s *scene) { s.live.Kill(); time.Sleep(s.random(time.Second)); s.live.Restart() }},
	}
}

func archiveRows() []*row {
	const point = "nothing: one part at a time is sent again"
	away := 2 * time.Second
	if d, err := time.ParseDuration(os.Getenv("MPIPE_OUTAGE")); err == nil {
		away = d
	}
	seconds := matrixSeconds + int(away/time.Second) - 2
	return []*row{
		{of: "archive", fault: "503 to each request, 1 to 3 times", recovery: point, judge: map[string]judge{"archive": (*scene).retried}, prepare: busy},
		{of: "archive", fault: "reset in mid-part", recovery: point, judge: map[string]judge{"archive": (*scene).retried},
			prepare: (*scene).linkStore,
			strike: func(s *scene) { // a part is sent every 2.5 s
				s.link.ResetAfter(1<<20 + s.rnd.Int64N(3<<20))
				time.Sleep(3 * time.Second)
				s.link.Heal()
			}},
		{of: "archive", fault: fmt.Sprintf("away for %v", away), seconds: seconds, recovery: "nothing", judge: map[string]judge{"archive": (*scene).retried},
			prepare: (*scene).linkStore,
			strike:  func(s *scene) { s.link.Down(); time.Sleep(away); s.link.Up() }},
		{of: "archive", fault: "away to the end", exit: 1, recovery: "nothing, after mpipe upload --resume",
			prepare: func(s *scene) { s.linkStore(); s.args = []string{"--set", "archive.finish_timeout=1s"} },
			strike:  func(s *scene) { s.link.Down() },
			judge:   map[string]judge{"archive": func(s *scene) string { s.link.Up(); return s.resumed() }}},
		{of: "archive", fault: "wrong credentials", recovery: "refused before the start", judge: map[string]judge{"archive": (*scene).refused},
			prepare: func(s *scene) { s.secret("secret", "wrong"); s.args = []string{"--set", "archive.required=false"} }},
		{of: "archive", fault: "bucket missing", recovery: "refused before the start", judge: map[string]judge{"archive": (*scene).refused},
			prepare: func(s *scene) {
				s.args = []string{"--set", "archive.required=false", "--set", "archive.bucket=nowhere"}
			}},
		{of: "archive", fault: "credentials expire", recovery: "nothing", judge: map[string]judge{"archive": (*scene).retried},
			prepare: func(s *scene) { s.proxyStore(); s.store.AddUser("renewed", s.store.Secret) },
			strike: func(s *scene) {
				s.proxy.Deny(s.store.Access, 400, "ExpiredToken")
				time.Sleep(3 * time.Second) // a part is sent every 2.5 s
				s.secret("access", "renewed")
			}},
	}
}

// busy answers the first one to three of each kind of request with 503; the probe
// before the start too.
func busy(s *scene) {
	times := map[string]int{}
	s.proxyStore()
	s.proxy.Set(servers.Faults{Busy: 1, Of: func(r servers.Request) bool {
		kind := fmt.Sprint(r.Method, r.Query.Has("uploads"), r.Query.Has("uploadId"), r.Query.Get("partNumber"))
		if _, ok := times[kind]; !ok {
			times[kind] = 1 + s.rnd.IntN(3)
		}
		times[kind]--
		return times[kind] >= 0
	}})
}

func processRows() []*row {
	return []*row{
		{of: "mpipe", fault: "SIGTERM", reason: "signal", recovery: "nothing: all that was captured", strike: func(s *scene) { s.signal(syscall.SIGTERM) }},
		{of: "producer", fault: "SIGKILL", reason: "producer died", recovery: "nothing: all that was committed", strike: func(s *scene) { s.feed.signal(syscall.SIGKILL) }},
	}
}

// killRow kills mpipe; each time the file and the object are of other containers.
func killRow(i int) *row {
	c := []string{"mp4", "mkv", "ts"}
	return &row{of: "mpipe", fault: fmt.Sprintf("SIGKILL %d", i), killed: true, seconds: 60,
		prepare: func(s *scene) { s.file, s.key = "talk."+c[i%3], "talk."+c[i/3%3] },
		strike: func(s *scene) {
			time.Sleep(s.random(2 * time.Second)) // and two to three before
			s.look()
			s.signal(syscall.SIGKILL)
			<-s.done
			os.Remove("/dev/shm/" + s.ring)
			os.Remove("/dev/shm/" + s.ring + ".consumer")
			if s.feed.wait(10*time.Second) == 0 {
				s.t.Error("the producer did not notice that its consumer died")
			}
		},
		judge: map[string]judge{
			"file": func(s *scene) string { return s.lost(s.file) },
			"live": func(s *scene) string { return s.lost(s.sessions(1)[0]) },
			"archive": func(s *scene) string {
				had := s.stored()
				s.resume()
				size := int64(len(s.store.Object(s.store.bucket, s.key)))
				// Without the spool, what is lost is the part being filled and the one under way.
				if size-had > 2*matrixPart {
					s.t.Errorf("the store had %d bytes of %d when mpipe was killed", had, size)
				}
				return s.lost(s.store.object(s.key))
			},
		}}
}

// stored is how many bytes of the upload the store has.
func (s *scene) stored() (n int64) {
	ctx, c := context.Background(), s.store.Client()
	for _, u := range s.store.Uploads(s.store.bucket) {
		key, id, _ := strings.Cut(u, " ")
		l, err := c.ListParts(ctx, &s3.ListPartsInput{Bucket: &s.store.bucket, Key: &key, UploadId: &id})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, p := range l.Parts {
			n += *p.Size
		}
	}
	return n
}
