"""The producer's side of mpipe's shared-memory ring, in Python alone.

SPDX-License-Identifier: Apache-2.0

Python 3.9 or later, CPython, 64-bit little-endian Linux. The contract is
ring/FORMAT.md; "SYNC POINT x" names the partner of each atomic on the other side.

    p = attach("demo", [Stream("video", VIDEO, fmt.size)], name="bot")
    w = p.writer()
    video = p.set_video(0, fmt)
    with w.claim(0, video, fmt.size) as slot:     # aborts unless committed
        numpy.frombuffer(slot.data, numpy.uint8)[:] = ...
        slot.commit(now(), 0, KEY)

ATOMICS. Python can be interrupted between any two operations and has no
compare-and-swap of its own; _atomics gets real ones from libatomic, or
fences and 32-bit operations from the kernel. Which words need what:

* write cursor, writer table, format table, stream counters: an attachment belongs
  to one process, so only this process writes them. All its threads do so under one
  lock of the attachment, hence nobody competes, and where there is no 64-bit
  compare-and-swap a store does the same. A forked child must not go on with the
  attachment of its parent: it shares the words but not the lock, and is refused.
* slot states, intents: one writer each. Stores, seq_cst.
* data_waiters, data_seq, full_waiters, space_waiters: shared with the consumer,
  32-bit, changed by atomic instructions in both ways.
* the mailbox of the named mode: producers of different processes compete for
  it, and only a compare-and-swap decides. Without libatomic the named mode is
  refused; use unix: addresses.

INTERRUPTS. KeyboardInterrupt, and whatever else a signal handler raises, comes in the
main thread between any two operations; within claim or commit it can leave a claim
open, and that fills the ring until the process ends. Claim in other threads, or let
the handler set a flag instead of raising.
"""
from ._producer import Producer, Slot, Writer, attach
from ._types import (AUDIO, BLOCK, CORRUPT, DISCONT, DROP, KEY, VIDEO, Advice, AudioFormat, Ended, Error, Fill, Full, Gone, NotTaken,
                     Refused, Stopped, Stream, VideoFormat, now)

__all__ = ["AUDIO", "BLOCK", "CORRUPT", "DISCONT", "DROP", "KEY", "VIDEO", "Advice", "AudioFormat", "Ended", "Error", "Fill", "Full",
           "Gone", "NotTaken", "Producer", "Refused", "Slot", "Stopped", "Stream", "VideoFormat", "Writer", "attach", "now"]
