"""Attaching: HELLO and WELCOME over a socket, or the mailbox of a named ring.

SPDX-License-Identifier: Apache-2.0
"""
import os
import select
import socket
import stat
import struct
import time

from . import _atomics
from ._memory import (CLOSED, DATA_SEQ, MAILBOX, MAILBOX_WORD, PRODUCER_STATE, REFUSED, WAITING, Attachment, process_is,
                      start_ticks, text, words)
from ._types import AUDIO, VIDEO, Again, NotTaken, Refused

_POSTED = 1 << 30
_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC
_WELCOME = struct.Struct("<8sHHIIIIIQQ16x64s256s")


def check_streams(streams):
    streams = tuple(streams)
    if not 1 <= len(streams) <= 32:
        raise ValueError("an attachment has 1 to 32 streams")
    for s in streams:
        if s.kind not in (VIDEO, AUDIO) or s.max_frame < 1:
            raise ValueError("stream %r needs a kind and the bytes of its largest frame" % s.name)
        text(s.name, 48)
    return streams


def connect(address, streams, name, deadline, atomics):
    """An Attachment; deadline on time.monotonic, or None, or a function that tells
    whether it is over."""
    if address.startswith("fd:"):
        try:
            return _greet(socket.socket(fileno=int(address[3:])), streams, name, deadline, atomics)
        except Again as e:
            raise NotTaken(str(e)) from None
    while True:
        try:
            if address.startswith("unix:"):
                return _socket(address[5:], streams, name, deadline, atomics)
            path = address if address[:1] in ("/", ".") else "/dev/shm/" + address
            return _named(path, streams, name, deadline, atomics)
        except Again as e:
            if _over(deadline):
                raise NotTaken("%s: %s" % (address, e)) from None
        time.sleep(0.02)


def _over(deadline):
    return deadline() if callable(deadline) else deadline is not None and time.monotonic() >= deadline


def again(old, streams, name, deadline, atomics):
    """The next ring of a consumer that replaced its last one, over the same connection;
    where a sandbox has been closed that is all there is. NotTaken: go on waiting."""
    if not old.asked:
        try:
            old.sock.send(_hello(streams, name))
        except OSError:
            raise Again("the consumer hung up") from None
        old.asked = True
    if not _ready(old.sock, deadline):
        raise NotTaken("the consumer did not accept in time")
    sock, old.sock = old.sock, None
    return _welcomed(sock, streams, atomics)


def _hello(streams, name):
    size = 0x80 + 64 * len(streams)
    head = struct.pack("<8sHHIQQIIIIQ64s8x", b"PIPEHELL", 1, 1, size, 0, 0, 1, len(streams), os.getpid(), 0,
                       start_ticks(os.getpid()) or 0, text(name, 64))
    return head + b"".join(struct.pack("<I4xQ48s", s.kind, s.max_frame, text(s.name, 48)) for s in streams)


def _socket(path, streams, name, deadline, atomics):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, InterruptedError):
        sock.close()
        raise Again("nobody listens") from None
    except OSError:
        sock.close()
        raise
    return _greet(sock, streams, name, deadline, atomics)


def _greet(sock, streams, name, deadline, atomics):
    try:
        sock.send(_hello(streams, name))
        if not _ready(sock, deadline):
            raise Again("the consumer did not accept in time")
    except BaseException as e:
        sock.close()
        if isinstance(e, (BrokenPipeError, ConnectionResetError)):
            raise Again("the consumer hung up") from None
        raise
    return _welcomed(sock, streams, atomics)


def _ready(sock, deadline):
    """Waits for a message or the end of the connection."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while not poll.poll(100):
        if _over(deadline):
            return False
    return True


def _welcomed(sock, streams, atomics):
    fds = []
    try:
        raw, fds, _, _ = socket.recv_fds(sock, _WELCOME.size, 2, _CLOEXEC)
        if not raw:
            raise Again("the consumer hung up")
        w = _WELCOME.unpack(raw) if len(raw) == _WELCOME.size else (b"",) * 12
        if w[0] != b"PIPEWELC" or w[1] != 1:
            raise Refused("the consumer speaks another version of the ring")
        if w[4] != 0:
            raise Refused(words(w[11]))
        if len(fds) != 2:
            raise Refused("the WELCOME came without fds")
        made = Attachment(fds[0], fds[1], streams, atomics, sock)
        made.begin()
        return made
    except BaseException as e:
        sock.close()
        if isinstance(e, (BrokenPipeError, ConnectionResetError)):
            raise Again("the consumer hung up") from None
        raise
    finally:
        for fd in fds:
            os.close(fd)


def _named(path, streams, name, deadline, atomics):
    if atomics.cas32 is None:
        raise Refused("a named ring needs compare-and-swap: install libatomic (Debian: libatomic1) or use a unix: address")
    seg = cons = -1
    try:
        seg = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        cons = os.open(path + ".consumer", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not stat.S_ISREG(os.fstat(seg).st_mode):
            raise Refused("not a ring: not a regular file")
        made = Attachment(seg, cons, streams, atomics)
        _post(made, _hello(streams, name), deadline)
        made.begin()
        return made
    except FileNotFoundError:
        raise Again("the ring does not exist") from None
    finally:
        for fd in (seg, cons):
            if fd >= 0:
                os.close(fd)


def _post(made, hello, deadline):
    a, box, pid = made.a, made.base + MAILBOX_WORD, os.getpid()
    if not process_is(*made.consumer):
        raise Again("its consumer is dead")
    if made.state() != WAITING or not a.cas32(box, 0, pid):
        raise Again("the ring has a producer already")
    made.mem[MAILBOX:MAILBOX + len(hello)] = hello
    a.store32(box, pid | _POSTED)  # SYNC POINT hello
    _atomics.futex_wake(box)
    while True:
        key = a.load32(made.cons.at + 0x24)
        state = made.state()
        if state == REFUSED:
            raise Refused(made.reason())
        if state == CLOSED:
            raise Again("the consumer left")
        if state != WAITING:
            return
        if _over(deadline):
            if not a.cas32(box, pid | _POSTED, 0):  # accepted this very moment: end before it began
                a.store32(made.base + PRODUCER_STATE, 2)  # SYNC POINT end
                a.add32(made.base + DATA_SEQ, 1)
                _atomics.futex_wake(made.base + DATA_SEQ)
            raise Again("the consumer did not accept in time")
        if not process_is(*made.consumer):
            raise Again("the consumer died")
        _atomics.futex_wait(made.cons.at + 0x24, key, 0.1)
