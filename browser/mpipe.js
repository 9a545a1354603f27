// mpipe in the page: hands frames and sound of this page to mpipe, outside of the
// browser, through shared memory, or through a WebSocket where that cannot be.

import { MpipeError, audioFormat, videoFormat } from "./core.js";
import { startWorker, workletURL } from "./urls.js";

export { MpipeError };

const IN_FLIGHT = { video: 6, audio: 200 }; // frames on their way to the Worker before one is left out

const SPARE = 16; // buffers kept to be used again

// Writer is one session with mpipe. Make it with writer() or capture().
class Writer extends EventTarget {
  constructor(streams) {
    super();
    this.streams = streams;
    this.pending = new Map();
    this.spare = [];
    this.next = 1;
    this.flight = streams.map(() => 0);
    this.fills = streams.map(() => ({ used: 0, capacity: 0, held: 0 }));
    this.state = "opening";
    this.nodes = [];
    this.tracks = []; // by stream: how its track is followed
    this.worker = startWorker();
    this.worker.onmessage = ({ data }) => this.heard(data);
    // A page that is left may be kept, frozen, for the way back, and its files with
    // it: mpipe would wait for it.
    this.leave = () => {
      this.worker.terminate();
      this.state = "gone";
    };
    globalThis.addEventListener?.("pagehide", this.leave);
    this.worker.onerror = (e) => {
      const err = new MpipeError("worker", `the Worker of mpipe did not start: ${e.message || "its script could not be loaded"}; a content security policy has to allow it (worker-src, script-src)`);
      this.pending.forEach(([, fail]) => fail(err));
      this.pending.clear();
      this.say("error", err.message);
    };
  }

  heard({ id, result, error, event, ...rest }) {
    if (event === "state") {
      this.state = rest.state;
      return this.say("state", rest);
    }
    if (event) return this.say(event, rest.message ?? rest.stream);
    const [done, fail] = this.pending.get(id) || [];
    this.pending.delete(id);
    if (!done) return undefined;
    if (!error) return done(result);
    return fail(error.name === "MpipeError" ? new MpipeError(error.code, error.message) : Object.assign(new Error(error.message), { name: error.name }));
  }

  say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  ask(op, args = {}, transfer = []) {
    const id = this.next++;
    return new Promise((done, fail) => {
      this.pending.set(id, [done, fail]);
      this.worker.postMessage({ id, op, ...args }, transfer);
    });
  }

  tell(op, args, transfer = []) {
    this.worker.postMessage({ op, ...args }, transfer);
  }

  index(name) {
    const i = this.streams.findIndex((s) => s.name === name);
    if (i < 0) throw new TypeError(`mpipe: no stream "${name}"; there are ${this.streams.map((s) => s.name).join(", ")}`);
    return i;
  }

  async open(options) {
    const { transport, clockError } = await this.ask("open", {
      options: { ...options, origin: location.origin === "null" ? "" : location.origin, streams: this.streams.map(({ name, kind, maxBytes }) => ({ name, kind, maxBytes })) },
    });
    this.state = "live";
    this.transport = transport;
    this.clockError = clockError;
    return this;
  }

  async write(name, data, o = {}) {
    const stream = this.index(name), s = this.streams[stream];
    if (this.state !== "live") return false;
    const wait = o.wait === true ? 30000 : o.wait || 0;
    if (!wait && this.flight[stream] >= IN_FLIGHT[s.kind]) {
      this.tell("drop", { stream, why: "full" });
      return false;
    }
    const at = o.timestamp === undefined ? undefined : performance.timeOrigin + o.timestamp;
    this.flight[stream]++;
    try {
      let r;
      if (typeof VideoFrame !== "undefined" && data instanceof VideoFrame) {
        r = await this.ask("frame", { stream, frame: data, at, duration: o.duration, frameRate: s.frameRate, wait }, [data]);
      } else {
        r = await this.bytes(stream, s, data, at, wait, o);
      }
      this.fills[stream] = r.fill;
      return r.ok;
    } finally {
      this.flight[stream]--;
    }
  }

  bytes(stream, s, data, at, wait, o) {
    let format = s.value;
    if (s.kind === "video" && (o.width || o.height || o.format)) format = videoFormat({ ...s, ...o });
    const size = data.byteLength;
    if (s.kind === "video" ? size !== format.size : size === 0 || size % format.unit !== 0) {
      throw new RangeError(s.kind === "video"
        ? `mpipe: ${size} bytes for a ${format.format} picture of ${format.width}x${format.height}, which has ${format.size}: rows are rounded up to 4 bytes`
        : `mpipe: ${size} bytes of sound; want a whole number of sample frames of ${format.unit} bytes`);
    }
    const duration = o.duration ?? (s.kind === "audio" ? (size / format.unit / format.rate) * 1000 : format.fps[0] ? (1000 * format.fps[1]) / format.fps[0] : 0);
    // Memory that is not shared and not part of something larger can travel as it is.
    const own = o.transfer && data instanceof ArrayBuffer;
    const buffer = own ? data : this.copy(data, size);
    return this.ask("write", { stream, data: buffer, format, at, duration, wait }, [buffer]).then((r) => {
      if (!own && this.spare.length < SPARE) this.spare.push(r.data);
      return r;
    });
  }

