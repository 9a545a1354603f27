// A Worker that draws frames of 1080p and hands them to mpipe, drawing them as the
// page of bench/peers does that sends them over a WebSocket. ?fps= is the rate, 0 for
// flat out, ?frames= how many are measured. The first and the last are reported.

import { Session, videoFormat } from "/mpipe/core.js";

const q = new URLSearchParams(location.search), fps = +q.get("fps"), frames = +q.get("frames");
const TILE = 8192, WARM_UP = 30;
const tile = new Uint8Array(TILE + 64 * 64);
for (let i = 0; i < tile.length; i++) tile[i] = (i >> 6) ^ i;

const format = videoFormat({ format: "I420", width: 1920, height: 1080, frameRate: fps || 30 });
const frame = new Uint8Array(format.size);
function draw(number) {
  const part = tile.subarray((number % 64) * 64, (number % 64) * 64 + TILE);
  let at = 0;
  for (; at + TILE <= frame.length; at += TILE) frame.set(part, at);
  frame.set(part.subarray(0, frame.length - at), at);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const session = new Session({ name: "bench", streams: [{ name: "video", kind: "video", maxBytes: format.size }] });
await session.open();
const begin = performance.now();
for (let n = 0; n <= WARM_UP + frames; n++) {
  if (fps > 0) {
    const wait = begin + ((n + 1) * 1000) / fps - performance.now();
    if (wait > 0) await pause(wait);
  }
  if (n === WARM_UP) await fetch("/first");
  if (n === WARM_UP + frames) await fetch("/last");
  draw(n);
  await session.roomFor(0, format.size, 10000);
  session.put(0, format, frame, performance.now(), 0);
}
await session.end();
