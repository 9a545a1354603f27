#!/usr/bin/env python3
"""A producer that draws a moving picture and plays a tone.

SPDX-License-Identifier: Apache-2.0

    mpipe run graphs/record.toml --param ring=demo --param out=demo.mp4 &
    python3 ring/python/example.py --ring demo --size 1280x720 --fps 30 --frames 300

One thread draws each picture straight into the ring, with numpy where that is
installed, another plays 20 ms packets of sound. --hash prints the SHA-256 of each
frame's bytes, taken before they are written; --fps 0 goes as fast as the consumer
takes the frames. With --adapt it draws no more pictures than the consumer says it can
take; with --reattach it goes on when the consumer starts again.
"""
import argparse
import hashlib
import struct
import sys
import threading
import time

import mpipe_ring as ring

try:
    import numpy
except ImportError:
    numpy = None

RATE, PACKET, CHANNELS = 48000, 960, 2


def picture(fmt, n):
    """Bytes of an I420 picture: a gradient that drifts, and a box that runs across it.
    Row padding is written too: a ring does not zero anything."""
    out = bytearray(fmt.size)
    box = fmt.height // 4
    x, y0 = n * 8 % fmt.width, (fmt.height - box) // 2
    for p, (stride, at) in enumerate(zip(fmt.strides, fmt.offsets)):
        rows = fmt.height if p == 0 else (fmt.height + 1) // 2
        for y in range(rows):
            shade = 32 + (y + n) % 160 if p == 0 else 64 + (y + n * p) % 128
            out[at + y * stride:at + (y + 1) * stride] = bytes((shade,)) * stride
        if p == 0:
            wide = min(box, fmt.width - x)
            for y in range(y0, y0 + box):
                out[at + y * stride + x:at + y * stride + x + wide] = b"\xeb" * wide
    return out


def draw(fmt, n, data):
    """The same picture, drawn straight into the slot by numpy."""
    whole = numpy.frombuffer(data, numpy.uint8)
    whole[:] = 0
    box = fmt.height // 4
    x, y0 = n * 8 % fmt.width, (fmt.height - box) // 2
    for p, (stride, at) in enumerate(zip(fmt.strides, fmt.offsets)):
        rows = fmt.height if p == 0 else (fmt.height + 1) // 2
        plane = whole[at:at + rows * stride].reshape(rows, stride)
        shades = 32 + (numpy.arange(rows) + n) % 160 if p == 0 else 64 + (numpy.arange(rows) + n * p) % 128
        plane[:] = shades[:, None]
        if p == 0:
            plane[y0:y0 + box, x:min(x + box, fmt.width)] = 235


def tone(sample):
    """440 Hz by a parabola for each half wave."""
    phase = sample * 440 % RATE * 65536 // RATE
    half = phase & 32767
    v = half * (32768 - half) // 32768
    return v if phase < 32768 else -v


def tell(o, name, n, data):
    if o.hash:
        sys.stdout.write("%s %d %s\n" % (name, n, hashlib.sha256(data).hexdigest()))


def pause(start, n, step):
    left = (start + n * step - ring.now()) / 1e9
    if step and left > 0:
        time.sleep(left)


def pictures(o, p, stream, fmt, start):
    step = 10**9 // o.fps if o.fps else 0
    video = p.set_video(stream, fmt)
    with p.writer() as w:
        for n in range(o.frames):
            pause(start, n, step)
            if o.adapt and not p.advice().keep(n, o.fps):
                w.drop_by_policy(stream)
                continue
            pts = start + n * step if step else ring.now()
            if numpy is None or o.plain:
                data = picture(fmt, n)
                tell(o, p.streams[stream].name, n, data)
                w.write(stream, video, data, pts, step, ring.KEY, o.wait)
                continue
            try:
                slot = w.claim(stream, video, fmt.size, o.wait)
            except ring.Full:  # counted as dropped: on with the next one
                continue
            with slot:
                draw(fmt, n, slot.data)
                if o.hash:
                    tell(o, p.streams[stream].name, n, picture(fmt, n))
                slot.commit(pts, step, ring.KEY)
    p.end(stream)


def sound(o, p, stream, start):
    step = 20_000_000
    audio = p.set_audio(stream, ring.AudioFormat("S16LE", RATE, CHANNELS))
    second = [struct.pack("<hh", tone(i), tone(i)) for i in range(RATE)]  # 440 whole periods
    with p.writer() as w:
        for n in range(o.frames * 50 // o.fps if o.fps else o.frames):
            pause(start, n, step if o.fps else 0)
            at = n * PACKET % RATE
            data = b"".join(second[at:at + PACKET])
            tell(o, p.streams[stream].name, n, data)
            w.write(stream, audio, data, start + n * step, step, 0, o.wait)
    p.end(stream)


def policy(text):
    return {"drop": ring.DROP, "block": ring.BLOCK}[text] if text in ("drop", "block") else float(text) / 1000


def main():
    a = argparse.ArgumentParser(description="feeds a moving picture and a tone into a ring")
    a.add_argument("--ring", required=True, help="NAME for /dev/shm/NAME, a path, unix:/path.sock or fd:N")
    a.add_argument("--frames", type=int, default=300)
    a.add_argument("--size", default="640x360")
    a.add_argument("--second", help="WxH of another picture")
    a.add_argument("--fps", type=int, default=30)
    a.add_argument("--policy", dest="wait", type=policy, default=ring.BLOCK, help="drop, block or milliseconds")
    a.add_argument("--adapt", action="store_true", help="draw no more than the consumer can take")
    a.add_argument("--reattach", action="store_true", help="go on when the consumer starts again")
    a.add_argument("--hash", action="store_true")
    a.add_argument("--plain", action="store_true", help="do without numpy")
    a.add_argument("--atomics", choices=["library", "kernel"])
    o = a.parse_args()

    jobs, streams = [], []
    for name, size in (("video", o.size), ("second", o.second)):
        if size:
            w, h = map(int, size.split("x"))
            fmt = ring.VideoFormat.layout("I420", w, h, (o.fps, 1))
            jobs.append((pictures, fmt))
            streams.append(ring.Stream(name, ring.VIDEO, fmt.size))
    jobs.append((sound,))
    streams.append(ring.Stream("audio", ring.AUDIO, PACKET * CHANNELS * 2))
    failed = []

    def run(i, job, *args):
        try:
            job(o, p, i, *args)
        except ring.Stopped:  # no failure of ours
            pass
        except Exception as e:
            failed.append("%s: %s" % (streams[i].name, e))

    with ring.attach(o.ring, streams, "example.py", 10, o.atomics, o.reattach) as p:
        start = ring.now()
        threads = [threading.Thread(target=run, args=(i, *job, start)) for i, job in enumerate(jobs)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    for text in failed:
        print("example:", text, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
