"""Opens a video file and chooses the stream and the clock that count; it decodes nothing.

A file is opened as a stream of bytes and nothing else: anything that its text may point to
(playlists, other files, addresses) is never opened.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import BinaryIO, NamedTuple, TypeVar

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.stream import VideoStream
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Count, Positive, Threads
from vcn_ray.errors import MediaError
from vcn_ray.io.damage import is_scrambled
from vcn_ray.io.hardware import DEVICE_ERRORS, MAX_REASON, Device, HardwareError, qualifies
from vcn_ray.io.streams import choose_stream, count_packets, is_encrypted
from vcn_ray.io.timeline import (
    Timeline,
    earliest_start,
    frame_period,
    max_gap_seconds,
    start_of_file,
)
from vcn_ray.redact import one_line

T = TypeVar("T")

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a seekable binary file (of an object store, for instance)."""

READ_BYTES = 1 << 20  # one request to an object store; small reads cost a round trip each
MAX_PIXELS = 1 << 26  # of one picture, 8192 x 8192; 8K has half of it
UNSTATED_TIME_BASE = Fraction(1, 90_000)  # FFmpeg's default
MAX_SECONDS = 30 * 86_400.0  # no video is longer; what claims to be has a wrong clock
MIN_BYTES_PER_SECOND = 16  # of a file, likewise


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DecodeConfig:
    """How a video is cut into segments and which of its frames are analysed."""

    segment_seconds: Positive = 30.0  # minimum length of a segment; only the last may be shorter
    analysis_fps: Positive = 8.0  # frames per second in which faces are detected
    long_side_pixels: Count = 960  # longer frames are scaled down to this, shorter never enlarged
    decoder_threads: Threads = 1


