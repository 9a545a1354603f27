"""The memory of an attachment: layout, words, and who lives at the other end.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import mmap
import os
import select
import struct
import threading

from . import _atomics
from ._types import Again, Error, Gone, Refused, Stopped, now

PAGE, GRANULE = 4096, 64
WORDS, MAILBOX, WRITERS, STREAMS, FORMATS, END = 0x1000, 0x2000, 0x3000, 0x7000, 0x8000, 0x18000
SEQ = (1 << 24) - 1
WAITING, LIVE, STOPPING, CLOSED, REFUSED, INVALID, REPLACED = range(7)
DATA_SEQ, DATA_WAITERS, FULL_WAITERS, PRODUCER_STATE, MAILBOX_WORD = (WORDS + o for o in (0, 0x40, 0x80, 0xc0, 0x100))
POPULATE_WRITE = 23  # MADV_POPULATE_WRITE


def start_ticks(pid):
    """Field 22 of /proc/pid/stat, 0 where it cannot be read; None for a zombie."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def process_is(pid, ticks):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    found = start_ticks(pid)
    return found is not None and (found == 0 or ticks == 0 or found == ticks)


def text(value, size):
    """UTF-8 with room for the NUL."""
    raw = value.encode()
    if len(raw) >= size or b"\0" in raw:
        raise ValueError("text of more than %d bytes, or with a NUL: %r" % (size - 1, value))
    return raw


def words(raw):
    return bytes(raw).split(b"\0", 1)[0].decode("utf-8", "replace")


class ReadOnly:
    """A read-only shared mapping, of which Python's mmap does not give the address.
    It goes with the last reference to it."""

    def __init__(self, fd, size):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._munmap, self.size = libc.munmap, size
        self.at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if self.at == ctypes.c_void_p(-1).value:
            self.at = None
            raise OSError(ctypes.get_errno(), "mmap of the consumer page failed")

    def unpack(self, form, off):
        return struct.unpack(form, ctypes.string_at(self.at + off, struct.calcsize(form)))

    def __del__(self):
        if getattr(self, "at", None):
            self._munmap(self.at, self.size)


class Class:
    """The ring of one kind: geometry and the addresses of its words."""

    def __init__(self, desc, index, base, cons):
        _, self.slots, self.table, self.arena, self.capacity, self.modulus, self.align = desc
        self.write = base + WORDS + 0x200 + index * 0x100
        self.space_waiters = self.write + 0x40
        self.read = cons + 0x300 + index * 0x100
        self.space_seq = self.read + 0x40
        self.peek = self.read + 0x80
        self.held = self.read + 0x88

    def distance(self, a, b):
        return b - a if b >= a else b + self.modulus - a

    def place(self, pos, n):
        """Extent and payload offset of n bytes claimed at a position."""
        need = (n + GRANULE - 1) // GRANULE
        need = (need + self.align - 1) // self.align * self.align
        at = pos % self.capacity
        if at + need > self.capacity:
            return self.capacity - at + need, 0
        return need, at * GRANULE


