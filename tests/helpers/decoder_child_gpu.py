"""A GPU for machines without one: FFmpeg's own decoder, whose pictures come in a GPU's formats.

`python decoder_child_gpu.py FAULT AFTER SOCKET RING` is a decoder process with such a GPU, failing
in a given way after some pictures. Everything else in the process is as usual.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, cast
from unittest import mock

import av
from av.codec.hwaccel import HWAccel
from av.packet import Packet
from av.video.stream import VideoStream

from vcn_ray.io import decoder_child, decoding, frames, video
from vcn_ray.io.hardware import PLANAR, Device
from vcn_ray.io.video import OpenVideo

OF_GPU = {"yuvj420p": "nv12", **{planar: gpu for gpu, planar in PLANAR.items()}}
NEVER = 1 << 30

software_packets = decoding.packets_from_keyframe


class GpuPacket:
    """A packet whose pictures come from a GPU."""

    def __init__(self, packet: Packet[VideoStream], fault: str, budget: list[int]) -> None:
        self.__dict__.update(_packet=packet, _fault=fault, _budget=budget)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._packet, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._packet, name, value)

    def decode(self) -> list[av.VideoFrame]:
        """Decode, in the formats of a GPU; fail once its budget of pictures is used up."""
        found = [
            cast(av.VideoFrame, frame.reformat(format=OF_GPU[frame.format.name]))
            for frame in self._packet.decode()
        ]
        self._budget[0] -= len(found)
        if self._budget[0] < 0:
            if self._fault == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if self._fault == "size":
                return [cast(av.VideoFrame, frame.reformat(width=64)) for frame in found]
            if self._fault == "bug":
                raise ValueError("nobody thought of it")
            if self._fault == "memory":
                raise av.error.MemoryError(12, "of the GPU")
            raise av.error.ExternalError(1, "an error of the driver")
        return found


def install(fault: str = "", after: int = NEVER) -> None:
    """Give this process a GPU; `fault` is `error`, `bug`, `memory`, `size` or `crash`."""

    def packets(opened: OpenVideo, problems: list[str]) -> Iterator[Any]:
        budget = [after]
        for packet in software_packets(opened, problems):
            yield GpuPacket(packet, fault, budget) if opened.gpu_size else packet

    def on_gpu(opened: OpenVideo, accel: HWAccel, stack: contextlib.ExitStack) -> OpenVideo:
        context = opened.stream.codec_context
        return opened._replace(gpu_size=(context.width, context.height))

    there = Device(cast(HWAccel, object()), None, "")
    for module, name, replacement in (
        (frames, "open_device", lambda _: there),
        (decoder_child, "open_device", lambda _: there),
        (decoding, "packets_from_keyframe", packets),
        (video, "_on_gpu", on_gpu),
    ):
        mock.patch.object(module, name, replacement).start()


if __name__ == "__main__":
    install(sys.argv[1], int(sys.argv[2]))
    sys.exit(decoder_child.main(sys.argv[3:]))
