"""Both ways of mpipe_ring._atomics lose no operation when two processes compete,
also when each uses another way.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import mmap
import os
import sys

from mpipe_ring import _atomics

ROUNDS = 4000


def shared():
    mem = mmap.mmap(-1, 4096)
    pin = ctypes.c_char.from_buffer(mem)
    return mem, pin, ctypes.addressof(pin)


def compete(work):
    """Runs work(side) in two processes."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(1)
            code = 0
        finally:
            os._exit(code)
    work(0)
    assert os.waitpid(pid, 0)[1] == 0


def adding(a, b):
    mem, pin, at = shared()

    def work(side):
        x = (a, b)[side]
        for i in range(ROUNDS):
            x.add32(at, 3 if i % 2 else -1)

    compete(work)
    want = 2 * ROUNDS * (3 - 1) // 2
    assert a.load32(at) == want, (a.name, b.name, a.load32(at), want)


def claiming(a):
    """64-bit compare-and-swap, as the C header claims."""
    mem, pin, at = shared()

    def work(_):
        for _ in range(ROUNDS):
            while True:
                old = a.load64(at)
                if a.cas64(at, old, old + (1 << 40) + 1):
                    break

    compete(work)
    assert a.load64(at) == 2 * ROUNDS * ((1 << 40) + 1)


library, kernel = _atomics.choose("library"), _atomics.choose("kernel")
for x in (library, kernel):
    mem, pin, at = shared()
    x.store64(at, 1 << 63 | 5)
    x.store32(at + 8, 0xfffffffe)
    assert x.load64(at) == 1 << 63 | 5 and x.load32(at + 8) == 0xfffffffe
    assert x.take32(at + 8) and x.load32(at + 8) == 0 and not x.take32(at + 8)
assert library.cas32(at + 8, 0, 7) and not library.cas32(at + 8, 0, 8) and library.load32(at + 8) == 7
for pair in ((library, library), (kernel, kernel), (library, kernel)):
    adding(*pair)
claiming(library)
sys.exit(0)