class Attachment:
    """One epoch: the memory of both sides and how its consumer is watched."""

    def __init__(self, seg_fd, cons_fd, streams, atomics, sock=None):
        self.a, self.streams, self.sock, self.pid = atomics, streams, sock, os.getpid()
        self.lock = threading.RLock()  # writers of the write cursor, tables and counters
        self.ended, self.gone, self.looked, self.closed = set(), False, 0, False
        self.said = set()  # streams whose end was committed here
        self.fresh = set()  # streams whose next frame is the first of this attachment, which is not the first
        self.over, self.lost = False, 0  # another attachment is current; claims counted as lost since
        self.asked = False  # another HELLO went over sock
        size = os.fstat(seg_fd).st_size
        if size < END or os.fstat(cons_fd).st_size < 2 * PAGE:
            raise Refused("not a ring: too small")
        self.mem = mmap.mmap(seg_fd, size)
        self.view = memoryview(self.mem)
        self._pin = ctypes.c_char.from_buffer(self.mem)  # the mapping stays as long as anybody looks at it
        self.base = ctypes.addressof(self._pin)
        self.cons = ReadOnly(cons_fd, 2 * PAGE)
        self._check(size)
        self._classes()

    def _check(self, size):
        h = struct.unpack_from("<8sHHI7Q", self.mem, 0)
        c = self.cons.unpack("<8sHHIQQ", 0)
        if h[0] != b"PIPERING" or c[0] != b"PIPECONS":
            raise Refused("not a ring")
        if h[1] != 1 or c[1] != 1 or h[4] != 0:
            raise Refused("the consumer speaks another version of the ring")
        if h[6:8] != c[4:6]:
            raise Again("the consumer is replacing the ring")
        rest = struct.unpack_from("<QIIQIIQIIIIII", self.mem, 0x48)
        want = (WRITERS, 64, 256, STREAMS, 32, 128, FORMATS, 256, 256, 128, GRANULE)
        if h[8] != size or h[9:11] != (WORDS, MAILBOX) or rest[:11] != want or rest[12] != 2:
            raise Refused("the ring has another layout")
        self.consumer = struct.unpack_from("<IIQ", self.mem, 0x80)[::2]  # pid, start

    def _classes(self):
        self.classes = {}
        for i in range(2):
            d = struct.unpack_from("<IIQQQQI", self.mem, 0x100 + i * 0x80)
            kind, slots, table, arena, capacity, modulus, align = d
            if kind == 0:
                continue
            if (kind != i + 1 or not 0 < slots <= 65536 or slots & (slots - 1) or not capacity or not align or not modulus
                    or modulus % capacity or table + slots * 128 > len(self.mem) or arena + capacity * GRANULE > len(self.mem)):
                raise Refused("the ring has another layout")
            self.classes[kind] = Class(d, i, self.base, self.cons.at)

    def begin(self):
        """What both modes do once the consumer said yes."""
        for s in self.streams:
            c = self.classes.get(s.kind)
            if c is None or 2 * c.place(0, s.max_frame)[0] > c.capacity:
                raise Refused("the arena of stream %s must hold two frames of %d bytes" % (s.name, s.max_frame))
        for kind in {s.kind for s in self.streams}:
            c = self.classes[kind]
            try:  # the first touch of a page costs; better now
                self.mem.madvise(POPULATE_WRITE, c.arena, c.capacity * GRANULE)
            except OSError:
                pass
        self.a.store32(self.base + PRODUCER_STATE, 1)

    def state(self):
        return self.a.load32(self.cons.at + 0x20)  # SYNC POINT state

    def reason(self):
        return words(self.cons.unpack("256s", 0x100)[0])

    def check(self, ending=False):
        """Raises unless the consumer takes frames; an end of stream also when it stops."""
        if self.closed:
            raise Gone("the producer is closed")
        if os.getpid() != self.pid:
            raise Error("a forked child cannot use its parent's attachment: attach in the child")
        state = self.state()
        if state in (INVALID, REFUSED, REPLACED):
            raise Gone(self.reason())
        if self.gone or state not in (LIVE, STOPPING):
            raise Gone("the consumer is gone")
        if state == STOPPING and not ending:
            raise Stopped("the consumer has stopped taking frames")

    def look(self):
        """Finds out whether the consumer died: system calls, at most every 50 ms."""
        t = now()
        if self.gone or t - self.looked < 50_000_000:
            return
        self.looked = t
        if self.sock is not None:
            poll = select.poll()
            poll.register(self.sock, select.POLLRDHUP)
            self.gone = any(e & (select.POLLHUP | select.POLLRDHUP | select.POLLERR) for _, e in poll.poll(0))
        else:
            self.gone = not process_is(*self.consumer)

    def count(self, off, n=1):
        """Adds to a 64-bit counter that only this process writes, under the lock."""
        word = ctypes.c_uint64.from_address(self.base + off)
        word.value = word.value + n

    def wake(self, waiters):
        """After a seq_cst store of the event."""
        self.a.fence()  # SYNC POINT wake
        if self.a.load32(self.base + waiters) and self.a.take32(self.base + waiters):
            self.a.add32(self.base + DATA_SEQ, 1)
            _atomics.futex_wake(self.base + DATA_SEQ)

    def leave(self):
        """Ends the attachment behind what was committed. The mapping goes when the
        last view of it does, so that no thread and no array is left hanging."""
        with self.lock:
            if self.closed or self.pid != os.getpid():
                return
            self.closed = True
        if not self.replaced():  # there, other threads may still finish frames
            self.a.store32(self.base + PRODUCER_STATE, 2)  # SYNC POINT end
            self.a.add32(self.base + DATA_SEQ, 1)
            _atomics.futex_wake(self.base + DATA_SEQ)
        if self.sock is not None:
            self.sock.close()

    def replaced(self):
        return self.state() == REPLACED and not self.gone

    def newly_lost(self):
        """Claims lost since the last count, under the lock: a thread that was stuck may
        still have claimed when another attachment was current."""
        if not self.over:
            return 0
        before, self.lost = self.lost, self.unused()
        return self.lost - before

    def unused(self):
        """Claims that the consumer did not use up: those it never came to, and those it
        gave up. One that is gone may have lost what it still held; one that replaced
        its ring delivers what it had taken."""
        total = self.a.load64(self.cons.at + 0x210)
        for c in self.classes.values():
            done = self.a.load64(c.peek if self.state() == REPLACED else c.read)
            total += ((self.a.load64(c.write) >> 40) - (done >> 40)) & SEQ
        return total
