"""Opens a video file, probes it and decodes its frames in order; it knows nothing of faces.

A file is opened as a stream of bytes and nothing else: anything that its text may point to
(playlists, other files, addresses) is never opened.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Count, Positive, Threads
from vcn_ray.errors import MediaError
from vcn_ray.records import VideoInfo

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a seekable binary file (of an object store, for instance)."""

READ_BYTES = 1 << 20  # one request to an object store; small reads cost a round trip each
MAX_BAD_PACKETS = 200  # in a row, after which decoding stops
TEXT_FORMATS = ("tty", "hls", "concat", "dash", "sdp")  # FFmpeg would render or follow their text
MAX_PIXELS = 1 << 26  # of one picture, 8192 x 8192; 8K has half of it
UNSTATED_TIME_BASE = Fraction(1, 90_000)  # FFmpeg's default
HDR_TRANSFERS = (16, 18)  # PQ and HLG in ISO/IEC 23091-2


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
    max_pixels: int = MAX_PIXELS  # of one picture

    @property
    def origin(self) -> int:
        """Time stamp of second 0."""
        return self.stream.start_time or 0

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of a time stamp."""
        return self.stream.time_base or UNSTATED_TIME_BASE

    def seconds(self, pts: int) -> float:
        """A time stamp as seconds from the start of the video."""
        return float((pts - self.origin) * self.time_base)

    def duration_seconds(self) -> float:
        """The duration of the stream, else of the container; 0 if neither states one."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        return (self.container.duration or 0) / 1e6

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
        MediaError: `missing`, `unreadable`, `no_video_stream` or `too_large`.
    """
    name = source_name(source)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(source))
        try:
            container = av.open(
                file,
                buffer_size=READ_BYTES,
                metadata_errors="replace",
                io_open=_refuse_to_open,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            _raise_if_out_of_memory(error)
            message = f"{name} is not a video, or its end is missing: {_reason(error)}"
            raise MediaError("unreadable", message) from error
        stack.enter_context(container)
        stream = _pick_stream(container, name, threads)
        video = OpenVideo(container, stream, name, max_pixels)
        # The container states a size before any picture is allocated; every frame is checked too.
        video.check_size(stream.codec_context.width, stream.codec_context.height)
        yield video


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
        frame = next(decode_frames(video, []), None)
        if frame is None:
            raise MediaError("decode_error", f"{video.name}: none of its frames can be decoded")
        width, height, rotation = displayed_size(video, frame)
        rate = video.stream.average_rate or video.stream.guessed_rate or 0
        return VideoInfo(
            width=width,
            height=height,
            rotation=rotation,
            duration_seconds=video.duration_seconds(),
            frame_rate=float(rate),
            codec=video.stream.codec_context.name,
            hdr=int(frame.color_trc) in HDR_TRANSFERS,
            interlaced=bool(frame.interlaced_frame),
        )


class DisplayedSize(NamedTuple):
    """The size of a video as a player shows it."""

    width: int  # pixels
    height: int
    rotation: int  # degrees counter-clockwise by which decoded frames must turn: 0 90 180 270


def displayed_size(video: OpenVideo, frame: VideoFrame) -> DisplayedSize:
    """Apply a frame's pixel aspect and rotation to its size.

    Raises:
        MediaError: `too_large`.
    """
    width = max(1, round(frame.width * (video.stream.sample_aspect_ratio or 1)))
    height = frame.height
    video.check_size(width, height)  # flat pixels can make a small picture a wide one
    rotation = round(frame.rotation / 90) * 90 % 360
    if rotation in (90, 270):
        width, height = height, width
    return DisplayedSize(width, height, rotation)


def decode_frames(video: OpenVideo, problems: list[str]) -> Iterator[VideoFrame]:
    """Decode from the next keyframe on, in order of presentation, and skip damaged packets.

    Args:
        video: The container, at the start or just after a seek.
        problems: Gets one line for each kind of damage.
    """
    damaged = bad_in_a_row = 0
    for packet in packets_from_keyframe(video, problems):
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
        for frame in frames:
            video.check_size(frame.width, frame.height)  # the size may change within a stream
            yield frame
    if damaged > 1:
        problems.append(f"{damaged} packets are damaged")


def packets_from_keyframe(video: OpenVideo, problems: list[str]) -> Iterator[Packet[VideoStream]]:
    """Packets of the video from the next keyframe on, then one empty packet that flushes."""
    started = False
    packets = video.container.demux(video.stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            _raise_if_out_of_memory(error)
            problems.append(f"cannot be read to its end: {_reason(error)}")
            packet = None
        if packet is None or packet.size == 0:
            flush = av.Packet()
            flush.stream = video.stream
            yield flush
            return
        started = started or packet.is_keyframe
        if started:
            yield packet


def _pick_stream(container: InputContainer, name: str, threads: int) -> VideoStream:
    """The first video stream that is not a cover picture."""
    if set(container.format.name.split(",")) & set(TEXT_FORMATS):
        raise MediaError("unreadable", f"{name} is text, not a video")
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams and not container.streams.audio:
        raise MediaError("unreadable", f"{name} contains neither video nor sound")
    if not streams:
        raise MediaError("no_video_stream", f"{name} contains only sound, no video")
    stream = streams[0]
    stream.codec_context.thread_count = threads
    if threads > 1:
        stream.codec_context.thread_type = "AUTO"
    return stream


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
