package upload

import (
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const tib = int64(1) << 40

// TestSchedule: from the smallest first part to the largest, 10,000 parts hold
// 5 TiB and more, no part breaks S3's limits, and none is a large share of what
// came before it.
func TestSchedule(t *testing.T) {
	for first := int64(MinPart); first <= MaxPart; first *= 2 {
		s := Schedule{First: first, Most: MaxPart}
		if c := s.Capacity(); c < 5*tib {
			t.Errorf("%s: holds only %s", size(first), size(c))
		}
		sum := int64(0)
		for n := 1; n <= MaxParts; n++ {
			if got := s.Offset(n); got != sum {
				t.Fatalf("%s: part %d begins at %d, want %d", size(first), n, got, sum)
			}
			p := s.Size(n)
			if p < MinPart || p > MaxPart || n > 1 && p < s.Size(n-1) {
				t.Fatalf("%s: part %d has %d bytes", size(first), n, p)
			}
			if n > growEvery && p > sum/(growEvery/2) {
				t.Fatalf("%s: part %d of %s after only %s", size(first), n, size(p), size(sum))
			}
			sum += p
		}
		if sum != s.Capacity() {
			t.Errorf("capacity %d, want %d", s.Capacity(), sum)
		}
	}
	if s := (Schedule{First: MinPart, Most: MaxPart}); s.Size(MaxParts) <= 0 || s.Size(1<<40) != MaxPart {
		t.Error("sizes overflow")
	}
}

// TestScheduleForSize: a known length is cut into equal parts, as few as needed.
func TestScheduleForSize(t *testing.T) {
	for n := int64(0); n <= 40*tib; n = n*3/2 + 12345 {
		s := forSize(DefaultPart, n)
		if s.Capacity() < n || s.First != s.Most || s.First > DefaultPart && s.First > n/MaxParts+1<<20 {
			t.Errorf("%s: %+v", size(n), s)
		}
	}
}

func TestExpectedSizeIsCheckedInAdvance(t *testing.T) {
	ok := Options{Place: Place{Bucket: "b", Key: "k"}}
	for name, c := range map[string]struct {
		change func(*Options)
		says   string // "" is right
	}{
		"unknown":            {func(o *Options) {}, ""},
		"5 TiB":              {func(o *Options) { o.ExpectedSize, o.SpoolMax = 5*tib, 4*MaxPart }, ""},
		"5 TiB, small spool": {func(o *Options) { o.ExpectedSize, o.SpoolMax = 5*tib, 64<<20 }, "5 TiB are expected, but 10000 parts of 8 MiB to 16 MiB hold only"},
		"equal parts":        {func(o *Options) { o.EqualParts, o.ExpectedSize = true, 80<<30 }, "use parts of at least 9 MiB"},
		"equal, enough":      {func(o *Options) { o.EqualParts, o.ExpectedSize = true, 78<<30 }, ""},
		"small part":         {func(o *Options) { o.PartSize = MinPart - 1 }, "S3 wants 5 MiB to 5 GiB"},
		"large part":         {func(o *Options) { o.PartSize = MaxPart + 1 }, "S3 wants 5 MiB to 5 GiB"},
		"small spool":        {func(o *Options) { o.SpoolMax = 31 << 20 }, "too small for parts of 8 MiB: it has to hold 4, 32 MiB"},
		"parallel":           {func(o *Options) { o.Parallel = 65 }, "want 1 to 64"},
		"no bucket":          {func(o *Options) { o.Bucket = "" }, "no bucket"},
		"bucket and key":     {func(o *Options) { o.Bucket = "b/k" }, "up to the first slash"},
		"no key":             {func(o *Options) { o.Key = "" }, "no key"},
		"long key":           {func(o *Options) { o.Key = strings.Repeat("k", 1025) }, "1024"},
		"endpoint":           {func(o *Options) { o.Endpoint = "s3.example.com" }, "want a URL such as"},
		"password":           {func(o *Options) { o.Endpoint = "https://me:hunter2@s3.example.com" }, "holds a user or password"},
		"bad URL":            {func(o *Options) { o.Endpoint = "https://me:hunter2@s3 example" }, "no URL"},
		"tags":               {func(o *Options) { o.Tags = elevenTags() }, "11 tags"},
		"sse":                {func(o *Options) { o.SSE = "rot13" }, "want AES256"},
		"sse and kms":        {func(o *Options) { o.SSE, o.KMSKey = "AES256", "x" }, "goes with aws:kms"},
		"metadata":           {func(o *Options) { o.Metadata = map[string]string{"a": "b\nc"} }, "one line"},
		"time":               {func(o *Options) { o.GiveUp = -time.Second }, "negative"},
	} {
		o := ok
		c.change(&o)
		_, _, err := o.complete()
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (KindOf(err) != Settings || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", name, err, c.says)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: a password is printed: %v", name, err)
		}
	}
}

