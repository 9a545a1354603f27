"""Producer, Writer and Slot: claim, commit, end.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import os
import struct
import threading
import time

from . import _atomics
from ._attach import again, check_streams, connect
from ._memory import DATA_WAITERS, FORMATS, FULL_WAITERS, SEQ, STREAMS, WRITERS, text, words
from ._types import AUDIO, BLOCK, DISCONT, DROP, VIDEO, Advice, Again, Ended, Error, Fill, Full, Gone, NotTaken, Stopped, now

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
    """A process's end of a ring; see attach. Any thread may call it. It closes at the
    end of a with block. epochs counts the attachments so far, lost the frames that
    consumers before this one did not use up or that found none."""

    def __init__(self, address, streams, name, timeout, atomics, reattach):
        self.address, self.streams, self.name, self.by_itself = address, check_streams(streams), name, reattach
        self._atomics = _atomics.choose(atomics)
        self._formats = []
        self.epochs, self.lost = 1, 0
        self._search = threading.RLock()  # who looks for the next attachment
        self._seeker, self._failed, self._closing = None, None, False
        self._at = connect(self.address, self.streams, self.name, _deadline(timeout), self._atomics)

    @property
    def atomics(self):
        """"library" or "kernel"."""
        return self._atomics.name

    def reattach(self, timeout=None):
        """Leaves this consumer, which is gone, has stopped or has replaced its ring, and
        attaches to the next one at the same address. Writers and format ids stay
        valid; slots claimed before do not; ended streams are open again. Gives how many
        frames its consumer did not use up. NotTaken when the time is over: call it
        again."""
        before, deadline = self.lost, _deadline(timeout)
        seeker = self._seeker
        if seeker is not None:
            seeker.join(timeout)
            if seeker.is_alive():
                raise NotTaken("%s: no consumer" % self.address)
            return self.lost - before
        with self._search:
            self._failed = None
            self._next(self._at, deadline, False)
        return self.lost - before

    def _next(self, old, deadline, keep):
        """Makes the attachment after old the current one. keep: ended streams stay so."""
        at = None
        if old.sock is not None and not old.closed and old.replaced():
            try:
                at = again(old, self.streams, self.name, deadline, self._atomics)
            except Again:  # it hung up: perhaps another one comes
                pass
        old.leave()
        if at is None and self.address.startswith("fd:"):
            raise Gone("a socket that was handed in is good for one consumer")
        if at is None:
            at = connect(self.address, self.streams, self.name, deadline, self._atomics)
        with old.lock:  # who publishes has it
            for entry in self._formats:  # into an empty table, in order: the same ids
                self._publish(at, entry)
            at.fresh.update(range(len(self.streams)))
            if keep:
                at.ended.update(old.ended)
                at.said.update(old.said)
            old.over = True
            self.lost += old.newly_lost()
            self.epochs += 1
            self._at = at
        for stream in at.said:
            try:
                with Writer(self) as w:
                    w._reserve(at, stream, 0, 0, DROP, True).commit(now(), 0, _EOS)
            except Error:  # it is over already: the next one hears of it
                pass

    def _await(self, at, wait):
        """Waits for the attachment after at, wait seconds, None for ever; Full when none
        has come."""
        with self._search:
            if self._at is not at:
                return
            if self._failed:
                raise self._failed
            if self._closing:
                raise Gone("the producer is closed")
            if self._seeker is None:
                self._seeker = threading.Thread(target=self._seek, args=(at,), name="mpipe_ring", daemon=True)
                self._seeker.start()
            seeker = self._seeker
        seeker.join(wait)
        if seeker.is_alive():
            raise Full("no consumer is attached")

    def _seek(self, at):
        try:
            self._next(at, lambda: self._closing, True)
        except Exception as e:
            self._failed = e
        self._seeker = None

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
            if not self.by_itself:
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

    def advice(self):
        """What the consumer has to say to a producer that could do with less."""
        cons = self._at.cons
        num, den = cons.unpack("<II", 0x50)
        since, holder = cons.unpack("<Q64s", 0x228)
        return Advice((num, den) if num and den else None, (now() - since) / 1e9 if since else 0.0, words(holder))

    def end(self, stream, wait=BLOCK):
        """Ends a stream behind what was committed of it. wait as in Writer.claim, for
        a free slot."""
        self._stream(stream)
        with Writer(self) as w:
            if not self._claim_end(self._at, stream):
                return
            try:
                while True:
                    w._insist(stream, 0, 0, wait, True).commit(now(), 0, _EOS)
                    with self._at.lock:
                        if w._at is self._at:  # else the next attachment is to have it
                            w._at.said.add(stream)
                            return
            except BaseException:
                self._at.ended.discard(stream)
                raise

    @staticmethod
    def _claim_end(at, stream):
        """False when the stream was ended already."""
        with at.lock:
            if stream in at.ended:
                return False
            at.ended.add(stream)
            return True

    def close(self):
        """Ends all streams, as far as there are free slots, and detaches."""
        at = self._at
        if at is None or at.closed or at.pid != os.getpid():
            return
        self._closing, self.by_itself = True, False
        seeker = self._seeker
        if seeker is not None:
            seeker.join()
        for i in range(len(self.streams)):
            try:
                self.end(i, DROP)
            except (Full, Gone, Stopped):
                pass
        self._at.leave()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Writer:
    """An entry of the writer table, for one thread at a time."""

    def __init__(self, producer):
        self._p, self._at, self._base, self._closed = producer, None, 0, False
        self._open(producer._at)

    def _open(self, at):
        """Takes an entry; the one in the last attachment goes with that."""
        self._count()
        with at.lock:
            self._take(at)

    def _count(self):
        if self._at is not None:
            with self._at.lock:
                self._p.lost += self._at.newly_lost()

    def _take(self, at):
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
            self._p.lost += at.newly_lost()
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
        p, at = self._p, self._p._at
        p._stream(stream)
        if not 0 < size <= p.streams[stream].max_frame:
            raise ValueError("the frame is empty or larger than the stream declared")
        if not 0 < format <= len(p._formats):
            raise ValueError("the format was not published")
        if stream in at.ended:
            raise Ended("the stream has ended")
        return self._insist(stream, format, size, wait, False)

    def _insist(self, stream, format, size, wait, ending):
        """_reserve, in the next attachment where this one is over and the producer looks
        for it by itself."""
        p, start = self._p, time.monotonic()
        while True:
            at = p._at
            if self._at is not at and not self._closed:
                self._open(at)
            left = wait if not wait else max(wait - (time.monotonic() - start), 0)
            try:
                return self._reserve(at, stream, format, size, left, ending)
            except (Gone, Stopped):
                if not p.by_itself or p._closing:
                    raise
            try:
                p._await(at, left)
            except Full:
                if not ending:
                    p.lost += 1
                raise

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
        return Slot(self, at, entry, word, at.view[c.arena + offset:c.arena + offset + n], stream)


class Slot:
    """Claimed space. data is a writable memoryview of the ring itself: write all of it,
    then commit; leaving a with block without that aborts. Nothing may be written
    after the commit: data is released then, but slices and arrays made of it
    are not, so drop them."""

    def __init__(self, writer, at, entry, word, data, stream):
        self._stream = stream
        self._w, self._at, self._entry, self._word, self.data = writer, at, entry, word, data
        self._size = len(data)

    def commit(self, pts, duration=0, flags=0):
        """Publishes the frame. Stamps are ns of CLOCK_MONOTONIC; duration 0 when
        unknown; flags KEY, DISCONT, CORRUPT."""
        at = self._at
        if at is not None:
            if at.fresh and self._stream in at.fresh and not flags & _EOS:
                at.fresh.discard(self._stream)
                flags |= DISCONT  # what was before it is in another ring, or lost
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


def _deadline(timeout):
    return None if timeout is None else time.monotonic() + timeout


def attach(address, streams, name="python", timeout=None, atomics=None, reattach=False):
    """A Producer, once a consumer at the address has taken it: NAME for
    /dev/shm/NAME, a path that begins with "/" or ".", unix:PATH, or fd:N, a
    connected SOCK_SEQPACKET socket, which it then owns. timeout in seconds, None
    for ever. atomics: None for the best there is, or "library" or "kernel".
    NotTaken when the time is over, Refused, ValueError.

    With reattach, claim, write and end look for the next consumer, or the next ring of
    the same one, by themselves, as long as they may wait, and go on there: ended
    streams are ended there too, the first frame of each stream carries DISCONT, and
    Producer.lost counts what was lost. A frame that finds no consumer in time gets
    Full. Without it they raise Gone or Stopped."""
    return Producer(address, streams, name, timeout, atomics, reattach)
