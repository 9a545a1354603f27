package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/mpipe/mpipe/ring"
	"github.com/mpipe/mpipe/test/servers"
)

// everyOutput has one encode of the picture and one of the sound, and AAC for the
// stream. The bit rate is constant, filled up as for television, so that seconds
// of a small picture are several parts of an object.
const everyOutput = `version = 1
[params]
ring = { required = true }
out = { required = true }
[sources.app]
type = "shmsrc"
ring = "${ring}"
[stages.v]
type = "x264"
inputs = ["app.video"]
preset = "ultrafast"
keyframe_interval = "1s"
bitrate = "16M"
gst = { pass = "cbr", option-string = "nal-hrd=cbr" }
[stages.a]
type = "opus"
inputs = ["app.audio"]
[sinks.file]
type = "file"
inputs = ["v", "a"]
path = "${out}"
[sinks.live]
type = "rtmp"
inputs = ["v", "a"]
url = { file = "%[1]s/url" }
queue = { time = "3s" }
stall_timeout = "%[2]v"
connect_timeout = "1s"
reconnect_min = "100ms"
reconnect_max = "500ms"
[sinks.archive]
type = "s3"
inputs = ["v", "a"]
bucket = "%[3]s"
key = "%[4]s"
endpoint = "%[5]s"
path_style = true
region = "%[6]s"
access_key = { file = "%[1]s/access" }
secret_key = { file = "%[1]s/secret" }
part_size = "5MiB"
spool = "%[1]s/spool"
`

const (
	matrixPart    = 5 << 20
	matrixSecond  = 2 << 20 // of everyOutput, bytes
	matrixSeconds = 7
	// One GOP of everyOutput; a fragment of a file is as long.
	gopFrames = 30
	// What a busy machine may be behind by, from an encoder to an output.
	behind = time.Second
	// From the moment a server is well until mpipe publishes: an attempt that was
	// under way fails, the longest wait, and one more that connects.
	reconnects = time.Second + 500*time.Millisecond + 500*time.Millisecond
)

// row is one fault and what it does to the output that it strikes; what the
// others hold is always the same: everything.
type row struct {
	of, fault string
	seconds   int              // 0: matrixSeconds
	prepare   func(*scene)     // before mpipe starts
	strike    func(*scene)     // while frames come, at a random moment
	killed    bool             // mpipe is, at that moment
	recovery  string           // the recovery point of what is struck
	judge     map[string]judge // by output that is struck
	exit      int
	reason    string // of the end; "": whatever
}

// judge checks an output against its recovery point and gives what the table says.
type judge func(*scene) string

// scene is a row being played.
type scene struct {
	*row
	*recording
	t     *testing.T
	rnd   *rand.Rand
	dir   string // secrets, spool
	key   string // of the object
	file  string // where the file sink writes
	args  []string
	store *store
	url   string // of the store, as mpipe knows it
	live  *servers.RTMP
	addr  string         // of the RTMP server, as mpipe knows it
	link  *servers.Link  // in front of one of them, where the row wants it
	proxy *servers.Proxy // in front of the store, where the row wants it
	stall time.Duration
	feed  *proc

	began         time.Time
	struck, cured time.Duration // since began
	taken         int           // frames that had been through the encoder when it struck
	frames        int           // that every output has to hold
}

// Every fault, each in a run of a graph with a file, a live stream and an object:
// what is not struck holds every frame, what is struck is as its recovery point
// says.
//
// MPIPE_KILLS=100 kills as often, MPIPE_OUTAGE=60s has the store away for as long.
func TestFaultMatrix(t *testing.T) {
	seed := seedNumber(t)
	rows := matrixRows()
	for i := range kills() {
		rows = append(rows, killRow(i))
	}
	table := &matrixTable{rows: rows, cells: make([]map[string]string, len(rows))}
	t.Run("rows", func(t *testing.T) {
		for i, r := range rows {
			t.Run(strings.ReplaceAll(r.of+" "+r.fault, " ", "_"), func(t *testing.T) {
				t.Parallel()
				s := &scene{row: r, t: t, rnd: rand.New(rand.NewPCG(uint64(seed), uint64(i))), stall: time.Second}
				table.set(i, s.play())
			})
		}
	})
	t.Logf("MPIPE_SEED=%d\n%s", seed, table)
}

func kills() int {
	if n, err := strconv.Atoi(os.Getenv("MPIPE_KILLS")); err == nil {
		return n
	}
	if testing.Short() {
		return 3
	}
	return 20
}

// play runs the row and gives a cell for each output.
func (s *scene) play() map[string]string {
	s.set()
	text := fmt.Sprintf(everyOutput, s.dir, s.stall, s.store.bucket, s.key, s.url, s.store.Region)
	s.recording = recordTo(s.t, graph(s.t, text), ringName(), filepath.Base(s.file), s.args...)
	if filepath.Dir(s.file) == "." {
		s.file = s.out
	}
	s.feed = start(s.t, "feed", "--ring", s.ring, "--pattern", "320x180@30", "--frames", fmt.Sprint(s.frames))
	s.says("stream=video")
	s.began = time.Now()
	if s.strike != nil {
		time.Sleep(2*time.Second + s.random(time.Second))
		s.look()
		s.strike(s)
		s.cured = time.Since(s.began)
	}
	if s.killed {
		return s.cells()
	}
	if code := s.feed.wait(time.Minute); (code != 0) != (s.of == "producer") {
		s.t.Errorf("feed ended with %d", code)
	}
	if code := s.wait(time.Minute); code != s.exit {
		s.t.Errorf("exit code %d, want %d", code, s.exit)
	}
	if got := s.account().Reason; s.reason != "" && got != s.reason {
		s.t.Errorf("reason is %q, want %q", got, s.reason)
	}
	if s.of == "mpipe" || s.of == "producer" { // how many frames there were is in nobody's hand
		s.frames = int(s.account().Sources["app"].Pads["video"].Frames)
		if s.frames < s.taken {
			s.t.Errorf("%d frames came, and %d were encoded before the signal", s.frames, s.taken)
		}
	}
	return s.cells()
}

