package upload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpipe/mpipe/test/servers"
)

// seedOf is printed when a test fails, and can be given to repeat it.
func seedOf(t testing.TB) uint64 {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		fmt.Sscan(s, &seed)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with SEED=%d", seed)
		}
	})
	return seed
}

// TestBusyStore: a store that is busy, fails, cuts connections and loses answers
// to a third of all requests gets every byte, and is left with no upload but the
// one that was completed.
func TestBusyStore(t *testing.T) {
	s := servers.StartS3(t)
	for i, f := range []servers.Faults{
		{Busy: .3}, {Internal: .3}, {Cut: .3}, {Lost: .3}, {Busy: .1, Internal: .1, Cut: .1, Lost: .1},
	} {
		t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
			noneLeft(t)
			b := newBench(t, s)
			seed := seedOf(t)
			p := servers.StartProxy(t, s.URL, seed)
			p.Set(f)
			n := int64(6*MinPart + i)
			// Nine requests can all be let through: then it is done once more.
			for try := 0; ; try++ {
				key := fmt.Sprint("k", try)
				before := p.Count("PUT", "partNumber")
				u := mustStart(t, b.through(p.URL, key))
				if err := fill(u, seed, n); err != nil {
					t.Fatal(err)
				}
				r := mustClose(t, u)
				b.check(key, seed, n)
				b.clean()
				// A part whose answer was lost has to be sent again; nothing else.
				if sent := p.Count("PUT", "partNumber") - before; f.Lost == 0 && sent != r.Parts {
					t.Errorf("%d parts were sent for %d", sent, r.Parts)
				}
				if u.Stats().Retries > 0 {
					return
				}
				if try == 20 {
					t.Fatal("no fault struck in 20 uploads")
				}
			}
		})
	}
}

// TestLostAnswers: a request that makes or ends something is carried out and its
// answer lost, each kind in its turn; nothing is left that nobody knows of.
func TestLostAnswers(t *testing.T) {
	s := servers.StartS3(t)
	for name, c := range map[string]struct {
		size int64
		of   func(servers.Request) bool
	}{
		"create":   {MinPart + 1, func(r servers.Request) bool { return r.Is("POST", "uploads") }},
		"part":     {MinPart + 1, func(r servers.Request) bool { return r.Is("PUT", "partNumber") }},
		"complete": {MinPart + 1, func(r servers.Request) bool { return r.Is("POST", "uploadId") }},
		"put":      {1000, func(r servers.Request) bool { return r.Is("PUT", "") }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, s)
			p := servers.StartProxy(t, s.URL, 1)
			lost := 0
			p.Set(servers.Faults{Lost: 1, Of: func(r servers.Request) bool {
				if !c.of(r) || lost == 2 {
					return false
				}
				lost++
				return true
			}})
			path := filepath.Join(t.TempDir(), "file")
			f, _ := os.Create(path)
			fill(f, 1, c.size)
			f.Close()
			o := b.through(p.URL, "k")
			o.Parallel = 1
			u, err := StartFile(context.Background(), path, o)
			if err != nil {
				t.Fatal(err)
			}
			mustClose(t, u)
			b.check("k", 1, c.size)
			b.clean()
			if lost == 0 {
				t.Error("no answer was lost")
			}
		})
	}
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error("it never came about")
			return
		}
	}
}

// outage is for how long the store is away in tests of that.
func outage() time.Duration {
	if testing.Short() {
		return 3 * time.Second
	}
	return 60 * time.Second
}

