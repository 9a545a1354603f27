// Policies, errors, detaching, the end and reattaching against the reader in
// ../langs_test.go: it acts on the lines this prints, and answers when it listens again. The arena holds 64 KiB of
// video.
//
// SPDX-License-Identifier: Apache-2.0
'use strict'

const assert = require('node:assert')
const fs = require('node:fs')
const ring = require('.')

const say = text => fs.writeSync(1, text + '\n')
const code = c => ({ code: 'MPIPE_' + c })

async function main (address) {
  await assert.rejects(ring.attach('unix:/nowhere/at/all', [{ name: 'v', kind: 'video', maxFrame: 9 }], { timeoutMs: 30 }), code('TIMEOUT'))
  await assert.rejects(ring.attach(address, [{ name: 'v', kind: 'other', maxFrame: 9 }]), TypeError)

  const grey = ring.videoLayout('BGRA', 64, 48)
  assert.strictEqual(grey.size, 12288)
  const p = await ring.attach(address, [{ name: 'v', kind: 'video', maxFrame: grey.size }], { name: 'test' })
  const video = p.setVideo(0, grey)
  assert.strictEqual(p.setVideo(0, grey), video)
  assert.strictEqual(p.setVideo(0, ring.videoLayout('RGBA', 64, 48)), video + 1)
  assert.throws(() => p.setAudio(0, { sample: 'S16LE', rate: 48000, channels: 2 }), code('WRONG'))
  assert.throws(() => p.setVideo(0, ring.videoLayout('BGRA', 640, 480)), code('WRONG'))
  assert.throws(() => p.claim(0, video, grey.size + 1), code('WRONG'))
  assert.throws(() => p.claim(-1, video, grey.size), TypeError)
  assert.throws(() => p.write(0, video, 'text'), TypeError)

  let slot = p.claim(0, video, grey.size)
  slot.abort()
  slot.abort()
  slot = p.claim(0, video, grey.size)
  slot.data.fill(1)
  const view = slot.data.subarray(4, 8)
  slot.commit({ pts: 1000, duration: 5n, flags: ring.KEY | ring.DISCONT })
  assert.strictEqual(slot.data.length, 0) // detached, with every other view of it
  assert.strictEqual(view.length, 0)
  slot.commit()
  assert(p.write(0, video, new Float32Array(grey.size / 4).fill(2), { pts: 2000 }))
  assert(p.write(0, video, new DataView(new ArrayBuffer(grey.size + 8), 8), { pts: 3000 }))
  assert(p.write(0, video, new SharedArrayBuffer(grey.size), { pts: 4000 }))
  assert.deepStrictEqual(p.fill(ring.VIDEO), { used: 5 * 12288, capacity: 65536, held: 0 })
  assert.deepStrictEqual(p.fill(ring.AUDIO), { used: 0, capacity: 0, held: 0 })
  assert.deepStrictEqual(p.advice(), { fps: null, heldMs: 0, holder: '' })
  assert.strictEqual(p.claim(0, video, grey.size), null)
  const start = ring.now()
  assert.strictEqual(p.write(0, video, Buffer.alloc(grey.size), { wait: 50 }), false)
  assert(ring.now() - start >= 50000000n)
  p.dropByPolicy(0)
  say('full')
  assert(p.write(0, video, Buffer.alloc(grey.size, 5), { pts: 5000, wait: ring.BLOCK }))
  const advice = p.advice()
  assert.deepStrictEqual([advice.fps, advice.holder], [[15, 1], 'bot.video'])
  assert(ring.keep(advice, 1, 30) && !ring.keep(advice, 2, 30))
  say('counted')
  assert.throws(() => {
    for (;;) p.write(0, video, Buffer.alloc(grey.size), { wait: ring.BLOCK }) // blocked when it comes to the stop
  }, code('STOPPED'))
  say('stopped')

  fs.readSync(0, Buffer.alloc(16)) // it listens again
  const lost = await p.reattach()
  assert(lost === p.lost && lost >= 4 && p.epochs === 2, `${lost} ${p.lost} ${p.epochs}`)
  for (let n = 0; n < 5; n++) { // the format goes on
    const s = p.claim(0, video, grey.size, { wait: ring.BLOCK })
    s.data.fill(n)
    s.commit({ pts: n })
  }
  assert(p.end(0))
  assert.throws(() => p.claim(0, video, grey.size), code('ENDED'))
  const open = p.fill(ring.VIDEO)
  assert(open.capacity === 65536)
  p.close()
  p.close()
  assert.throws(() => p.claim(0, video, grey.size), code('GONE'))
  say('done')
}

main(process.argv[2]).catch(e => {
  say(e.stack)
  process.exitCode = 1
})
