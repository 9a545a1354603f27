"""Producer, Writer and Slot: claim, commit, end.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import os
import struct
import threading
import time

from . import _atomics
from ._attach import check_streams, connect
from ._memory import DATA_WAITERS, FORMATS, FULL_WAITERS, SEQ, STREAMS, WRITERS, text
from ._types import AUDIO, BLOCK, DROP, VIDEO, Ended, Fill, Full, Gone, NotTaken, Stopped, now

_POS = (1 << 40) - 1
_NONE = (1 << 64) - 1
_CLAIMED, _COMMITTED, _ABORTED = 1, 2, 3
_EOS = 8
_LINE1 = struct.Struct("<QQQQHBxI")  # claim, extent, offset, length, stream, kind, format; at 8
_LINE2 = struct.Struct("<qqI")  # pts, duration, flags; at 0x40
# Counters of a writer entry, and of a stream.
_FRAMES, _BYTES, _W_FULL, _W_POLICY, _W_BLOCKED, _RETRIES, _W_ABORTED = range(0x80, 0xb8, 8)
_S_FULL, _S_POLICY, _S_BLOCKED = 0, 8, 16


class Producer:
    """A process's end of one attachment; see attach. Any thread may call it. It
    closes at the end of a with block."""

    def __init__(self, address, streams, name, timeout, atomics):
        self.address, self.streams, self.name = address, check_streams(streams), name
        self._atomics = _atomics.choose(atomics)
        self._formats, self._writers = [], []
        self.epochs, self.lost = 0, 0  # attachments so far; frames that the ones before the last did not deliver
        self._at = None
        self._connect(timeout)

    def _connect(self, timeout):
        deadline = None if timeout is None else time.monotonic() + timeout
        self._at = connect(self.address, self.streams, self.name, deadline, self._atomics)
        self.epochs += 1

    @property
    def atomics(self):
        """"library" or "kernel"."""
        return self._atomics.name

    def reattach(self, timeout=None):
        """Leaves this consumer, which is gone or has stopped, and attaches to the next
        one at the same address. Writers and format ids stay valid; slots claimed
        before do not; ended streams are open again. Gives the number of frames that
        were claimed in the last epoch and not used up by its consumer; lost adds
        them up. NotTaken when the time is over: call it again."""
        if self.address.startswith("fd:"):
            raise ValueError("a socket that was handed in is good for one attachment")
        lost = 0
        if not self._at.closed:
            self._at.leave()
            lost = self._at.undelivered()
            self.lost += lost
        self._connect(timeout)
        with self._at.lock:
            for entry in self._formats:  # into an empty table, in order: the same ids
                self._publish(self._at, entry)
            for w in self._writers:
                w._open()
        return lost

    def writer(self):
        """One for each thread that claims; at most 64. Close it when the thread ends."""
        return Writer(self)

    def set_video(self, stream, f):
        """Publishes a VideoFormat and gives the id its frames carry; the same format
        gives the same id. At most 256 in an attachment."""
        self._stream(stream, VIDEO)
        if f.size > self.streams[stream].max_frame:
            raise ValueError("the picture is larger than the stream declared")
        n = len(f.strides)
        if not 1 <= n <= 4 or len(f.offsets) != n or f.fps[1] < 1:
            raise ValueError("the format has no planes or a frame rate over 0")
        pad = (0,) * (4 - n)
        return self._set(struct.pack("<4xBBHIIIIQ4I4Q32s32s32s80x", VIDEO, n, stream, f.width, f.height, *f.fps, 0,
                                     *f.strides, *pad, *f.offsets, *pad,
                                     text(f.fourcc, 32), text(f.colorimetry, 32), text(f.chroma_site, 32)))

    def set_audio(self, stream, f):
        """Like set_video, of an AudioFormat."""
        self._stream(stream, AUDIO)
        if f.rate < 1 or f.channels < 1:
            raise ValueError("audio needs a rate and channels")
        return self._set(struct.pack("<4xBBHIIIIQ48x32s64x80x", AUDIO, 0, stream, f.rate, f.channels, 0, 0, f.mask,
                                     text(f.sample, 32)))

    def _stream(self, stream, kind=None):
        if not 0 <= stream < len(self.streams) or kind not in (None, self.streams[stream].kind):
            raise ValueError("no such stream: %d" % stream)

    def _set(self, entry):
        with self._at.lock:
            self._at.check(ending=True)
            if entry in self._formats:
                return self._formats.index(entry) + 1
            if len(self._formats) == 256:
                raise ValueError("an attachment holds 256 formats; attach again")
            self._formats.append(entry)
            return self._publish(self._at, entry)

    def _publish(self, at, entry):
        i = self._formats.index(entry)
        off = FORMATS + i * 256
        at.mem[off:off + 256] = entry
        at.a.store32(at.base + off, 1)  # SYNC POINT format
        return i + 1

    def fill(self, kind):
        """How full the ring of a kind is."""
        at = self._at
        c = at.classes.get(kind)
        if c is None:
            return Fill(0, 0, 0)
        used = c.distance(at.a.load64(c.read) & _POS, at.a.load64(c.write) & _POS) * 64
        return Fill(min(used, c.capacity * 64), c.capacity * 64, at.a.load64(c.held))

    def advised_fps(self):
        """The frame rate the consumer asks for, (numerator, denominator), or None."""
        num, den = self._at.cons.unpack("<II", 0x50)
        return (num, den) if num and den else None

    def end(self, stream, wait=BLOCK):
        """Ends a stream behind what was committed of it. wait as in Writer.claim, for
        a free slot."""
        self._stream(stream)
        at = self._at
        with at.lock:
            if stream in at.ended:
                return
            at.ended.add(stream)
        try:
            with Writer(self) as w:
                w._reserve(at, stream, 0, 0, wait, True).commit(now(), 0, _EOS)
        except BaseException:
            at.ended.discard(stream)
            raise

    def close(self):
        """Ends all streams, as far as there are free slots, and detaches."""
        at = self._at
        if at is None or at.closed or at.pid != os.getpid():
            return
        for i in range(len(self.streams)):
            try:
                self.end(i, DROP)
            except (Full, Gone, Stopped):
                pass
        at.leave()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Writer:
    """An entry of the writer table, for one thread at a time."""

    def __init__(self, producer):
        self._p, self._at, self._base, self._closed = producer, None, 0, False
        with producer._at.lock:
            self._open()
            producer._writers.append(self)

    def _open(self):
        at = self._p._at
        for i in range(64):
            entry = at.base + WRITERS + i * 256
            if at.a.load32(entry) == 0:
                break
        else:
            raise ValueError("64 writers are in use; close one")
        struct.pack_into("<II", at.mem, WRITERS + i * 256 + 4, os.getpid(), threading.get_native_id())
        at.a.store32(entry, 1)
        self._at, self._index, self._base = at, i, WRITERS + i * 256
        self._frames = ctypes.c_uint64.from_address(entry + _FRAMES).value

    def close(self):
        at = self._at
        with at.lock:
            if self._closed:
                return
            self._closed = True
            self._p._writers.remove(self)
            if not at.closed:
                at.a.store32(at.base + self._base, 0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def claim(self, stream, format, size, wait=DROP):
        """A Slot of size bytes to draw into. wait: DROP (0) raises Full at once when
        there is no room, BLOCK (None) waits for ever, else seconds until Full. A frame
        without room is counted as dropped. Stopped, Gone, Ended."""
        p, at = self._p, self._at
        p._stream(stream)
        if not 0 < size <= p.streams[stream].max_frame:
            raise ValueError("the frame is empty or larger than the stream declared")
        if not 0 < format <= len(p._formats):
            raise ValueError("the format was not published")
        if stream in at.ended:
            raise Ended("the stream has ended")
        return self._reserve(at, stream, format, size, wait, False)

    def write(self, stream, format, data, pts, duration=0, flags=0, wait=DROP):
        """Claims, copies data (anything with the buffer protocol) in and commits. False
        when the frame was dropped because there was no room."""
        with memoryview(data) as whole, whole.cast("B") as raw:
            try:
                slot = self.claim(stream, format, len(raw), wait)
            except Full:
                return False
            with slot:
                slot.data[:] = raw
                slot.commit(pts, duration, flags)
        return True

    def drop_by_policy(self, stream):
        """Counts a frame that the program left out of its own will."""
        self._p._stream(stream)
        with self._at.lock:
            self._at.count(self._base + _W_POLICY)
            self._at.count(STREAMS + stream * 128 + _S_POLICY)

    def _advance(self, at, c, n):
        """Moves the write cursor over n bytes: (cursor, extent, offset), or None. Under
        the lock nobody else moves it: what takes the place of the compare-and-swap."""
        a = at.a
        intent = at.base + self._base + (0x40 if c is at.classes.get(VIDEO) else 0x48)
        with at.lock:
            if at.closed:
                raise Gone("the producer is closed")
            write = a.load64(c.write)
            read = a.load64(c.read)  # SYNC POINT space
            pos = write & _POS
            extent, offset = c.place(pos, n)
            if ((write >> 40) - (read >> 40)) & SEQ >= c.slots or c.distance(read & _POS, pos) + extent > c.capacity:
                return None
            to = pos + extent
            if to >= c.modulus:
                to -= c.modulus
            a.store64(intent, write)  # SYNC POINT intent
            a.fence()
            a.store64(c.write, to | (((write >> 40) + 1) & SEQ) << 40)
            return write, extent, offset

    def _wait(self, at, c, stream, n, wait, ending):
        """Waits for room; None when the deadline passed."""
        a, start = at.a, time.monotonic()
        try:
            while True:
                a.add32(c.space_waiters, 1)  # SYNC POINT space
                try:
                    key = a.load32(c.space_seq)
                    got = self._advance(at, c, n)
                    left = 1.0 if wait is None else wait - (time.monotonic() - start)
                    if got is None and left > 0:
                        at.wake(FULL_WAITERS)
                        at.check(ending)
                        _atomics.futex_wait(c.space_seq, key, left)
                finally:
                    a.add32(c.space_waiters, -1)
                got = got or self._advance(at, c, n)
                if got is not None:
                    return got
                at.look()
                at.check(ending)
                if left <= 0:
                    return None
        finally:
            spent = int((time.monotonic() - start) * 1e9)
            with at.lock:
                at.count(self._base + _W_BLOCKED, spent)
                at.count(STREAMS + stream * 128 + _S_BLOCKED, spent)

    def _reserve(self, at, stream, format, n, wait, ending):
        kind = self._p.streams[stream].kind
        c = at.classes[kind]
        at.check(ending)
        if self._closed:
            raise ValueError("the writer is closed")
        got = self._advance(at, c, n)
        if got is None:
            at.wake(FULL_WAITERS)
            if wait is None or wait > 0:
                got = self._wait(at, c, stream, n, wait, ending)
            else:
                at.look()
                at.check(ending)
        if got is None:
            if not ending:
                with at.lock:
                    at.count(self._base + _W_FULL)
                    at.count(STREAMS + stream * 128 + _S_FULL)
            raise Full("the ring is full")
        cursor, extent, offset = got
        entry = c.table + (cursor >> 40 & (c.slots - 1)) * 128
        word = cursor >> 40 << 40 | self._index << 8
        _LINE1.pack_into(at.mem, entry + 8, cursor, extent, offset, n, stream, kind, format)
        at.a.store64(at.base + entry, word | _CLAIMED)  # SYNC POINT tag
        at.a.store64(at.base + self._base + 0x40 + (kind - 1) * 8, _NONE)
        struct.pack_into("<Q", at.mem, entry + 0x58, self._frames)
        self._frames += 1
        return Slot(self, at, entry, word, at.view[c.arena + offset:c.arena + offset + n])


class Slot:
    """Claimed space. data is a writable memoryview of the ring itself: write all of it,
    then commit; leaving a with block without that aborts. Nothing may be written
    after the commit: data is released then, but slices and arrays made of it
    are not, so drop them."""

    def __init__(self, writer, at, entry, word, data):
        self._w, self._at, self._entry, self._word, self.data = writer, at, entry, word, data
        self._size = len(data)

    def commit(self, pts, duration=0, flags=0):
        """Publishes the frame. Stamps are ns of CLOCK_MONOTONIC; duration 0 when
        unknown; flags KEY, DISCONT, CORRUPT."""
        at = self._at
        if at is not None:
            _LINE2.pack_into(at.mem, self._entry + 0x40, pts, duration, flags)
            self._finish(_COMMITTED)

    def abort(self):
        """Gives the space back; the consumer never sees the frame."""
        if self._at is not None:
            self._finish(_ABORTED)

    def _finish(self, state):
        at, w = self._at, self._w
        self._at = None
        try:
            self.data.release()
        except BufferError:  # an array still looks at it; see above
            pass
        self.data = None
        at.a.store64(at.base + self._entry, self._word | state)  # SYNC POINT commit
        if w._at is at:
            if state == _COMMITTED:
                at.count(w._base + _FRAMES)
                at.count(w._base + _BYTES, self._size)
            else:
                at.count(w._base + _W_ABORTED)
        at.wake(DATA_WAITERS)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.abort()


def attach(address, streams, name="python", timeout=None, atomics=None):
    """A Producer, once a consumer at the address has taken it: NAME for
    /dev/shm/NAME, a path that begins with "/" or ".", unix:PATH, or fd:N, a
    connected SOCK_SEQPACKET socket, which it then owns. timeout in seconds, None
    for ever. atomics: None for the best there is, or "library" or "kernel".
    NotTaken when the time is over, Refused, ValueError."""
    return Producer(address, streams, name, timeout, atomics)
