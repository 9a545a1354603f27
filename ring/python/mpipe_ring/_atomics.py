"""Atomic operations on shared memory from Python, without a compiled part.

SPDX-License-Identifier: Apache-2.0

Python has no atomics. Two ways to get them through ctypes, both real ones:

* ``Library``: GCC's runtime library libatomic.so.1 (Debian: libatomic1; it comes
  with any gcc) exports the C11 operations as functions. They are lock-free for
  4 and 8 bytes on x86-64 and on 64-bit ARM. No system call.

* ``Kernel``: futex(FUTEX_WAKE_OP) changes a 32-bit word atomically inside of the
  kernel: a locked instruction on x86-64, and on ARM an exclusive store with
  release followed by ``dmb ish``. So it also serves as the full fence that C11
  calls seq_cst. 64-bit words are loaded and stored as a whole by ctypes, which
  copies 8 aligned bytes by one instruction. On x86-64 (TSO) plain loads and stores
  have acquire and release order already; elsewhere they get fences on both
  sides. It costs system calls, a few for each frame.

``Kernel`` cannot do a 64-bit compare-and-swap, and no compare-and-swap between
processes at all. See the package's text for why a producer does not need one, but for
the mailbox of the named mode.

In both ways a function takes the address of a naturally aligned word. The
operations are seq_cst.
"""
import ctypes
import errno
import os
import platform
import struct

_SYS_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAKE_OP = 0, 1, 5
_OP_SET, _OP_ADD, _CMP_EQ = 0, 1, 0
_SEQ_CST = 5

_libc = ctypes.CDLL(None, use_errno=True)  # releases the interpreter lock: for calls that sleep


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_int64)]


_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_long,
                     ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
_NUMBER = _SYS_FUTEX.get(platform.machine(), -1)  # -1: ENOSYS, which choose reports


def _futex(addr, op, val, timeout, addr2, val3):
    return _syscall(_NUMBER, addr, op, val, timeout, addr2, val3)


def futex_wait(addr, value, seconds):
    """Sleeps while the 32-bit word is value, at most 100 ms; the word may be
    read-only. Other threads run meanwhile."""
    ns = int(min(max(seconds, 0.0), 0.1) * 1e9)
    _futex(addr, _FUTEX_WAIT, value, ctypes.byref(_Timespec(0, ns)), None, 0)


def futex_wake(addr):
    """Wakes one that sleeps on the word."""
    _futex(addr, _FUTEX_WAKE, 1, None, None, 0)


class Library:
    """C11 atomics as functions of libatomic."""

    name = "library"

    def __init__(self):
        lib = ctypes.PyDLL("libatomic.so.1")  # keeps the interpreter lock: these never sleep
        ptr, u32, u64, order = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
        lib.__getattr__("__atomic_is_lock_free").argtypes = [ctypes.c_size_t, ptr]
        if not lib["__atomic_is_lock_free"](8, None):
            raise OSError(errno.ENOSYS, "libatomic is not lock-free for 8 bytes on this machine")

        def bind(name, result, *args):
            f = lib[name]
            f.restype, f.argtypes = result, list(args)
            return f

        load4, load8 = bind("__atomic_load_4", u32, ptr, order), bind("__atomic_load_8", u64, ptr, order)
        store4 = bind("__atomic_store_4", None, ptr, u32, order)
        store8 = bind("__atomic_store_8", None, ptr, u64, order)
        add4 = bind("__atomic_fetch_add_4", u32, ptr, u32, order)
        swap4 = bind("__atomic_exchange_4", u32, ptr, u32, order)
        cas4 = bind("__atomic_compare_exchange_4", ctypes.c_bool, ptr, ctypes.POINTER(u32), u32, order, order)
        cas8 = bind("__atomic_compare_exchange_8", ctypes.c_bool, ptr, ctypes.POINTER(u64), u64, order, order)
        fence = bind("atomic_thread_fence", None, order)
        self.load32 = lambda a: load4(a, _SEQ_CST)
        self.load64 = lambda a: load8(a, _SEQ_CST)
        self.store32 = lambda a, v: store4(a, v, _SEQ_CST)
        self.store64 = lambda a, v: store8(a, v, _SEQ_CST)
        self.add32 = lambda a, n: add4(a, n & 0xffffffff, _SEQ_CST)
        self.take32 = lambda a: swap4(a, 0, _SEQ_CST) != 0
        self.cas32 = lambda a, old, new: cas4(a, ctypes.byref(u32(old)), new, _SEQ_CST, _SEQ_CST)
        self.cas64 = lambda a, old, new: cas8(a, ctypes.byref(u64(old)), new, _SEQ_CST, _SEQ_CST)
        self.fence = lambda: fence(_SEQ_CST)


class Kernel:
    """Atomics by futex(FUTEX_WAKE_OP). It has no cas32 and no cas64, and take32
    may say True when another thread took the word in the same moment."""

    name = "kernel"
    cas32 = cas64 = None

    def __init__(self):
        self._scratch = (ctypes.c_uint32 * 2)()
        self._at = ctypes.addressof(self._scratch)
        self._tso = platform.machine() == "x86_64"
        self.fence()  # fails here, not later, where the kernel lacks it

    def _change(self, addr, op, arg):
        code = op << 28 | _CMP_EQ << 24 | (arg & 0xfff) << 12
        if _futex(self._at, _FUTEX_WAKE_OP, 0, None, addr, code) < 0:
            e = ctypes.get_errno()
            raise OSError(e, "futex: " + os.strerror(e))

    def fence(self):
        self._change(self._at + 4, _OP_ADD, 0)

    def _load(self, kind, addr):
        value = kind.from_address(addr).value
        if not self._tso:
            self.fence()
        return value

    def _store(self, kind, addr, value):
        if not self._tso:
            self.fence()
        kind.from_address(addr).value = value
        self.fence()

    def load32(self, addr):
        return self._load(ctypes.c_uint32, addr)

    def load64(self, addr):
        return self._load(ctypes.c_uint64, addr)

    def store32(self, addr, value):
        self._store(ctypes.c_uint32, addr, value)

    def store64(self, addr, value):
        self._store(ctypes.c_uint64, addr, value)

    def add32(self, addr, n):
        """Adds n, from -2048 to 2047."""
        self._change(addr, _OP_ADD, n)

    def take32(self, addr):
        taken = self.load32(addr) != 0
        if taken:
            self._change(addr, _OP_SET, 0)
        return taken


def choose(name=None):
    """The way that works here: Library where libatomic is installed, else Kernel;
    or the one that is named. OSError when it does not work."""
    if struct.calcsize("P") != 8 or struct.pack("=H", 1) != b"\1\0":
        raise OSError(errno.ENOSYS, "the ring needs a little-endian 64-bit machine")
    if _NUMBER < 0:
        raise OSError(errno.ENOSYS, "the futex call of %s is not known here" % platform.machine())
    if name == "kernel":
        return Kernel()
    if name not in (None, "library"):
        raise ValueError("atomics is 'library', 'kernel' or None")
    try:
        return Library()
    except (OSError, AttributeError):
        if name == "library":
            raise
        return Kernel()
