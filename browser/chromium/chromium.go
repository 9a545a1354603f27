// Package chromium starts a Chromium whose pages mpipe can record, and steers it
// over the DevTools protocol as far as that needs: open, load, evaluate, close. It
// is no automation library; programs that have one, such as puppeteer, playwright
// or chromedp, start the browser themselves (docs/guide/browser.md).
package chromium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options are how a browser is started. The zero value starts a headless one with
// a fresh profile in memory.
type Options struct {
	Binary string   // the program; "" looks for Debian's chromium and its like in PATH
	Dir    string   // user data dir; "" makes one under /dev/shm and removes it at Close
	Window bool     // with a window, on DISPLAY, instead of headless
	Args   []string // further flags
	User   *syscall.Credential
	Stderr io.Writer // what the browser says; nil drops it
}

// names are what Chromium is called, Debian's name first.
var names = []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"}

// Find looks for Chromium in PATH.
func Find() (string, error) {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path, nil
		}
	}
	return "", errors.New("chromium is not installed; install the Debian package chromium (apt-get install chromium)")
}

// Flags are what a browser needs to be recorded: no first-run pages, sound without
// a click, timers that run in the background, and nothing that phones home.
func Flags(dir string) []string {
	f := []string{
		"--user-data-dir=" + dir, "--no-first-run", "--no-default-browser-check", "--disable-gpu", "--disable-quic",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
		"--autoplay-policy=no-user-gesture-required", "--disable-background-timer-throttling",
		"--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
	}
	return f
}

// Browser is a running Chromium.
type Browser struct {
	*conn
	dir  string
	temp bool
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts Chromium. It lives until Close, or until ctx is done.
func Start(ctx context.Context, o Options) (*Browser, error) {
	b := &Browser{dir: o.Dir, done: make(chan struct{})}
	binary := o.Binary
	if binary == "" {
		var err error
		if binary, err = Find(); err != nil {
			return nil, err
		}
	}
	if err := b.makeDir(o); err != nil {
		return nil, err
	}
	args := append(Flags(b.dir), "--remote-debugging-pipe")
	if !o.Window {
		args = append(args, "--headless")
	}
	if os.Geteuid() == 0 && o.User == nil {
		args = append(args, "--no-sandbox") // Chromium refuses to run as root with it
	}
	toR, toW, err := os.Pipe()
	if err != nil {
		b.removeDir()
		return nil, err
	}
	fromR, fromW, err := os.Pipe()
	if err != nil {
		toR.Close()
		toW.Close()
		b.removeDir()
		return nil, err
	}
	b.cmd = exec.Command(binary, append(args, o.Args...)...)
	b.cmd.ExtraFiles = []*os.File{toR, fromW} // fds 3 and 4 are the pipe's, by convention
	b.cmd.Stderr = o.Stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: o.User}
	if o.User != nil {
		b.cmd.Env = append(os.Environ(), "HOME="+b.dir)
		b.cmd.Dir = b.dir
	}
	err = b.cmd.Start()
	toR.Close()
	fromW.Close()
	if err != nil {
		toW.Close()
		fromR.Close()
		b.removeDir()
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	b.conn = newConn(toW, fromR)
	go func() {
		_ = b.cmd.Wait()
		close(b.done)
	}()
	hello, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := b.call(hello, "", "Target.setDiscoverTargets", map[string]any{"discover": true}, nil); err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("%s did not start: %w", binary, err)
	}
	return b, nil
}

// TempDir makes a directory for a profile: in memory, where /dev/shm is there.
func TempDir() (string, error) {
	at := "/dev/shm"
	if unix.Access(at, unix.W_OK) != nil {
		at = ""
	}
	return os.MkdirTemp(at, fmt.Sprintf("mpipe-chromium-%d-", os.Getpid()))
}

// makeDir makes the user data dir: on tmpfs, unless told otherwise.
func (b *Browser) makeDir(o Options) (err error) {
	if b.dir == "" {
		if b.dir, err = TempDir(); err != nil {
			return err
		}
		b.temp = true
	} else if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	} else if err = os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	if o.User != nil {
		return os.Chown(b.dir, int(o.User.Uid), int(o.User.Gid))
	}
	return nil
}

func (b *Browser) removeDir() error {
	if !b.temp {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// Dir is the user data dir.
func (b *Browser) Dir() string { return b.dir }

// PID is the browser process's; its children are in its process group.
func (b *Browser) PID() int { return b.cmd.Process.Pid }

// Done is closed when the browser has ended.
func (b *Browser) Done() <-chan struct{} { return b.done }

// Kill ends the browser and all its processes at once.
func (b *Browser) Kill() {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	<-b.done
}

// Close asks the browser to end, kills what is left of it after five seconds, and
// removes the profile that Start made.
func (b *Browser) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = b.call(ctx, "", "Browser.close", nil, nil)
	select {
	case <-b.done:
	case <-ctx.Done():
	}
	b.Kill() // helpers that outlive the browser process, too
	b.conn.close()
	var err error
	for range 20 { // a helper may still be writing
		if err = b.removeDir(); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// Processes are the pids of the browser and its helpers.
func (b *Browser) Processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if group, err := syscall.Getpgid(pid); err == nil && group == b.PID() {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