// look notes when it is, and how far mpipe is, which is at least a second: what a
// busy machine is behind does not count as lost.
func (s *scene) look() {
	s.t.Helper()
	attached, err := ring.Observe(s.ring)
	if err != nil || len(attached) != 1 {
		s.t.Fatalf("the ring has %d producers (%v)", len(attached), err)
	}
	defer attached[0].Close()
	for {
		s.struck, s.taken = time.Since(s.began), encoded(attached[0].Stats())
		if s.taken > gopFrames {
			return
		}
		if s.struck > time.Minute {
			s.t.Fatalf("%d frames in %v", s.taken, s.struck)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// encoded is how many pictures mpipe had and no longer needs.
func encoded(st ring.Stats) (n int) {
	for _, stream := range st.Streams {
		if stream.Kind == ring.KindVideo {
			n += int(stream.Frames)
		}
	}
	for _, class := range st.Classes {
		if class.Kind == ring.KindVideo {
			n -= int(class.HeldFrames)
		}
	}
	return n
}

// set starts the servers and writes what the graph needs.
func (s *scene) set() {
	s.dir = s.t.TempDir()
	if s.seconds == 0 {
		s.seconds = matrixSeconds
	}
	s.frames = 30 * s.seconds
	s.store = &store{S3: servers.StartS3(s.t), t: s.t}
	s.store.bucket = s.store.NewBucket()
	s.live = servers.StartRTMP(s.t, servers.RTMPOptions{})
	s.url, s.addr, s.key, s.file = s.store.URL, s.live.Addr, "talk.mp4", "talk.mp4"
	s.secret("access", s.store.Access)
	s.secret("secret", s.store.Secret)
	if s.prepare != nil {
		s.prepare(s)
	}
	s.secret("url", servers.RTMPURL(s.addr, "talk"))
}

// secret writes one at once: mpipe may be reading it.
func (s *scene) secret(name, value string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".new", []byte(value), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) random(d time.Duration) time.Duration { return time.Duration(s.rnd.Int64N(int64(d))) }

var matrixOutputs = []string{"file", "live", "archive"}

// cells judges every output: by the row where it is struck, else all has to be
// there.
func (s *scene) cells() map[string]string {
	cells := map[string]string{}
	for _, o := range matrixOutputs {
		if check := s.judge[o]; check != nil {
			cells[o] = check(s)
		} else {
			cells[o] = s.all(o)
		}
	}
	return cells
}

// all: every frame from 0, with its sound.
func (s *scene) all(output string) string {
	s.t.Helper()
	switch output {
	case "file":
		whole(s.t, s.file, s.frames)
	case "archive":
		whole(s.t, s.store.object(s.key), s.frames)
		s.store.nothingLeft(filepath.Join(s.dir, "spool"))
	case "live":
		files := s.live.Recordings("talk")
		if len(files) != 1 {
			s.t.Fatalf("the server recorded %v", files)
		}
		whole(s.t, files[0], s.frames)
	}
	if o := outputOf(s, output); !o.Complete {
		s.t.Errorf("the manifest says of %s: %+v", output, o)
	}
	return fmt.Sprintf("all %d", s.frames)
}

// matrixTable is what is printed at the end.
type matrixTable struct {
	mu    sync.Mutex
	rows  []*row
	cells []map[string]string // by row; nil: it did not come to its end
}

func (m *matrixTable) set(i int, cells map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells[i] = cells
}

// String has a line for each fault, and one for all kills with the most that any
// of them cost.
func (m *matrixTable) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STRUCK\tFAULT\tFILE\tRTMP\tS3\tRECOVERY POINT")
	lost, kills := map[string]time.Duration{}, 0
	for i, r := range m.rows {
		cells := m.cells[i]
		switch {
		case cells == nil:
			fmt.Fprintf(w, "%s\t%s\tNOT PLAYED TO ITS END\n", r.of, r.fault)
		case r.killed:
			kills++
			for o, text := range cells {
				d, _ := time.ParseDuration(text)
				lost[o] = max(lost[o], d)
			}
		default:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.of, r.fault, cells["file"], cells["live"], cells["archive"], r.recovery)
		}
	}
	fmt.Fprintf(w, "mpipe\tSIGKILL, %d times\tall but %.1fs\tall but %.1fs\tall but %.1fs\t%s\n",
		kills, lost["file"].Seconds(), lost["live"].Seconds(), lost["archive"].Seconds(),
		"one fragment of 1s, one GOP, one fragment after mpipe upload --resume; and what the machine was behind")
	w.Flush()
	return b.String()
}
