"""Decodes in a child process, so that a file can crash, hang or fill that process alone.

`probe`, `plan_segments` and `read_segment` give the same, bit by bit, as those of `decoding`,
`keyframes` and `frames`. They run in a child process that starts once and serves file after file; a
child that died or was killed is replaced at the next call. The child gets only harmless environment
variables: it opens local paths itself, and requests byte ranges of any other source from this
process.

This guards against faults of decoders, not against an attacker who takes one over: the child runs
as the same user. It knows nothing of faces, retries or rows of failures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, astuple
from typing import Annotated, BinaryIO, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Count, Seconds
from vcn_ray.errors import MediaError
from vcn_ray.io import decoding, frames, hardware, keyframes, video
from vcn_ray.io.decoder import Decoder, DecoderError, borrowed
from vcn_ray.io.frames import SMALL_LONG_SIDE, DecodedFrame
from vcn_ray.io.hardware import HardwareError
from vcn_ray.io.video import MAX_PIXELS, DecodeConfig, Source
from vcn_ray.io.wire import WINDOW_BYTES, Content, Message, read_frame
from vcn_ray.records import Segment, VideoInfo

MIN_MEMORY_BYTES = 128 << 20  # an idle decoder and the frames in shared memory take nearly as much
RING_BYTES = 48 << 20  # of shared memory for frames; some 30 at 960 x 540

MemoryBytes = Annotated[int, Field(ge=MIN_MEMORY_BYTES, le=1 << 50)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class IsolationConfig:
    """What a file may use before its decoder is stopped; results do not depend on it."""

    isolate: bool = True  # decode in a child process; false: in the worker, checking pixels alone
    memory_bytes: MemoryBytes = 4 << 30  # of the child; decoding 8K HEVC of 10 bits used 0.8 GB
    stall_seconds: Seconds = 60.0  # without a frame or a byte read, while the worker waits for it
    cpu_seconds: Seconds = 1800.0  # to plan a video or to read a segment
    cpu_seconds_per_second: Seconds = 30.0  # in addition, for each second of a segment
    max_pixels: Count = MAX_PIXELS  # of one picture


class Frames(Protocol):
    """A segment's frames in order of presentation.

    Attributes:
        problems: Complete once the frames have ended.
        decoded_on: `cpu` or `cuda`, complete likewise.
        decoder_seconds: CPU time, complete likewise.
    """

    problems: list[str]
    decoded_on: str
    decoder_seconds: float

    def __iter__(self) -> Iterator[DecodedFrame]: ...


def probe(source: Source, limits: IsolationConfig) -> VideoInfo:
    """Read a video's properties from its container and its first frame.

    Args:
        source: Path or seekable binary file.
        limits: What that may use.

    Raises:
        MediaError: As `decoding.probe`; or `crash`, `timeout`, `out_of_memory`.
    """
    if not limits.isolate:
        return decoding.probe(source, limits.max_pixels)
    return VideoInfo(**_run_for_result({"do": "probe"}, source, limits)["info"])


def plan_segments(
    source: Source, config: DecodeConfig, limits: IsolationConfig
) -> tuple[Segment, ...]:
    """Cut a video at keyframes into segments; each owns the frames start_pts <= pts < end_pts.

    Args:
        source: Path or seekable binary file.
        config: How long segments are.
        limits: What that may use.

    Raises:
        MediaError: As `keyframes.plan_segments`; or `crash`, `timeout`, `out_of_memory`.
    """
    if not limits.isolate:
        return keyframes.plan_segments(source, config, limits.max_pixels)
    job = {"do": "plan", "config": asdict(config)}
    segments = _run_for_result(job, source, limits)["segments"]
    return tuple(Segment(*segment) for segment in segments)


def device_problem(device: str, limits: IsolationConfig) -> str:
    """Why a decoder cannot use a GPU, in one line; empty if it can.

    Args:
        device: Such as `cuda`.
        limits: What trying that may use.
    """
    if not limits.isolate:
        return hardware.open_device(device).problem
    job: Content = {"do": "device", "device": device, "path": None, "size": 0, "name": ""}
    job |= {"memory_bytes": limits.memory_bytes, "cpu_seconds": limits.cpu_seconds}
    try:
        with borrowed(RING_BYTES) as decoder:
            *_, last = _converse(decoder, job, None, limits)
            return str(last.content["problem"])
    except MediaError as error:
        return str(error)


def read_segment(
    source: Source,
    segment: Segment,
    config: DecodeConfig,
    limits: IsolationConfig,
    device: str | None = None,
) -> Frames:
    """Read the frames that a segment owns, each once and in order of presentation.

    Args:
        source: Path or seekable binary file.
        segment: One of `plan_segments` for the same file.
        config: Which frames are analysed, and how large.
        limits: What that may use.
        device: The GPU that decodes what it can, such as `cuda`; None: the CPU.

    Returns:
        An iterable that raises MediaError as `frames.read_segment` does, HardwareError included,
        or with `crash`, `timeout`, `out_of_memory`.
    """
    if not limits.isolate:
        return frames.read_segment(source, segment, config, limits.max_pixels, device)
    return IsolatedFrames(source, segment, config, limits, device)


class IsolatedFrames:
    """Iterates over a segment's frames, decoded in the child process.

    Attributes:
        problems: As of SegmentFrames.
        decoded_on: As of SegmentFrames, once the iteration has ended.
        decoder_seconds: As of SegmentFrames; of the child process.
    """

    def __init__(
        self,
        source: Source,
        segment: Segment,
        config: DecodeConfig,
        limits: IsolationConfig,
        device: str | None = None,
    ) -> None:
        self.problems: list[str] = []
        self.decoded_on = "cpu"
        self._device = device
        self.decoder_seconds = 0.0
        self._source = source
        self._segment = segment
        self._config = config
        self._limits = limits

    def __iter__(self) -> Iterator[DecodedFrame]:
        self.problems.clear()
        limits, segment = self._limits, self._segment
        cpu_seconds = limits.cpu_seconds_per_second * (segment.end_seconds - segment.start_seconds)
        job: Content = {
            "do": "read",
            "config": asdict(self._config),
            "segment": astuple(segment),
            "device": self._device,
            "cpu_seconds": limits.cpu_seconds + cpu_seconds,
        }
        with borrowed(_ring_bytes(self._config, limits)) as decoder:
            before = decoder.cpu_seconds()
            for message in _run(decoder, job, self._source, limits):
                if message.kind == "end":
                    self.problems += [str(line) for line in message.content["problems"]]
                    self.decoded_on = str(message.content["decoded_on"])
                    self.decoder_seconds += decoder.cpu_seconds() - before
                else:
                    yield _take_frame(message.content, decoder)


def _ring_bytes(config: DecodeConfig, limits: IsolationConfig) -> int:
    """Size of the shared memory: at least enough for the largest possible frame."""
    largest = min(config.long_side_pixels**2, limits.max_pixels) + SMALL_LONG_SIDE**2
    return max(RING_BYTES, WINDOW_BYTES + 3 * largest)


def _run_for_result(job: Content, source: Source, limits: IsolationConfig) -> Content:
    """Run a job that has one result and no frames."""
    with borrowed(RING_BYTES) as decoder:
        *_, last = _run(decoder, {"cpu_seconds": limits.cpu_seconds} | job, source, limits)
        return last.content


def _run(
    decoder: Decoder, job: Content, source: Source, limits: IsolationConfig
) -> Iterator[Message]:
    """Run a job and yield its frames and its end; serve the decoder's reads of the source."""
    job = {"memory_bytes": limits.memory_bytes, "max_pixels": limits.max_pixels} | job
    if isinstance(source, str | os.PathLike):
        path = os.path.abspath(source)  # the child has another working directory
        yield from _converse(decoder, {**job, "path": os.fsdecode(path)}, None, limits)
        return
    with video.open_file(source) as file:
        size, name = file.seek(0, os.SEEK_END), video.source_name(source)
        job = {**job, "path": None, "size": size, "name": name}
        yield from _converse(decoder, job, file, limits)