// TestNetwork: whatever the network does while writing goes on, no byte is lost,
// and writing is not held up.
func TestNetwork(t *testing.T) {
	s := servers.StartS3(t)
	x := servers.StartToxiproxy(t)
	for name, fault := range map[string]struct {
		begin, end func(*servers.Link)
		lasts      time.Duration
	}{
		"reset in mid-part": {func(l *servers.Link) { l.ResetAfter(MinPart / 2) }, (*servers.Link).Heal, 2 * time.Second},
		"outage":            {(*servers.Link).Down, (*servers.Link).Up, outage()},
		"black hole":        {(*servers.Link).BlackHole, (*servers.Link).Heal, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			noneLeft(t)
			b := newBench(t, s)
			l := x.Proxy(s.Addr)
			o := b.through("http://"+l.Addr, "k")
			o.Stall = time.Second
			u := mustStart(t, o)
			fill(u, 1, MinPart)
			fault.begin(l)
			began := time.Now()
			w := &skip{w: u, skip: MinPart}
			if err := fill(w, 1, 4*MinPart); err != nil { // the store is not back before this returns
				t.Fatal(err)
			}
			time.Sleep(fault.lasts - time.Since(began))
			waitFor(t, func() bool { return !u.Stats().AwaySince.IsZero() })
			st := u.Stats()
			if st.AwaySince.IsZero() || st.Retries == 0 || st.LastError == "" || st.Spooled < 3*MinPart-1 {
				t.Errorf("while the store is away: %+v", st)
			}
			fault.end(l)
			mustClose(t, u)
			b.check("k", 1, 4*MinPart)
			b.clean()
			if st := u.Stats(); !st.AwaySince.IsZero() {
				t.Errorf("when the store is back: %+v", st)
			}
		})
	}
}

// skip leaves out the beginning of what is written to it.
type skip struct {
	w    *Upload
	skip int
}

func (s *skip) Write(p []byte) (int, error) {
	n := min(s.skip, len(p))
	s.skip -= n
	_, err := s.w.Write(p[n:])
	return len(p), err
}

// TestRefused: what somebody has to put right is said at once, and nothing is
// left of the try.
func TestRefused(t *testing.T) {
	s := servers.StartS3(t)
	for name, c := range map[string]struct {
		change func(*Options)
		kind   Kind
		words  []string
	}{
		"wrong secret":      {func(o *Options) { o.Keys = keys(s.Access, "wrong") }, Denied, []string{"SignatureDoesNotMatch", "secret key does not belong"}},
		"wrong access key":  {func(o *Options) { o.Keys = keys("nobody", "wrong") }, Denied, []string{"InvalidAccessKeyId", "does not know the access key"}},
		"no credentials":    {func(o *Options) { o.Keys = nil }, Denied, []string{"there are no credentials", "AWS_ACCESS_KEY_ID"}},
		"credentials error": {func(o *Options) { o.Keys = func() (Keys, error) { return Keys{}, errors.New("vault is sealed") } }, Denied, []string{"vault is sealed"}},
		"no such profile":   {func(o *Options) { o.Keys, o.Profile = nil, "nobody" }, Denied, []string{"nobody"}},
		"bucket missing":    {func(o *Options) { o.Bucket = "there-is-none" }, Missing, []string{"NoSuchBucket", "make the bucket"}},
		"wrong region":      {func(o *Options) { o.Region = "eu-west-3" }, Settings, []string{"us-east-1", "region"}},
		"nobody listens":    {func(o *Options) { o.Endpoint = "http://" + servers.FreeAddr(t) }, Away, []string{"connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, s)
			p := servers.StartProxy(t, s.URL, 1)
			o := b.through(p.URL, "k")
			o.Reach = time.Second
			c.change(&o)
			_, err := Start(context.Background(), o)
			wantKind(t, err, c.kind, c.words...)
			wantKind(t, Probe(context.Background(), o), c.kind, c.words...)
			if n := len(p.Requests()); n > 4 { // for the key and for the upload, twice
				t.Errorf("%d requests were made", n)
			}
			b.clean()
		})
	}
}

func keys(access, secret string) func() (Keys, error) {
	return func() (Keys, error) { return Keys{AccessKey: access, SecretKey: secret}, nil }
}

func TestUnknownCA(t *testing.T) {
	b := newBench(t, servers.StartS3TLS(t))
	o := b.options("k")
	if err := Probe(context.Background(), o); err != nil {
		t.Error(err)
	}
	o.CAFile = ""
	_, err := Start(context.Background(), o)
	wantKind(t, err, Settings, "certificate", "give the CA")
	o.CAFile = filepath.Join(t.TempDir(), "none.pem")
	_, err = Start(context.Background(), o)
	wantKind(t, err, Local, "none.pem")
	os.WriteFile(o.CAFile, []byte("no certificate"), 0o600)
	_, err = Start(context.Background(), o)
	wantKind(t, err, Settings, "no certificate")
	t.Setenv("AWS_CA_BUNDLE", b.CA)
	o.CAFile = ""
	if err := Probe(context.Background(), o); err != nil {
		t.Error(err)
	}
	b.clean()
}

