// A session that begins as the library does it, and then breaks the format.

import { Session, videoFormat } from "/mpipe/core.js";
import { ACK, BELL, FORMATS, RECORD, RECORDS, putRecord } from "/mpipe/layout.js";

const q = new URLSearchParams(location.search), how = q.get("how");
let seed = +q.get("seed");
const random = (n) => (seed = (seed * 16807) % 2147483647) % n;

const w = 160, h = 90, format = videoFormat({ format: "I420", width: w, height: h, frameRate: 30 });
const session = new Session({ name: how, streams: [{ name: "video", kind: "video", maxBytes: format.size }] });
const picture = new Uint8Array(format.size).fill(128);

// record writes the next one, with what is said instead of what is right.
function record(link, wrong) {
  const v = new DataView(new ArrayBuffer(RECORD)), n = link.count[0];
  putRecord(v, n + 1, { stream: 0, flags: 0, pos: link.pos[0], length: format.size, format: 1, pts: session.mono(performance.now()), duration: 0n, ...wrong });
  link.bell.write(new Uint8Array(v.buffer), { at: BELL.records[0] + (n % RECORDS) * RECORD });
}

const acts = {
  // The file with the frames gets shorter, and then frames come that were in it.
  truncates(link) {
    link.data.truncate(4096);
    record(link, {});
  },
  // Random bytes everywhere, then a record of random values.
  scribbles(link) {
    for (let i = 0; i < 2000; i++) {
      const noise = Uint8Array.from({ length: 1 + random(200) }, () => random(256));
      link.bell.write(noise, { at: BELL.records[0] + random(BELL.size - BELL.records[0] - 256) });
    }
    record(link, { stream: 1 + random(60000), flags: random(65536), length: random(2 ** 31), format: random(2 ** 31), pos: random(2 ** 31) });
  },
  // A new format with each of many frames, and each format changed again and again.
  floods(link) {
    for (let i = 0; i < 20000; i++) link.format(1 + (i % FORMATS), 0, videoFormat({ format: "I420", width: 16 + (i % 64), height: 16 + (i % 32), frameRate: 30 }));
    record(link, { format: FORMATS + 1 });
  },
};

try {
  await session.open();
  for (let n = 0; n < 30; n++) {
    await session.roomFor(0, format.size, 10000);
    session.put(0, format, picture, performance.now(), 0);
    await new Promise((r) => setTimeout(r, 10));
  }
  // What is put wrong is not to hit a frame that was right and not yet read.
  while (session.link.look() && Number(session.link.ack.getBigUint64(ACK.classes + 0x10, true)) < session.link.count[0]) await new Promise((r) => setTimeout(r, 10));
  acts[how](session.link);
  while (session.state === "live") await new Promise((r) => setTimeout(r, 50));
  postMessage({ state: session.state });
} catch (e) {
  postMessage({ state: "failed", error: e.message });
}
