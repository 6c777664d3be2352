"""Decoding in a process of its own, so that a file can crash, hang or fill that process alone.

`probe`, `plan_segments` and `read_segment` are those of `video` and `frames`, and give the same to
the last bit. They run in a child that is started once and serves file after file; one that dies or
is ended is replaced at the next call. The child gets no environment variables but harmless ones: it
opens local paths itself, and of any other source it asks this process for ranges of bytes.

This guards against faults of decoders, not against an attacker who takes one over: the child runs
as the same user. It knows nothing of faces, retries or rows of failures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields
from typing import BinaryIO, Protocol

import numpy as np

from vcn_ray.errors import ConfigError, MediaError
from vcn_ray.io import frames as in_process
from vcn_ray.io import video
from vcn_ray.io.decoder import Decoder, DecoderError, borrowed
from vcn_ray.io.frames import SMALL_LONG_SIDE, DecodedFrame
from vcn_ray.io.video import MOST_PIXELS, DecodeConfig, Source
from vcn_ray.io.wire import WINDOW_BYTES, Content, Message
from vcn_ray.records import U8, Segment, VideoInfo

LEAST_MEMORY_BYTES = 128 << 20  # an idle decoder and its frames under way take nearly as much
RING_BYTES = 64 << 20  # of frames under way; some 40 at 960 x 540


@dataclass(frozen=True, kw_only=True)
class IsolationConfig:
    """What a file may take before its decoder is stopped; results do not depend on it."""

    isolate: bool = True  # decode in a child process; false: in the worker, with most_pixels alone
    memory_bytes: int = 4 << 30  # of physical memory of the child; 8K HEVC of 10 bits took 0.8 GB
    stall_seconds: float = 60.0  # without a frame or a byte read, while the worker waits for it
    cpu_seconds: float = 1800.0  # that planning a video or reading a segment may take, and
    cpu_seconds_per_second: float = 30.0  # as much more for each second of a segment
    most_pixels: int = MOST_PIXELS  # of one picture

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "isolate" and not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} must be over 0, got {getattr(self, field.name)}")
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            raise ConfigError(
                f"memory_bytes must be at least {LEAST_MEMORY_BYTES}, which a decoder needs for"
                f" itself, got {self.memory_bytes}"
            )


class Frames(Protocol):
    """A segment's frames in order of presentation; `problems` is complete once they have ended."""

    problems: list[str]

    def __iter__(self) -> Iterator[DecodedFrame]: ...


def probe(source: Source, limits: IsolationConfig) -> VideoInfo:
    """Say what a video is, from its container and its first frame.

    Args:
        source: Path or seekable binary file.
        limits: What that may take.

    Raises:
        MediaError: As `video.probe`; or `crash`, `timeout`, `out_of_memory`.
    """
    if not limits.isolate:
        return video.probe(source, limits.most_pixels)
    return VideoInfo(**_ask({"do": "probe"}, source, limits)["info"])


def plan_segments(
    source: Source, config: DecodeConfig, limits: IsolationConfig
) -> tuple[Segment, ...]:
    """Cut a video at keyframes into segments; each owns the frames start_pts <= pts < end_pts.

    Args:
        source: Path or seekable binary file.
        config: How long segments are.
        limits: What that may take.

    Raises:
        MediaError: As `video.plan_segments`; or `crash`, `timeout`, `out_of_memory`.
    """
    if not limits.isolate:
        return video.plan_segments(source, config, limits.most_pixels)
    segments = _ask({"do": "plan", "config": asdict(config)}, source, limits)["segments"]
    return tuple(Segment(*segment) for segment in segments)


def read_segment(
    source: Source, segment: Segment, config: DecodeConfig, limits: IsolationConfig
) -> Frames:
    """Read the frames that a segment owns, each once and in order of presentation.

    Args:
        source: Path or seekable binary file.
        segment: One of `plan_segments` for the same file.
        config: Which frames are analysed, and how large.
        limits: What that may take.

    Returns:
        An iterable that raises MediaError as `frames.read_segment` does, or with `crash`,
        `timeout`, `out_of_memory`.
    """
    if not limits.isolate:
        return in_process.read_segment(source, segment, config, limits.most_pixels)
    return IsolatedFrames(source, segment, config, limits)


