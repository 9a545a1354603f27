// The part that runs in a dedicated Worker: one session of a page with mpipe,
// over files or a WebSocket.

import {
  ACK, ALIGN, BELL, COUNTER_SIZE, FLAG, FORMATS, FORMAT_SIZE, GRANULE, MAGIC, MAJOR, PAGE, RECORD, RECORDS,
  SESSION, STATE, STREAMS, STREAM_SIZE, WIRE, latin, picture, putFormat, putRecord, putStream, readText, sampleBytes,
} from "./layout.js";

const POLL = 10; // ms between looks for a consumer
const TICK = 500; // ms between looks while nothing is written
const GONE = 10000; // ms without a sign of life after which mpipe is taken for dead
const CHUNK = 1 << 20;

export class MpipeError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "MpipeError";
    this.code = code;
  }
}

const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

const stateName = (n) => Object.keys(STATE).find((k) => STATE[k] === n) || "none";

// checkPlace says in plain words why files cannot work here.
function checkPlace() {
  if (!self.isSecureContext) {
    throw new MpipeError("insecure", `this page (${self.location.origin}) is not a secure context, so it has no file system; serve it from https:// or from http://localhost`);
  }
  if (!navigator.storage || !navigator.storage.getDirectory) {
    throw new MpipeError("unsupported", "this browser has no origin private file system; Chromium has it since version 102");
  }
  if (typeof FileSystemFileHandle === "undefined" || !FileSystemFileHandle.prototype.createSyncAccessHandle) {
    throw new MpipeError("no-worker", "files can be written from a dedicated Worker only; call mpipe.writer() in the page, which starts one, or in your own Worker");
  }
}

// FileLink is a session through three files of the origin private file system.
class FileLink {
  constructor(session, patience) {
    this.s = session;
    this.patience = patience;
    this.ackBytes = new Uint8Array(0x100);
    this.ack = new DataView(this.ackBytes.buffer);
    this.recBytes = new Uint8Array(RECORD);
    this.rec = new DataView(this.recBytes.buffer);
    this.word = new Uint8Array(8);
    this.pos = [0, 0];
    this.base = [0, 0]; // where the arena was last begun anew
    this.count = [0, 0];
    this.handles = [];
  }

  async make(kind, size) {
    const name = `mpipe-${this.id}-${kind}`;
    for (let attempt = 0; ; attempt++) {
      try {
        const file = await this.root.getFileHandle(name, { create: true });
        const h = await file.createSyncAccessHandle();
        this.handles.push([name, h]);
        h.truncate(size); // the quota is asked for once
        const zeros = new Uint8Array(Math.min(size, CHUNK));
        for (let at = 0; at < size; at += CHUNK) {
          const n = Math.min(CHUNK, size - at);
          if (h.write(n === zeros.length ? zeros : zeros.subarray(0, n), { at }) !== n) throw new Error("short write");
        }
        return h;
      } catch (e) {
        if (attempt < 3 && e.name === "NotFoundError") continue; // another page tidied up in between
        throw new MpipeError("files", `cannot write a file of ${size} bytes in the browser's own file system: ${e.message}; is the disk or tmpfs behind the user data dir full?`);
      }
    }
  }

