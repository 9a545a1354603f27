package rtmp

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// fake is a server that says what a test wants. Real servers are in
// nginx_test.go; this one is for what they never say.
type fake struct {
	t    *testing.T
	l    net.Listener
	play func(*peer) // one connection
	wg   sync.WaitGroup
	mu   sync.Mutex
	open []net.Conn
}

// peer is one connection of the server.
type peer struct {
	net.Conn
	t   *testing.T
	in  *chunkReader
	out *chunkWriter
}

func startFake(t *testing.T, c *tls.Config, play func(*peer)) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		l = tls.NewListener(l, c)
	}
	f := &fake{t: t, l: l, play: play}
	f.wg.Add(1)
	go f.serve()
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for _, c := range f.open {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *fake) serve() {
	defer f.wg.Done()
	for {
		c, err := f.l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.open = append(f.open, c)
		f.mu.Unlock()
		f.wg.Add(1)
		go func() {
			defer f.wg.Done()
			defer c.Close()
			f.play(&peer{Conn: c, t: f.t, out: newChunkWriter()})
		}()
	}
}

func (f *fake) address(t *testing.T) Address {
	t.Helper()
	a, err := ParseAddress("rtmp://"+f.l.Addr().String()+"/live/topsecretkey?token=hushhush", "")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// handshake answers the client's.
func (p *peer) handshake() bool {
	r := bufio.NewReader(p)
	hello := make([]byte, 1+handshakeSize)
	if _, err := io.ReadFull(r, hello); err != nil {
		return false
	}
	if _, err := p.Write(append(slices.Clone(hello), hello[1:]...)); err != nil { // S0, S1, S2
		return false
	}
	if _, err := io.ReadFull(r, hello[1:]); err != nil {
		return false
	}
	p.in = newChunkReader(r)
	return true
}

func (p *peer) send(m message) { p.Write(p.out.append(nil, chunkCommand, m)) }

func (p *peer) say(name string, tx float64, args ...any) {
	p.send(message{typ: typeCommand, body: appendAMF(appendAMF(nil, name, tx), args...)})
}

// until reads up to a command; media and pings are dealt with by f.
func (p *peer) until(name string, f func(message)) (command, bool) {
	for {
		m, err := p.in.next()
		if err != nil {
			return command{}, false
		}
		if m.typ == typeCommand {
			c, err := parseCommand(m.body)
			if err != nil {
				p.t.Error(err)
			}
			if c.name == name {
				return c, true
			}
			continue
		}
		if f != nil {
			f(m)
		}
	}
}

// publish goes up to the publish command and answers all before it.
func (p *peer) publish(f func(message)) (command, bool) {
	if !p.handshake() {
		return command{}, false
	}
	c, ok := p.until("connect", f)
	p.say("_result", c.tx, nil, Object{{"level", "status"}, {"code", "NetConnection.Connect.Success"}})
	if ok {
		c, ok = p.until("createStream", f)
		p.say("_result", c.tx, nil, 7.0)
	}
	if ok {
		c, ok = p.until("publish", f)
	}
	return c, ok
}

func (p *peer) status(level, code, description string) {
	p.say("onStatus", 0, nil, Object{{"level", level}, {"code", code}, {"description", description}})
}

// accept publishes.
func (p *peer) accept(f func(message)) bool {
	_, ok := p.publish(f)
	p.status("status", "NetStream.Publish.Start", "go on")
	return ok
}

// pong answers pings.
func (p *peer) pong(m message) {
	if m.typ == typeUserControl && binary.BigEndian.Uint16(m.body) == eventPing {
		p.send(userControl(eventPong, binary.BigEndian.Uint32(m.body[2:])))
	}
}
