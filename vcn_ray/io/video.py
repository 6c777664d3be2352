"""Opens a video file, probes it and decodes its frames in order; it knows nothing of faces.

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
from typing import BinaryIO, NamedTuple, TypeVar, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Count, Positive
from vcn_ray.errors import MediaError
from vcn_ray.io.damage import DamageWatch, is_scrambled
from vcn_ray.io.streams import choose_stream, count_packets, is_encrypted
from vcn_ray.io.timeline import (
    Timeline,
    earliest_start,
    frame_period,
    max_gap_seconds,
    start_of_file,
)
from vcn_ray.records import VideoInfo

T = TypeVar("T")

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a seekable binary file (of an object store, for instance)."""

READ_BYTES = 1 << 20  # one request to an object store; small reads cost a round trip each
MAX_BAD_PACKETS = 200  # in a row, after which decoding stops
MAX_PIXELS = 1 << 26  # of one picture, 8192 x 8192; 8K has half of it
UNSTATED_TIME_BASE = Fraction(1, 90_000)  # FFmpeg's default
MAX_SECONDS = 30 * 86_400.0  # no video is longer; what claims to be has a wrong clock
MIN_BYTES_PER_SECOND = 16  # of a file, likewise
HDR_TRANSFERS = (16, 18)  # PQ and HLG in ISO/IEC 23091-2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DecodeConfig:
    """How a video is cut into segments and which of its frames are analysed."""

    segment_seconds: Positive = 30.0  # minimum length of a segment; only the last may be shorter
    analysis_fps: Positive = 8.0  # frames per second in which faces are detected
    long_side_pixels: Count = 960  # longer frames are scaled down to this, shorter never enlarged
    decoder_threads: Count = 1


class OpenVideo(NamedTuple):
    """A container and the one stream in it that counts as the video."""

    container: InputContainer
    stream: VideoStream
    name: str  # for messages
    file: BinaryIO
    zero: Fraction  # time stamp of second 0, in seconds
    max_pixels: int = MAX_PIXELS  # of one picture
    moving: int = 1  # number of streams with moving pictures

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
    source: Source, threads: int = 1, max_pixels: int = MAX_PIXELS
) -> Iterator[OpenVideo]:
    """Open a file for demuxing and decoding.

    Args:
        source: Path or seekable binary file; a given file is not closed.
        threads: Decoder threads.
        max_pixels: Of one picture.

    Raises:
        MediaError: `missing`, `unreadable`, `no_video_stream`, `encrypted` or `too_large`.
    """
    name = source_name(source)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(source))
        try:
            container = stack.enter_context(_open_container(file))
        except (av.FFmpegError, OSError, ValueError) as error:
            _raise_if_out_of_memory(error)
            if is_scrambled(file):
                raise _encrypted(name) from error
            message = f"{name} is not a video, or its end is missing: {_reason(error)}"
            raise MediaError("unreadable", message) from error
        choice = choose_stream(container, name, lambda: _look_again(file, {}, count_packets))
        stream = choice.stream
        if is_encrypted(stream) or (container.format.name == "mpegts" and is_scrambled(file)):
            raise _encrypted(name)
        stream.codec_context.thread_count = threads
        if threads > 1:
            stream.codec_context.thread_type = "AUTO"
        unedited = partial(_look_again, file, {"ignore_editlist": "1"}, earliest_start)
        zero = start_of_file(container, stream, unedited)
        video = OpenVideo(container, stream, name, file, zero, max_pixels, choice.moving)
        # The container states a size before any picture is allocated; every frame is checked too.
        video.check_size(stream.codec_context.width, stream.codec_context.height)
        yield video


def _open_container(file: BinaryIO, options: dict[str, str] | None = None) -> InputContainer:
    container: InputContainer = av.open(
        file,
        buffer_size=READ_BYTES,
        metadata_errors="replace",
        io_open=_refuse_to_open,
        options=options or {},
    )
    return container


def _encrypted(name: str) -> MediaError:
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
            raise MediaError("unreadable", f"{name} cannot be read: {_reason(error)}") from error
        if size == 0:
            raise MediaError("unreadable", f"{name} is empty")
        yield file


def source_name(source: Source) -> str:
    """A source's name for messages: the last part of its path."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "the file")
    return os.path.basename(os.fspath(path)) if isinstance(path, str | os.PathLike) else "the file"


def probe(source: Source, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Read a video's properties from its container and its first frame.

    Raises:
        MediaError: `missing`, `unreadable`, `no_video_stream`, `too_large`, or `decode_error`
            if not one frame decodes.
    """
    with open_video(source, max_pixels=max_pixels) as video:
        picture = next(decode_frames(video, []), None)
        if picture is None:
            raise MediaError("decode_error", f"{video.name}: none of its frames can be decoded")
        frame = picture.frame
        width, height, rotation = displayed_size(video, picture)
        rate = video.stream.average_rate or video.stream.guessed_rate or 0
        return VideoInfo(
            width=width,
            height=height,
            rotation=rotation,
            duration_seconds=video.end_seconds() or 0.0,
            frame_rate=float(rate),
            codec=video.stream.codec_context.name,
            hdr=int(frame.color_trc) in HDR_TRANSFERS,
            interlaced=bool(frame.interlaced_frame),
            moving_pictures=video.moving,
        )


