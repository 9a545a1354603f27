package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	page "github.com/mpipe/mpipe/browser"
	"github.com/mpipe/mpipe/browser/chromium"
)

// dirParam is the parameter of a graph that says where the browser writes.
const dirParam = "user_data_dir"

// browserFlags are the flags of `mpipe browser run`.
type browserFlags struct {
	runFlags
	file     string
	size     string
	fps      int64
	capture  string
	binary   string
	duration time.Duration
	w, h     int
}

func browserVerb() *verb {
	return &verb{
		name: "browser", args: "run URL", min: 2, max: 2,
		short: "record a web page in a headless Chromium of its own",
		long: `It starts Chromium with a fresh profile in memory, loads URL, or the HTML file of
this path with what lies beside it, over http://localhost, and runs the graph, whose source is a browsersrc with user_data_dir = "${user_data_dir}"
and which declares this parameter, as graphs/browser.toml does.

With --capture tab, the default, what the tab shows and plays is recorded, and
the page needs to know nothing of it. With --capture page the page gives its own
frames: it finds the library of browser/ as globalThis.mpipe and calls
mpipe.writer() or mpipe.capture().

The recording ends when the page ends (window.close(), another page, a crash),
after --duration, or by a signal, as in mpipe run, whose flags and exit codes
it has.`,
		examples: []example{
			{"mpipe browser run https://example.org/ --graph graphs/browser.toml --param out=a.mp4 --duration 10s", "record ten seconds of a page"},
			{"mpipe browser run http://localhost:8000/demo.html --capture page --graph graphs/browser.toml --param out=demo.mp4", "record what the page hands over itself, until it ends"},
		},
		complete: func() []string { return []string{"run"} },
		declare: func(f *flags) func(*call) int {
			o := &browserFlags{}
			f.text(&o.file, "graph", "GRAPH", "", "the graph to run; required")
			f.text(&o.size, "size", "WxH", "1280x720", "size of the page in pixels")
			o.fps = 30
			f.count(&o.fps, "fps", "N", "frames a second that the tab is captured at, up to 120; 30 without it")
			f.choice(&o.capture, "capture", "tab", "what is recorded: what the tab shows and plays, or what the page hands over", "tab", "page")
			f.text(&o.binary, "browser", "PATH", "", "the Chromium to start; by default Debian's chromium, or another in PATH")
			f.duration(&o.duration, "duration", "0s", "end the recording so long after its start; 0s does not")
			o.declare(f)
			return func(c *call) int { return o.start(c) }
		},
	}
}

func (o *browserFlags) start(c *call) int {
	if c.args[0] != "run" {
		return c.usage("unknown command %q%s", c.args[0], suggest(c.args[0], []string{"run"}))
	}
	if o.file == "" {
		return c.usage("--graph is missing: name the graph to run, such as graphs/browser.toml")
	}
	if n, err := fmt.Sscanf(o.size, "%dx%d", &o.w, &o.h); n != 2 || err != nil || o.w < 16 || o.h < 16 || o.w > 7680 || o.h > 4320 || o.size != fmt.Sprintf("%dx%d", o.w, o.h) {
		return c.usage("--size %q: want WIDTHxHEIGHT, such as 1280x720, at most 7680x4320", o.size)
	}
	if o.fps > 120 {
		return c.usage("--fps %d: want 1 to 120", o.fps)
	}
	address, stop, err := serveFile(c.args[1])
	if err != nil {
		return c.usage("%v", err)
	}
	defer stop()
	if o.binary == "" {
		if o.binary, err = chromium.Find(); err != nil {
			return c.failed(err)
		}
	}
	dir, err := chromium.TempDir()
	if err != nil {
		return c.failed(err)
	}
	defer os.RemoveAll(dir)
	if o.graph.Params == nil {
		o.graph.Params = map[string]string{}
	}
	o.graph.Params[dirParam] = dir
	o.beside = func(ctx context.Context, stop context.CancelFunc, log *slog.Logger) (func() error, error) {
		return o.show(ctx, stop, log, dir, address)
	}
	return o.run(c, o.file)
}

// serveFile serves the directory of a local file on localhost: pages from file: have
// no storage. Other addresses it gives back as they are.
func serveFile(arg string) (address string, stop func(), err error) {
	path, local := strings.CutPrefix(arg, "file://")
	if !local && strings.Contains(arg, "://") {
		return arg, func() {}, nil
	}
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return "", nil, fmt.Errorf("%q is neither a URL, such as https://example.org/, nor a file", arg)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: http.FileServer(http.Dir(filepath.Dir(path))), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "http://localhost:" + port + "/" + (&url.URL{Path: filepath.Base(path)}).String(), func() { _ = srv.Close() }, nil
}

// show starts the browser with the page; end closes it.
func (o *browserFlags) show(ctx context.Context, stop context.CancelFunc, log *slog.Logger, dir, address string) (end func() error, err error) {
	b, err := chromium.Start(ctx, chromium.Options{Binary: o.binary, Dir: dir, Args: []string{
		"--auto-accept-this-tab-capture",
	}})
	if err != nil {
		return nil, err
	}
	p, err := b.Open(ctx)
	if err == nil {
		err = errors.Join(p.Resize(ctx, o.w, o.h), p.Inject(ctx, page.Script()))
	}
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	failed := make(chan error, 1)
	go func() {
		err := o.play(ctx, p, address)
		if ctx.Err() != nil {
			err = nil // the recording has ended before the page was ready
		}
		if failed <- err; err != nil {
			log.Error("the page cannot be recorded", "url", address, "error", err)
			stop()
			return
		}
		if o.duration > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(o.duration):
				stop()
			}
		}
	}()
	return func() error {
		stop()
		err := <-failed
		return errors.Join(err, b.Close())
	}, nil
}

// play loads the page and begins to capture it.
func (o *browserFlags) play(ctx context.Context, p *chromium.Page, address string) error {
	if err := p.Load(ctx, address); err != nil {
		return err
	}
	if o.capture == "page" {
		return nil
	}
	video, _ := json.Marshal(map[string]any{"width": o.w, "height": o.h, "frameRate": o.fps, "displaySurface": "browser"})
	err := p.Eval(ctx, fmt.Sprintf(`(async () => {
  if (document.readyState === "loading") await new Promise((r) => addEventListener("DOMContentLoaded", r));
  if (!navigator.mediaDevices) throw new Error("only pages from https:// and http://localhost can be captured, and this one is from " + location.origin);
  globalThis.mpipeTab = await navigator.mediaDevices.getDisplayMedia({
    video: %s, preferCurrentTab: true, selfBrowserSurface: "include",
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 2 },
  });
})()`, video), nil)
	if err == nil {
		err = p.Resize(ctx, o.w, o.h) // the bar that says that the tab is captured takes room
	}
	if err != nil {
		return err
	}
	// A script may not close a tab that it did not open; here it ends the recording.
	return p.Eval(ctx, fmt.Sprintf(`(async () => {
  const session = await mpipe.capture(mpipeTab, { frameRate: %d, maxPixels: %d });
  window.close = () => session.close();
})()`, o.fps, o.w*o.h), nil)
}
