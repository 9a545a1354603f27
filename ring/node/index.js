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
  #options
  #formats = [] // in the order of their ids

  constructor (handle, options) {
    this.#handle = handle
    this.#options = options
    this.epochs = 1
    this.lost = 0
  }

  setVideo (stream, format) {
    const { fps = [0, 1], colorimetry = '', chromaSite = '', ...rest } = format
    return this.#publish('setVideo', [stream, { ...rest, fpsNum: fps[0], fpsDen: fps[1], colorimetry, chromaSite }])
  }

  setAudio (stream, { sample, rate, channels, mask = 0 }) {
    return this.#publish('setAudio', [stream, sample, rate, channels, BigInt(mask)])
  }

  #publish (call, args) {
    const id = native[call](this.#handle, ...args)
    if (id > this.#formats.length) this.#formats.push({ call, args })
    return id
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

  advisedFps () {
    const [, , , , num, den] = native.fill(this.#handle, VIDEO)
    return num > 0 && den > 0 ? [num, den] : null
  }

  end (stream, { wait = BLOCK } = {}) {
    return native.end(this.#handle, stream, wait)
  }

  close () {
    native.close(this.#handle)
  }

  async reattach ({ timeoutMs = 10000 } = {}) {
    let lost = 0
    try {
      lost = native.fill(this.#handle, VIDEO)[3] + native.fill(this.#handle, AUDIO)[3]
    } catch (e) { // closed by an attempt before this one, and counted then
      if (e.code !== 'MPIPE_GONE') throw e
    }
    native.close(this.#handle)
    this.lost += lost
    const { address, streams, name } = this.#options
    this.#handle = await native.attach(address, streams, name, timeoutMs)
    this.epochs++
    for (const { call, args } of this.#formats) native[call](this.#handle, ...args) // the same order: the same ids
    return lost
  }
}

async function attach (address, streams, { name = 'node', timeoutMs = 10000 } = {}) {
  const list = streams.map(s => ({ name: s.name, kind: kinds[s.kind] ?? s.kind, maxFrame: s.maxFrame }))
  const handle = await native.attach(address, list, name, timeoutMs)
  return new Producer(handle, { address, streams: list, name })
}

module.exports = { VIDEO, AUDIO, KEY, DISCONT, CORRUPT, DROP, BLOCK, attach, videoLayout, now: native.now, Producer, Slot }
