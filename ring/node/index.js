// The producer's side of mpipe's shared-memory ring for Node.js. See README.md
// and index.d.ts; the contract is ring/FORMAT.md.
//
// SPDX-License-Identifier: Apache-2.0
'use strict'

const native = require('./build/Release/mpipe_ring.node')

const VIDEO = 1
const AUDIO = 2
const KEY = 1
const DISCONT = 2
const CORRUPT = 4

// What wait may be besides milliseconds.
const DROP = 0
const BLOCK = Infinity

const kinds = { video: VIDEO, audio: AUDIO }

/** The bytes of anything binary, without a copy. */
function bytes (data) {
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  return new Uint8Array(data)
}

function isBinary (data) {
  return ArrayBuffer.isView(data) || data instanceof ArrayBuffer || data instanceof SharedArrayBuffer
}

function videoLayout (fourcc, width, height, fps = [0, 1]) {
  return { fourcc, width, height, fps, ...native.layout(fourcc, width, height) }
}

class Slot {
  #handle
  #id

  constructor (handle, id, buffer) {
    this.#handle = handle
    this.#id = id
    this.data = new Uint8Array(buffer)
  }

  commit ({ pts = native.now(), duration = 0, flags = 0 } = {}) {
    native.commit(this.#handle, this.#id, BigInt(pts), BigInt(duration), flags)
  }

  abort () {
    native.abort(this.#handle, this.#id)
  }
}

class Producer {
  #handle

  constructor (handle) {
    this.#handle = handle
  }

  setVideo (stream, format) {
    const { fps = [0, 1], colorimetry = '', chromaSite = '', ...rest } = format
    return native.setVideo(this.#handle, stream, { ...rest, fpsNum: fps[0], fpsDen: fps[1], colorimetry, chromaSite })
  }

  setAudio (stream, { sample, rate, channels, mask = 0 }) {
    return native.setAudio(this.#handle, stream, sample, rate, channels, BigInt(mask))
  }

  write (stream, format, data, { pts = native.now(), duration = 0, flags = 0, wait = DROP } = {}) {
    if (!isBinary(data)) throw new TypeError('mpipe_ring: write takes a Buffer, a typed array, an ArrayBuffer or a SharedArrayBuffer')
    return native.write(this.#handle, stream, format, bytes(data), BigInt(pts), BigInt(duration), flags, wait)
  }

  claim (stream, format, size, { wait = DROP } = {}) {
    const claimed = native.claim(this.#handle, stream, format, size, wait)
    return claimed && new Slot(this.#handle, ...claimed)
  }

  dropByPolicy (stream) {
    native.dropByPolicy(this.#handle, stream)
  }

  fill (kind) {
    const [used, capacity, held] = native.fill(this.#handle, kind)
    return { used, capacity, held }
  }

  get epochs () { return native.counts(this.#handle)[1] }

  get lost () { return native.counts(this.#handle)[0] }

  advice () {
    const [num, den, heldMs, holder] = native.advice(this.#handle)
    return { fps: num > 0 ? [num, den] : null, heldMs, holder }
  }

  end (stream, { wait = BLOCK } = {}) {
    return native.end(this.#handle, stream, wait)
  }

  close () {
    native.close(this.#handle)
  }

  async reattach ({ timeoutMs = 10000 } = {}) {
    return native.reattach(this.#handle, timeoutMs)
  }
}

async function attach (address, streams, { name = 'node', timeoutMs = 10000 } = {}) {
  const list = streams.map(s => ({ name: s.name, kind: kinds[s.kind] ?? s.kind, maxFrame: s.maxFrame }))
  const handle = await native.attach(address, list, name, timeoutMs)
  return new Producer(handle)
}

/** Whether frame n of fps a second is one to draw, if no more than the advised rate are. */
function keep ({ fps: advised }, n, fps) {
  if (!advised) return true
  const [num, den] = [advised[0], advised[1] * fps]
  return num >= den || Math.floor(n * num / den) !== Math.floor((n + 1) * num / den)
}

module.exports = { VIDEO, AUDIO, KEY, DISCONT, CORRUPT, DROP, BLOCK, attach, keep, videoLayout, now: native.now, Producer, Slot }