  async open() {
    checkPlace();
    const s = this.s;
    try {
      this.root = await navigator.storage.getDirectory();
    } catch (e) {
      throw new MpipeError("files", `the browser gives this page no file system: ${e.message}; a page from file:, a third-party or sandboxed frame, and blocked storage have none`);
    }
    for await (const name of this.root.keys()) {
      // Files of pages that are gone. Those in use are locked and stay.
      if (name.startsWith("mpipe-")) await this.root.removeEntry(name).catch(() => {});
    }
    const id = crypto.getRandomValues(new Uint8Array(16));
    this.id = Array.from(id, (b) => b.toString(16).padStart(2, "0")).join("");
    this.bell = await this.make("bell", BELL.size);
    this.ackFile = await this.make("ack", ACK.size);
    this.start(this.ackFile, MAGIC.ack, id);
    const head = this.start(null, MAGIC.bell, id);
    head.setUint32(BELL.state, SESSION.open, true);
    head.setUint32(BELL.streams, s.streams.length, true);
    latin(head, BELL.name, 64, s.name);
    latin(head, BELL.origin, 128, self.location.origin === "null" ? "" : originOf(s));
    latin(head, BELL.token, 64, s.token);
    s.streams.forEach((st, i) => putStream(head, BELL.streamTable + i * STREAM_SIZE, st));
    this.publish(this.bell, head);
    await this.taken();
    const size = Number(this.ack.getBigUint64(ACK.dataSize, true));
    this.data = await this.make("data", size);
    this.start(this.data, MAGIC.data, id);
    this.arenas = [0, 1].map((c) => Number(this.ack.getBigUint64(ACK.arenas + 8 * c, true)));
    this.capacity = [0, 1].map((c) => Number(this.ack.getBigUint64(ACK.classes + c * ACK.classSize, true)));
    this.rewinds = this.ack.getUint32(ACK.rewind, true) === 1;
    this.put64(BELL.ready, size);
    await this.sync();
    this.timer = setInterval(() => this.tick(), TICK);
  }

  // start prepares a file's first page; with a handle it is written at once.
  start(h, magic, id) {
    const v = new DataView(new ArrayBuffer(PAGE));
    latin(v, 0, 9, magic);
    v.setUint16(8, MAJOR, true);
    v.setUint32(0xc, PAGE, true);
    new Uint8Array(v.buffer).set(id, BELL.session);
    if (h) this.publish(h, v);
    return v;
  }

  // publish writes a first page, its magic last: a file that has it is complete.
  publish(h, v) {
    h.write(new Uint8Array(v.buffer, 8), { at: 8 });
    h.write(new Uint8Array(v.buffer, 0, 8), { at: 0 });
  }

  put64(at, n) {
    new DataView(this.word.buffer).setBigUint64(0, BigInt(n), true);
    this.bell.write(this.word, { at });
  }

  put32(at, n) {
    new DataView(this.word.buffer).setUint32(0, n, true);
    this.bell.write(this.word.subarray(0, 4), { at });
  }

  look() {
    this.ackFile.read(this.ackBytes, { at: 0 });
    return this.ack.getUint32(ACK.state, true);
  }

  reason() {
    const b = new Uint8Array(0x100);
    this.ackFile.read(b, { at: ACK.reason });
    return readText(new DataView(b.buffer), 0, 0x100);
  }

  // taken waits for mpipe.
  async taken() {
    const end = performance.now() + this.patience;
    for (let state = STATE.none; state !== STATE.live; ) {
      await sleep(POLL);
      state = this.look();
      if (state === STATE.refused || state === STATE.invalid) throw new MpipeError("refused", `mpipe refused this page: ${this.reason()}`);
      if (state === STATE.closed) throw new MpipeError("closed", "mpipe ended before it took this page");
      if (state === STATE.none && performance.now() > end) {
        throw new MpipeError("nobody", `no mpipe took this page within ${Math.round(this.patience / 1000)} s; is \`mpipe run\` there with a browsersrc whose user_data_dir is this browser's and whose page and origin fit? An incognito window writes no file that mpipe could find`);
      }
    }
  }

  // sync finds what has to be added to performance.now() for CLOCK_MONOTONIC.
  async sync() {
    let best = Infinity;
    for (let n = 1; n <= 12; n++) {
      const sent = performance.now();
      this.put32(BELL.ping, n);
      let got = sent;
      while (got - sent < 20) {
        this.look();
        got = performance.now();
        if (this.ack.getUint32(ACK.pong, true) === n) {
          if (got - sent < best) {
            best = got - sent;
            this.s.setClock(this.ack.getBigInt64(ACK.pongTime, true), (sent + got) / 2, best / 2);
          }
          break;
        }
      }
      if (got - sent >= 20) await sleep(POLL);
    }
    if (best === Infinity) throw new MpipeError("clock", "mpipe does not answer: it took this page and then stopped");
  }

