package chromium

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// conn speaks the DevTools protocol over the pipe: JSON messages, each with a NUL
// behind it.
type conn struct {
	w io.WriteCloser
	r io.ReadCloser

	mu      sync.Mutex
	last    int
	waiting map[int]chan message
	pages   map[string]*Page // by session
	err     error
}

type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

var errGone = errors.New("the browser has ended")

func newConn(w io.WriteCloser, r io.ReadCloser) *conn {
	c := &conn{w: w, r: r, waiting: map[int]chan message{}, pages: map[string]*Page{}}
	go c.read()
	return c
}

func (c *conn) close() {
	c.w.Close()
	c.r.Close()
}

func (c *conn) read() {
	in := bufio.NewReaderSize(c.r, 1<<16)
	for {
		b, err := in.ReadBytes(0)
		if err != nil {
			c.fail()
			return
		}
		var m message
		if json.Unmarshal(b[:len(b)-1], &m) != nil {
			continue
		}
		c.mu.Lock()
		if ch := c.waiting[m.ID]; m.ID != 0 && ch != nil {
			delete(c.waiting, m.ID)
			ch <- m
		} else if m.Method != "" {
			c.event(m)
		}
		c.mu.Unlock()
	}
}

// fail ends all that waits: the browser is gone.
func (c *conn) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = errGone
	for _, ch := range c.waiting {
		close(ch)
	}
	c.waiting = map[int]chan message{}
	for _, p := range c.pages {
		p.over()
	}
}

// event looks at what tells that a page is over. c.mu is held.
func (c *conn) event(m message) {
	var p struct {
		Session string `json:"sessionId"`
		Target  string `json:"targetId"`
	}
	if json.Unmarshal(m.Params, &p) != nil {
		return
	}
	switch m.Method {
	case "Target.detachedFromTarget":
		if page := c.pages[p.Session]; page != nil {
			page.over()
		}
	case "Target.targetDestroyed", "Target.targetCrashed":
		for _, page := range c.pages {
			if page.target == p.Target {
				page.over()
			}
		}
	case "Inspector.targetCrashed":
		if page := c.pages[m.Session]; page != nil {
			page.over()
		}
	}
}

// call does one call and decodes its result into out, unless that is nil.
func (c *conn) call(ctx context.Context, session, method string, params, out any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	if params == nil {
		raw = nil
	}
	ch := make(chan message, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	c.last++
	id := c.last
	c.waiting[id] = ch
	b, err := json.Marshal(message{ID: id, Session: session, Method: method, Params: raw})
	if err == nil {
		_, err = c.w.Write(append(b, 0))
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", method, ctx.Err())
	case m, ok := <-ch:
		switch {
		case !ok:
			return errGone
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case out == nil:
			return nil
		}
		return json.Unmarshal(m.Result, out)
	}
}