func elevenTags() map[string]string {
	m := map[string]string{}
	for i := range 11 {
		m[string(rune('a'+i))] = ""
	}
	return m
}

func TestCombineCRC(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 100_000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for range 200 {
		at := r.IntN(len(b) + 1)
		got := combineCRC(crc32.ChecksumIEEE(b[:at]), crc32.ChecksumIEEE(b[at:]), int64(len(b)-at))
		if got != crc32.ChecksumIEEE(b) {
			t.Fatalf("at %d: %08x", at, got)
		}
	}
	if c, ok := parseChecksum(checksum(0xdeadbeef)); !ok || c != 0xdeadbeef {
		t.Errorf("%08x, %v", c, ok)
	}
}

// TestJournalCut: whatever was cut off the end of a journal by the death of its
// writer, what stands before it counts.
func TestJournalCut(t *testing.T) {
	dir := t.TempDir()
	begun := &begin{Version: 1, Created: time.Now(), Place: Place{Bucket: "b", Key: "k"}, Schedule: Schedule{MinPart, MaxPart}}
	sp, err := newSpool(dir, begun)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, e := range []entry{{Creating: &now}, {Upload: "id"}, {Part: &partEntry{N: 1, Size: MinPart, ETag: "e"}}, {End: &endEntry{Size: MinPart, Parts: 1}}} {
		if err := sp.append(e); err != nil {
			t.Fatal(err)
		}
	}
	sp.close()
	name := filepath.Join(sp.dir, journalName)
	text, _ := os.ReadFile(name)
	lines := strings.SplitAfter(string(text), "\n")
	for n := len(text); n >= len(lines[0]); n-- {
		os.WriteFile(name, text[:n], 0o600)
		s, h, err := openSpool(sp.dir)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		whole := strings.Count(string(text[:n]), "\n")
		if (h.id == "id") != (whole >= 3) || (len(h.parts) == 1) != (whole >= 4) || (h.end != nil) != (whole >= 5) || h.creating.IsZero() == (whole == 2) {
			t.Fatalf("cut at %d, %d lines: %+v", n, whole, h)
		}
		// What is appended to a cut journal is read again.
		if err := s.append(entry{Abort: &now}); err != nil {
			t.Fatal(err)
		}
		s.close()
		s, h, err = openSpool(sp.dir)
		if err != nil || !h.aborting {
			t.Fatalf("cut at %d and gone on: %+v, %v", n, h, err)
		}
		s.close()
	}
	for _, bad := range []string{"", "x\n", "{}\n", lines[1], strings.Replace(lines[0], `"version":1`, `"version":2`, 1)} {
		os.WriteFile(name, []byte(bad), 0o600)
		_, _, err := openSpool(sp.dir)
		wantKind(t, err, Local, journalName)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"begin":{"version":1,"place":{"bucket":"b","key":"k"}}}` + "\n" + `{"upload":"x"}` + "\n" + `{"part":{"n":-1}}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := readHistory("j", text)
		if err != nil {
			return
		}
		for n := range h.parts {
			if n < 1 || n > MaxParts {
				t.Errorf("part %d", n)
			}
		}
	})
}

func TestOpenWhatIsNone(t *testing.T) {
	_, err := Open(t.TempDir(), Options{})
	wantKind(t, err, Local, "there is no upload to resume here", "--list")
	if l, err := List(filepath.Join(t.TempDir(), "none")); err != nil || len(l) != 0 {
		t.Error(l, err)
	}
}
