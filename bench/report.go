package bench

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Report is what a comparison found.
type Report struct {
	Machine  Machine         `json:"machine"`
	Rounds   int             `json:"rounds"`
	Read     bool            `json:"consumer_reads_frames"`
	Payloads []PayloadReport `json:"payloads"`
	Skipped  []Skipped       `json:"skipped"`
}

// Machine is where it was measured.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// PayloadReport is the table of one payload.
type PayloadReport struct {
	Payload
	Rows []Row `json:"rows"`
}

// Row is one transport.
type Row struct {
	Transport string   `json:"transport"`
	Title     string   `json:"title"`
	FlatOut   *Figures `json:"flat_out,omitempty"`
	Paced     *Figures `json:"paced,omitempty"`
}

// Figures are medians over the rounds; latencies are of all rounds together.
type Figures struct {
	CPU      float64 `json:"cpu_us"` // a frame, producer and consumer, drawing included
	Producer float64 `json:"producer_cpu_us"`
	Consumer float64 `json:"consumer_cpu_us"`
	Beyond   float64 `json:"transport_cpu_us"` // CPU less that of drawing alone in the same round
	Rate     float64 `json:"frames_per_second"`
	P50      float64 `json:"latency_p50_us,omitempty"`
	P99      float64 `json:"latency_p99_us,omitempty"`
	Samples  int     `json:"latency_samples,omitempty"`
}

// Skipped is a transport that could not be measured here.
type Skipped struct {
	Transport string `json:"transport"`
	Title     string `json:"title"`
	Reason    string `json:"reason"`
}

func newReport(o Options) *Report {
	return &Report{Machine: machine(), Rounds: max(1, o.Rounds), Read: o.Read, Skipped: []Skipped{}}
}

func machine() Machine {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU(), Go: runtime.Version()}
	text, _ := os.ReadFile("/proc/cpuinfo") // unknown without it
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return m
}

func (r *Report) fill(c *comparison) {
	for _, p := range c.payloads {
		pr := PayloadReport{Payload: p}
		for _, t := range c.chosen {
			row := Row{Transport: t.name, Title: t.title}
			for _, paced := range c.modes() {
				base := c.samples[runKey{cmp.Or(t.base, t.name), p.Name, paced}]
				f := figures(c.samples[runKey{t.name, p.Name, paced}], base)
				if paced {
					row.Paced = f
				} else {
					row.FlatOut = f
				}
			}
			pr.Rows = append(pr.Rows, row)
		}
		r.Payloads = append(r.Payloads, pr)
	}
}

func figures(runs, base []sample) *Figures {
	over := func(f func(i int) float64) float64 {
		var v []float64
		for i := range runs {
			v = append(v, f(i))
		}
		return median(v)
	}
	var latency []int64
	for _, s := range runs {
		latency = append(latency, s.latency...)
	}
	slices.Sort(latency)
	return &Figures{
		CPU:      over(func(i int) float64 { return runs[i].cpu() }),
		Producer: over(func(i int) float64 { return runs[i].producer }),
		Consumer: over(func(i int) float64 { return runs[i].consumer }),
		Beyond:   over(func(i int) float64 { return runs[i].cpu() - base[i].cpu() }),
		Rate:     over(func(i int) float64 { return runs[i].rate }),
		P50:      percentile(latency, 50), P99: percentile(latency, 99), Samples: len(latency),
	}
}

// Row finds a transport's figures for a payload; nil when it was not measured.
func (r *Report) Row(payload, transport string) *Row {
	for i := range r.Payloads {
		if r.Payloads[i].Name != payload {
			continue
		}
		for j := range r.Payloads[i].Rows {
			if row := &r.Payloads[i].Rows[j]; row.Transport == transport {
				return row
			}
		}
	}
	return nil
}