  // copy uses a buffer again that came back: new memory costs more than the copy.
  copy(data, size) {
    const i = this.spare.findIndex((b) => b.byteLength === size);
    const to = i < 0 ? new ArrayBuffer(size) : this.spare.splice(i, 1)[0];
    new Uint8Array(to).set(ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, size) : new Uint8Array(data));
    return to;
  }

  fill(name) {
    return this.fills[this.index(name)];
  }

  stats() {
    return this.ask("stats").then((r) => r.streams);
  }

  replaceTrack(name, track) {
    const stream = this.index(name), { kind } = this.streams[stream];
    if (!this.tracks[stream]) throw new TypeError(`mpipe: stream "${name}" has no track; the page writes it`);
    if (track.kind !== kind) throw new TypeError(`mpipe: a track of ${track.kind} for stream "${name}", which is ${kind}`);
    this.follow(stream, track);
  }

  async listen(node, name = "audio") {
    const stream = this.index(name), { channels } = this.streams[stream];
    const ctx = node.context;
    if (node.numberOfOutputs === 0) throw new TypeError("mpipe: listen() wants a node with an output, and this one is where sound ends; give it the node before");
    if (ctx.state === "suspended") await Promise.race([ctx.resume(), new Promise((r) => setTimeout(r, 1000))]);
    if (ctx.state !== "running") {
      throw new MpipeError("autoplay", "the audio context does not run: browsers want a click first; start Chromium with --autoplay-policy=no-user-gesture-required");
    }
    try {
      await ctx.audioWorklet.addModule(workletURL());
    } catch (e) {
      throw new MpipeError("worklet", `the audio worklet could not be loaded: ${e.message}; a content security policy has to allow it (script-src)`);
    }
    const tap = new AudioWorkletNode(ctx, "mpipe-tap", { numberOfOutputs: 1, processorOptions: { channels } });
    const pipe = new MessageChannel();
    this.tell("sound", { stream, port: pipe.port2 }, [pipe.port2]);
    tap.port.postMessage({ port: pipe.port1 }, [pipe.port1]);
    node.connect(tap);
    tap.connect(ctx.destination); // silent; a node that leads nowhere is not run
    this.nodes.push([node, tap]);
  }

  async close() {
    this.nodes.splice(0).forEach(([from, tap]) => {
      try {
        from.disconnect(tap);
        tap.disconnect();
      } catch {
        // it was taken apart by the page
      }
    });
    this.state = "ended";
    const { streams } = await this.ask("end");
    this.worker.terminate();
    globalThis.removeEventListener?.("pagehide", this.leave);
    return streams;
  }
}

function spec(name, kind, o) {
  if (kind === "video") {
    const value = videoFormat(o);
    return { ...o, name, kind, value, maxBytes: Math.max(o.maxBytes || 0, value.size) };
  }
  const full = { format: "F32LE", rate: 48000, channels: 2, ...o };
  const value = audioFormat(full);
  return { ...full, name, kind, value, maxBytes: full.maxBytes || value.unit * Math.ceil(full.rate / 5) };
}

export async function writer(options = {}) {
  const { video, audio, streams = {}, ...rest } = options;
  const list = [];
  if (video) list.push(spec(video.name || "video", "video", video));
  if (audio) list.push(spec(audio.name || "audio", "audio", audio === true ? {} : audio));
  for (const [name, o] of Object.entries(streams)) list.push(spec(name, o.width ? "video" : "audio", o));
  if (list.length === 0) throw new TypeError("mpipe: no stream; say video: { format, width, height } or audio: true");
  const w = new Writer(list);
  try {
    return await w.open(rest);
  } catch (e) {
    w.worker.terminate();
    throw e;
  }
}

const MAX_PIXELS = 1920 * 1080;

export async function capture(source, options = {}) {
  const { frameRate, maxPixels = MAX_PIXELS, pace, convert, channels = 2, ...rest } = options;
  const sources = source instanceof MediaStream ? { "": source } : source;
  const list = [], taps = [];
  for (const [name, stream] of Object.entries(sources)) {
    const label = (kind) => (name ? `${kind}_${name}` : kind);
    const [video] = stream.getVideoTracks(), [sound] = stream.getAudioTracks();
    if (video) {
      const { frameRate: own, width = 0, height = 0 } = video.getSettings();
      // The format of the frames is not known before the first: four bytes a pixel are enough for all.
      list.push({ name: label("video"), kind: "video", maxBytes: 4 * Math.max(maxPixels, width * height) });
      taps.push([video, Math.round(frameRate ?? own ?? 0)]);
    }
    if (sound) {
      list.push(spec(label("audio"), "audio", { channels, rate: sound.getSettings().sampleRate || 48000 }));
      taps.push([sound]);
    }
  }
  if (list.length === 0) throw new TypeError("mpipe: the stream has neither a video nor an audio track");
  const w = new Writer(list);
  try {
    await w.open(rest);
    taps.forEach(([track, rate], i) => {
      w.tracks[i] = track.kind === "video" ? { frameRate: rate, pace, convert, queue: 8 } : { channels, origin: performance.timeOrigin, queue: 100 };
      w.follow(i, track);
    });
    return w;
  } catch (e) {
    w.close().catch(() => {});
    throw e;
  }
}

// follow has the Worker read a track.
Writer.prototype.follow = function follow(stream, track) {
  const options = this.tracks[stream];
  if (typeof MediaStreamTrackProcessor !== "undefined") {
    const { readable } = new MediaStreamTrackProcessor({ track, maxBufferSize: options.queue });
    this.tell("track", { stream, readable, options }, [readable]);
    return;
  }
  const copy = track.clone();
  try {
    this.tell("track", { stream, track: copy, options }, [copy]);
  } catch {
    throw new MpipeError("unsupported", "this browser cannot give the frames of a MediaStream away (MediaStreamTrackProcessor); Chromium can since version 94");
  }
};
