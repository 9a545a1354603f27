package sink

import (
	"context"
	"net"
	"time"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[tcp]("tcp", "A stream to a TCP server: MPEG-TS, or another container that is written from front to back.")
}

// tcp sends to a server, and connects anew when the line is cut. It is in Go
// because GStreamer's own sink has no time limit on connecting or sending.
type tcp struct {
	addr      string
	container string
	raw       map[string]any
	remote

	conn net.Conn
}

func (t *tcp) Props(p *pipeline.Props) {
	p.String(&t.addr, "address", "", "Host and port of the server: \"10.0.0.5:5000\".", pipeline.Required)
	p.String(&t.container, "container", "ts", "What is sent.", pipeline.OneOf(streamable()...))
	t.remote.props(p, "5s")
	p.Table(&t.raw, "gst", "Properties of the GStreamer muxer in its own words; they win over everything above.")
}

func (t *tcp) Check() error { return hostPort(t.addr) }

// hostPort checks how an address is written.
func hostPort(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return pipeline.At("address", `want host and port, such as "127.0.0.1:5000": %w`, err)
	}
	return nil
}

func (t *tcp) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	f := muxed(t.container, t.raw)
	f.Where, f.Live, f.Restart = "tcp://"+t.addr, true, t.restart()
	f.Recovery = "what was sent"
	if f.Change == pipeline.ChangeRefused {
		f.Change = pipeline.ChangeAnew
	}
	return f, nil
}

// ContainersFor is for the error about a stream that the container cannot hold.
func (t *tcp) ContainersFor(k pipeline.Kind) []string { return containersFor(streamable(), k) }

func (t *tcp) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: t.connect}
	c, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, unreachable("tcp://"+t.addr, err)
	}
	return c, nil
}

// Probe connects and hangs up.
func (t *tcp) Probe(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

func (t *tcp) Begin(ctx context.Context, _ *pipeline.OutputEnv) (err error) {
	t.conn, err = t.dial(ctx)
	return err
}

func (t *tcp) Write(p []byte) (int, error) {
	if t.stall > 0 {
		if err := t.conn.SetWriteDeadline(time.Now().Add(t.stall)); err != nil {
			return 0, err
		}
	}
	return t.conn.Write(p)
}

// Finish closes the sending side and waits for the server to close its own: then
// it has read everything.
func (t *tcp) Finish(context.Context) error {
	defer t.conn.Close()
	if err := t.conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	// A server that goes on sending or never closes has had its time.
	_ = t.conn.SetReadDeadline(time.Now().Add(t.connect))
	for b := make([]byte, 4096); ; {
		if _, err := t.conn.Read(b); err != nil {
			return nil
		}
	}
}

func (t *tcp) Abandon(error) { t.conn.Close() }
