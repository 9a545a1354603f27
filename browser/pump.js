// What a Worker does with the frames of a MediaStream and of an AudioWorklet.

import { audioFormat, videoFormat } from "./core.js";

const NAMES = { I420: "I420", NV12: "NV12", BGRA: "BGRA", RGBA: "RGBA", BGRX: "BGRx", RGBX: "RGBx" };

// Clock maps the stamps of a track, whose zero is its own, to performance.now():
// the frame that came with the least delay says by how much they differ.
export class Clock {
  constructor() {
    this.least = [Infinity, Infinity]; // of this period and the one before
    this.from = -Infinity;
  }

  // map gives the moment of a frame stamped `stamp` that arrived at `now`; ms.
  map(stamp, now) {
    if (now - this.from > 5000) {
      this.least = [Infinity, this.least[0]];
      this.from = now;
    }
    this.least[0] = Math.min(this.least[0], now - stamp);
    const target = Math.min(...this.least);
    if (this.offset === undefined || target < this.offset || target - this.offset > 1000) this.offset = target;
    else this.offset += Math.min(target - this.offset, 0.001 * (now - this.last)); // a drift, slowly
    this.last = now;
    return stamp + this.offset;
  }
}

function colour(cs) {
  if (!cs || cs.fullRange || !cs.matrix) return "";
  return { bt709: "bt709", smpte170m: "bt601", bt470bg: "bt601" }[cs.matrix] || "";
}

// Pacer leaves frames out, evenly, before the buffer is full and takes whole runs.
export class Pacer {
  constructor() {
    this.n = 0;
  }

  skip({ used, capacity }) {
    this.n++;
    return capacity > 0 && used > 0.75 * capacity && this.n % 2 === 0;
  }
}

export async function pumpVideo(session, stream, readable, { frameRate, pace = true, convert }) {
  const reader = readable.getReader(), clock = new Clock(), pacer = new Pacer();
  let buffer = new Uint8Array(0), last;
  for (;;) {
    const { value: frame, done } = await reader.read();
    if (done || session.state !== "live") {
      if (frame) frame.close();
      if (!done) reader.cancel().catch(() => {});
      return;
    }
    try {
      const at = clock.map(frame.timestamp / 1000, performance.now());
      const { width, height } = frame.visibleRect;
      const format = NAMES[frame.format];
      if (!format) throw new Error(`frames in the format ${frame.format} cannot be copied`);
      const f = last && last.width === width && last.height === height && last.format === format ? last
        : videoFormat({ format, width, height, frameRate, colorimetry: format.length === 4 && format[1] === "4" ? colour(frame.colorSpace) : "" });
      last = f;
      if (pace && pacer.skip(session.fill(stream))) {
        session.drop(stream, "policy");
        continue;
      }
      if (!session.room(stream, f.size)) {
        if (session.state === "live") session.drop(stream, "full");
        continue;
      }
      if (buffer.length !== f.size) buffer = new Uint8Array(f.size);
      await frame.copyTo(buffer, { layout: f.strides.map((stride, i) => ({ offset: f.offsets[i], stride })) });
      session.put(stream, f, buffer, Math.min(at, performance.now()), frame.duration ? frame.duration / 1000 : 0);
    } finally {
      frame.close();
    }
  }
}

// pumpSound takes packets {samples, at, rate, channels} from a worklet's port; at is
// the audio context's time of the first sample in seconds.
export function pumpSound(session, stream, port) {
  const clock = new Clock();
  let waiting = []; // the first packets, until the clock has seen enough of them
  const put = (p) => {
    const ms = clock.offset + p.at * 1000;
    session.put(stream, p.format, p.samples, ms, p.length);
  };
  port.onmessage = ({ data }) => {
    if (session.state !== "live") return;
    const now = performance.now();
    const format = audioFormat({ format: "F32LE", rate: data.rate, channels: data.channels });
    const p = { samples: new Uint8Array(data.samples), format, at: data.at, length: (data.samples.byteLength / format.unit / data.rate) * 1000 };
    clock.map(data.at * 1000, now - p.length);
    if (waiting) {
      waiting.push(p);
      if (waiting.length < 10) return;
      waiting.forEach(put);
      waiting = null;
      return;
    }
    put(p);
  };
}
