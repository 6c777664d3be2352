"""Decoding on a GPU: its devices, the streams that it decodes, and pictures as FFmpeg's own.

A stream qualifies where its format defines pictures to the bit, so that the GPU's equal those of a
software decoder. Whatever then fails, or comes out in another way than expected, is a
HardwareError, after which the caller decodes in software. It knows nothing of segments, settings
and processes.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, NamedTuple

import av
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from pydantic import Field

from vcn_ray.errors import MediaError
from vcn_ray.redact import one_line

DecodeDevice = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")]
"""Where videos are decoded, as a setting."""

EXACT = {
    "h264": ("yuv420p", "yuvj420p"),
    "hevc": ("yuv420p", "yuvj420p", "yuv420p10le"),
    "vp8": ("yuv420p",),
    "vp9": ("yuv420p", "yuv420p10le"),
}
"""Decoders and pixel formats that a GPU takes. Their standards define each bit of a picture; those
of MPEG-1, MPEG-2, MPEG-4 part 2 and JPEG leave the rounding open. PyAV opens AV1 with dav1d, which
runs on the CPU. NVDEC has 10 bits of H.264 in its newest generation alone."""

PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le"}
"""Formats in which pictures come from a GPU, and those of a software decoder. A full range is
stated beside the format."""

OPTIONS: tuple[dict[str, object], ...] = ({"primary_ctx": "1"}, {})
"""Of a device, in the order in which they are tried. The primary context is there once for all
decoders of a process, where nothing else in it has set it up in another way."""

DEVICE_ERRORS = (av.FFmpegError, OSError, RuntimeError, ValueError)
"""What opening a device, or a file for one, may raise; FFmpeg's errors are several of these."""

MAX_REASON = 200  # characters


class HardwareError(MediaError):
    """A GPU cannot decode a stream, or not so that its pictures are surely right."""


class Device(NamedTuple):
    """A device that decodes, or why it does not."""

    accel: HWAccel | None  # for files; None: it cannot be used
    held: HWAccel | None  # keeps the context alive, which takes longer to make than to open a file
    problem: str  # in one line; empty: there is none


@cache
def open_device(name: str) -> Device:
    """Open a device once in this process; a failure is remembered, too.

    Args:
        name: `cuda`, with a number as in `cuda:1` if there are several GPUs.
    """
    kind, _, number = name.partition(":")
    problem = ""
    for options in OPTIONS:
        try:
            accel = HWAccel(kind, number or None, allow_software_fallback=False, options=options)
            return Device(accel, accel.create(av.Codec("h264", "r")), "")
        except DEVICE_ERRORS as error:
            problem = one_line(error, MAX_REASON)
    return Device(None, None, problem)


def qualifies(context: VideoCodecContext) -> bool:
    """Whether a GPU gives the pictures of a software decoder.

    Args:
        context: Of the stream, as a container opens it for software.
    """
    return context.pix_fmt in EXACT.get(context.name, ())


def check_picture(frame: VideoFrame, size: tuple[int, int]) -> None:
    """Check that a picture came from the GPU, whole, and has the size that the file states.

    A GPU does not cut off the left and upper margins that some streams hide.

    Args:
        frame: As decoded.
        size: Width and height that the file states.

    Raises:
        HardwareError: It did not.
    """
    if frame.format.name not in PLANAR or (frame.width, frame.height) != size:
        found = f"{frame.width} x {frame.height} {frame.format.name}"
        raise HardwareError("decode_error", f"{found} where {size[0]} x {size[1]} were expected")


def to_planar(frame: VideoFrame, reformatter: VideoReformatter) -> VideoFrame:
    """A picture of a GPU in the format of a software decoder, with the same samples.

    Args:
        frame: In one of the formats PLANAR.
        reformatter: Kept from frame to frame, for its tables.
    """
    return reformatter.reformat(
        frame, format=PLANAR[frame.format.name], interpolation="POINT", threads=1
    )
