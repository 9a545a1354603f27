package ring

import "time"

// Advice is what a consumer has to say to a producer that could do with less. It
// is advice: a producer that ignores it finds the ring full.
type Advice struct {
	FPSNum, FPSDen uint32        // the frame rate it can take; 0/0: any
	Held           time.Duration // how long it has held its oldest frame; 0: it holds none
	Holder         string        // the edge of the graph that holds frames up: "bot.video -> h264"; "": none
}

// Keep tells whether frame n of a stream of num/den frames a second is one to draw,
// if no more than the advised rate are. Those that are not, count by
// [Writer.DropByPolicy].
func (a Advice) Keep(n uint64, num, den int) bool {
	have, want := uint64(num)*uint64(a.FPSDen), uint64(a.FPSNum)*uint64(den)
	return a.FPSNum == 0 || have == 0 || want >= have || n*want/have != (n+1)*want/have
}

// Advice gives what the consumer says now.
func (p *Producer) Advice() Advice {
	at := p.at.Load()
	at.mu.Lock()
	defer at.mu.Unlock()
	if !at.mapped {
		return Advice{}
	}
	return readAdvice(at.cons)
}

func readAdvice(cons mem) Advice {
	a := Advice{FPSNum: cons.a32(consAdviceNum).Load(), FPSDen: cons.a32(consAdviceDen).Load(), Holder: cons.text(consHolder, nameSize)}
	if a.FPSNum == 0 || a.FPSDen == 0 {
		a.FPSNum, a.FPSDen = 0, 0
	}
	if since := cons.i64(consHeldSince); since > 0 {
		a.Held = max(time.Duration(Now()-since), 1)
	}
	return a
}

// Advise tells the producer the frame rate that downstream can take, 0/0 for any,
// and which edge of the graph holds frames up, "" for none.
func (r *Reader) Advise(num, den uint32, holder string) {
	if r.closed {
		return
	}
	cons := r.b.cons
	if cons.u32(consAdviceNum) != num || cons.u32(consAdviceDen) != den {
		cons.a32(consAdviceNum).Store(0) // nobody is to read half of it
		cons.a32(consAdviceDen).Store(den)
		cons.a32(consAdviceNum).Store(num)
	}
	if cons.text(consHolder, nameSize) != holder {
		cons.putText(consHolder, nameSize, holder)
	}
}

// age publishes since when the oldest frame that is out is out.
func (r *Reader) age() {
	since := int64(0)
	for _, c := range r.classes {
		if c == nil {
			continue
		}
		for at := c.read; at != c.next; {
			e := c.entry(at.seq())
			if e.status == entryLent {
				if since == 0 || e.lent < since {
					since = e.lent
				}
				break
			}
			at = c.span.next(at, e.extent)
		}
	}
	r.b.cons.a64(consHeldSince).Store(uint64(since))
}
