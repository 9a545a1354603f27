package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/bench"
)

// promiseRounds is how often the transports are measured in turn.
const promiseRounds = 7

const peerWord = "bench-peer"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == peerWord {
		if err := bench.Peer(os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkPromise prints what the ring promises beside what it does on this
// machine, and what its peers do in the same run. It takes some six minutes. What
// is not met says so; nothing fails, since machines differ.
func BenchmarkPromise(b *testing.B) {
	for b.Loop() {
		p := &promise{b: b}
		p.fromRing()
		p.fromTransports()
		fmt.Printf("\n%s%s\n", p.machine, p.text.String())
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(p.missed), "missed")
	}
}

// promise collects the lines of the table.
type promise struct {
	b       *testing.B
	machine string
	text    strings.Builder
	missed  int
}

func (p *promise) head(title string) { fmt.Fprintf(&p.text, "\n%s\n", title) }

// line compares a figure with a promise: "<", "<=", ">=" and the number, or
// nothing when there is none.
func (p *promise) line(what string, got float64, unit, relation string, want float64) {
	verdict := ""
	if relation != "" {
		met := map[string]bool{"<": got < want, "<=": got <= want, ">=": got >= want}[relation]
		verdict = fmt.Sprintf("%2s %v", relation, want)
		if !met {
			p.missed++
			verdict += "   MISSED"
		}
	}
	fmt.Fprintf(&p.text, "  %-58s %10s %-10s %s\n", what, number(got), unit, verdict)
}

func (p *promise) says(what, why string) { fmt.Fprintf(&p.text, "  %-58s %s\n", what, why) }

func number(v float64) string {
	switch {
	case v != 0 && v < 0.1 && v > -0.1:
		return strconv.FormatFloat(v, 'f', 4, 64)
	case v < 100 && v > -100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}

// fromRing takes what the tests and benchmarks of package ring print.
func (p *promise) fromRing() {
	out := p.goTest("-run", "^$", "-bench", "ClaimCommit|SmallFrames|Syscalls")
	p.head("package ring")
	p.metric(out, "claim and commit, without the payload", "ns/claim+commit", "ns", "<", 200)
	p.metric(out, "frames of 64 bytes, two processes", "frames/s", "a second", ">=", 1e6)
	for _, lang := range []string{"go", "c"} {
		part := out[max(0, strings.Index(out, "BenchmarkSyscalls/"+lang)):]
		p.metric(part, "system calls a frame while busy: producer in "+lang, "calls/produced", "", "<", 0.05)
		p.metric(part, "                                 its reader", "calls/consumed", "", "<", 0.05)
	}
	out = p.goTest("-run", "^TestKill$", "-v")
	m := regexp.MustCompile(`kills: (\d+) in \S+; corrupt (\d+), wedged (\d+); recovery p50 (\S+), p99 (\S+),`).FindStringSubmatch(out)
	if m == nil {
		p.says("recovery from a proved death", "NOT MEASURED: TestKill said nothing")
		p.missed++
		return
	}
	kills, _ := strconv.ParseFloat(m[1], 64)
	corrupt, _ := strconv.ParseFloat(m[2], 64)
	wedged, _ := strconv.ParseFloat(m[3], 64)
	p.line("producers killed at all fault points", kills, "", "", 0)
	p.line("corrupt frames", corrupt, "", "<=", 0)
	p.line("wedged rings", wedged, "", "<=", 0)
	p.says("recovery from a proved death, p50 and p99", fmt.Sprintf("%s, %s   p50 < 50ms", m[4], m[5]))
}

// goTest runs tests of package ring and gives what they print.
func (p *promise) goTest(args ...string) string {
	out, err := exec.Command("go", append([]string{"test", "-count=1", "-timeout", "20m", "../../ring"}, args...)...).CombinedOutput()
	if err != nil {
		p.b.Fatalf("go test %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (p *promise) metric(out, what, name, unit, relation string, want float64) {
	m := regexp.MustCompile(`([0-9.e+]+) ` + regexp.QuoteMeta(name) + `\b`).FindStringSubmatch(out)
	if m == nil {
		p.says(what, "NOT MEASURED")
		p.missed++
		return
	}
	got, _ := strconv.ParseFloat(m[1], 64)
	p.line(what, got, unit, relation, want)
}

// fromTransports runs the comparison of package bench.
func (p *promise) fromTransports() {
	pictures := p.compare("1080p", "ring", "ring-copy", "ring-c", "shmsink", "shmsink-copy", "unix", "tcp", "websocket", "minimal", "minimal-copy", "websocket-python", "chromium-python")
	packets := p.compare("audio", "ring", "ring-c", "minimal")
	m := pictures.Machine
	p.machine = fmt.Sprintf("%s, %d cores, Linux %s, %s; transports: medians of %d rounds\n", m.CPU, m.Cores, m.Kernel, m.Go, promiseRounds)

	p.head("from drawn to the reader running, packets of 960 bytes at 100 a second")
	for _, r := range []struct {
		transport, what string
		p50, p99        float64
	}{{"minimal", "C reader, minimal C ring", 40, 150}, {"ring", "Go reader, producer in Go", 80, 200}, {"ring-c", "Go reader, producer in C", 80, 200}} {
		if f := p.paced(packets, "audio", r.transport); f != nil {
			p.line(r.what+", p50", f.P50, "us", "<", r.p50)
			p.line(r.what+", p99", f.P99, "us", "<", r.p99)
		}
	}
	p.head("CPU of a packet of 960 bytes at 100 a second, pacing included")
	p.ratio(packets, "audio", "Go against the minimal C ring", "ring", "minimal", total, "<=", 3)

	p.cpu(pictures)
	p.head("CPU at 30 pictures of 1080p a second, beyond drawing, against the ring with one copy in")
	for _, r := range []struct {
		transport, what string
		least           float64
	}{{"unix", "Unix socket", 3}, {"tcp", "TCP", 3}, {"websocket-python", "WebSocket to Python", 8}, {"chromium-python", "Chromium to Python", 20}, {"shmsink-copy", "shmsink, one copy in", 1}} {
		p.ratio(pictures, "1080p", r.what, r.transport, "ring-copy", beyond, ">=", r.least)
	}
	p.ratio(pictures, "1080p", "shmsink against the ring, both drawn in place from C", "shmsink", "ring-c", beyond, ">=", 1)
	for _, s := range pictures.Skipped {
		p.says(s.Title, "LEFT OUT: "+s.Reason)
	}
}

func (p *promise) cpu(r *bench.Report) {
	p.head("CPU of a picture of 1080p, producer and consumer, beyond drawing")
	for _, row := range []struct {
		transport, what string
		flat, paced     float64
	}{{"ring", "drawn in place", 20, 60}, {"ring-c", "drawn in place from C", 20, 60}, {"minimal", "  minimal C ring", 0, 0}, {"ring-copy", "one copy in", 200, 750}, {"minimal-copy", "  minimal C ring", 0, 0}} {
		got := r.Row("1080p", row.transport)
		if got == nil {
			continue
		}
		relation := "<="
		if row.flat == 0 {
			relation = ""
		}
		p.line(row.what+", flat out", got.FlatOut.Beyond, "us", relation, row.flat)
		p.line(row.what+", at 30 a second", got.Paced.Beyond, "us", relation, row.paced)
	}
	for _, name := range []string{"drawing", "drawing-c"} {
		if got := r.Row("1080p", name); got != nil {
			p.says("  "+got.Title, fmt.Sprintf("%s us flat out, %s us at 30 a second", number(got.FlatOut.CPU), number(got.Paced.CPU)))
		}
	}
}

func (p *promise) compare(payload string, only ...string) *bench.Report {
	r, err := bench.Transports(context.Background(), bench.Options{
		Self: []string{os.Args[0], peerWord}, Only: only, Payloads: []string{payload}, Rounds: promiseRounds,
		Progress: func(done, total int, what string) {
			if done%10 == 0 {
				fmt.Fprintf(os.Stderr, "%d of %d  %s\n", done, total, what)
			}
		},
	})
	if err != nil {
		p.b.Fatal(err)
	}
	return r
}

func (p *promise) paced(r *bench.Report, payload, transport string) *bench.Figures {
	if row := r.Row(payload, transport); row != nil {
		return row.Paced
	}
	return nil
}

func total(f *bench.Figures) float64  { return f.CPU }
func beyond(f *bench.Figures) float64 { return f.Beyond }

func (p *promise) ratio(r *bench.Report, payload, what, over, under string, figure func(*bench.Figures) float64, relation string, want float64) {
	a, b := p.paced(r, payload, over), p.paced(r, payload, under)
	if a == nil || b == nil {
		return // it is in the list of what was left out
	}
	p.line(fmt.Sprintf("%s: %s us / %s us", what, number(figure(a)), number(figure(b))), figure(a)/figure(b), "times", relation, want)
}
