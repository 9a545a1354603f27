package ring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() { helpers["foreign"] = helperForeign }

// nobody is a user that owns nothing.
const nobody = 65534

// helperForeign becomes another user, attaches, and tells how that went.
func helperForeign(args []string) error {
	if err := syscall.Setgid(nobody); err != nil {
		return err
	}
	if err := syscall.Setuid(nobody); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p, err := Attach(ctx, args[0], []StreamSpec{{"v", KindVideo, 1024}}, AttachOptions{Name: "foreign"})
	if err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println("attached")
	return p.Close()
}

// TestForeignUser: a process of another user is let in by both the permissions and
// AllowUID, and is told why when it is not.
func TestForeignUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "mpipe-foreign")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for mode, addr := range map[string]string{"unix": "unix:" + filepath.Join(dir, "s"), "named": filepath.Join(dir, "r")} {
		for _, c := range []struct {
			name string
			cfg  Config
			want string
		}{
			{"permissions", Config{AllowUID: []int{nobody}}, "permission denied"},
			{"users", Config{Mode: 0o666}, "user 65534 may not write here; the consumer takes producers of the users [0]"},
			{"both", Config{Mode: 0o666, AllowUID: []int{1, nobody}}, "attached"},
		} {
			t.Run(mode+"/"+c.name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(testCtx(t))
				defer cancel()
				c.cfg.VideoBytes, c.cfg.AudioBytes = 64<<10, 8<<10
				l, err := Listen(addr, c.cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				uids := make(chan int, 1)
				go func() {
					r, err := l.Accept(ctx)
					if err != nil {
						uids <- -1
						return
					}
					uids <- r.Producer().UID
					for !r.Drained(KindVideo) && ctx.Err() == nil {
						r.Take(KindVideo)
						r.Wait(ctx, 100*time.Millisecond)
					}
					r.Close()
				}()
				out := start(t, helper(ctx, "foreign", addr))
				if !out.Scan() || !strings.Contains(out.Text(), c.want) {
					t.Errorf("the producer says %q, want %q", out.Text(), c.want)
				}
				if c.want != "attached" {
					cancel()
				}
				if uid := <-uids; (uid == nobody) != (c.want == "attached") {
					t.Errorf("uid %d was accepted", uid)
				}
			})
		}
	}
}

// TestModeHoldsWhateverTheUmask: files and sockets have the permissions asked for.
func TestModeHoldsWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for mode, addr := range testAddrs(t) {
		l, err := Listen(addr, Config{VideoBytes: 64 << 10, Mode: 0o660})
		if err != nil {
			t.Fatal(err)
		}
		a, _ := parseAddr(addr)
		st, err := os.Stat(a.path)
		if err != nil || st.Mode().Perm() != 0o660 {
			t.Errorf("%s: %v, %v", mode, st.Mode(), err)
		}
		if st, err := os.Stat(a.path + consumerSuffix); !a.sock && (err != nil || st.Mode().Perm() != 0o640) {
			t.Errorf("%s: the consumer page: %v, %v", mode, st.Mode(), err)
		}
		l.Close()
	}
	for _, bad := range []os.FileMode{0o400, 0o1777, os.ModeDir | 0o700} {
		if l, err := Listen(filepath.Join(t.TempDir(), "r"), Config{Mode: bad}); err == nil {
			t.Errorf("the mode %v was accepted", bad)
			l.Close()
		}
	}
}

// TestHandshakesHaveARate: a process that floods the socket is hung up on, and
// another one gets in meanwhile.
func TestHandshakesHaveARate(t *testing.T) {
	r, now := rate{left: handshakeBurst, at: time.Unix(100, 0)}, time.Unix(100, 0)
	taken := func(tries int) (n int) {
		for range tries {
			if r.take(now) {
				n++
			}
		}
		return n
	}
	if n := taken(1000); n != handshakeBurst {
		t.Errorf("%d at once, want %d", n, handshakeBurst)
	}
	now = now.Add(time.Second)
	if n := taken(1000); n != handshakeRate {
		t.Errorf("%d a second later, want %d", n, handshakeRate)
	}
	now = now.Add(time.Hour)
	if n := taken(1000); n != handshakeBurst {
		t.Errorf("%d an hour later, want %d", n, handshakeBurst)
	}
	u := &unixListener{rates: map[int32]*rate{}}
	for pid := range int32(2 * handshakersKnown) {
		u.forget()
		u.rates[pid] = &rate{at: now.Add(time.Duration(pid))}
	}
	if len(u.rates) != handshakersKnown || u.rates[2*handshakersKnown-1] == nil {
		t.Errorf("%d processes are known, want the last %d", len(u.rates), handshakersKnown)
	}

	ctx := testCtx(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix:"+path, Config{VideoBytes: 64 << 10, AudioBytes: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	stop, flooded := make(chan struct{}), make(chan int)
	go func() {
		hung := 0
		for {
			select {
			case <-stop:
				flooded <- hung
				return
			default:
			}
			conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
			if err != nil {
				continue
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				hung++
			}
			_ = conn.Close()
		}
	}()
	out := start(t, helper(ctx, "hang", "unix:"+path))
	reader, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if !out.Scan() || out.Text() != "attached" {
		t.Error("the other one did not get in")
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	if n := <-flooded; n < handshakeBurst {
		t.Errorf("the flood was hung up on %d times", n)
	}
}