class OpenVideo(NamedTuple):
    """A container and the one stream in it that counts as the video."""

    container: InputContainer
    stream: VideoStream
    name: str  # for messages
    file: BinaryIO
    zero: Fraction  # time stamp of second 0, in seconds
    max_pixels: int = MAX_PIXELS  # of one picture
    moving: int = 1  # number of streams with moving pictures
    gpu_size: tuple[int, int] | None = None  # of pictures that a GPU decodes; None: the CPU does

    @property
    def first_pts(self) -> int:
        """Time stamp at which the picture begins."""
        return self.stream.start_time or 0

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of a time stamp."""
        return self.stream.time_base or UNSTATED_TIME_BASE

    def seconds(self, pts: int) -> float:
        """A time stamp as seconds from the start of the file."""
        return float(pts * self.time_base - self.zero)

    def end_seconds(self) -> float | None:
        """Where the container says that the picture ends; None if it says nothing plausible."""
        if self.stream.duration:
            end = self.seconds(self.first_pts + self.stream.duration)
        else:
            end = (self.container.duration or 0) / 1e6
            # Matroska states where the last frame ends, by a clock that need not begin at 0.
            is_absolute = "matroska" in self.container.format.name and 0 < self.zero < end
            end -= float(self.zero) if is_absolute else 0.0
        start = self.seconds(self.first_pts)
        size = self.container.size
        plausible = start < end < MAX_SECONDS and size >= MIN_BYTES_PER_SECOND * (end - start)
        return end if plausible else None

    def timeline(self, offset: float = 0.0) -> Timeline:
        """A clock for its frames or packets."""
        return Timeline(frame_period(self.stream), max_gap_seconds(self.container), offset)

    def check_size(self, width: int, height: int) -> None:
        """Refuse pictures over the limit.

        Raises:
            MediaError: `too_large`.
        """
        if width * height > self.max_pixels:
            raise MediaError(
                "too_large",
                f"{self.name}: its pictures have {width} x {height} pixels, more than"
                f" {self.max_pixels} in all; raise isolation.max_pixels to allow them",
            )


@contextlib.contextmanager
def open_video(
    source: Source,
    threads: int = 1,
    max_pixels: int = MAX_PIXELS,
    device: Device | None = None,
) -> Iterator[OpenVideo]:
    """Open a file for demuxing and decoding.

    Args:
        source: Path or seekable binary file; a given file is not closed.
        threads: Decoder threads.
        max_pixels: Of one picture.
        device: Decodes what it can decode as software would; None, or without a device: the CPU.

    Raises:
        MediaError: `missing`, `unreadable`, `no_video_stream`, `encrypted` or `too_large`.
        HardwareError: The device fails on this file.
    """
    name = source_name(source)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(source))
        try:
            container = stack.enter_context(_open_container(file))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise_if_out_of_memory(error)
            if is_scrambled(file):
                raise encrypted_error(name) from error
            message = f"{name} is not a video, or its end is missing: {reason_of(error)}"
            raise MediaError("unreadable", message) from error
        choice = choose_stream(container, name, lambda: _look_again(file, {}, count_packets))
        stream = choice.stream
        if is_encrypted(stream) or (container.format.name == "mpegts" and is_scrambled(file)):
            raise encrypted_error(name)
        stream.codec_context.thread_count = threads
        if threads > 1:
            stream.codec_context.thread_type = "AUTO"
        unedited = partial(_look_again, file, {"ignore_editlist": "1"}, earliest_start)
        zero = start_of_file(container, stream, unedited)
        video = OpenVideo(container, stream, name, file, zero, max_pixels, choice.moving)
        # The container states a size before any picture is allocated; every frame is checked too.
        video.check_size(stream.codec_context.width, stream.codec_context.height)
        if device and device.accel and qualifies(stream.codec_context):
            video = _on_gpu(video, device.accel, stack)
        yield video


def _on_gpu(video: OpenVideo, accel: HWAccel, stack: contextlib.ExitStack) -> OpenVideo:
    """The same video from its start, decoded by a device.

    It is opened a second time: a decoder gets its device, and all that it needs to know of the
    stream, only while its container is opened.
    """
    context = video.stream.codec_context
    video.file.seek(0)
    try:
        container = stack.enter_context(_open_container(video.file, accel=accel))
        stream = container.streams[video.stream.index]
        if not (isinstance(stream, VideoStream) and stream.codec_context.is_hwaccel):
            raise ValueError("no device was attached to its decoder")
    except DEVICE_ERRORS as error:
        reason = one_line(error, MAX_REASON)
        text = f"{video.name}: a GPU cannot open it: {reason}"
        raise HardwareError("decode_error", text) from error
    stream.codec_context.thread_count = 1  # the work is the device's
    size = (context.width, context.height)
    return video._replace(container=container, stream=stream, gpu_size=size)


def _open_container(
    file: BinaryIO, options: dict[str, str] | None = None, accel: HWAccel | None = None
) -> InputContainer:
    container: InputContainer = av.open(
        file,
        buffer_size=READ_BYTES,
        metadata_errors="replace",
        io_open=_refuse_to_open,
        options=options or {},
        hwaccel=accel,
    )
    return container


def encrypted_error(name: str) -> MediaError:
    """The error of a file with a protected picture."""
    text = f"{name}: its picture is encrypted; give a copy without protection"
    return MediaError("encrypted", text)


def _look_again(file: BinaryIO, options: dict[str, str], look: Callable[[InputContainer], T]) -> T:
    """Open a file that is already open a second time, from its start."""
    position = file.tell()
    try:
        file.seek(0)
        with _open_container(file, options) as container:
            return look(container)
    finally:
        file.seek(position)


@contextlib.contextmanager
def open_file(source: Source) -> Iterator[BinaryIO]:
    """Open a source as a file that stands at its start; only a file opened here is closed again.

    Raises:
        MediaError: `missing` or `unreadable`.
    """
    name = source_name(source)
    with contextlib.ExitStack() as stack:
        try:
            file = source
            if isinstance(file, str | os.PathLike):
                file = stack.enter_context(open(file, "rb", buffering=0))
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
        except FileNotFoundError as error:
            raise MediaError("missing", f"{name}: there is no such file") from error
        except OSError as error:
            raise MediaError("unreadable", f"{name} cannot be read: {reason_of(error)}") from error
        if size == 0:
            raise MediaError("unreadable", f"{name} is empty")
        yield file


def source_name(source: Source) -> str:
    """A source's name for messages: the last part of its path."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "the file")
    return os.path.basename(os.fspath(path)) if isinstance(path, str | os.PathLike) else "the file"


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"a video may not open another file: {url}")


def raise_if_out_of_memory(error: BaseException) -> None:
    """Raise an error again that says that memory is missing."""
    if isinstance(error, MemoryError):  # FFmpeg raises one too; it is no fault of the file
        raise error


def reason_of(error: BaseException) -> str:
    """What an error of FFmpeg or of the system says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
