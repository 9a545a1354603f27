package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mpipe/mpipe/test/servers"
)

// encoders are those of a file, an object and a live stream: a constant bit rate
// that is filled up, so that outputs have as many bytes as the bit rate says.
const encoders = `version = 1
[sources.app]
type = "shmsrc"
ring = "%s"
[stages.v]
type = "x264"
inputs = ["app.video"]
preset = "` + preset + `"
tune = "zerolatency"
bitrate = "4M"
gst = { pass = "cbr", option-string = "nal-hrd=cbr" }
[stages.a]
type = "opus"
inputs = ["app.audio"]
[stages.aac]
type = "aac"
inputs = ["app.audio"]
`

const nowhere = `[sinks.nowhere]
type = "null"
inputs = ["v", "a", "aac"]
`

const threeOutputs = `[sinks.file]
type = "file"
inputs = ["v", "a"]
path = "%s"
[sinks.live]
type = "rtmp"
inputs = ["v", "aac"]
url = { file = "%s" }
queue = { time = "60s" }
[sinks.archive]
type = "s3"
inputs = ["v", "a"]
bucket = "%s"
key = "talk.mp4"
endpoint = "%s"
path_style = true
overwrite = true
spool = "%s"
`

// BenchmarkThreeOutputs is what a file, a live stream and an object cost beside
// their encoders: CPU of `mpipe run` with the three, against the same encoders
// with nothing behind them, in mpipe from the same ring and in gst-launch-1.0 from
// memory. Medians over pairs of CPU seconds; producers and servers are left out.
func BenchmarkThreeOutputs(b *testing.B) {
	dir, mpipe := b.TempDir(), build(b)
	shm, video, audio := input(b)
	addr, out, secret := filepath.Join(shm, "ring"), filepath.Join(shm, "talk.mp4"), filepath.Join(dir, "url")
	store, live := servers.StartS3(b), servers.StartRTMP(b, servers.RTMPOptions{})
	if err := os.WriteFile(secret, []byte(live.URL("talk")), 0o600); err != nil {
		b.Fatal(err)
	}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": store.Access, "AWS_SECRET_ACCESS_KEY": store.Secret, "AWS_REGION": store.Region} {
		b.Setenv(name, value)
	}
	alone := fmt.Sprintf(encoders, addr)
	three := alone + fmt.Sprintf(threeOutputs, out, secret, store.NewBucket(), store.URL, filepath.Join(shm, "spool"))

	for b.Loop() {
		var byRing, byGst []float64
		for i := range pairs {
			os.Remove(out)
			all, _ := runMpipe(b, mpipe, dir, three, addr, video, audio)
			check(b, out)
			encode, _ := runMpipe(b, mpipe, dir, alone+nowhere, addr, video, audio)
			gst := encodeWithGst(b, video, audio)
			byRing, byGst = append(byRing, all/encode), append(byGst, all/gst)
			b.Logf("pair %2d: three outputs %.2f s, encoders alone %.2f s, in gst-launch %.2f s: %.3f, %.3f", i+1, all, encode, gst, all/encode, all/gst)
		}
		b.Logf("CPU, three outputs by their encoders alone: median %.3f, from %.3f to %.3f over %d pairs", median(byRing), slices.Min(byRing), slices.Max(byRing), pairs)
		b.Logf("CPU, three outputs by their encoders in gst-launch: median %.3f, from %.3f to %.3f", median(byGst), slices.Min(byGst), slices.Max(byGst))
		b.ReportMetric(median(byRing), "cpu-ratio")
		b.ReportMetric(median(byGst), "cpu-ratio-gst")
	}
}

func encodeWithGst(b *testing.B, video, audio string) float64 {
	pipe := fmt.Sprintf(`filesrc location=%s blocksize=%d ! rawvideoparse format=i420 width=%d height=%d framerate=30/1
		! x264enc speed-preset=%s tune=zerolatency bitrate=4000 pass=cbr option-string=nal-hrd=cbr bframes=0 key-int-max=60 ! fakesink async=false
		filesrc location=%s blocksize=1920 ! rawaudioparse format=pcm pcm-format=s16le sample-rate=48000 num-channels=2 ! tee name=sound
		sound. ! queue ! opusenc bitrate=96000 ! fakesink async=false
		sound. ! queue ! audioconvert ! avenc_aac bitrate=128000 ! fakesink async=false`,
		video, frameSize, width, height, preset, audio)
	c := exec.Command("gst-launch-1.0", append([]string{"-q"}, strings.Fields(pipe)...)...)
	if text, err := c.CombinedOutput(); err != nil {
		b.Fatalf("gst-launch-1.0: %v\n%s", err, text)
	}
	return cpu(c)
}
