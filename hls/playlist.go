package hls

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Kind is what becomes of a playlist while the recording goes on.
type Kind string

const (
	Live  Kind = "live"  // it names the latest segments; older ones are deleted
	Event Kind = "event" // it names all and grows
	VOD   Kind = "vod"   // it appears when the recording has ended
)

// Segment is a file of a playlist.
type Segment struct {
	Name     string
	Duration time.Duration
	At       time.Time // when it was captured; zero: not known
}

// Playlist is a media playlist as RFC 8216 has it.
type Playlist struct {
	Kind     Kind
	Map      string // name of the initial part of fragmented MP4; "" for MPEG-TS
	Target   int    // EXT-X-TARGETDURATION, seconds
	First    int    // sequence number of the first segment
	Segments []Segment
	Ended    bool
}

// String gives the playlist's text.
func (p *Playlist) String() string {
	var b strings.Builder
	version := 3 // decimal EXTINF
	if p.Map != "" {
		version = 6 // EXT-X-MAP
	}
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:%d\n", version, p.Target, p.First)
	if p.Kind != Live {
		fmt.Fprintf(&b, "#EXT-X-PLAYLIST-TYPE:%s\n", strings.ToUpper(string(p.Kind)))
	}
	b.WriteString("#EXT-X-INDEPENDENT-SEGMENTS\n")
	if p.Map != "" {
		fmt.Fprintf(&b, "#EXT-X-MAP:URI=%q\n", p.Map)
	}
	for _, s := range p.Segments {
		if !s.At.IsZero() {
			fmt.Fprintf(&b, "#EXT-X-PROGRAM-DATE-TIME:%s\n", s.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
		}
		fmt.Fprintf(&b, "#EXTINF:%.6f,\n%s\n", s.Duration.Seconds(), s.Name)
	}
	if p.Ended {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return b.String()
}

// Parse reads a playlist that String wrote.
func Parse(text string) (*Playlist, error) {
	lines := strings.Split(text, "\n")
	if lines[0] != "#EXTM3U" {
		return nil, fmt.Errorf("this is no playlist: it does not begin with #EXTM3U")
	}
	p, s := &Playlist{Kind: Live}, Segment{}
	for i, line := range lines[1:] {
		tag, value, _ := strings.Cut(line, ":")
		var err error
		switch tag {
		case "#EXT-X-TARGETDURATION":
			p.Target, err = strconv.Atoi(value)
		case "#EXT-X-MEDIA-SEQUENCE":
			p.First, err = strconv.Atoi(value)
		case "#EXT-X-PLAYLIST-TYPE":
			p.Kind = Kind(strings.ToLower(value))
		case "#EXT-X-MAP":
			p.Map, err = strconv.Unquote(strings.TrimPrefix(value, "URI="))
		case "#EXT-X-PROGRAM-DATE-TIME":
			s.At, err = time.Parse(time.RFC3339, value)
		case "#EXTINF":
			var seconds float64
			seconds, err = strconv.ParseFloat(strings.TrimSuffix(value, ","), 64)
			s.Duration = time.Duration(math.Round(seconds * 1e9))
		case "#EXT-X-ENDLIST":
			p.Ended = true
		default:
			if line != "" && line[0] != '#' {
				s.Name = line
				p.Segments, s = append(p.Segments, s), Segment{}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of the playlist is wrong: %w", i+2, err)
		}
	}
	return p, nil
}

// Length is how long all segments are together.
func (p *Playlist) Length() (d time.Duration) {
	for _, s := range p.Segments {
		d += s.Duration
	}
	return d
}
