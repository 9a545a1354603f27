package sink

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mpipe/mpipe/elements/sink/internal/rtmp"
	"github.com/mpipe/mpipe/pipeline"
)

// rtmpStat is the part of nginx's statistics page that counts one stream.
type rtmpStat struct {
	Apps []struct {
		Name    string `xml:"name"`
		Streams []struct {
			Name    string `xml:"name"`
			BytesIn int64  `xml:"bytes_in"` // payload of audio and video messages
		} `xml:"live>stream"`
	} `xml:"server>application"`
}

const (
	// statsLimit bounds the page; a stream takes about 2 KB of it.
	statsLimit = 16 << 20
	// statsPatience is how long the server may be behind when all is sent.
	statsPatience = 10 * time.Second
	statsEvery    = 100 * time.Millisecond
)

// statsClient leaves no connection open behind a run.
var statsClient = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}

func (r *rtmpSink) checkStats() error {
	if r.statsURL == "" {
		return nil
	}
	u, err := url.Parse(r.statsURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return pipeline.At("stats_url", `want "http://host/…", the page of nginx's rtmp_stat`)
	}
	if u.User != nil {
		return pipeline.At("stats_url", "a password does not belong into the file; let the server answer this address without one")
	}
	return nil
}

// compare waits until the server has counted all that the stream has sent.
func (r *rtmpSink) compare(ctx context.Context, s *rtmp.Stream) error {
	if r.statsURL == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, statsPatience)
	defer cancel()
	want := s.Payload()
	var problem error
	for {
		got, err := r.countedOf(ctx, s.Address())
		switch {
		case err == nil && got == want:
			return nil
		case err == nil && got > want:
			return fmt.Errorf("the server's statistics count %d bytes, %d were sent", got, want)
		case err == nil:
			problem = fmt.Errorf("the server's statistics count %d bytes of %d", got, want)
		case problem == nil || ctx.Err() == nil:
			problem = err
		}
		select {
		case <-ctx.Done():
			return problem
		case <-time.After(statsEvery):
		}
	}
}

// countedOf reads the page once, for one stream.
func (r *rtmpSink) countedOf(ctx context.Context, a rtmp.Address) (int64, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.statsURL, nil)
	if err != nil {
		return 0, err
	}
	resp, err := statsClient.Do(q)
	if err != nil {
		return 0, fmt.Errorf("stats_url: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("stats_url: the server answers %s", resp.Status)
	}
	var st rtmpStat
	if err := xml.NewDecoder(io.LimitReader(resp.Body, statsLimit)).Decode(&st); err != nil {
		return 0, fmt.Errorf("stats_url: this is no page of nginx's rtmp_stat: %w", err)
	}
	app, _, _ := strings.Cut(a.App, "?")
	name, _, _ := strings.Cut(a.Stream, "?")
	for _, p := range st.Apps {
		for _, s := range p.Streams {
			if p.Name == app && s.Name == name {
				return s.BytesIn, nil
			}
		}
	}
	return 0, fmt.Errorf("stats_url: the server does not list the stream")
}
