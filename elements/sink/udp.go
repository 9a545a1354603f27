package sink

import (
	"net"
	"strconv"

	"github.com/mpipe/mpipe/pipeline"
)

func init() {
	pipeline.RegisterSink[udp]("udp", "MPEG-TS in UDP datagrams, to one host or a multicast group; nobody says whether they arrive.")
}

type udp struct {
	addr string
	ttl  int
	raw  map[string]any
}

func (u *udp) Props(p *pipeline.Props) {
	p.String(&u.addr, "address", "", "Host and port: \"239.1.1.1:5004\".", pipeline.Required)
	p.Int(&u.ttl, "ttl", 1, "How many routers a datagram to a multicast group may pass.", pipeline.Between(0, 255))
	p.Table(&u.raw, "gst", "Properties of GStreamer's udpsink in its own words; they win over everything above.")
}

func (u *udp) Check() error { return hostPort(u.addr) }

func (u *udp) Fragment(pipeline.Catalog) (pipeline.Fragment, error) {
	host, port, _ := net.SplitHostPort(u.addr)
	f := muxed("ts", nil, pipeline.Node{Factory: "udpsink", Package: "gstreamer1.0-plugins-good", Set: append([]pipeline.Setting{
		{Name: "host", Value: host}, {Name: "port", Value: port}, {Name: "ttl-mc", Value: strconv.Itoa(u.ttl)},
		{Name: "sync", Value: "false"}, {Name: "async", Value: "false"},
	}, pipeline.Settings(u.raw)...)})
	f.Where, f.Live, f.Recovery = "udp://"+u.addr, true, "what was sent"
	return f, nil
}