  tick() {
    const state = this.look(), beat = this.ack.getUint32(ACK.beat, true);
    if (beat !== this.beat) [this.beat, this.alive] = [beat, performance.now()];
    else if (performance.now() - this.alive > GONE) return this.s.over("gone", "mpipe has died, or hangs");
    if (state !== STATE.live) this.s.over(stateName(state), this.reason());
    this.s.flushCounters();
  }

  counters(i, full, policy) {
    const v = new DataView(new ArrayBuffer(COUNTER_SIZE));
    v.setUint32(0, full, true);
    v.setUint32(4, policy, true);
    this.bell.write(new Uint8Array(v.buffer), { at: BELL.counters + i * COUNTER_SIZE });
  }

  format(id, stream, f) {
    const v = new DataView(new ArrayBuffer(FORMAT_SIZE));
    putFormat(v, 0, stream, f);
    this.bell.write(new Uint8Array(v.buffer), { at: BELL.formats + (id - 1) * FORMAT_SIZE });
  }

  // place is where n bytes go: the arithmetic of ring/FORMAT.md.
  place(c, n) {
    const align = ALIGN[c], C = this.capacity[c];
    const need = Math.ceil(Math.ceil(n / GRANULE) / align) * align;
    const at = this.pos[c] % C;
    return at + need <= C ? [need, at * GRANULE] : [C - at + need, 0];
  }

  // room tells whether n bytes fit now.
  room(c, n) {
    const state = this.look();
    if (state !== STATE.live) {
      this.s.over(stateName(state), this.reason());
      return false;
    }
    const at = ACK.classes + c * ACK.classSize;
    const read = Number(this.ack.getBigUint64(at + 0x10, true)), readPos = Number(this.ack.getBigUint64(at + 0x18, true));
    const from = Math.max(readPos, this.base[c]);
    this.empty = this.pos[c] === from;
    const extent = this.empty && this.rewinds ? 0 : this.place(c, n)[0];
    return this.count[c] - read < RECORDS - 1 && this.pos[c] - from + extent <= this.capacity[c];
  }

  fill(c) {
    const at = ACK.classes + c * ACK.classSize;
    const capacity = Number(this.ack.getBigUint64(at + 0x28, true));
    return { used: Number(this.ack.getBigUint64(at + 0x20, true)), capacity, held: this.ack.getUint32(at + 0x30, true) };
  }

  // write puts the frame that room() was asked for last: payload first, then its record.
  write(c, r, bytes) {
    const at = this.pos[c] % this.capacity[c];
    if (this.rewinds && this.empty && at > 0) {
      // What is empty is begun anew: so few pages are in use, and stay in the
      // processor's cache.
      this.pos[c] = this.base[c] = this.pos[c] + this.capacity[c] - at;
      r.flags |= FLAG.rewind;
    }
    const [extent, offset] = this.place(c, r.length);
    if (r.length > 0 && this.data.write(bytes, { at: this.arenas[c] + offset }) !== r.length) throw new MpipeError("files", "a write came out short; is the tmpfs full?");
    r.pos = this.pos[c];
    putRecord(this.rec, (this.count[c] + 1) >>> 0, r);
    this.bell.write(this.recBytes, { at: BELL.records[c] + (this.count[c] % RECORDS) * RECORD });
    this.pos[c] += extent;
    this.count[c]++;
  }

  async drained() {
    for (let end = performance.now() + 5000; performance.now() < end; await sleep(POLL)) {
      if (this.look() !== STATE.live) return;
      if ([0, 1].every((c) => Number(this.ack.getBigUint64(ACK.classes + c * ACK.classSize + 0x10, true)) === this.count[c])) return;
    }
  }

  async close(polite) {
    clearInterval(this.timer);
    if (polite) {
      this.put32(BELL.state, SESSION.ended);
      await this.drained();
    }
    for (const [name, h] of this.handles.splice(0)) {
      h.close();
      await this.root.removeEntry(name).catch(() => {});
    }
  }
}

