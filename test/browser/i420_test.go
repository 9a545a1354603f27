package browser

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The conversion in WebAssembly against its equations in full precision: both orders
// of bytes, both matrices, sizes that 16 does not divide, odd ones.
func TestRGBToI420(t *testing.T) {
	type given struct {
		Width, Height int
		Format        string
		Colorimetry   string
	}
	cases := map[string]given{}
	for _, size := range [][2]int{{16, 2}, {1, 1}, {2, 2}, {15, 3}, {33, 17}, {640, 360}, {1279, 719}} {
		for _, format := range []string{"RGB", "BGR"} {
			for _, matrix := range []string{"bt601", "bt709"} {
				c := given{size[0], size[1], format, matrix}
				cases[fmt.Sprint(c)] = c
			}
		}
	}
	// What comes back is the largest difference in each plane.
	got := inNode(t, cases, `
		const f = core.videoFormat({ format: "I420", width: c.Width, height: c.Height, colorimetry: c.Colorimetry });
		const src = converter.source(f);
		let x = 1;
		for (let i = 0; i < src.length; i++) src[i] = (x = (x * 48271) % 2147483647) & 8 ? x >> 8 : x & 16 ? 255 : 0;
		const pixels = src.slice(), out = converter.convert(f, c.Format);
		const [kr, kb] = c.Colorimetry === "bt601" ? [0.299, 0.114] : [0.2126, 0.0722];
		const rgb = (x, y) => {
			const o = 4 * (Math.min(y, c.Height - 1) * c.Width + Math.min(x, c.Width - 1));
			const p = [pixels[o], pixels[o + 1], pixels[o + 2]];
			return c.Format === "RGB" ? p : p.reverse();
		};
		const yuv = ([r, g, b]) => {
			const y = kr * r + (1 - kr - kb) * g + kb * b;
			return [16 + (219 * y) / 255, 128 + (224 * (b - y)) / 2 / (1 - kb) / 255, 128 + (224 * (r - y)) / 2 / (1 - kr) / 255];
		};
		const worst = [0, 0, 0];
		const check = (plane, x, y, want) => worst[plane] = Math.max(worst[plane], Math.abs(out[f.offsets[plane] + y * f.strides[plane] + x] - want));
		for (let y = 0; y < c.Height; y++) for (let x = 0; x < c.Width; x++) check(0, x, y, yuv(rgb(x, y))[0]);
		for (let y = 0; 2 * y < c.Height; y++) for (let x = 0; 2 * x < c.Width; x++) {
			const four = [rgb(2 * x, 2 * y), rgb(2 * x + 1, 2 * y), rgb(2 * x, 2 * y + 1), rgb(2 * x + 1, 2 * y + 1)];
			const mean = [0, 1, 2].map((i) => four.reduce((s, p) => s + p[i], 0) / 4);
			check(1, x, y, yuv(mean)[1]);
			check(2, x, y, yuv(mean)[2]);
		}
		return worst;`)
	for name, worst := range got {
		for plane, d := range worst {
			if d > 2 || len(worst) != 3 {
				t.Errorf("%s: plane %d is up to %.1f from its equation", name, plane, d)
			}
		}
	}
	if len(got) != len(cases) {
		t.Errorf("%d of %d cases ran", len(got), len(cases))
	}
}

// What it costs to make I420 of a 1080p picture from a canvas: in the page's Worker, and
// in the reader, where GStreamer does it. CPU time; node's engine is Chromium's.
func BenchmarkConvert(b *testing.B) {
	const frames = 400
	cpu := func(name string, args ...string) time.Duration {
		cmd := exec.Command(name, args...)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	node := func(n int) time.Duration {
		return cpu("node", "--input-type=module", "-e", `
			import { Converter } from "../../browser/i420.js";
			import { videoFormat } from "../../browser/core.js";
			const c = await Converter.make(), f = videoFormat({ format: "I420", width: 1920, height: 1080, colorimetry: "bt709" });
			c.source(f).forEach((_, i, a) => a[i] = i * 7 >> 3);
			for (let i = 0; i < `+strconv.Itoa(n)+`; i++) c.convert(f, "BGR");`)
	}
	gst := func(filter ...string) time.Duration {
		args := append(strings.Fields("-q videotestsrc num-buffers=1 ! video/x-raw,format=BGRA,width=1920,height=1080 ! imagefreeze num-buffers="+strconv.Itoa(frames)+" !"), filter...)
		return cpu("gst-launch-1.0", append(args, "fakesink")...)
	}
	for range b.N {
		page := (node(frames) - node(0)) / frames
		reader := (gst("videoconvert", "n-threads=1", "!", "video/x-raw,format=I420", "!") - gst()) / frames
		b.ReportMetric(float64(page.Microseconds()), "page-us/frame")
		b.ReportMetric(float64(reader.Microseconds()), "reader-us/frame")
		b.ReportMetric(float64(reader)/float64(page), "reader/page")
	}
}
