package servers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// echoCommand is a server in one line of Python: it sends back what it gets.
func echoCommand() Command {
	const program = `
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = True
print("here I am", flush=True)
Server(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()`
	return Command{Path: "/usr/bin/python3", Args: func(addr string) []string {
		_, port, _ := net.SplitHostPort(addr)
		return []string{"-c", program, port}
	}}
}

func echoes(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	c.Write([]byte("hello\n"))
	b := make([]byte, 6)
	n, _ := c.Read(b)
	return string(b[:n]) == "hello\n"
}

func TestProcess(t *testing.T) {
	p := Start(t, echoCommand())
	if !echoes(p.Addr) || !strings.Contains(p.Log(), "here I am") {
		t.Fatalf("it is not ready; log %q", p.Log())
	}
	p.Pause()
	if echoes(p.Addr) {
		t.Error("a paused process answers")
	}
	p.Resume()
	if !echoes(p.Addr) {
		t.Error("no answer after Resume")
	}
	p.Kill()
	p.Kill()
	if echoes(p.Addr) {
		t.Error("a killed process answers")
	}
	p.Restart()
	if !echoes(p.Addr) {
		t.Error("no answer after Restart")
	}
}

// TestServersDieWithTheTest: a test binary that is killed leaves nothing behind.
func TestServersDieWithTheTest(t *testing.T) {
	if where := os.Getenv("MPIPE_TEST_SERVER_PID"); where != "" {
		p := Start(t, echoCommand())
		if err := os.WriteFile(where+".new", []byte(strconv.Itoa(p.PID())), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Rename(where+".new", where)
		time.Sleep(time.Minute)
		return
	}
	where := filepath.Join(t.TempDir(), "pid")
	child := exec.Command(os.Args[0], "-test.run", "^TestServersDieWithTheTest$")
	child.Env = append(os.Environ(), "MPIPE_TEST_SERVER_PID="+where)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	waitFor(t, func() bool {
		b, _ := os.ReadFile(where)
		pid, _ = strconv.Atoi(string(b))
		return pid > 0
	})
	child.Process.Kill()
	child.Wait()
	waitFor(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid) })
}

// zombie: where no init collects orphans they stay in the table, dead.
func zombie(pid int) bool {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return strings.Contains(string(b), ") Z ")
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came about")
		}
	}
}
