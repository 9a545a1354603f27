package ring

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deadConsumer leaves at an address what a killed consumer does.
func deadConsumer(t *testing.T, addr string) {
	t.Helper()
	cmd := helper(testCtx(t), "consume", addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if out := start(t, cmd); !out.Scan() {
		t.Fatal("no consumer")
	}
	if left, err := LeftoversAt(addr); err != nil || len(left) != 0 {
		t.Errorf("of a live consumer: %+v, %v", left, err)
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

// TestLeftovers: what a killed consumer leaves is found and removed, and nothing
// else in the directory.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	alive := filepath.Join(dir, "alive")
	l, err := Listen(alive, Config{VideoBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other := filepath.Join(dir, "other.consumer")
	if err := os.WriteFile(other, make([]byte, consSize), 0o600); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead")
	deadConsumer(t, dead)
	left, err := Leftovers(dir)
	if err != nil || len(left) != 2 || left[0].Path != dead+consumerSuffix || left[1].Path != dead || left[1].Name != "consume" || left[1].Bytes < 64<<10 {
		t.Fatalf("%+v, %v", left, err)
	}
	// The next consumer takes the name over: what was found is not to be removed.
	again, err := Listen(dead, Config{VideoBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range left {
		if err := x.Remove(); err == nil {
			t.Errorf("%s was removed in use", x.Path)
		}
	}
	if info, err := Inspect(dead); err != nil || !info.Listening {
		t.Errorf("%+v, %v", info, err)
	}
	again.Close()
	deadConsumer(t, dead)
	for range 2 { // the second time there is nothing
		left, _ = LeftoversAt(dead)
		for _, x := range left {
			if err := x.Remove(); err != nil {
				t.Error(err)
			}
		}
	}
	if len(left) != 0 {
		t.Errorf("still there: %+v", left)
	}
	if names, _ := os.ReadDir(dir); len(names) != 3 {
		t.Errorf("%v", names)
	}
}

// TestLeftoverNeedsItsLock: a consumer of another pid namespace looks dead, but
// holds its lock; a consumer that takes over waits for whoever only looks.
func TestLeftoverNeedsItsLock(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "r")
	deadConsumer(t, addr)
	fd, err := unix.Open(addr, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if left, err := LeftoversAt(addr); err != nil || len(left) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
	time.AfterFunc(50*time.Millisecond, func() { closeFD(fd) })
	l, err := Listen(addr, Config{VideoBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestOrphans: a page without its segment, files that were being put in place,
// and a socket.
func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	addr := filepath.Join(dir, "r")
	deadConsumer(t, addr)
	if err := os.Remove(addr); err != nil {
		t.Fatal(err)
	}
	if left, _ := Leftovers(dir); len(left) != 0 {
		t.Errorf("a page so young may be about to get its segment: %+v", left)
	}
	old := time.Now().Add(-2 * orphanAge)
	page := addr + consumerSuffix
	if err := os.Chtimes(page, old, old); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{addr + ".new-999999999", addr + ".new-999999999" + consumerSuffix, addr + ".new-1"} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Chtimes(name, old, old)
	}
	left, err := Leftovers(dir)
	if err != nil || len(left) != 3 {
		t.Fatalf("%+v, %v", left, err)
	}
	for _, x := range left {
		if err := x.Remove(); err != nil {
			t.Error(err)
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("%v", names)
	}
	sock := "unix:" + filepath.Join(dir, "s")
	deadConsumer(t, sock)
	left, err = LeftoversAt(sock)
	if err != nil || len(left) != 1 || left[0].Remove() != nil {
		t.Errorf("%+v, %v", left, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "s")); err == nil {
		t.Error("the socket is still there")
	}
}