// SocketLink is a session over a WebSocket: the same records as messages.
class SocketLink {
  constructor(session, url, patience) {
    this.s = session;
    this.url = url;
    this.patience = patience;
    this.sent = [0, 0];
    this.read = [0, 0]; // bytes of each class
    this.window = [0, 0];
    this.used = [0, 0];
    this.pos = [0, 0];
    this.recBytes = new Uint8Array(RECORD);
    this.rec = new DataView(this.recBytes.buffer);
  }

  open() {
    return new Promise((done, fail) => {
      let ws;
      try {
        ws = this.ws = new WebSocket(this.url, "mpipe.v1");
      } catch (e) {
        return fail(new MpipeError("websocket", `${this.url}: ${e.message}`));
      }
      ws.binaryType = "arraybuffer";
      const late = setTimeout(() => {
        fail(new MpipeError("nobody", `no mpipe took this page at ${this.url} within ${Math.round(this.patience / 1000)} s`));
        ws.close();
      }, this.patience);
      ws.onopen = () => this.hello();
      ws.onclose = (e) => {
        clearTimeout(late);
        clearInterval(this.timer);
        fail(new MpipeError("websocket", `${this.url} could not be used: ${e.reason || "nobody listens there, or the page's origin, its token, or its content security policy forbids it"}`));
        this.s.over("gone", e.reason || "the connection to mpipe was closed");
      };
      ws.onmessage = (m) => this.heard(new DataView(m.data), () => {
        clearTimeout(late);
        this.timer = setInterval(() => { this.ping(); this.s.flushCounters(); }, 2000);
        done();
      });
    });
  }

  hello() {
    const s = this.s, v = new DataView(new ArrayBuffer(BELL.counters));
    latin(v, 0, 9, MAGIC.wire);
    v.setUint16(8, MAJOR, true);
    v.setUint32(0xc, v.byteLength, true);
    v.setUint32(BELL.streams, s.streams.length, true);
    latin(v, BELL.name, 64, s.name);
    latin(v, BELL.origin, 128, originOf(s));
    latin(v, BELL.token, 64, s.token);
    s.streams.forEach((st, i) => putStream(v, BELL.streamTable + i * STREAM_SIZE, st));
    this.ws.send(v.buffer);
  }

  heard(v, ready) {
    switch (v.getUint32(0, true)) {
      case WIRE.state: {
        const state = v.getUint32(4, true), text = readText(v, 0x40, v.byteLength - 0x40);
        if (state !== STATE.live) return this.s.over(stateName(state), text);
        this.window = [Number(v.getBigUint64(8, true)), Number(v.getBigUint64(0x10, true))];
        this.pings = 0;
        this.best = Infinity;
        this.ready = ready;
        return this.ping();
      }
      case WIRE.pong: {
        const got = performance.now(), sent = v.getFloat64(8, true);
        // A crystal drifts against another: what is old says less.
        this.best *= 1.05;
        if (got - sent < this.best) {
          this.best = got - sent;
          this.s.setClock(v.getBigInt64(0x10, true), (sent + got) / 2, this.best / 2);
        }
        if (this.ready && ++this.pings < 8) return this.ping();
        if (this.ready) this.ready();
        this.ready = null;
        return undefined;
      }
      case WIRE.read:
        for (const c of [0, 1]) {
          this.read[c] = Number(v.getBigUint64(8 + 16 * c, true));
          this.used[c] = Number(v.getBigUint64(16 + 16 * c, true));
        }
        return undefined;
      default:
        return undefined;
    }
  }

  message(kind, fill) {
    const v = new DataView(new ArrayBuffer(RECORD));
    v.setUint32(0, kind, true);
    fill(v);
    this.ws.send(v.buffer);
  }

  ping() {
    if (this.ws.readyState === 1) this.message(WIRE.ping, (v) => v.setFloat64(8, performance.now(), true));
  }

