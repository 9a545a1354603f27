"""Policies, errors, the end and reattaching against the reader in ../langs_test.go:
it acts on the lines this prints. The arena holds 64 KiB of video.

SPDX-License-Identifier: Apache-2.0
"""
import os
import sys

import numpy

import mpipe_ring as ring
from mpipe_ring import DISCONT, KEY, Stream, VideoFormat


def say(text):
    print(text, flush=True)


def fails(error, f, *args):
    try:
        f(*args)
    except error:
        return
    raise AssertionError("%s was not raised by %s%s" % (error.__name__, f.__name__, args))


address, atomics = sys.argv[1:]
grey = VideoFormat.layout("BGRA", 64, 48)
assert grey.size == 12288
p = ring.attach(address, [Stream("v", ring.VIDEO, grey.size)], "test", 10, atomics)
assert p.atomics == atomics
video = p.set_video(0, grey)
assert p.set_video(0, grey) == video
assert p.set_video(0, VideoFormat.layout("RGBA", 64, 48)) == video + 1
fails(ValueError, p.set_audio, 0, ring.AudioFormat("S16LE", 48000, 2))
fails(ValueError, p.set_video, 0, VideoFormat.layout("BGRA", 640, 480))

w = p.writer()
fails(ValueError, w.claim, 0, video, grey.size + 1)
fails(ValueError, w.claim, 0, video + 2, grey.size)
fails(ValueError, w.claim, 1, video, grey.size)
with w.claim(0, video, grey.size) as slot:
    pass  # aborts
with w.claim(0, video, grey.size) as slot:
    slot.data[:] = b"\1" * grey.size
    slot.commit(1000, 5, KEY | DISCONT)
assert slot.data is None
for n in range(2, 5):  # the aborted claim, this and three more: 5 times 12 KiB
    with w.claim(0, video, grey.size) as slot:
        pixels = numpy.frombuffer(slot.data, numpy.uint8)
        pixels[:] = n
        slot.commit(n * 1000)
fill = p.fill(ring.VIDEO)
assert fill.used == 5 * 12288 and fill.capacity == 65536 and fill.held == 0, fill
assert p.fill(ring.AUDIO) == ring.Fill(0, 0, 0)
fails(ring.Full, w.claim, 0, video, grey.size)
start = ring.now()
assert w.write(0, video, bytes(grey.size), 5000, wait=0.05) is False
assert ring.now() - start >= 50_000_000
w.drop_by_policy(0)
say("full")
assert w.write(0, video, numpy.full((48, 64, 4), 5, numpy.uint8), 5000, wait=ring.BLOCK)
advice = p.advice()
assert (advice.fps, advice.holder) == ((15, 1), "bot.video") and advice.keep(1, 30) and not advice.keep(2, 30), advice
say("counted")
while True:
    try:
        w.write(0, video, bytes(grey.size), 6000, wait=ring.BLOCK)  # blocked when it comes to the stop
    except ring.Stopped:
        break
say("stopped")

pid = os.fork()  # a child shares the memory but not the lock
if pid == 0:
    try:
        w.claim(0, video, grey.size)
    except ring.Gone:
        os._exit(3)
    except ring.Error:
        os._exit(0)
    os._exit(1)
assert os.waitpid(pid, 0)[1] == 0

sys.stdin.readline()  # it listens again
lost = p.reattach(10)
assert lost == p.lost and lost >= 4 and p.epochs == 2, (lost, p.epochs)
for n in range(5):  # the writer and the format go on
    slot = w.claim(0, video, grey.size, ring.BLOCK)
    slot.data[:] = bytes((n,)) * grey.size
    slot.commit(n)
p.end(0)
fails(ring.Ended, w.claim, 0, video, grey.size)
p.close()
p.close()
say("done")
