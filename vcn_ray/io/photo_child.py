"""Reads one photograph in a process of its own, and writes its pixels to standard output.

A damaged or hostile file can crash or fill this process alone; the other one ends it if it takes
too long. Its arguments are the path, the largest number of pixels, and the bytes of memory.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
import warnings

import numpy as np
from PIL import Image, ImageOps

from vcn_ray.redact import one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What cameras, phones and scanners write; other readers of the library are for no photograph."""

HEADER = struct.Struct("<II")  # height and width
UNREADABLE, TOO_LARGE = 3, 4  # exit codes
TINY = 1e-12


def main(path: str, max_pixels: int, memory_bytes: int) -> int:
    """Read a photograph; returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as stored:
            warnings.simplefilter("ignore")  # about odd pictures that are readable all the same
            if stored.width * stored.height > max_pixels:
                return TOO_LARGE
            upright = _eight_bits(ImageOps.exif_transpose(stored)).convert("RGB")
    except Exception as error:  # decoders of broken pictures raise any class
        sys.stderr.write(one_line(error))
        return UNREADABLE
    sys.stdout.buffer.write(HEADER.pack(upright.height, upright.width) + upright.tobytes())
    sys.stdout.buffer.flush()
    return 0


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of one channel of more bits, its largest value as white; others as they are."""
    if picture.mode.partition(";")[0] not in ("I", "F"):
        return picture
    values = np.nan_to_num(np.asarray(picture, np.float32)).clip(0)
    return Image.fromarray((values * (255 / max(float(values.max()), TINY))).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main(os.fspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
