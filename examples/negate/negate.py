#!/usr/bin/env python3
"""A filter for a stage of type "process", behind `mpipe pipe`: it turns the
brightness of every picture round. No library is needed.

    [stages.mine]
    type = "process"
    inputs = ["app.video"]
    command = ["mpipe", "pipe", "--", "python3", "negate.py"]
"""

import os
import sys

size = int(os.environ["MPIPE_FRAME_BYTES"])
stride = int(os.environ["MPIPE_STRIDES"].split(",")[0])
luma = stride * int(os.environ["MPIPE_HEIGHT"])
table = bytes(251 - min(y, 251) for y in range(256))  # video range: 16 is black, 235 white

while frame := sys.stdin.buffer.read(size):
    sys.stdout.buffer.write(frame[:luma].translate(table) + frame[luma:])
    sys.stdout.buffer.flush()
