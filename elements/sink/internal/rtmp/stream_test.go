package rtmp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// Each way in which a server can refuse or fail a publisher, and what is said.
func TestWhatServersSayInsteadOfYes(t *testing.T) {
	silent := func(p *peer) { io.Copy(io.Discard, p) }
	worded := func(code, description string) func(*peer) {
		return func(p *peer) {
			p.publish(nil)
			p.status("error", code, description)
			silent(p)
		}
	}
	for name, c := range map[string]struct {
		play      func(*peer)
		step      Step
		permanent bool
		want      string
	}{
		"closes at once":    {func(*peer) {}, Handshake, false, "the server closed the connection (handshake)"},
		"never a word":      {silent, Handshake, false, "did not answer for 1s (handshake)"},
		"HTTP":              {func(p *peer) { p.Write(make([]byte, 4000)); silent(p) }, Handshake, false, "no RTMP server"},
		"silent at connect": {func(p *peer) { p.handshake(); silent(p) }, Connect, false, "did not answer for 1s (connect)"},
		"closes at connect": {func(p *peer) { p.handshake(); p.until("connect", nil) }, Connect, false, "do not know the application"},
		"closes at publish": {func(p *peer) { p.publish(nil) }, Publish, false, "refuse the stream key"},
		"silent at publish": {func(p *peer) { p.publish(nil); silent(p) }, Publish, false, "did not answer for 1s (publish)"},
		"name is taken":     {worded("NetStream.Publish.BadName", "already there"), Publish, false, "NetStream.Publish.BadName: already there"},
		"denied":            {worded("NetStream.Publish.Denied", "topsecretkey? never heard of, nor hushhush"), Publish, true, "[secret]? never heard of, nor [secret]"},
		"rejected at connect": {func(p *peer) {
			p.handshake()
			p.until("connect", nil)
			p.say("_error", 1, nil, Object{{"level", "error"}, {"code", "NetConnection.Connect.Rejected"}, {"description", "pay first"}})
			silent(p)
		}, Connect, true, "the server refuses connect: NetConnection.Connect.Rejected: pay first"},
		"a chunk out of place": {func(p *peer) { p.handshake(); p.Write([]byte{0xc3}); silent(p) }, Connect, false, "no RTMP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, nil, c.play)
			_, err := Open(within(t, time.Second), f.address(t), Options{Pings: true})
			var e *Error
			if !errors.As(err, &e) || e.Step != c.step || e.Permanent != c.permanent || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (%+v), want %q at %s", err, e, c.want, c.step)
			}
			if text := fmt.Sprintf("%v %+v", err, e); strings.Contains(text, "topsecret") || strings.Contains(text, "hushhush") {
				t.Errorf("the key is in %s", text)
			}
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	f := startFake(t, nil, func(p *peer) { p.handshake(); io.Copy(io.Discard, p) })
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := Open(ctx, f.address(t), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// tag is one of n bytes.
func tag(typ byte, at uint32, n int) Tag {
	return Tag{Type: typ, Time: at, Data: make([]byte, n), Size: tagHeader + n + tagTrailer}
}

func open(t *testing.T, f *fake, o Options) *Stream {
	t.Helper()
	s, err := Open(within(t, 10*time.Second), f.address(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// What is sent arrives as it was, in order, with its time, through chunks.
func TestMessagesArrive(t *testing.T) {
	got := make(chan message, 100)
	f := startFake(t, nil, func(p *peer) {
		p.accept(p.pong)
		p.until("deleteStream", func(m message) { p.pong(m); got <- m })
		close(got)
	})
	s := open(t, f, Options{Pings: true, Stall: 5 * time.Second})
	sent := []Tag{tag(typeData, 0, 10), tag(typeVideo, 0, 40), tag(typeAudio, 0, 2), tag(typeVideo, 33, 200_000),
		tag(typeAudio, 21, 400), tag(typeVideo, 20, 3), tag(typeVideo, 0x01000000, 9000), tag(typeVideo, 0x01000021, 10), tag(typeVideo, 0xfffffff0, 5000), tag(typeVideo, 8, 1)}
	var flv, payload int
	for _, m := range sent {
		for i := range m.Data {
			m.Data[i] = byte(i * 7)
		}
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
		flv += m.Size
		if m.IsMedia() {
			payload += len(m.Data)
		}
	}
	if err := s.End(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if s.Confirmed() != int64(flv) || s.Sent() != int64(flv) || s.Payload() != int64(payload) {
		t.Errorf("confirmed %d, sent %d, payload %d; want %d, %d, %d", s.Confirmed(), s.Sent(), s.Payload(), flv, flv, payload)
	}
	var media []message
	for m := range got {
		if m.typ == typeAudio || m.typ == typeVideo || m.typ == typeData {
			media = append(media, m)
		}
	}
	if len(media) != len(sent) {
		t.Fatalf("%d messages came, %d were sent", len(media), len(sent))
	}
	for i, m := range media {
		body := string(sent[i].Data)
		if m.typ == typeData {
			body = string(appendAMF(nil, "@setDataFrame")) + body
		}
		if m.typ != sent[i].Type || m.time != sent[i].Time || m.stream != 7 || string(m.body) != body {
			t.Errorf("message %d: type %d, time %#x, %d bytes in stream %d; want %+v", i, m.typ, m.time, len(m.body), m.stream, sent[i].Time)
		}
	}
}

// A server's own pings are answered and its window is kept to.
func TestTheServerIsAnswered(t *testing.T) {
	heard := make(chan message, 100)
	f := startFake(t, nil, func(p *peer) {
		p.accept(nil)
		p.send(userControl(eventPing, 4711))
		p.send(message{typ: typeWindowAck, body: []byte{0, 0, 0, 50}})
		p.send(message{typ: typePeerBandwidth, body: []byte{0, 1, 0, 0, 2}})
		p.until("deleteStream", func(m message) { heard <- m })
	})
	s := open(t, f, Options{})
	want := map[byte]bool{typeUserControl: true, typeWindowAck: true, typeAck: true}
	for len(want) > 0 {
		select {
		case m := <-heard:
			if m.typ == typeUserControl && (binary.BigEndian.Uint16(m.body) != eventPong || binary.BigEndian.Uint32(m.body[2:]) != 4711) {
				t.Errorf("the ping was answered with % x", m.body)
			}
			delete(want, m.typ)
		case <-time.After(5 * time.Second):
			t.Fatalf("still unanswered: %v", want)
		}
	}
	s.Close()
}

// pump sends until that fails.
func pump(s *Stream, bytes int) error {
	for i := uint32(0); ; i++ {
		if err := s.Send(tag(typeVideo, i*33, bytes)); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A server that answered pings and then swallows everything, while TCP
// acknowledges it, is noticed.
func TestAServerThatSwallows(t *testing.T) {
	f := startFake(t, nil, func(p *peer) {
		p.accept(p.pong)
		io.Copy(io.Discard, p)
	})
	s := open(t, f, Options{Pings: true, Stall: 300 * time.Millisecond})
	began := time.Now()
	err := pump(s, 1000)
	if !errors.Is(err, errQuiet) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// One that never answered a ping is left alone, and asked no more.
func TestAServerThatAnswersNoPings(t *testing.T) {
	pings := make(chan int, 1)
	f := startFake(t, nil, func(p *peer) {
		n := 0
		count := func(m message) {
			if m.typ == typeUserControl {
				n++
			}
		}
		p.accept(count)
		p.until("deleteStream", count)
		pings <- n
	})
	s := open(t, f, Options{Pings: true, Stall: time.Second})
	for i := range uint32(100) {
		time.Sleep(15 * time.Millisecond) // longer than the stall time, in all
		if err := s.Send(tag(typeVideo, i*33, pingBytes/2)); err != nil {
			t.Fatal(err)
		}
	}
	// It closes in good order when it has read the end: that must do.
	if err := s.End(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	if n := <-pings; n > deafPings+1 {
		t.Errorf("%d pings", n)
	}
}

// A server that reads nothing fails a Send after the stall time; the kernel does
// not take seconds of stream before.
func TestAServerThatReadsNothing(t *testing.T) {
	stop := make(chan struct{})
	f := startFake(t, nil, func(p *peer) { p.accept(p.pong); <-stop })
	defer close(stop)
	s := open(t, f, Options{Stall: 300 * time.Millisecond})
	err := pump(s, 50_000)
	if !errors.Is(err, errQuiet) {
		t.Errorf("got %v", err)
	}
	t.Logf("the kernels took %d bytes", s.Sent())
}

func TestCloseEndsASend(t *testing.T) {
	stop := make(chan struct{})
	f := startFake(t, nil, func(p *peer) { p.accept(p.pong); <-stop })
	defer close(stop)
	s := open(t, f, Options{})
	time.AfterFunc(300*time.Millisecond, s.Close)
	if err := pump(s, 500_000); err == nil {
		t.Error("no error")
	}
}

// The end is not over before the server has said so, and what it says last
// counts more than how the connection breaks.
func TestTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		play func(*peer)
		want string // of the error; "" for none
	}{
		"unpublished":  {func(p *peer) { p.until("deleteStream", nil); p.status("status", "NetStream.Unpublish.Success", "") }, ""},
		"acknowledged": {func(p *peer) { p.until("deleteStream", p.pong); io.Copy(io.Discard, p) }, ""},
		"closed":       {func(p *peer) { p.until("deleteStream", nil) }, "closed the connection (ending)"},
		"silent":       {func(p *peer) { io.Copy(io.Discard, p) }, "nothing for 500ms"},
		"refused before": {func(p *peer) {
			p.until("deleteStream", func(m message) {
				if m.typ == typeVideo {
					p.status("error", "NetStream.Record.Failed", "the disk is full")
				}
			})
		}, "the server ended the stream: NetStream.Record.Failed: the disk is full"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, nil, func(p *peer) { p.accept(p.pong); c.play(p) })
			s := open(t, f, Options{Pings: true, Stall: 500 * time.Millisecond})
			err := s.Send(tag(typeVideo, 0, 100))
			if err == nil {
				err = s.End(within(t, 10*time.Second))
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
