"""Reads photographs, which may be damaged or hostile, within limits of time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from vcn_ray.errors import UsageError
from vcn_ray.io.decoder import decoder_environment
from vcn_ray.records import U8

MAX_PIXELS = 80_000_000
MEMORY_BYTES = 3 << 30  # the largest picture of 32 bits needs a third of it
MAX_SECONDS = 60.0  # of a machine that is busy; 80 million pixels take three

COMMAND = (sys.executable, "-P", "-m", "vcn_ray.io.photo_child")
KINDS = "JPEG, PNG, WebP, GIF, BMP or TIFF"


def read_photo(path: Path, max_seconds: float = MAX_SECONDS) -> U8:
    """Read a photograph (h, w, 3) uint8 RGB, turned upright as its camera says.

    Args:
        path: Of a JPEG, PNG, WebP, GIF, BMP or TIFF.
        max_seconds: After which it is given up.

    Raises:
        UsageError: It is no picture that can be read, or it takes too long or too much memory.
    """
    if os.name != "posix":
        raise UsageError("this system cannot run the process that reads photographs")
    from vcn_ray.io.photo_child import HEADER, TOO_LARGE, UNREADABLE

    limits = (str(MAX_PIXELS), str(MEMORY_BYTES))
    try:
        done = subprocess.run(
            [*COMMAND, os.path.abspath(path), *limits],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=max_seconds,
            env=decoder_environment(os.environ),
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"{path} was not read within {max_seconds:g} s, so it is damaged or hostile: save it "
            "again as JPEG or PNG"
        ) from error
    if done.returncode == TOO_LARGE:
        raise UsageError(f"{path} has more than {MAX_PIXELS:,} pixels: make it smaller")
    if done.returncode:
        known = done.returncode == UNREADABLE
        why = done.stderr.decode(errors="replace") if known else "its reader ended at once"
        raise UsageError(f"{path} cannot be read as a picture: {why}; use a {KINDS}")
    height, width = HEADER.unpack_from(done.stdout)
    pixels = np.frombuffer(done.stdout, np.uint8, offset=HEADER.size)
    return pixels.reshape(height, width, 3).copy()