  counters(i, full, policy) {
    if (this.ws.readyState !== 1) return;
    this.message(WIRE.counters, (v) => { v.setUint16(4, i, true); v.setUint32(8, full, true); v.setUint32(0xc, policy, true); });
  }

  format(id, stream, f) {
    const v = new DataView(new ArrayBuffer(RECORD + FORMAT_SIZE));
    v.setUint32(0, WIRE.format, true);
    v.setUint32(8, id, true);
    putFormat(v, RECORD, stream, f);
    this.ws.send(v.buffer);
  }

  room(c, n) {
    return this.ws.readyState === 1 && this.sent[c] - this.read[c] + n <= this.window[c];
  }

  fill(c) {
    return { used: this.sent[c] - this.read[c] + this.used[c], capacity: this.window[c], held: 0 };
  }

  write(c, r, bytes) {
    r.pos = 0;
    putRecord(this.rec, WIRE.frame, r);
    this.ws.send(this.recBytes.slice());
    if (r.length > 0) this.ws.send(bytes);
    this.sent[c] += r.length;
  }

  async close(polite) {
    clearInterval(this.timer);
    if (this.ws.readyState > 1) return;
    if (polite) {
      this.message(WIRE.end, () => {});
      for (let end = performance.now() + 5000; this.ws.readyState === 1 && this.ws.bufferedAmount > 0 && performance.now() < end; ) await sleep(POLL);
    }
    this.ws.onclose = null;
    this.ws.close(1000);
  }
}

const originOf = (s) => s.origin || (self.location.origin && self.location.origin !== "null" ? self.location.origin : "");

// Session is what is common to both: streams, formats, clock, drops.
export class Session {
  // o: {name, token, origin, streams: [{name, kind, maxBytes}], transport, url, patience, onstate}
  constructor(o) {
    this.name = o.name || "";
    this.token = o.token || "";
    this.origin = o.origin || "";
    this.streams = o.streams;
    this.options = o;
    this.formats = [];
    this.stats = o.streams.map(() => ({ written: 0, full: 0, policy: 0, told: "", last: 0n }));
    this.state = "none";
    this.onstate = o.onstate || (() => {});
    if (o.streams.length < 1 || o.streams.length > STREAMS) throw new RangeError(`mpipe: ${o.streams.length} streams; a page can have 1 to ${STREAMS}`);
    const names = new Set();
    for (const s of o.streams) {
      if (!/^[\w.-]{1,47}$/.test(s.name) || names.has(s.name)) throw new TypeError(`mpipe: "${s.name}" cannot be a stream's name; use 1 to 47 letters, digits, '.', '_' and '-', each name once`);
      names.add(s.name);
    }
  }

  async open() {
    const o = this.options, transport = o.transport || "auto", patience = o.patience ?? 30000;
    let first;
    if (transport !== "websocket") {
      // With something to fall back on, files need not be waited for long.
      this.link = new FileLink(this, transport === "auto" && o.url ? Math.min(patience, 2000) : patience);
      try {
        await this.link.open();
        this.transport = "file";
      } catch (e) {
        await this.link.close(false).catch(() => {});
        if (transport === "file" || !o.url || e.code === "refused") throw e;
        first = e;
      }
    }
    if (!this.transport) {
      if (!o.url) throw new MpipeError("websocket", "transport \"websocket\" needs a url, such as ws://127.0.0.1:8090/");
      this.link = new SocketLink(this, o.url, patience);
      try {
        await this.link.open();
      } catch (e) {
        if (first) e.message += `; before that, files failed: ${first.message}`;
        throw e;
      }
      this.transport = "websocket";
    }
    this.state = "live";
    this.opened = performance.now();
    return this;
  }

  // roomFor waits up to `wait` ms for room; true at once when there is.
  async roomFor(stream, n, wait) {
    for (const end = performance.now() + wait; ; ) {
      if (this.room(stream, n)) return true;
      if (this.state !== "live" || performance.now() >= end) return false;
      await sleep(2);
    }
  }