class IsolatedFrames:
    """Iterates over a segment's frames, decoded elsewhere.

    Attributes:
        problems: As of SegmentFrames.
    """

    def __init__(
        self, source: Source, segment: Segment, config: DecodeConfig, limits: IsolationConfig
    ) -> None:
        self.problems: list[str] = []
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
            "cpu_seconds": limits.cpu_seconds + cpu_seconds,
        }
        with borrowed(_ring_bytes(self._config, limits)) as decoder:
            for message in _run(decoder, job, self._source, limits):
                if message.kind == "end":
                    self.problems += [str(line) for line in message.content["problems"]]
                else:
                    yield _frame_of(message.content, decoder)


def _ring_bytes(config: DecodeConfig, limits: IsolationConfig) -> int:
    """Room for frames under way: as usual, but at least for the largest frame there can be."""
    largest = min(config.long_side_pixels**2, limits.most_pixels) + SMALL_LONG_SIDE**2
    return max(RING_BYTES, WINDOW_BYTES + 3 * largest)


def _ask(job: Content, source: Source, limits: IsolationConfig) -> Content:
    """Have a job done that has one answer."""
    with borrowed(RING_BYTES) as decoder:
        *_, last = _run(decoder, {"cpu_seconds": limits.cpu_seconds} | job, source, limits)
        return last.content


def _run(
    decoder: Decoder, job: Content, source: Source, limits: IsolationConfig
) -> Iterator[Message]:
    """What a decoder has to say on a job, up to its end; reads of the source are answered here."""
    job = {"memory_bytes": limits.memory_bytes, "most_pixels": limits.most_pixels} | job
    if isinstance(source, str | os.PathLike):
        path = os.path.abspath(source)  # the child stands elsewhere
        yield from _talk(decoder, {**job, "path": os.fsdecode(path)}, None, limits)
        return
    with video.open_file(source) as file:
        size, name = file.seek(0, os.SEEK_END), video.source_name(source)
        yield from _talk(decoder, {**job, "path": None, "size": size, "name": name}, file, limits)


def _talk(
    decoder: Decoder, job: Content, file: BinaryIO | None, limits: IsolationConfig
) -> Iterator[Message]:
    decoder.start(job)
    while True:
        message = decoder.receive(limits.stall_seconds)
        if message.kind == "read" and file is not None:
            decoder.send("data", size=_read_on(file, message.content, decoder))
        elif message.kind == "failed":
            raise MediaError(message.content["reason"], message.content["message"])
        elif message.kind == "bug":
            raise RuntimeError(f"the decoder process failed: {message.content['text']}")
        elif message.kind in ("frame", "end"):
            yield message
        if message.kind == "end":
            return


def _read_on(file: BinaryIO, asked: Content, decoder: Decoder) -> int:
    """Put a range of the source where the decoder sees it; how much of it there was.

    What its reading raises is no decoder's fault and goes on as it is.
    """
    offset, size = asked["offset"], asked["size"]
    if not (isinstance(offset, int) and isinstance(size, int) and offset >= 0 and size > 0):
        raise DecoderError("crash", f"its decoder asked to read {size!r} at {offset!r}")
    file.seek(offset)
    data = file.read(min(size, WINDOW_BYTES)) or b""
    decoder.ring[: len(data)] = data
    return len(data)


def _frame_of(said: Content, decoder: Decoder) -> DecodedFrame:
    """A frame that lies in shared memory, copied so that its slot is free at once.

    Raises:
        MediaError: `crash`: the child said what makes no sense, so it is damaged.
    """
    try:
        shapes = [tuple(int(side) for side in shape) for shape in said["shapes"]]
        small, *images = _copy(shapes, int(said["at"]), decoder)
        frame = DecodedFrame(
            number_in_segment=int(said["number"]),
            seconds=float(said["seconds"]),
            analysed=bool(images),
            image=images[0] if images else None,
            small=small,
            scale=float(said["scale"]),
            displayed_width=int(said["width"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DecoderError("crash", f"its decoder sent what is no frame: {error}") from error
    decoder.send("free")
    return frame


def _copy(shapes: list[tuple[int, ...]], start: int, decoder: Decoder) -> list[U8]:
    pictures = []
    for height, width, channels in shapes:
        size = height * width * channels
        if min(start, height, width) < 0 or channels != 3:
            raise ValueError(f"a picture of {height} x {width} x {channels} at {start}")
        flat = np.frombuffer(decoder.ring, np.uint8, size, start)
        pictures.append(flat.reshape(height, width, channels).copy())
        start += size
    return pictures
