#!/usr/bin/env node
// A producer that draws a moving picture and plays a tone.
//
//   mpipe run graphs/record.toml --param ring=demo --param out=demo.mp4 &
//   node ring/node/example.js --ring demo --size 1280x720 --fps 30 --frames 300
//
// The picture is drawn straight into the ring; a second one of another size
// (--second) comes from a SharedArrayBuffer, the sound from a Buffer, with one copy
// each. --hash prints the SHA-256 of each frame's bytes; --fps 0 goes as fast as
// the consumer takes the frames. With --adapt it draws no more pictures than the
// consumer says it can take; with --reattach it goes on when the consumer starts again.
//
// SPDX-License-Identifier: Apache-2.0
'use strict'

const { createHash } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const { parseArgs } = require('node:util')
const ring = require('.')

const RATE = 48000
const PACKET = RATE / 50
const CHANNELS = 2

// A gradient that drifts, and a white box that runs across it. Row padding is
// written too: a ring does not zero anything.
function draw (data, f, n) {
  const box = f.height >> 2
  const x = n * 8 % f.width
  const y0 = (f.height - box) >> 1
  data.fill(0)
  f.strides.forEach((stride, p) => {
    const rows = p === 0 ? f.height : (f.height + 1) >> 1
    for (let y = 0; y < rows; y++) {
      const at = f.offsets[p] + y * stride
      data.fill(p === 0 ? 32 + (y + n) % 160 : 64 + (y + n * p) % 128, at, at + stride)
      if (p === 0 && y >= y0 && y < y0 + box) data.fill(235, at + x, at + Math.min(x + box, f.width))
    }
  })
}

// 440 Hz by a parabola for each half wave.
function tone (sample) {
  const phase = Math.floor(sample * 440 % RATE * 65536 / RATE)
  const half = phase & 32767
  const v = Math.floor(half * (32768 - half) / 32768)
  return phase < 32768 ? v : -v
}

function packet (n) {
  const b = Buffer.alloc(PACKET * CHANNELS * 2)
  for (let i = 0; i < PACKET; i++) {
    const v = tone(n * PACKET + i)
    b.writeInt16LE(v, i * 4)
    b.writeInt16LE(v, i * 4 + 2)
  }
  return b
}

function options () {
  const { values } = parseArgs({
    options: {
      ring: { type: 'string' },
      frames: { type: 'string', default: '300' },
      size: { type: 'string', default: '640x360' },
      second: { type: 'string' },
      fps: { type: 'string', default: '30' },
      policy: { type: 'string', default: 'block' },
      adapt: { type: 'boolean', default: false },
      reattach: { type: 'boolean', default: false },
      hash: { type: 'boolean', default: false }
    }
  })
  if (!values.ring) throw new Error('--ring is missing: NAME for /dev/shm/NAME, a path, unix:/path.sock or fd:N')
  const wait = { drop: ring.DROP, block: ring.BLOCK }[values.policy] ?? Number(values.policy)
  return { ...values, frames: Number(values.frames), fps: Number(values.fps), wait }
}

async function main () {
  const o = options()
  const layout = size => ring.videoLayout('I420', ...size.split('x').map(Number), [o.fps, 1])
  const first = layout(o.size)
  const second = o.second && layout(o.second)
  const streams = [{ name: 'video', kind: 'video', maxFrame: first.size }]
  if (second) streams.push({ name: 'second', kind: 'video', maxFrame: second.size })
  streams.push({ name: 'audio', kind: 'audio', maxFrame: PACKET * CHANNELS * 2 })

  const p = await ring.attach(o.ring, streams, { name: 'example.js' })
  const tell = (stream, n, data) => {
    if (o.hash) console.log(`${streams[stream].name} ${n} ${createHash('sha256').update(data).digest('hex')}`)
  }
  const firstId = p.setVideo(0, first)
  const secondId = second && p.setVideo(1, second)
  const shared = second && new Uint8Array(new SharedArrayBuffer(second.size))
  const sound = streams.length - 1
  const audioId = p.setAudio(sound, { sample: 'S16LE', rate: RATE, channels: CHANNELS })

  const start = ring.now()
  const step = o.fps > 0 ? BigInt(Math.round(1e9 / o.fps)) : 0n
  const packetsAt = n => o.fps > 0 ? Math.floor(n * 50 / o.fps) : n
  const frame = n => {
    const pts = step ? start + BigInt(n) * step : ring.now()
    const wanted = !o.adapt || ring.keep(p.advice(), n, o.fps)
    const slot = wanted && p.claim(0, firstId, first.size, { wait: o.wait })
    if (slot) { // else it was counted as dropped: on with the next one
      draw(slot.data, first, n)
      tell(0, n, slot.data)
      slot.commit({ pts, duration: step, flags: ring.KEY })
    }
    if (!wanted) p.dropByPolicy(0)
    if (second && wanted) {
      draw(shared, second, n)
      tell(1, n, shared)
      p.write(1, secondId, shared, { pts, duration: step, flags: ring.KEY, wait: o.wait })
    }
    for (let i = packetsAt(n); i < packetsAt(n + 1); i++) {
      const b = packet(i)
      tell(sound, i, b)
      p.write(sound, audioId, b, { pts: start + BigInt(i) * 20000000n, duration: 20000000n, wait: o.wait })
    }
  }
  try {
    for (let n = 0; n < o.frames; n++) {
      const early = step ? Number(start + BigInt(n) * step - ring.now()) / 1e6 : 0
      if (early > 0) await sleep(early)
      try {
        frame(n)
      } catch (e) {
        if (!o.reattach || (e.code !== 'MPIPE_GONE' && e.code !== 'MPIPE_STOPPED')) throw e
        console.error(`example: ${e.message}; looking for the next consumer`)
        await p.reattach({ timeoutMs: Infinity })
      }
    }
    streams.forEach((_, i) => p.end(i))
  } catch (e) {
    if (e.code !== 'MPIPE_STOPPED') throw e // a consumer that stops is no failure of ours
  } finally {
    p.close()
  }
}

main().catch(e => {
  console.error('example: ' + e.message)
  process.exitCode = 1
})
