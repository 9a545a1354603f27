package ring

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSandboxedProducer: a process that inherits a connected socket and denies
// itself everything that a browser's sandbox denies can produce. Its ring is so
// small that it has to wait for space, too.
func TestSandboxedProducer(t *testing.T) {
	program := compile(t, "sandboxed", "-std=c11", "c/sandboxed.c")
	for name, flags := range map[string][]string{
		"locked after attaching":  nil,
		"locked before attaching": {"--early"},
		"denied calls kill":       {"--strict"},
		"few frames":              {"--early", "--frames", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testCtx(t)
			path := filepath.Join(t.TempDir(), "s")
			l, err := Listen("unix:"+path, Config{VideoBytes: 256 << 10, Slots: 4})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			cmd := exec.CommandContext(ctx, program, append([]string{"--ring", "fd:3"}, flags...)...)
			cmd.Stderr = os.Stderr
			cmd.ExtraFiles = []*os.File{connected(t, path)}
			out := start(t, cmd)
			cmd.ExtraFiles[0].Close()
			r, err := l.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var got []string
			for !r.Drained(KindVideo) {
				f := r.Take(KindVideo)
				switch {
				case f.Cell != nil:
					got = append(got, fmt.Sprintf("%d %016x", len(got), hashOf(f.Data)))
					f.Cell.Release()
					r.Reclaim()
				case f.Flags&FlagEOS == 0:
					r.Wait(ctx, time.Second)
				}
				if ctx.Err() != nil {
					t.Fatalf("stuck after %d frames: %v", len(got), r.State())
				}
			}
			var want []string
			for out.Scan() {
				want = append(want, out.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			if len(want) < 3 || strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%d frames arrived, %d were committed, or their hashes differ", len(got), len(want))
			}
			if r.State() != Ended || r.Producer().PID != cmd.Process.Pid {
				t.Errorf("%v (%v), producer %v", r.State(), r.Err(), r.Producer())
			}
		})
	}
}

// connected gives a socket connected to a listener, as a launcher hands it on.
func connected(t *testing.T, path string) *os.File {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}
