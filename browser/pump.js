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

// Frames of a captured tab are stamped with the kernel's monotonic clock, sound with
// performance.now() of the page (Chromium 156); a canvas counts from its beginning.
// Stamps of a clock that is known need no guess; LATE is how old they may be.
const LATE = 1000; // ms

function videoTime(session, clock, stamp, now) {
  const late = Number(session.mono(now)) / 1e6 - stamp;
  return late > -5 && late < LATE ? now - late : clock.map(stamp, now);
}

function soundTime(clock, stamp, now, origin) {
  const late = performance.timeOrigin + now - origin - stamp;
  return late > -5 && late < LATE ? now - late : clock.map(stamp, now);
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

export async function pumpVideo(session, stream, reader, { frameRate, pace = true, convert }) {
  const clock = new Clock(), pacer = new Pacer();
  let buffer = new Uint8Array(0), last;
  for (;;) {
    const { value: frame, done } = await reader.read();
    if (done || session.state !== "live") {
      if (frame) frame.close();
      if (!done) reader.cancel().catch(() => {});
      return;
    }
    try {
      const at = videoTime(session, clock, frame.timestamp / 1000, performance.now());
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

const SETTLE = 150; // ms that sound may come late before silence takes its place

// Sound writes packets of a track without holes: browsers send nothing while nothing
// sounds, and encoders want every sample.
class Sound {
  constructor(session, stream, channels) {
    Object.assign(this, { session, stream, channels, rate: 48000, end: performance.now() });
  }

  put(samples, at) {
    const format = audioFormat({ format: "F32LE", rate: this.rate, channels: this.channels });
    const length = (samples.length / this.channels / this.rate) * 1000;
    this.session.put(this.stream, format, new Uint8Array(samples.buffer, 0, samples.byteLength), at, length);
    this.end = at + length;
  }

  // silence fills up to a moment, in packets of 100 ms at most.
  silence(to) {
    while (to - this.end >= 1) {
      const n = Math.round((Math.min(to - this.end, 100) / 1000) * this.rate);
      this.put(new Float32Array(n * this.channels), this.end);
    }
  }

  packet(samples, at) {
    const length = (samples.length / this.channels / this.rate) * 1000;
    if (at - this.end > 20) this.silence(at);
    if (this.end - at > length / 2 + 20) return; // it came too late: silence is there already
    this.put(samples, Math.max(at, this.end));
  }

  idle(now) {
    if (now - this.end > SETTLE + 100) this.silence(now - SETTLE);
  }
}

// pumpAudio takes the AudioData of a track; origin is the page's performance.timeOrigin.
export async function pumpAudio(session, stream, reader, { channels, origin }) {
  const clock = new Clock(), sound = new Sound(session, stream, channels);
  const timer = setInterval(() => session.state === "live" && sound.idle(performance.now()), 50);
  let one = new Float32Array(0), all = new Float32Array(0);
  try {
    for (;;) {
      const { value: data, done } = await reader.read();
      if (done || session.state !== "live") {
        if (data) data.close();
        if (!done) reader.cancel().catch(() => {});
        return;
      }
      try {
        const n = data.numberOfFrames;
        sound.rate = data.sampleRate;
        const at = soundTime(clock, data.timestamp / 1000, performance.now() - (n / sound.rate) * 1000, origin);
        if (one.length !== n) [one, all] = [new Float32Array(n), new Float32Array(n * channels)];
        for (let c = 0; c < channels; c++) {
          if (c < data.numberOfChannels) data.copyTo(one, { planeIndex: c, format: "f32-planar" });
          for (let i = 0; i < n; i++) all[i * channels + c] = one[i]; // mono goes into both
        }
        sound.packet(all, at);
      } finally {
        data.close();
      }
    }
  } finally {
    clearInterval(timer);
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
