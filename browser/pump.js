// What a Worker does with the frames of a MediaStream and of an AudioWorklet.

import { audioFormat, videoFormat } from "./core.js";
import { Converter } from "./i420.js";

const NAMES = { I420: "I420", NV12: "NV12", BGRA: "BGRA", RGBA: "RGBA", BGRX: "BGRx", RGBX: "RGBx" };

// NEAR is how small a delay must be to be one, and not another clock; ms.
const NEAR = 100;

// Clock maps the stamps of a track to performance.now(). The frame that came with the
// least delay says by how much they differ. Where a track's clock may be known, stamps
// are given as that clock would have them here, and are taken as they are if that least
// delay is small enough to be one; else their zero is their own. If the least delay
// grows by more than slip ms, the clock has stood still for so long.
export class Clock {
  constructor(known, slip = 1000) {
    Object.assign(this, { known, slip });
    this.begin();
  }

  begin() {
    this.least = [Infinity, Infinity]; // of this period and the one before
    this.ever = Infinity;
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
    this.ever = Math.min(this.ever, target);
    if (this.known && target > -5 && target < NEAR && target - this.ever <= this.slip) this.offset = 0;
    else if (this.offset === undefined || target < this.offset || target - this.offset > this.slip) this.offset = target;
    else this.offset += Math.min(target - this.offset, 0.001 * (now - this.last)); // a drift, slowly
    this.last = now;
    return stamp + this.offset;
  }
}

// HOLD is how long packets wait for what their delay means; ms. Silence takes their place
// later than that (SETTLE).
const HOLD = 100;

// Arrivals maps the stamps of sound. They count samples, and stand still while their
// source does, as an audio context that waits for its device: the first packet after that
// looks like one that comes late. More tell, so packets are held for a moment: those that
// had only waited come all at once, and the last of them in time.
export class Arrivals {
  // put is called with each packet and its moment on performance.now().
  constructor(known, put) {
    Object.assign(this, { clock: new Clock(known, 50), put, held: [], stamp: -Infinity });
  }

  take(packet, stamp, now) {
    const { clock } = this;
    this.settle(now);
    if (stamp < this.stamp - NEAR) {
      this.settle();
      clock.begin();
    }
    this.stamp = stamp;
    if (clock.offset === undefined || now - stamp - clock.offset > NEAR) {
      this.held.push({ packet, stamp, now });
      return;
    }
    for (const h of this.held) this.put(h.packet, clock.map(h.stamp, h.now));
    this.held = [];
    this.put(packet, clock.map(stamp, now));
  }

  // settle takes what has been held for long enough, or everything, as the beginning of
  // another count.
  settle(now = Infinity) {
    if (!this.held.length || now - this.held[0].now < HOLD) return;
    this.clock.begin();
    for (const h of this.held) this.clock.map(h.stamp, h.now);
    for (const h of this.held) this.put(h.packet, h.stamp + this.clock.offset);
    this.held = [];
  }
}

// Frames of a captured tab are stamped with the kernel's monotonic clock, and sound, at
// its beginning, with performance.now() of the page (Chromium 156); a canvas counts from
// its own beginning, and so does what comes over WebRTC.
const videoTime = (session, clock, stamp, now) => clock.map(stamp + now - Number(session.mono(now)) / 1e6, now);

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

const RGB = /^(RGB|BGR)[Ax]$/;

// pictureOf says how a frame is handed over: as it is, or as I420 with GStreamer's
// defaults for its size. Pixels of a chroma sample are averaged: it sits between them.
function pictureOf(frame, frameRate, converter) {
  const { width, height } = frame.visibleRect, format = NAMES[frame.format], size = { width, height, frameRate };
  if (!format) throw new Error(`frames in the format ${frame.format} cannot be copied`);
  if (!RGB.test(format)) return videoFormat({ ...size, format, colorimetry: colour(frame.colorSpace) });
  if (!converter) return videoFormat({ ...size, format });
  return videoFormat({ ...size, format: "I420", colorimetry: height > 576 ? "bt709" : "bt601", chromaSite: "jpeg" });
}

export async function pumpVideo(session, stream, reader, { frameRate, pace = true, convert = true }) {
  const clock = new Clock(true), pacer = new Pacer();
  const converter = convert ? await Converter.make() : undefined;
  let buffer = new Uint8Array(0), f = {}, from = "";
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
      if (f.width !== width || f.height !== height || from !== frame.format) {
        f = pictureOf(frame, frameRate, converter);
        from = frame.format;
      }
      if (pace && pacer.skip(session.fill(stream))) {
        session.drop(stream, "policy");
        continue;
      }
      if (!session.room(stream, f.size)) {
        if (session.state === "live") session.drop(stream, "full");
        continue;
      }
      let bytes;
      if (f.format !== NAMES[from]) {
        await frame.copyTo(converter.source(f), { layout: [{ offset: 0, stride: 4 * width }] });
        bytes = converter.convert(f, from.slice(0, 3));
      } else {
        if (buffer.length !== f.size) buffer = new Uint8Array(f.size);
        await frame.copyTo(buffer, { layout: f.strides.map((stride, i) => ({ offset: f.offsets[i], stride })) });
        bytes = buffer;
      }
      session.put(stream, f, bytes, Math.min(at, performance.now()), frame.duration ? frame.duration / 1000 : 0);
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

// pumpAudio takes the AudioData of a track; origin is the page's performance.timeOrigin,
// ending is told what to do before the session ends.
export async function pumpAudio(session, stream, reader, { channels, origin, ending }) {
  const sound = new Sound(session, stream, channels);
  const arrivals = new Arrivals(true, (samples, at) => sound.packet(samples, at));
  ending(() => arrivals.settle());
  const timer = setInterval(() => {
    if (session.state !== "live") return;
    arrivals.settle(performance.now());
    sound.idle(performance.now());
  }, 50);
  let one = new Float32Array(0);
  try {
    for (;;) {
      const { value: data, done } = await reader.read();
      if (done || session.state !== "live") {
        if (data) data.close();
        if (!done) reader.cancel().catch(() => {});
        else arrivals.settle();
        return;
      }
      try {
        const n = data.numberOfFrames, all = new Float32Array(n * channels);
        sound.rate = data.sampleRate;
        if (one.length !== n) one = new Float32Array(n);
        for (let c = 0; c < channels; c++) {
          if (c < data.numberOfChannels) data.copyTo(one, { planeIndex: c, format: "f32-planar" });
          for (let i = 0; i < n; i++) all[i * channels + c] = one[i]; // mono goes into both
        }
        arrivals.take(all, data.timestamp / 1000 + origin - performance.timeOrigin, performance.now() - (n / sound.rate) * 1000);
      } finally {
        data.close();
      }
    }
  } finally {
    clearInterval(timer);
  }
}

// pumpSound takes packets {samples, at, rate, channels} from a worklet's port; at is
// the audio context's time of the first sample in seconds. It gives what ends it.
export function pumpSound(session, stream, port) {
  const arrivals = new Arrivals(false, (p, at) => session.put(stream, p.format, p.samples, at, p.length));
  port.onmessage = ({ data }) => {
    if (session.state !== "live") return;
    const format = audioFormat({ format: "F32LE", rate: data.rate, channels: data.channels });
    const length = (data.samples.byteLength / format.unit / data.rate) * 1000;
    arrivals.take({ samples: new Uint8Array(data.samples), format, length }, data.at * 1000, performance.now() - length);
  };
  return () => {
    port.close();
    arrivals.settle();
  };
}
