package bench

// Saving is what moving a stream costs over a transport, drawing aside, and what
// the ring saves of it.
type Saving struct {
	Transport string  `json:"transport"`
	Title     string  `json:"title"`
	CoreHours float64 `json:"core_hours"`            // in SavingHours hours, producer and consumer
	Saved     float64 `json:"saved_core_hours"`      // by the ring, drawn in place
	Money     float64 `json:"saved_money,omitempty"` // Saved times the price of a core-hour
}

// SavingHours is the length of the stream that Savings speaks of.
const SavingHours = 1000

// Savings tells what the ring saves for SavingHours hours of the first kind of
// picture that was measured at its own rate, and of audio packets if they were
// measured, too; what says which. It is empty without the ring.
func (r *Report) Savings(price float64) (what string, list []Saving) {
	var of []PayloadReport
	for _, p := range r.Payloads {
		if len(of) == 0 && !p.Audio || len(of) == 1 && p.Audio {
			of = append(of, p)
		}
	}
	if len(of) == 0 {
		return "", nil
	}
	what = of[0].Title
	if len(of) == 2 {
		what += " with sound"
	}
	ring, ok := r.cores(of, "ring")
	if !ok {
		return "", nil
	}
	for _, row := range of[0].Rows {
		cores, ok := r.cores(of, row.Transport)
		if t := findTransport(row.Transport); !ok || row.Transport == "ring" || t == nil || t.base == "" {
			continue
		}
		s := Saving{Transport: row.Transport, Title: row.Title, CoreHours: cores * SavingHours, Saved: (cores - ring) * SavingHours}
		s.Money = s.Saved * price
		list = append(list, s)
	}
	return what, list
}

// cores is how many cores moving the payloads together keeps busy.
func (r *Report) cores(of []PayloadReport, transport string) (sum float64, ok bool) {
	for _, p := range of {
		row := r.Row(p.Name, transport)
		if row == nil || row.Paced == nil {
			return 0, false
		}
		sum += row.Paced.Beyond * float64(p.Rate) / 1e6
	}
	return sum, true
}