// TestExpired: credentials that expire while writing goes on hold nothing up, and
// new ones are found where the old ones came from.
func TestExpired(t *testing.T) {
	noneLeft(t)
	b := newBench(t, servers.StartS3(t))
	b.AddUser("new-key", "new-secret-new-secret")
	p := servers.StartProxy(t, b.URL, 1)
	file := filepath.Join(t.TempDir(), "credentials")
	profile := func(access, secret string) {
		text := fmt.Sprintf("[recorder]\naws_access_key_id = %s\naws_secret_access_key = %s\n", access, secret)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	profile(b.Access, b.Secret)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	o := b.through(p.URL, "k")
	o.Keys, o.Profile = nil, "recorder"
	u := mustStart(t, o)
	fill(u, 5, MinPart)
	waitFor(t, func() bool { return u.Stats().PartsConfirmed == 1 })

	p.Deny(b.Access, 400, "ExpiredToken")
	fill(&skip{w: u, skip: MinPart}, 5, 3*MinPart)
	waitFor(t, func() bool { return u.Stats().Retries > 0 })
	if s := u.Stats(); s.Failed != nil || !strings.Contains(s.LastError, "ExpiredToken") {
		t.Errorf("%+v", s)
	}
	profile("new-key", "new-secret-new-secret")
	mustClose(t, u)
	b.check("k", 5, 3*MinPart)
	b.clean()
}

// TestExpiredForGood: when nobody renews them in time, the spool has all that the
// store lacks.
func TestExpiredForGood(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	p := servers.StartProxy(t, b.URL, 1)
	o := b.through(p.URL, "k")
	o.GiveUp = time.Second
	u := mustStart(t, o)
	p.Deny(b.Access, 400, "ExpiredToken")
	fill(u, 6, 2*MinPart+9)
	_, err := u.Close(context.Background())
	wantKind(t, err, Expired, "ExpiredToken", "renew the credentials", "mpipe upload --resume "+u.Spool())
	p.Allow(b.Access)
	if r, err := Resume(context.Background(), u.Spool(), o); err != nil || r.Size != 2*MinPart+9 {
		t.Error(r, err)
	}
	b.check("k", 6, 2*MinPart+9)
	b.clean()
}

// TestDeniedInBetween: a user who is deleted and comes back; and the same at the
// end, when there is nothing to wait for.
func TestDeniedInBetween(t *testing.T) {
	b := newBench(t, servers.StartS3(t))
	b.AddUser("someone", "someones-secret")
	o := b.options("k")
	o.Keys = keys("someone", "someones-secret")
	u := mustStart(t, o)
	b.DeleteUser("someone")
	fill(u, 7, 3*MinPart+9)
	waitFor(t, func() bool { return strings.Contains(u.Stats().LastError, "InvalidAccessKeyId") })
	if s := u.Stats(); s.Failed != nil || s.Written != 3*MinPart+9 {
		t.Errorf("%+v", s)
	}
	_, err := u.Close(context.Background())
	wantKind(t, err, Denied, "InvalidAccessKeyId", "mpipe upload --resume")
	if r, err := Resume(context.Background(), u.Spool(), b.options("")); err != nil || r.Verified != "crc32" {
		t.Error(r, err)
	}
	b.check("k", 7, 3*MinPart+9)
	b.clean()
}

// TestOffline: a store that is away at the start is used when it comes.
func TestOffline(t *testing.T) {
	t.Parallel()
	b := newBench(t, servers.StartS3(t))
	l := servers.StartToxiproxy(t).Proxy(b.Addr)
	l.Down()
	o := b.through("http://"+l.Addr, "k")
	o.Offline, o.Reach = true, time.Second
	u := mustStart(t, o)
	fill(u, 8, 2*MinPart+1)
	l.Up()
	mustClose(t, u)
	b.check("k", 8, 2*MinPart+1)
	b.clean()
}