  setClock(mono, ms, error) {
    this.offset = mono - BigInt(Math.round(ms * 1e6));
    this.clockError = error; // ms, at most
  }

  // mono maps performance.now() of this Worker to CLOCK_MONOTONIC in ns.
  mono(ms) {
    return BigInt(Math.round(ms * 1e6)) + this.offset;
  }

  over(state, reason) {
    if (this.state !== "live") return;
    this.state = state;
    this.onstate({ state, reason });
  }

  // formatID publishes a format once and gives its number.
  formatID(stream, f) {
    const key = `${stream} ${f.kind} ${f.format} ${f.width || f.rate} ${f.height || f.channels} ${f.fps || ""} ${f.strides || ""} ${f.colorimetry || ""} ${f.chromaSite || ""}`;
    const have = this.formats.indexOf(key);
    if (have >= 0) return have + 1;
    if (this.formats.length >= FORMATS) throw new MpipeError("formats", `a session holds ${FORMATS} formats; end it and open another`);
    this.formats.push(key);
    this.link.format(this.formats.length, stream, f);
    return this.formats.length;
  }

  room(stream, n) {
    return this.state === "live" && this.link.room(this.streams[stream].kind === "video" ? 0 : 1, n);
  }

  fill(stream) {
    return this.link.fill(this.streams[stream].kind === "video" ? 0 : 1);
  }

  drop(stream, why) {
    this.stats[stream][why]++;
  }

  flushCounters() {
    this.stats.forEach((s, i) => {
      const now = `${s.full} ${s.policy}`;
      if (now === s.told || (s.told === "" && now === "0 0")) return;
      s.told = now;
      this.link.counters(i, s.full, s.policy);
    });
  }

  // put writes one frame; false when there is no room for it. pts and duration are
  // ms of this Worker's performance.now().
  put(stream, f, bytes, ms, duration, flags = 0) {
    const st = this.streams[stream];
    if (bytes.byteLength > st.maxBytes) throw new RangeError(`mpipe: a frame of ${bytes.byteLength} bytes in stream "${st.name}", which declared at most ${st.maxBytes}`);
    const now = performance.now();
    if (!(ms < now + 2000 && ms > this.opened - 5000)) throw new RangeError(`mpipe: a timestamp of ${ms} ms, when performance.now() is ${now} and the session began at ${this.opened}; give the moment of capture on that clock, or leave it out`);
    if (!this.room(stream, bytes.byteLength)) {
      if (this.state === "live") this.drop(stream, "full");
      return false;
    }
    const s = this.stats[stream];
    let pts = this.mono(ms);
    if (pts <= s.last) pts = s.last + 1n;
    s.last = pts;
    const lost = s.full + s.policy;
    if (s.lost !== lost && s.lost !== undefined) flags |= FLAG.discont;
    s.lost = lost;
    this.link.write(st.kind === "video" ? 0 : 1, {
      stream, flags, length: bytes.byteLength, format: this.formatID(stream, f), pts, duration: BigInt(Math.round((duration || 0) * 1e6)),
    }, bytes);
    s.written++;
    return true;
  }

  async end() {
    const live = this.state === "live";
    this.state = "ended";
    if (!this.link) return;
    if (live) this.flushCounters();
    await this.link.close(live);
  }
}

// videoFormat and audioFormat complete what a page says about its frames.
export function videoFormat(o) {
  const p = picture(o.format, o.width, o.height);
  const rate = o.frameRate || 0;
  const fps = Number.isInteger(rate) ? [rate, 1] : [Math.round(rate * 1001), 1001];
  return { kind: "video", format: o.format, width: o.width, height: o.height, fps, strides: p.strides, offsets: p.offsets, size: p.size, colorimetry: o.colorimetry || "", chromaSite: o.chromaSite || "" };
}

export function audioFormat(o) {
  const unit = sampleBytes(o.format || "F32LE", o.channels);
  return { kind: "audio", format: o.format || "F32LE", rate: o.rate, channels: o.channels, unit };
}
