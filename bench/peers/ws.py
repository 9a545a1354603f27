"""A WebSocket server in Python that takes frames: peer.go's consumer.

    ws.py SIZE PACED READ

It is written for this one use, from the socket up: what is received goes into
one buffer that is kept, and is unmasked there by numpy, whose loop is compiled.
Libraries for asyncio copy each fragment at least twice more.
"""
import base64
import hashlib
import json
import socket
import struct
import sys
import time

import numpy

SIZE, PACED, READ = int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3] == "1"
FIRST, LAST = 1, 2
TILE = 8192


def last_byte(number):
    i = number % 64 * 64 + (SIZE - 1) % TILE
    return (i >> 6 ^ i) & 0xFF


def greet(conn):
    request = b""
    while b"\r\n\r\n" not in request:
        got = conn.recv(4096)
        if not got:
            sys.exit("the client hung up")
        request += got
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            key = value.strip()
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")


class Frames:
    def __init__(self, conn):
        self.conn = conn
        self.head = bytearray(14)
        self.frame = numpy.zeros(SIZE + 8, dtype=numpy.uint8)

    def read(self, view):
        while len(view):
            n = self.conn.recv_into(view, 0, socket.MSG_WAITALL)
            if n == 0:
                raise EOFError
            view = view[n:]

    def next(self):
        """Gives the bytes of the next message."""
        at = 0
        while True:
            head = memoryview(self.head)
            self.read(head[:6])
            op, n = head[0], head[1] & 0x7F
            if n == 126:
                self.read(head[6:8])
                n, key = struct.unpack_from("!H", head, 2)[0], bytes(head[4:8])
            elif n == 127:
                self.read(head[6:14])
                n, key = struct.unpack_from("!Q", head, 2)[0], bytes(head[10:14])
            else:
                key = bytes(head[2:6])
            if op & 0x0F == 8:
                raise EOFError
            if at + n > SIZE:
                sys.exit(f"a message of more than {SIZE} bytes")
            self.read(memoryview(self.frame)[at : at + n])
            self.unmask(at, n, key)
            at += n
            if op & 0x80:
                return memoryview(self.frame)[:at]

    def unmask(self, at, n, key):
        part = self.frame[at : at + n]
        whole = n // 8 * 8
        words = part[:whole].view(numpy.uint64)
        numpy.bitwise_xor(words, numpy.frombuffer(key * 2, dtype=numpy.uint64)[0], out=words)
        for i in range(whole, n):
            part[i] ^= key[i & 3]


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print("at ws://127.0.0.1:%d/" % listener.getsockname()[1], flush=True)
    conn, _ = listener.accept()
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    greet(conn)
    frames = Frames(conn)
    latency, measuring, number, total = [], False, 0, 0
    while True:
        b = frames.next()
        now = time.monotonic_ns()
        got, stamp, marks = struct.unpack_from("<QqQ", b)
        if len(b) != SIZE or got != number or b[-1] != last_byte(number):
            sys.exit(f"frame {number} came as {got} with {len(b)} bytes")
        number += 1
        if READ:
            whole = frames.frame[: SIZE // 64 * 64].view(numpy.uint64)
            total ^= int(whole[::8].sum())
        if measuring and stamp:
            latency.append(now - stamp)
        if marks & FIRST:
            measuring, first = True, got
            print("first", flush=True)
            cpu, wall = time.process_time_ns(), time.monotonic_ns()
        if marks & LAST:
            cpu, wall = time.process_time_ns() - cpu, time.monotonic_ns() - wall
            print("last", flush=True)
            break
    conn.sendall(b"\x88\x02\x03\xe8")
    conn.close()
    out = {"frames": got - first, "cpu_ns": cpu, "wall_ns": wall}
    if latency:
        out["latency_ns"] = latency
    print(json.dumps(out), flush=True)


main()
