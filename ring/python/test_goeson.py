"""A producer that finds the next consumer, or the next ring, by itself: what
../testdata/goeson.c is in C.

    test_goeson.py ADDRESS [STUCK]

SPDX-License-Identifier: Apache-2.0
"""
import sys
import threading
import time

import numpy

import mpipe_ring as ring

wake, stop = threading.Event(), threading.Event()
stuck = int(sys.argv[2]) if len(sys.argv) > 2 else -1
written = [0, 0]


def mix(x):
    """splitmix64 of an array."""
    x = x + numpy.uint64(0x9e3779b97f4a7c15)
    x = (x ^ x >> numpy.uint64(30)) * numpy.uint64(0xbf58476d1ce4e5b9)
    x = (x ^ x >> numpy.uint64(27)) * numpy.uint64(0x94d049bb133111eb)
    return x ^ x >> numpy.uint64(31)


def write_frames(p, stream, fmt):
    n = 0
    with p.writer() as w:
        while not stop.is_set():
            key = mix(numpy.array([stream ^ stream << 32 ^ n], numpy.uint64))
            size = 1024 + 8 * (int(key[0]) % ((8192 - 1024) // 8))
            with w.claim(stream, fmt, size, 20) as slot:
                if stream == 0 and n == stuck:
                    print("stuck", flush=True)
                    wake.wait()
                numpy.frombuffer(slot.data, numpy.uint64)[:] = mix(key + numpy.arange(size // 8, dtype=numpy.uint64))
                slot.commit(n)
            n += 1
            written[stream] = n
            time.sleep(0.0001)
    p.end(stream)


with ring.attach(sys.argv[1], [ring.Stream(s, ring.VIDEO, 8192) for s in "vw"], "goes on", 20, reattach=True) as p:
    grey = ring.VideoFormat("GRAY8", 64, 16, (64,), (0,), 1024)
    threads = [threading.Thread(target=write_frames, args=(p, i, p.set_video(i, grey))) for i in range(2)]
    for t in threads:
        t.start()
    if stuck >= 0 and sys.stdin.readline():
        wake.set()
    sys.stdin.read()
    stop.set()
    for t in threads:
        t.join()
    print(sum(written), p.lost, p.epochs, flush=True)