class DisplayedSize(NamedTuple):
    """The size of a video as a player shows it."""

    width: int  # pixels
    height: int
    rotation: int  # degrees counter-clockwise by which decoded frames must turn: 0 90 180 270


class Picture(NamedTuple):
    """A decoded frame and the shape of its pixels, which may change within a stream."""

    frame: VideoFrame
    aspect: Fraction  # width over height of one pixel


def displayed_size(video: OpenVideo, picture: Picture) -> DisplayedSize:
    """Apply a frame's pixel aspect and rotation to its size.

    Raises:
        MediaError: `too_large`.
    """
    frame = picture.frame
    width, height = max(1, round(frame.width * picture.aspect)), frame.height
    video.check_size(width, height)  # flat pixels can make a small picture a wide one
    rotation = round(frame.rotation / 90) * 90 % 360
    if rotation in (90, 270):
        width, height = height, width
    return DisplayedSize(width, height, rotation)


def decode_frames(video: OpenVideo, problems: list[str]) -> Iterator[Picture]:
    """Decode from the next keyframe on, in order of presentation, and skip damaged packets.

    Args:
        video: The container, at the start or just after a seek.
        problems: Gets one line for each kind of damage.

    Raises:
        MediaError: `encrypted` or `too_large`.
    """
    damaged = bad_in_a_row = 0
    aspects = _Aspects(video)
    for packet in packets_from_keyframe(video, problems):
        if packet.has_sidedata("encryption_info"):
            raise _encrypted(video.name)
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            _raise_if_out_of_memory(error)
            damaged, bad_in_a_row = damaged + 1, bad_in_a_row + 1
            if damaged == 1:
                problems.append(f"a packet near {_at(video, packet)} is damaged: {_reason(error)}")
            if bad_in_a_row == MAX_BAD_PACKETS:
                problems.append(f"gave up after {bad_in_a_row} damaged packets in a row")
                return
            continue
        bad_in_a_row = 0 if frames else bad_in_a_row
        aspects.update(packet)
        for frame in frames:
            video.check_size(frame.width, frame.height)  # the size may change within a stream
            yield Picture(frame, aspects.of(frame))
    if damaged > 1:
        problems.append(f"{damaged} packets are damaged")


class _Aspects:
    """The pixel aspect of each frame: the container's, until the coded one changes."""

    def __init__(self, video: OpenVideo) -> None:
        self._context = video.stream.codec_context
        self._coded = self._context.sample_aspect_ratio
        self._now = self._before = video.stream.sample_aspect_ratio or Fraction(1)
        self._since: int | None = None  # time stamp of the first frame with the present aspect
        self._threaded = self._context.thread_count > 1

    def update(self, packet: Packet[VideoStream]) -> None:
        """Take over the aspect that a packet has set."""
        coded = self._context.sample_aspect_ratio
        if coded == self._coded or not coded:
            return
        known = self._coded is not None
        self._coded = coded
        if known:
            # Frames that wait to be shown are older than the packet that changed the aspect.
            self._before, self._now = self._now, coded
            self._since = None if self._threaded else packet.pts

    def of(self, frame: VideoFrame) -> Fraction:
        """The aspect of a frame."""
        if self._since is None or frame.pts is None or frame.pts >= self._since:
            return self._now
        return self._before


def packets_from_keyframe(video: OpenVideo, problems: list[str]) -> Iterator[Packet[VideoStream]]:
    """Packets of the video from the next keyframe on, then one empty packet that flushes.

    Args:
        video: The container, at the start or just after a seek.
        problems: Gets a line for each place where the file is incomplete.
    """
    started = False
    damage = DamageWatch(video.container, video.file)
    packets = video.container.demux()
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            _raise_if_out_of_memory(error)
            problems.append(f"cannot be read to its end: {_reason(error)}")
            packet = None
        if packet is None or (packet.size == 0 and packet.dts is None):
            break
        if packet.size == 0:
            continue  # AVI writes one where the last picture stands
        is_picture = packet.stream_index == video.stream.index
        line = damage.add(packet, is_picture=is_picture)
        if line:
            problems.append(line)
        started = started or (is_picture and packet.is_keyframe)
        if started and is_picture:
            yield cast("Packet[VideoStream]", packet)
    problems += damage.at_end()
    flush = av.Packet()
    flush.stream = video.stream
    yield flush


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"a video may not open another file: {url}")


def _raise_if_out_of_memory(error: BaseException) -> None:
    if isinstance(error, MemoryError):  # FFmpeg raises one too; it is no fault of the file
        raise error


def _at(video: OpenVideo, packet: Packet[VideoStream]) -> str:
    return "an unknown time" if packet.pts is None else f"{video.seconds(packet.pts):.1f} s"


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