def _converse(
    decoder: Decoder, job: Content, file: BinaryIO | None, limits: IsolationConfig
) -> Iterator[Message]:
    decoder.start(job)
    while True:
        message = decoder.receive(limits.stall_seconds)
        if message.kind == "read" and file is not None:
            decoder.send("data", size=_serve_read(file, message.content, decoder))
        elif message.kind == "failed":
            kind = HardwareError if message.content["hardware"] else MediaError
            raise kind(message.content["reason"], message.content["message"])
        elif message.kind == "bug":
            raise RuntimeError(f"the decoder process failed: {message.content['text']}")
        elif message.kind in ("frame", "end"):
            yield message
        if message.kind == "end":
            return


def _serve_read(file: BinaryIO, request: Content, decoder: Decoder) -> int:
    """Copy a range of the source into shared memory; returns how many bytes it has.

    Errors of the source pass through unchanged: they are no fault of the decoder.
    """
    offset, size = request["offset"], request["size"]
    if not (isinstance(offset, int) and isinstance(size, int) and offset >= 0 and size > 0):
        raise DecoderError("crash", f"its decoder asked to read {size!r} bytes at {offset!r}")
    file.seek(offset)
    data = file.read(min(size, WINDOW_BYTES)) or b""
    decoder.ring[: len(data)] = data
    return len(data)


def _take_frame(content: Content, decoder: Decoder) -> DecodedFrame:
    """Copy a frame out of shared memory and free its slot at once.

    Raises:
        DecoderError: `crash`: the message makes no sense, so the child is damaged.
    """
    try:
        frame = read_frame(content, decoder.ring)
    except (KeyError, TypeError, ValueError) as error:
        raise DecoderError("crash", f"its decoder sent an invalid frame: {error}") from error
    decoder.send("free")
    return frame
