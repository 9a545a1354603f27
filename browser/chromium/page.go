package chromium

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Page is one tab.
type Page struct {
	b       *Browser
	target  string
	session string
	once    sync.Once
	done    chan struct{}
}

// Open opens a tab that shows nothing yet.
func (b *Browser) Open(ctx context.Context) (*Page, error) {
	p := &Page{b: b, done: make(chan struct{})}
	var target struct {
		ID string `json:"targetId"`
	}
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	p.target = target.ID
	var s struct {
		ID string `json:"sessionId"`
	}
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": p.target, "flatten": true}, &s); err != nil {
		return nil, err
	}
	p.session = s.ID
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, m := range []string{"Page.enable", "Runtime.enable"} {
		if err := p.call(ctx, m, nil, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Page) call(ctx context.Context, method string, params, out any) error {
	return p.b.call(ctx, p.session, method, params, out)
}

// over is called with the connection's lock held, or before anybody else knows p.
func (p *Page) over() { p.once.Do(func() { close(p.done) }) }

// Done is closed when the page is over: closed, crashed, or its browser ended.
func (p *Page) Done() <-chan struct{} { return p.done }

// Inject runs a script in each document that the page loads, before its own. The
// page's content security policy is not heeded from then on.
func (p *Page) Inject(ctx context.Context, script string) error {
	if err := p.call(ctx, "Page.setBypassCSP", map[string]any{"enabled": true}, nil); err != nil {
		return err
	}
	return p.call(ctx, "Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": script}, nil)
}

// Load goes to an address and returns when the document is there, or says why not.
func (p *Page) Load(ctx context.Context, url string) error {
	var r struct {
		Error string `json:"errorText"`
	}
	if err := p.call(ctx, "Page.navigate", map[string]any{"url": url}, &r); err != nil {
		return err
	}
	if r.Error != "" {
		return fmt.Errorf("%s could not be loaded: %s", url, r.Error)
	}
	return nil
}

// Reload loads the page again.
func (p *Page) Reload(ctx context.Context) error { return p.call(ctx, "Page.reload", nil, nil) }

// Crash ends the page's process as a defect would, and returns when that is seen.
func (p *Page) Crash(ctx context.Context) error {
	said, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _ = p.call(said, "Page.crash", nil, nil) }() // a crashed page does not answer
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error {
	return p.b.call(ctx, "", "Target.closeTarget", map[string]any{"targetId": p.target}, nil)
}

// Eval evaluates an expression, waits if it is a promise, and decodes the value
// into out, unless that is nil.
func (p *Page) Eval(ctx context.Context, expression string, out any) error {
	var r struct {
		Result struct {
			Value       json.RawMessage `json:"value"`
			Description string          `json:"description"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err := p.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if err != nil {
		return err
	}
	if e := r.Exception; e != nil {
		if e.Exception.Description != "" {
			said, _, _ := strings.Cut(e.Exception.Description, "\n    at ") // without the stack
			return errors.New(said)
		}
		return errors.New(e.Text)
	}
	if out == nil || len(r.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result.Value, out)
}

// Resize makes the window so large that the page in it has a size, in CSS pixels,
// which are pixels here.
func (p *Page) Resize(ctx context.Context, w, h int) error {
	var win struct {
		ID int `json:"windowId"`
	}
	if err := p.b.call(ctx, "", "Browser.getWindowForTarget", map[string]any{"targetId": p.target}, &win); err != nil {
		return err
	}
	var inner, frame [2]int // of the page; of what the window has around it
	for settled, tries := 0, 0; settled < 2; tries++ {
		if tries > 40 {
			return fmt.Errorf("the page has %dx%d pixels instead of %dx%d; choose another size", inner[0], inner[1], w, h)
		}
		if settled == 0 {
			bounds := map[string]any{"width": w + frame[0], "height": h + frame[1]}
			if err := p.b.call(ctx, "", "Browser.setWindowBounds", map[string]any{"windowId": win.ID, "bounds": bounds}, nil); err != nil {
				return err
			}
		}
		// Bars slide in, and the page hears of its size a moment later.
		if err := p.Eval(ctx, `new Promise((r) => setTimeout(() => r([innerWidth, innerHeight]), 100))`, &inner); err != nil {
			return err
		}
		if inner == [2]int{w, h} {
			settled++
			continue
		}
		settled = 0
		frame[0] = min(max(frame[0]+w-inner[0], 0), 500)
		frame[1] = min(max(frame[1]+h-inner[1], 0), 500)
	}
	return nil
}
