// The layout of the files and messages between a page and mpipe: FORMAT.md.
// elements/internal/intake/layout.go says the same in Go, and a test compares them.

export const MAJOR = 1;
export const MAGIC = { bell: "MPIPEBEL", ack: "MPIPEACK", data: "MPIPEDAT", wire: "MPIPEWIR" };

export const PAGE = 4096;
export const GRANULE = 64;
export const RECORD = 64;
export const RECORDS = 1024; // of each class
export const STREAMS = 32;
export const FORMATS = 256;
export const ALIGN = [64, 1]; // granules; video, audio

export const BELL = {
  session: 0x10, state: 0x20, streams: 0x24, ping: 0x28, ready: 0x30,
  name: 0x40, origin: 0x80, token: 0x100, streamTable: 0x200, counters: 0xa00,
  formats: 0x1000, records: [0x9000, 0x19000], size: 0x29000,
};
export const STREAM_SIZE = 64;
export const COUNTER_SIZE = 16;
export const FORMAT_SIZE = 128;

export const ACK = {
  session: 0x10, state: 0x20, beat: 0x24, pong: 0x28, pongTime: 0x30, classes: 0x40, classSize: 0x40,
  dataSize: 0xc0, arenas: 0xc8, rewind: 0xd8, reason: 0x100, consumer: 0x200, size: PAGE,
};
export const STATE = { none: 0, live: 1, stopping: 2, closed: 3, refused: 4, invalid: 5 };
export const SESSION = { open: 1, ended: 2 };
export const FLAG = { key: 1, discont: 2, corrupt: 4, eos: 8, rewind: 0x100 };

// Messages over a socket: a record whose first word is the kind of message.
export const WIRE = { hello: 1, format: 2, frame: 3, ping: 4, counters: 5, end: 6, state: 17, pong: 18, read: 19 };

// planes: [bytes of a sample, shift of the width, shift of the height], as GStreamer lays them out.
const LAYOUTS = {
  I420: [[1, 0, 0], [1, 1, 1], [1, 1, 1]],
  NV12: [[1, 0, 0], [2, 1, 1]],
  BGRA: [[4, 0, 0]], RGBA: [[4, 0, 0]], BGRx: [[4, 0, 0]], RGBx: [[4, 0, 0]],
};
const SAMPLES = { S16LE: 2, F32LE: 4 };
export const videoFormats = Object.keys(LAYOUTS);
export const sampleFormats = Object.keys(SAMPLES);

const up = (n, to) => Math.ceil(n / to) * to;

// picture gives strides, offsets and size of a picture whose rows are rounded up to 4 bytes.
export function picture(format, width, height) {
  const planes = LAYOUTS[format];
  if (!planes) throw new TypeError(`mpipe: pictures can be ${videoFormats.join(", ")}; got ${format}`);
  if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0 && width <= 32768 && height <= 32768)) {
    throw new RangeError(`mpipe: a picture of ${width}x${height}; each side must be 1 to 32768 pixels`);
  }
  const strides = [], offsets = [];
  let at = 0;
  planes.forEach(([bytes, sx, sy], i) => {
    const stride = up(((width + (1 << sx) - 1) >> sx) * bytes, 4);
    const rows = i === 0 && planes.length > 1 ? up(height, 2) : (height + (1 << sy) - 1) >> sy;
    strides.push(stride);
    offsets.push(at);
    at += stride * rows;
  });
  return { strides, offsets, size: at };
}

export function sampleBytes(format, channels) {
  if (!SAMPLES[format]) throw new TypeError(`mpipe: samples can be ${sampleFormats.join(", ")}; got ${format}`);
  return SAMPLES[format] * channels;
}

export const latin = (view, at, size, text) => {
  for (let i = 0; i < size; i++) {
    const c = i < size - 1 && i < text.length ? text.charCodeAt(i) : 0;
    view.setUint8(at + i, c > 126 ? 63 : c);
  }
};

export const readText = (view, at, size) => {
  let s = "";
  for (let i = 0; i < size; i++) {
    const c = view.getUint8(at + i);
    if (c === 0) break;
    s += String.fromCharCode(c);
  }
  return s;
};

// putStream, putFormat, putRecord fill one entry of the tables.
export function putStream(view, at, s) {
  view.setUint32(at, s.kind === "video" ? 1 : 2, true);
  view.setBigUint64(at + 8, BigInt(s.maxBytes), true);
  latin(view, at + 0x10, 48, s.name);
}

export function putFormat(view, at, stream, f) {
  const video = f.kind === "video";
  view.setUint16(at + 4, stream, true);
  view.setUint8(at + 6, video ? 1 : 2);
  view.setUint32(at + 8, video ? f.width : f.rate, true);
  view.setUint32(at + 0xc, video ? f.height : f.channels, true);
  view.setUint32(at + 0x10, video ? f.fps[0] : 0, true);
  view.setUint32(at + 0x14, video ? f.fps[1] : 1, true);
  latin(view, at + 0x18, 16, f.format);
  if (video) {
    view.setUint8(at + 7, f.strides.length);
    f.strides.forEach((s, i) => view.setUint32(at + 0x28 + 4 * i, s, true));
    f.offsets.forEach((o, i) => view.setBigUint64(at + 0x38 + 8 * i, BigInt(o), true));
    latin(view, at + 0x58, 16, f.colorimetry || "");
    latin(view, at + 0x68, 16, f.chromaSite || "");
  }
  view.setUint32(at, 1, true);
}

export function putRecord(view, word, r) {
  view.setUint32(0, word, true);
  view.setUint16(4, r.stream, true);
  view.setUint16(6, r.flags, true);
  view.setBigUint64(8, BigInt(r.pos), true);
  view.setUint32(0x10, r.length, true);
  view.setUint32(0x14, r.format, true);
  view.setBigInt64(0x18, r.pts, true);
  view.setBigInt64(0x20, r.duration, true);
  view.setUint32(0x3c, word, true);
}
