package rtmp

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ url, key, host, app, stream, tc, shown string }{
		{"rtmp://h/live/key", "", "h:1935", "live", "key", "rtmp://h/live", "rtmp://h/live/[secret]"},
		{"RTMPS://h:444/a/b/key?s=1/2", "", "h:444", "a/b", "key?s=1/2", "rtmps://h:444/a/b", "rtmps://h:444/a/[secret]"},
		{"rtmps://h/app", "x/y?z=1", "h:443", "app", "x/y?z=1", "rtmps://h/app", "rtmps://h/app/[secret]"},
		{"rtmp://h/app/inst/", "/k", "h:1935", "app/inst", "k", "rtmp://h/app/inst", "rtmp://h/app/inst/[secret]"},
		{"rtmp://[::1]/live/key", "", "[::1]:1935", "live", "key", "rtmp://[::1]/live", "rtmp://[::1]/live/[secret]"},
		{"rtmp://[::1]:5/app?auth=abcdefgh/key", "", "[::1]:5", "app?auth=abcdefgh", "key", "rtmp://[::1]:5/app?auth=abcdefgh", "rtmp://[::1]:5/app/[secret]"},
	} {
		a, err := ParseAddress(c.url, c.key)
		if err != nil || a.dialAddress() != c.host || a.App != c.app || a.Stream != c.stream || a.tcURL() != c.tc || a.String() != c.shown {
			t.Errorf("%s: %+v, %v; dials %s, tcUrl %s", c.url, a, err, a.dialAddress(), a.tcURL())
		}
	}
	for _, bad := range []string{"", "hushhush", "http://h/a/hushhush", "rtmp://", "rtmp://h", "rtmp://h/hushhush", "rtmp://h/hushhush/", "rtmp:///a/hushhush",
		"rtmp://h:x/a/hushhush", "rtmp://h:0/a/hushhush", "rtmp://me:hushhush@h/a/b", "rtmp://h/a/hush hush", "rtmp://h/a/hushhush\n"} {
		if a, err := ParseAddress(bad, ""); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v, %v", bad, a, err)
		}
	}
}

