"""What a producer declares, and what can go wrong.

SPDX-License-Identifier: Apache-2.0
"""
import time
from dataclasses import dataclass

VIDEO, AUDIO = 1, 2
KEY, DISCONT, CORRUPT = 1, 2, 4  # flags of a frame
DROP, BLOCK = 0, None  # what claim's wait may say besides seconds


class Error(Exception):
    """What this module raises, besides ValueError for arguments out of range."""


class Full(Error):
    """No room, or none before the deadline; the frame was counted as dropped."""


class Stopped(Error):
    """The consumer takes nothing new."""


class Gone(Error):
    """The consumer closed or replaced the ring, or died. Producer.reattach finds the
    next."""


class Ended(Error):
    """The stream was ended."""


class Refused(Error):
    """The consumer said no."""


class NotTaken(Error, TimeoutError):
    """No consumer took the producer in time."""


class Again(Error):
    """An attempt to attach failed in a way that time may mend."""


@dataclass(frozen=True)
class Stream:
    """What a producer declares: a name of at most 47 letters, digits, ".", "_" and
    "-"; VIDEO or AUDIO; the bytes of the largest frame it will ever carry."""
    name: str
    kind: int
    max_frame: int


@dataclass(frozen=True)
class VideoFormat:
    """Names are GStreamer's. Strides and offsets in bytes, one for each plane;
    size in bytes of a frame; fps a fraction, (0, 1) when it varies."""
    fourcc: str
    width: int
    height: int
    strides: tuple
    offsets: tuple
    size: int
    fps: tuple = (0, 1)
    colorimetry: str = ""
    chroma_site: str = ""

    @staticmethod
    def layout(fourcc, width, height, fps=(0, 1), colorimetry="", chroma_site=""):
        """GStreamer's own layout of I420, NV12 and the packed fourccs of 4 bytes a
        pixel (BGRA, RGBx, ...): rows rounded up to 4 bytes, planes without gaps.
        ValueError for others: fill in a VideoFormat."""
        row, even = (width + 3) // 4 * 4, (height + 1) // 2 * 2
        half = ((width + 1) // 2 + 3) // 4 * 4
        if fourcc == "I420":
            u = row * even
            v = u + half * (even // 2)
            strides, offsets, size = (row, half, half), (0, u, v), v + half * (even // 2)
        elif fourcc == "NV12":
            strides, offsets, size = (row, row), (0, row * even), row * even * 3 // 2
        elif len(fourcc) == 4 and set(fourcc) <= set("RGBAx") and set(fourcc) & set("Ax"):
            strides, offsets, size = (width * 4,), (0,), width * 4 * height
        else:
            raise ValueError("no layout is known for %r" % fourcc)
        return VideoFormat(fourcc, width, height, strides, offsets, size, fps, colorimetry, chroma_site)


@dataclass(frozen=True)
class AudioFormat:
    """Interleaved samples; sample is GStreamer's name ("S16LE"), mask its channel
    mask, 0 for the default."""
    sample: str
    rate: int
    channels: int
    mask: int = 0


@dataclass(frozen=True)
class Fill:
    """Bytes in use and in all, and the frames the consumer holds."""
    used: int
    capacity: int
    held: int


@dataclass(frozen=True)
class Advice:
    """fps: the frame rate the consumer can take, a fraction, None for any. held: seconds
    that it has held its oldest frame, 0 when it holds none. holder: the edge of the graph
    that holds frames up, "" when none does."""
    fps: tuple
    held: float
    holder: str

    def keep(self, n, fps):
        """Is frame n of a stream of fps frames a second one to draw, if no more than
        the advised rate are? Those that are not, count by Writer.drop_by_policy."""
        num, den = self.fps or (0, 0)
        den *= fps
        return not num or num >= den or n * num // den != (n + 1) * num // den


def now():
    """The clock of all stamps: CLOCK_MONOTONIC in ns."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
