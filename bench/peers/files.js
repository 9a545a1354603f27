// A Worker that draws frames and hands them to mpipe through the browser's own files,
// as page.html does over a WebSocket. ?job={"width", "height", "size", "rate",
// "seconds", "paced"} says what; a width of 0 is sound. It fetches /first with the
// first frame that is measured, /last?measured=N&all=N with the one behind the last,
// and ends.

import { Session, audioFormat, videoFormat } from "/mpipe/core.js";

const job = JSON.parse(new URLSearchParams(location.search).get("job"));
const TILE = 8192, WARM_UP_PACED = 6, WARM_UP_MS = 500, SETTLE_MS = 3000;
const tile = new Uint8Array(TILE + 64 * 64);
for (let i = 0; i < tile.length; i++) tile[i] = (i >> 6) ^ i;

const kind = job.width ? "video" : "audio";
const format = job.width ? videoFormat({ format: "I420", width: job.width, height: job.height, frameRate: job.rate })
  : audioFormat({ format: "S16LE", rate: 48000, channels: 2 });
const frame = new Uint8Array(job.size);
const draw = (number) => {
  const part = tile.subarray((number % 64) * 64, (number % 64) * 64 + TILE);
  let at = 0;
  for (; at + TILE <= frame.length; at += TILE) frame.set(part, at);
  frame.set(part.subarray(0, frame.length - at), at);
};
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const session = new Session({ name: "bench", streams: [{ name: kind, kind, maxBytes: job.size }] });
await session.open();
await pause(SETTLE_MS); // what a browser does once it has started is not of the transport
const begin = performance.now(), period = 1000 / job.rate;
let first = WARM_UP_PACED, last = first + Math.max(2, Math.floor(job.seconds * job.rate)), measuring = false;
for (let n = 0; ; n++) {
  const since = performance.now() - begin;
  if (job.paced) {
    const wait = (n + 1) * period - since;
    if (wait > 0) await pause(wait);
  } else if (!measuring && since >= WARM_UP_MS) {
    [measuring, first, last] = [true, n, Infinity];
  } else if (measuring && since >= WARM_UP_MS + job.seconds * 1000 && n > first + 1) {
    last = n;
  } else if (!measuring) {
    [first, last] = [Infinity, Infinity];
  }
  if (n === first) await fetch("/first");
  if (n === last) {
    await fetch(`/last?measured=${n - first}&all=${n}`);
    break;
  }
  draw(n);
  await session.roomFor(0, job.size, 10000);
  session.put(0, format, frame, performance.now(), 0);
}
await session.end();
