// The Worker that mpipe.writer() and mpipe.capture() start.

import { Session, audioFormat, videoFormat } from "./core.js";
import { pumpAudio, pumpSound, pumpVideo } from "./pump.js";

let session;
const sounds = []; // what ends each
const tracks = []; // by stream: what reads its track

const here = (absolute) => absolute - performance.timeOrigin;

const ops = {
  async open({ options }) {
    session = new Session({ ...options, onstate: (e) => postMessage({ event: "state", ...e }) });
    await session.open();
    return { transport: session.transport, clockError: session.clockError };
  },
  async write({ stream, data, format, at, duration, wait }) {
    if (wait) await session.roomFor(stream, data.byteLength, wait);
    const ok = session.put(stream, format, new Uint8Array(data), at === undefined ? performance.now() : here(at), duration);
    return { ok, fill: session.fill(stream), data };
  },
  async frame({ stream, frame, at, duration, frameRate, wait }) {
    // A VideoFrame that a page made itself.
    try {
      const { width, height } = frame.visibleRect;
      const f = videoFormat({ format: frame.format === "BGRX" ? "BGRx" : frame.format === "RGBX" ? "RGBx" : frame.format, width, height, frameRate });
      if (!(await session.roomFor(stream, f.size, wait || 0))) {
        session.drop(stream, "full");
        return { ok: false, fill: session.fill(stream) };
      }
      const buffer = new Uint8Array(f.size);
      await frame.copyTo(buffer, { layout: f.strides.map((stride, i) => ({ offset: f.offsets[i], stride })) });
      return { ok: session.put(stream, f, buffer, at === undefined ? performance.now() : here(at), duration), fill: session.fill(stream) };
    } finally {
      frame.close();
    }
  },
  drop({ stream, why }) {
    session.drop(stream, why);
  },
  track({ stream, readable, track, options }) {
    if (track) readable = new MediaStreamTrackProcessor({ track, maxBufferSize: options.queue }).readable;
    tracks[stream]?.cancel().catch(() => {}); // the one before, when a track is replaced
    const reader = (tracks[stream] = readable.getReader());
    (options.channels ? pumpAudio : pumpVideo)(session, stream, reader, { ...options, ending: (end) => sounds.push(end) }).then(
      () => tracks[stream] === reader && postMessage({ event: "track", stream }),
      (e) => postMessage({ event: "error", message: e.message }),
    );
  },
  sound({ stream, port }) {
    sounds.push(pumpSound(session, stream, port));
  },
  stats() {
    return { streams: session.streams.map((s, i) => ({ name: s.name, written: session.stats[i].written, full: session.stats[i].full, policy: session.stats[i].policy })) };
  },
  async end() {
    sounds.forEach((end) => end());
    await session.end();
    return ops.stats();
  },
  formats({ list }) {
    return { list: list.map((o) => (o.kind === "video" ? videoFormat(o) : audioFormat(o))) };
  },
};

self.onmessage = async ({ data: { id, op, ...args } }) => {
  try {
    const result = (await ops[op](args)) || {};
    const back = result.data instanceof ArrayBuffer ? [result.data] : [];
    if (id !== undefined) postMessage({ id, result }, back);
  } catch (e) {
    if (id !== undefined) postMessage({ id, error: { name: e.name, message: e.message, code: e.code } });
    else postMessage({ event: "error", message: e.message });
  }
};
