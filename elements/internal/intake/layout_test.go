package intake

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/mpipe/mpipe/ring"
)

// The page library has the same numbers.
func TestLayoutIsThePages(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if node, err = exec.LookPath("nodejs"); err != nil {
			t.Skip("node is not installed")
		}
	}
	out, err := exec.Command(node, "--input-type=module", "-e", `
import * as l from "../../../browser/layout.js";
const picture = (...a) => { const p = l.picture(...a); return [...p.strides, ...p.offsets, p.size]; };
console.log(JSON.stringify({
  numbers: [l.MAJOR, l.PAGE, l.GRANULE, l.RECORD, l.RECORDS, l.STREAMS, l.FORMATS, ...l.ALIGN, l.STREAM_SIZE, l.COUNTER_SIZE, l.FORMAT_SIZE,
    l.BELL.session, l.BELL.state, l.BELL.streams, l.BELL.ping, l.BELL.ready, l.BELL.name, l.BELL.origin, l.BELL.token, l.BELL.streamTable,
    l.BELL.counters, l.BELL.formats, ...l.BELL.records, l.BELL.size,
    l.ACK.session, l.ACK.state, l.ACK.beat, l.ACK.pong, l.ACK.pongTime, l.ACK.classes, l.ACK.classSize, l.ACK.dataSize, l.ACK.arenas, l.ACK.rewind,
    l.ACK.reason, l.ACK.consumer, l.ACK.size, ...Object.values(l.STATE), ...Object.values(l.SESSION), ...Object.values(l.FLAG), ...Object.values(l.WIRE)],
  magic: Object.values(l.MAGIC),
  pictures: Object.fromEntries(l.videoFormats.map((f) => [f, [picture(f, 641, 361), picture(f, 1920, 1080), picture(f, 1, 1)]])),
}));`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var js struct {
		Numbers  []uint64
		Magic    []string
		Pictures map[string][3][]int
	}
	if err := json.Unmarshal(out, &js); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := []uint64{
		Major, PageSize, Granule, Record, Records, Streams, Formats, Align[0], Align[1], StreamSize, CounterSize, FormatSize,
		BellSession, BellState, BellStreams, BellPing, BellReady, BellName, BellOrigin, BellToken, BellTable,
		BellCounters, BellFormats, BellRecords, BellRecords + Records*Record, BellSize,
		AckSession, AckState, AckBeat, AckPong, AckPongTime, AckClasses, AckClassSize, AckDataSize, AckArenas, AckRewind,
		AckReason, AckConsumer, AckSize,
		uint64(None), uint64(Live), uint64(Stopping), uint64(Closed), uint64(Refused), uint64(Invalid), SessionOpen, SessionEnded,
		uint64(ring.FlagKey), uint64(ring.FlagDiscont), uint64(ring.FlagCorrupt), uint64(ring.FlagEOS), FlagRewind,
		WireHello, WireFormat, WireFrame, WirePing, WireCounters, WireEnd, WireState, WirePong, WireRead,
	}
	if len(js.Numbers) != len(want) {
		t.Fatalf("%d numbers, want %d", len(js.Numbers), len(want))
	}
	for i := range want {
		if js.Numbers[i] != want[i] {
			t.Errorf("number %d is %#x in the page, %#x here", i, js.Numbers[i], want[i])
		}
	}
	for i, m := range []string{MagicBell, MagicAck, MagicData, MagicWire} {
		if js.Magic[i] != m {
			t.Errorf("magic %d is %q in the page, %q here", i, js.Magic[i], m)
		}
	}
	for name, three := range js.Pictures {
		for i, side := range [][2]int{{641, 361}, {1920, 1080}, {1, 1}} {
			v, err := ring.PackedVideo(name, side[0], side[1], 30, 1)
			if err != nil {
				t.Fatal(err)
			}
			var want []int
			want = append(want, v.Strides[:v.Planes]...)
			want = append(want, v.Offsets[:v.Planes]...)
			got := three[i]
			for j := range want {
				if got[j] != want[j] {
					t.Errorf("%s %v is laid out %v in the page, %v here", name, side, got, want)
					break
				}
			}
			if size := got[len(got)-1]; size < v.Size() {
				t.Errorf("%s %v has %d bytes in the page, %d here", name, side, size, v.Size())
			}
		}
	}
}

// Whatever stands in a greeting, a format or a record, reading it neither panics nor
// gives anything out of range.
func FuzzParse(f *testing.F) {
	good := make([]byte, HelloSize)
	copy(good, MagicBell)
	good[8], good[BellStreams], good[BellTable], good[BellTable+8], good[BellTable+0x10] = 1, 1, 1, 1, 'v'
	f.Add(good)
	format := make([]byte, HelloSize)
	format[0], format[6], format[7], format[8], format[0xc] = 1, 1, 3, 64, 64
	copy(format[0x18:], "I420")
	f.Add(format)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHello(b, MagicBell); err == nil {
			if len(h.Streams) < 1 || len(h.Streams) > Streams || len(h.Name) > 63 {
				t.Errorf("%+v", h)
			}
			for _, s := range h.Streams {
				if s.MaxFrame < 1 || !streamName.MatchString(s.Name) {
					t.Errorf("%+v", s)
				}
			}
		}
		if f, err := ParseFormat(b); err == nil && (f.Video == nil) == (f.Audio == nil) {
			t.Errorf("%+v", f)
		}
		if len(b) >= Record {
			if f, ok := ParseRecord(b[:Record]); ok && (f.Word == 0 || f.Length < 0) {
				t.Errorf("%+v", f)
			}
		}
	})
}
