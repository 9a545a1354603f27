// What a Worker does with the frames of a MediaStream and of an AudioWorklet.

import { audioFormat, videoFormat } from "./core.js";

const NAMES = { I420: "I420", NV12: "NV12", BGRA: "BGRA", RGBA: "RGBA", BGRX: "BGRx", RGBX: "RGBx" };

// Clock maps the stamps of a track to performance.now(). The frame that came with the
// least delay says by how much they differ. Where a track's clock may be known, stamps
// are given as that clock would have them here, and are taken as they are if that least
// delay is small enough to be one; else their zero is their own.
const NEAR = 100; // ms

export class Clock {
  constructor(known) {
    this.known = known;
    this.begin();
  }

  begin() {
    this.least = [Infinity, Infinity]; // of this period and the one before
    this.from = -Infinity;
    this.stamp = -Infinity;
    this.offset = undefined;
  }

  // map gives the moment of a frame stamped `stamp` that arrived at `now`; ms.
  map(stamp, now) {
    // Stamps of sound that comes over WebRTC begin anew behind the first packet.
    if (stamp < this.stamp - NEAR) this.begin();
    this.stamp = stamp;
    if (now - this.from > 5000) {
      this.least = [Infinity, this.least[0]];
      this.from = now;
    }
    this.least[0] = Math.min(this.least[0], now - stamp);
    const target = Math.min(...this.least);
    if (this.known && target > -5 && target < NEAR) this.offset = 0;
    else if (this.offset === undefined || target < this.offset || target - this.offset > 1000) this.offset = target;
    else this.offset += Math.min(target - this.offset, 0.001 * (now - this.last)); // a drift, slowly
    this.last = now;
    return stamp + this.offset;
  }
}

// Frames of a captured tab are stamped with the kernel's monotonic clock, sound with
// performance.now() of the page (Chromium 156); a canvas counts from its beginning, and
// so does what comes over WebRTC.
const videoTime = (session, clock, stamp, now) => clock.map(stamp + now - Number(session.mono(now)) / 1e6, now);

const soundTime = (clock, stamp, now, origin) => clock.map(stamp + origin - performance.timeOrigin, now);

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
  const clock = new Clock(true), pacer = new Pacer();
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

// How long sound may come late before silence takes its place; ms. Sound that does come
// later, on a busy machine, is waited for longer from then on.
const SETTLE = 150, SETTLE_MOST = 1000;

// Sound writes packets of a track without holes: browsers send nothing while nothing
// sounds, and encoders want every sample.
class Sound {
  constructor(session, stream, channels) {
    Object.assign(this, { session, stream, channels, rate: 48000, end: performance.now(), settle: SETTLE });
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
    const late = performance.now() - at - length;
    this.settle = Math.min(Math.max(SETTLE, this.settle - 0.01 * length, late + 50), SETTLE_MOST);
    if (at - this.end > 20) this.silence(at);
    if (this.end - at > length / 2 + 20) { // silence is there already
      this.session.drop(this.stream, "policy");
      return;
    }
    this.put(samples, Math.max(at, this.end));
  }

  idle(now) {
    if (now - this.end > this.settle + 100) this.silence(now - this.settle);
  }
}

// pumpAudio takes the AudioData of a track; origin is the page's performance.timeOrigin.
export async function pumpAudio(session, stream, reader, { channels, origin }) {
  const clock = new Clock(true), sound = new Sound(session, stream, channels);
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
  const clock = new Clock(false);
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
