package upload

import "fmt"

// What S3 allows, from "Amazon S3 multipart upload limits" in its user guide.
const (
	MinPart  = 5 << 20 // bytes of any part but the last
	MaxPart  = 5 << 30
	MaxParts = 10_000
)

// DefaultPart is the size of the first parts: at 2.5 Mbit/s a part every 27 s.
const DefaultPart = 8 << 20

// growEvery is after how many parts their size doubles. With it a stream that
// begins with the smallest parts can be longer than 5 TiB, while a part is never
// more than about 1/900 of what came before it.
const growEvery = 900

// Schedule says how large each part of an object is. It depends on nothing but
// the part's number, so that whoever finishes an upload cuts as its first owner
// did.
type Schedule struct {
	First int64 `json:"first"` // bytes of the first parts
	Most  int64 `json:"most"`  // bytes that no part exceeds; First for equal parts
}

// Size is how many bytes part n has, counted from 1, unless it is the last.
func (s Schedule) Size(n int) int64 {
	doubled := (n - 1) / growEvery
	if doubled > 40 { // no overflow, whatever First is
		return s.Most
	}
	return min(s.First<<doubled, s.Most)
}

// Offset is where part n begins; n may be one more than there are parts.
func (s Schedule) Offset(n int) (sum int64) {
	for from := 1; from < n; from += growEvery {
		count := min(growEvery, n-from)
		sum += int64(count) * s.Size(from)
	}
	return sum
}

// Capacity is the length of the longest object, in bytes.
func (s Schedule) Capacity() int64 { return s.Offset(MaxParts + 1) }

// check finds out whether an object of the expected length fits; 0 is unknown.
func (s Schedule) check(expected int64) error {
	if expected <= s.Capacity() {
		return nil
	}
	return &Error{Kind: Settings,
		Msg:    fmt.Sprintf("%s are expected, but %d parts of %s to %s hold only %s", size(expected), MaxParts, size(s.First), size(s.Most), size(s.Capacity())),
		Remedy: fmt.Sprintf("use parts of at least %s", size(roundUp(expected/MaxParts+1, 1<<20)))}
}

// forSize are equal parts for a length that is known, as few stores refuse them.
func forSize(first, length int64) Schedule {
	first = max(first, roundUp((length+MaxParts-1)/MaxParts, 1<<20))
	return Schedule{First: first, Most: first}
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// size prints a number of bytes as people read it.
func size(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i, x := 0, float64(n)
	for x >= 1024 && i < len(units)-1 {
		x /= 1024
		i++
	}
	if i == 0 || x == float64(int64(x)) {
		return fmt.Sprintf("%d %s", int64(x), units[i])
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}
