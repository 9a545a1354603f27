// A page that draws the test pattern. Parameters in the query: mode (canvas, worklet; else a
// writer),
// w, h, fps, frames (0 is endless), page, token, transport, url, wait
// (wait for room instead of dropping).

import { capture, writer } from "/mpipe/mpipe.js";
import { click, draw, flashes, paint } from "/example/pattern.js";

const q = Object.fromEntries(new URLSearchParams(location.search));
const w = +(q.w || 640), h = +(q.h || 360), fps = +(q.fps || 30), frames = +(q.frames || 0);
const common = { name: q.page, token: q.token, transport: q.transport, url: q.url, patience: +(q.patience || 30000) };
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

// What the test asks for: numbers of the frames that mpipe took, how many it did not.
const out = (globalThis.result = { life: performance.timeOrigin, taken: 0, refused: [], last: -1, state: "opening", transport: "" });

async function written() {
  const sink = (globalThis.session = await writer({
    ...common,
    video: { format: "I420", width: w, height: h, frameRate: fps },
    ...(q.silent ? {} : { audio: { rate: 48000, channels: 2 } }),
  }));
  sink.addEventListener("state", (e) => { out.state = e.detail.state; out.reason = e.detail.reason; });
  sink.addEventListener("error", (e) => { out.error = e.detail; });
  Object.assign(out, { state: "live", transport: sink.transport, clockError: sink.clockError });
  const t0 = performance.now() + 50;
  const pictures = async () => {
    const buf = new Uint8Array((w * h * 3) / 2);
    for (let n = 0; (frames === 0 || n < frames) && out.state === "live"; n++) {
      const at = t0 + (n * 1000) / fps;
      const wait = at - performance.now();
      if (wait > 1) await sleep(wait);
      draw(buf, n, w, h, fps);
      const done = sink.write("video", buf, { timestamp: at, wait: !!q.wait }).then((ok) => {
        if (ok) { out.taken++; out.last = n; } else out.refused.push(n);
      });
      if (q.wait) await done;
    }
  };
  const sound = async () => {
    for (let k = 0; (frames === 0 || k < (frames * 100) / fps) && out.state === "live"; k++) {
      const at = t0 + k * 10;
      const wait = at + 10 - performance.now();
      if (wait > 4) await sleep(wait);
      const pcm = new Float32Array(960);
      // The click of second s begins with its frame, at the first sample of a packet.
      if (k % 100 === 0) click(pcm, 0, 2, 48000);
      sink.write("audio", pcm, { timestamp: at, wait: !!q.wait });
    }
  };
  await Promise.all(q.silent ? [pictures()] : [pictures(), sound()]);
  while (out.taken + out.refused.length < frames && out.state === "live") await sleep(10);
  out.streams = await sink.close();
  out.state = "done";
}

async function captured() {
  const canvas = document.body.appendChild(document.createElement("canvas"));
  canvas.width = w;
  canvas.height = h;
  const ctx = canvas.getContext("2d");
  const stream = canvas.captureStream(0);
  const [track] = stream.getVideoTracks();
  const audio = new AudioContext({ sampleRate: 48000 });
  const to = new MediaStreamAudioDestinationNode(audio);
  const mix = new GainNode(audio);
  mix.connect(to);
  stream.addTrack(to.stream.getAudioTracks()[0]);
  const burst = audio.createBuffer(1, 480, 48000);
  click(burst.getChannelData(0), 0, 1, 48000);
  let sink;
  if (q.mode === "worklet") {
    // Sound through an AudioWorklet, pictures as VideoFrames that the page makes.
    sink = await writer({ ...common, video: { format: "RGBA", width: w, height: h, frameRate: fps }, audio: true });
    await sink.listen(mix);
  } else sink = await capture(stream, { ...common, frameRate: fps, maxPixels: w * h });
  globalThis.session = sink;
  sink.addEventListener("state", (e) => { out.state = e.detail.state; out.reason = e.detail.reason; });
  sink.addEventListener("error", (e) => { out.error = e.detail; });
  Object.assign(out, { state: "live", transport: sink.transport, clockError: sink.clockError });
  const t0 = performance.now();
  for (let n = 0; (frames === 0 || n < frames) && out.state === "live"; n++) {
    const wait = t0 + (n * 1000) / fps - performance.now();
    if (wait > 0) await sleep(wait);
    paint(ctx, n, w, h, fps);
    if (flashes(n, fps)) {
      const s = new AudioBufferSourceNode(audio, { buffer: burst });
      s.connect(mix);
      s.start();
    }
    if (q.mode === "worklet") sink.write("video", new VideoFrame(canvas, { timestamp: n }));
    else track.requestFrame();
    out.last = n;
  }
  await sleep(300);
  out.streams = await sink.close();
  out.state = "done";
}

(q.mode ? captured : written)().catch((e) => {
  out.state = "failed";
  out.error = `${e.code || e.name}: ${e.message}`;
});