func TestHide(t *testing.T) {
	a, err := ParseAddress("rtmp://host/live/secondpart/pa%2Fss-word?sig=c2VjcmV0%3D%3D&v=1", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"pa%2Fss-word", "pa/ss-word", "c2VjcmV0%3D%3D", "c2VjcmV0==", "secondpart", a.Stream, a.App, a.tcURL(), fmt.Sprintf("%v %+v %#v %s", a, a, &a, a)} {
		got := a.Hide("before " + text + " after")
		for _, hush := range []string{"ss-word", "c2Vj", "secondpart"} {
			if strings.Contains(got, hush) {
				t.Errorf("%q becomes %q", text, got)
			}
		}
		if !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestAMF(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	values := []any{1.5, true, false, "text", nil, long, Object{{"a", 1.0}, {"b", Object{{"c", "d"}}}}, []any{2.0, "x", nil}}
	got, err := readAMF(appendAMF(nil, values...))
	if err != nil || !reflect.DeepEqual(got, values) {
		t.Errorf("%v comes back as %v (%v)", values, got, err)
	}
	// What only servers send: an ECMA array, undefined, a date.
	got, err = readAMF([]byte("\x08\x00\x00\x00\x09\x00\x01a\x01\x01\x00\x00\x09\x06\x0b\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	if err != nil || !reflect.DeepEqual(got, []any{Object{{"a", true}}, nil, 2.0}) {
		t.Errorf("got %v (%v)", got, err)
	}
	for _, bad := range []string{"\x00", "\x02\x00\x05ab", "\x03\x00\x01a", "\x11", "\x0a\xff\xff\xff\xff\x05", strings.Repeat("\x03\x00\x01a", 100)} {
		if _, err := readAMF([]byte(bad)); !errors.Is(err, errAMF) {
			t.Errorf("% x: %v", bad, err)
		}
	}
}

// Any split of any messages into chunks is put together again.
func TestChunksComeBack(t *testing.T) {
	messages := []message{
		{typ: typeCommand, body: []byte("connect")},
		{typ: typeVideo, stream: 1, time: 0, body: bytes.Repeat([]byte{1}, 1000)},
		{typ: typeVideo, stream: 1, time: 33, body: bytes.Repeat([]byte{2}, 128)},
		{typ: typeVideo, stream: 1, time: 30, body: nil}, // back: absolute
		{typ: typeVideo, stream: 2, time: 66, body: bytes.Repeat([]byte{3}, 129)},
		{typ: typeVideo, stream: 2, time: noTimestamp, body: bytes.Repeat([]byte{4}, 300)},
		{typ: typeVideo, stream: 2, time: 3 * noTimestamp, body: bytes.Repeat([]byte{5}, 300)},
		{typ: typeVideo, stream: 2, time: math.MaxUint32, body: bytes.Repeat([]byte{5}, 300)},
		{typ: typeVideo, stream: 2, time: 5, body: []byte{6}}, // it wraps
	}
	for _, size := range []int{1, 128, 4096} {
		w := newChunkWriter()
		w.size = size
		var b []byte
		for _, m := range messages {
			b = w.append(b, chunkVideo, m)
		}
		r := newChunkReader(iotest.OneByteReader(bytes.NewReader(b)))
		r.size = size
		for i, want := range messages {
			got, err := r.next()
			if err != nil || got.typ != want.typ || got.stream != want.stream || got.time != want.time || !bytes.Equal(got.body, want.body) {
				t.Fatalf("chunks of %d: message %d is %+v (%v)", size, i, got, err)
			}
		}
		if r.read != uint64(len(b)) {
			t.Errorf("%d of %d bytes counted", r.read, len(b))
		}
	}
}

// flv writes tags as a file has them.
func flv(tags ...Tag) []byte {
	b := []byte("FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00")
	for _, t := range tags {
		b = append(b, t.Type)
		b = appendUint24(b, uint32(len(t.Data)))
		b = append(appendUint24(b, t.Time&0xffffff), byte(t.Time>>24), 0, 0, 0)
		b = append(b, t.Data...)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

func TestTagsInAnyPieces(t *testing.T) {
	want := []Tag{tag(typeData, 0, 5), tag(typeVideo, 0x01020304, 700), tag(typeAudio, 7, 0)}
	file := flv(want...)
	for _, n := range []int{1, 3, 12, 300, len(file)} {
		var tags Tags
		var got []Tag
		for rest := file; len(rest) > 0; rest = rest[min(n, len(rest)):] {
			err := tags.Write(rest[:min(n, len(rest))], func(x Tag) error {
				x.Data = bytes.Clone(x.Data)
				got = append(got, x)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("pieces of %d: %d tags", n, len(got))
		}
		for i := range want {
			if got[i].Type != want[i].Type || got[i].Time != want[i].Time || !bytes.Equal(got[i].Data, want[i].Data) || got[i].Size != want[i].Size {
				t.Errorf("pieces of %d: tag %d is %+v", n, i, got[i])
			}
		}
	}
	var tags Tags
	if err := tags.Write([]byte("RIFF.........."), nil); !errors.Is(err, errFLV) || !errors.Is(tags.Write(file, nil), errFLV) {
		t.Errorf("no FLV: %v", err)
	}
}

func FuzzAMF(f *testing.F) {
	f.Add(appendAMF(nil, "onStatus", 0.0, nil, Object{{"level", "error"}, {"code", "x"}}))
	f.Add([]byte("\x08\x00\x00\x00\x01\x00\x01a\x0a\x00\x00\x00\x02\x05\x06\x00\x00\x09"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := readAMF(b)
		parseCommand(b)
		if err != nil {
			return
		}
		// What was understood is written so that it reads the same.
		if again, err := readAMF(appendAMF(nil, v...)); err != nil || fmt.Sprint(again) != fmt.Sprint(v) {
			t.Errorf("%v becomes %v (%v)", v, again, err)
		}
	})
}

func FuzzChunks(f *testing.F) {
	w := newChunkWriter()
	b := w.append(nil, chunkVideo, message{typ: typeVideo, stream: 1, time: 0xffffff, body: make([]byte, 300)})
	f.Add(w.append(b, chunkCommand, message{typ: typeCommand, body: appendAMF(nil, "_result", 1.0)}))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00\x00\x10\x00\x42\x43"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newChunkReader(bytes.NewReader(b))
		for {
			m, err := r.next()
			if err != nil {
				return
			}
			if len(m.body) > inMessage || len(m.body) > len(b) {
				t.Fatalf("a message of %d bytes out of %d", len(m.body), len(b))
			}
		}
	})
}

func FuzzTags(f *testing.F) {
	f.Add(flv(tag(typeVideo, 5, 20), tag(typeAudio, 6, 3)), 7)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		collect := func(n int) (out []string, err error) {
			var tags Tags
			for rest := b; len(rest) > 0 && err == nil; rest = rest[min(n, len(rest)):] {
				err = tags.Write(rest[:min(n, len(rest))], func(x Tag) error {
					out = append(out, fmt.Sprint(x))
					return nil
				})
			}
			return out, err
		}
		whole, err := collect(max(1, len(b)))
		pieces, err2 := collect(1 + n&0xff)
		if !reflect.DeepEqual(whole, pieces) || (err == nil) != (err2 == nil) {
			t.Errorf("in one piece %d tags (%v), in several %d (%v)", len(whole), err, len(pieces), err2)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("rtmp://host/live/topsecretkey", "")
	f.Add("rtmps://h:1/a/b?c=longvalue", "topsecretkey?x=longvalue2")
	f.Fuzz(func(t *testing.T, url, key string) {
		a, err := ParseAddress(url, key)
		if err != nil {
			return
		}
		if len(a.Stream) >= 20 && strings.Contains(fmt.Sprintf("%v %#v %s", a, a, a.Hide("x"+a.Stream+"x")), a.Stream) {
			t.Errorf("%q is in %v or %q", a.Stream, a, a.Hide(a.Stream))
		}
		if a.App == "" || a.Stream == "" || a.serverName() == "" {
			t.Errorf("%q: %q %q %q", url, a.App, a.Stream, a.serverName())
		}
	})
}
