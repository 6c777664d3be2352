"""What a video file holds and how it splits into segments; it knows nothing of pictures or faces.

A file is opened as a stream of bytes and nothing else: what its text may point to (playlists, other
files, addresses) is never opened.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, NamedTuple

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vcn_ray.errors import ConfigError, MediaError
from vcn_ray.records import Segment, VideoInfo

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a seekable binary file (of an object store, for instance)."""

READ_BYTES = 1 << 20  # one request to an object store; small reads cost a round trip each
MAX_BAD_PACKETS = 200  # in a row; more than that is no film with a scratch but no film
TEXT_FORMATS = ("tty", "hls", "concat", "dash", "sdp")  # FFmpeg would draw or follow their text
MOST_PIXELS = 1 << 26  # of one picture, 8192 x 8192; 8K has half of it
HDR_TRANSFERS = (16, 18)  # PQ and HLG in ISO/IEC 23091-2


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How a video is cut into segments and which of its frames are looked at."""

    segment_seconds: float = 30.0  # a segment is at least as long; only the last may be shorter
    analysis_fps: float = 8.0  # frames a second in which faces are looked for
    long_side_pixels: int = 960  # frames are analysed at this size at most, never enlarged
    threads: int = 1  # of the decoder

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} must be over 0, got {getattr(self, field.name)}")


class OpenVideo(NamedTuple):
    """A container and its one stream that counts as the video."""

    container: Any
    stream: VideoStream
    name: str  # for messages
    most_pixels: int = MOST_PIXELS  # of one picture

    @property
    def origin(self) -> int:
        """Time stamp of second 0."""
        return self.stream.start_time or 0

    def seconds(self, pts: int) -> float:
        """A time stamp as seconds from the start of the video."""
        return float((pts - self.origin) * self.time_base)

    @property
    def time_base(self) -> Any:
        """Seconds of one tick."""
        return self.stream.time_base

    def duration_seconds(self) -> float:
        """What the container says: of the stream, else of the file; 0 where it says nothing."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        return (self.container.duration or 0) / 1e6

    def check_size(self, width: int, height: int) -> None:
        """Refuse pictures over the limit.

        Raises:
            MediaError: `too_large`.
        """
        if width * height > self.most_pixels:
            raise MediaError(
                "too_large",
                f"{self.name}: its pictures have {width} x {height} pixels, more than"
                f" {self.most_pixels} in all; isolation.most_pixels allows more",
            )


@contextlib.contextmanager
def open_video(
    source: Source, threads: int = 1, most_pixels: int = MOST_PIXELS
) -> Iterator[OpenVideo]:
    """Open a file for demuxing and decoding.

    Args:
        source: Path or seekable binary file; a file given stays open.
        threads: Decoder threads.
        most_pixels: Of one picture.

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
            message = f"{name} is no video, or lacks its end: {_reason(error)}"
            raise MediaError("unreadable", message) from error
        stack.enter_context(container)
        stream = _pick_stream(container, name, threads)
        video = OpenVideo(container, stream, name, most_pixels)
        # What the container says, before a picture of that size is made; frames are looked at too.
        video.check_size(stream.codec_context.width, stream.codec_context.height)
        yield video


def source_name(source: Source) -> str:
    """A source's name for messages: the last part of its path."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "the file")
    return os.path.basename(os.fspath(path)) if isinstance(path, str | os.PathLike) else "the file"


def probe(source: Source, most_pixels: int = MOST_PIXELS) -> VideoInfo:
    """Say what a video is, from its container and its first frame.

    Raises:
        MediaError: `missing`, `unreadable`, `no_video_stream`, `too_large`, or `decode_error`
            where not one frame decodes.
    """
    with open_video(source, most_pixels=most_pixels) as video:
        frame = next(decode_frames(video, []), None)
        if frame is None:
            raise MediaError("decode_error", f"{video.name}: no frame of it can be decoded")
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


def displayed_size(video: OpenVideo, frame: VideoFrame) -> tuple[int, int, int]:
    """Width and height as shown, and the degrees counter-clockwise the decoded frame must turn.

    Raises:
        MediaError: `too_large`.
    """
    width = max(1, round(frame.width * (video.stream.sample_aspect_ratio or 1)))
    height = frame.height
    video.check_size(width, height)  # flat pixels can make a small picture a wide one
    rotation = round(frame.rotation / 90) * 90 % 360
    return (height, width, rotation) if rotation in (90, 270) else (width, height, rotation)


def decode_frames(video: OpenVideo, problems: list[str]) -> Iterator[VideoFrame]:
    """Decode on from the next keyframe, in order of presentation, past damaged packets.

    Args:
        video: The container, at the start or just after a seek.
        problems: Where one line is added for each kind of damage met.
    """
    damaged = bad_in_a_row = 0
    for packet in keyframe_onwards(video, problems):
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
            video.check_size(frame.width, frame.height)  # a film may grow on the way
            yield frame
    if damaged > 1:
        problems.append(f"{damaged} packets are damaged")


def keyframe_onwards(video: OpenVideo, problems: list[str]) -> Iterator[Any]:
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


def plan_segments(
    source: Source, config: DecodeConfig, most_pixels: int = MOST_PIXELS
) -> tuple[Segment, ...]:
    """Cut a video at keyframes into segments; each owns the frames start_pts <= pts < end_pts.

    The first also owns what comes before its start. Keyframes come from the container's index where
    it has one (mp4, mov, mkv with cues), else from a scan over all packets. A file without usable
    time stamps is one segment.

    Raises:
        MediaError: The file cannot be opened, or has no video that can be used.
    """
    with open_video(source, most_pixels=most_pixels) as video:
        if _lacks_presentation_times(video):
            return _segments(video, [], video.duration_seconds())
        ticks = config.segment_seconds / float(video.time_base)
        starts = _indexed_starts(video, ticks)
        end_seconds = video.duration_seconds()
        if starts is None:
            starts, last_pts = _scanned_starts(video, ticks)
            end_seconds = end_seconds if last_pts is None else video.seconds(last_pts)
        return _segments(video, starts, end_seconds)


def _lacks_presentation_times(video: OpenVideo) -> bool:
    """True where frames are stored out of order and only the order of decoding is stored."""
    return video.container.format.name == "avi" and bool(video.stream.codec_context.has_b_frames)


def _segments(video: OpenVideo, starts: list[int], end_seconds: float) -> tuple[Segment, ...]:
    bounds = [video.origin, *(start for start in starts if start > video.origin)]
    seconds = [video.seconds(pts) for pts in bounds]
    ends = [*seconds[1:], max(end_seconds, seconds[-1])]
    return tuple(
        Segment(
            index=index,
            start_pts=bounds[index],
            end_pts=bounds[index + 1] if index + 1 < len(bounds) else None,
            start_seconds=seconds[index],
            end_seconds=ends[index],
        )
        for index in range(len(bounds))
    )


def _indexed_starts(video: OpenVideo, ticks: float) -> list[int] | None:
    """Segment starts by the container's index; None where it has none that covers the file."""
    keys = sorted(entry.timestamp for entry in video.stream.index_entries if entry.is_keyframe)
    length = video.duration_seconds() / float(video.time_base)
    if not keys or not length or video.origin + length - keys[-1] > ticks:
        return None
    delay = max(0, video.origin - keys[0])  # where the index tells decoding times, these run ahead
    starts: list[int] = []
    for key in _spaced(keys, ticks)[1:]:
        # Frames are owned by presentation time, which only the keyframe's packet tells.
        pts = _keyframe_pts(video, key, delay)
        if pts is None:
            break  # the file ends before its index does: the segment so far runs to the end
        if pts - (starts[-1] if starts else video.origin) >= ticks:
            starts.append(pts)
    return starts


def _keyframe_pts(video: OpenVideo, timestamp: int, delay: int) -> int | None:
    """Presentation time of the keyframe that the index lists at `timestamp`."""
    try:
        video.container.seek(timestamp + delay, stream=video.stream)
    except av.FFmpegError:
        return None
    for packet in keyframe_onwards(video, []):
        if packet.pts is None:
            return None
        if packet.is_keyframe and max(packet.pts, packet.dts or packet.pts) >= timestamp:
            return int(packet.pts)
    return None


def _scanned_starts(video: OpenVideo, ticks: float) -> tuple[list[int], int | None]:
    """Segment starts and the end of the last frame by reading every packet."""
    keys: list[int] = []
    last: int | None = None
    for packet in keyframe_onwards(video, []):
        if packet.size == 0:
            break
        if packet.pts is None:
            return [], None
        if packet.is_keyframe and keys and packet.pts <= keys[-1]:
            return [], None  # time runs backwards: no time stamp names one frame
        if packet.is_keyframe:
            keys.append(packet.pts)
        last = max(packet.pts + (packet.duration or 0), last or packet.pts)
    return _spaced(keys, ticks)[1:], last


def _spaced(keys: list[int], ticks: float) -> list[int]:
    """The first key and every next one that is at least `ticks` after the one taken before."""
    taken: list[int] = []
    for key in keys:
        if not taken or key - taken[-1] >= ticks:
            taken.append(key)
    return taken


def _pick_stream(container: Any, name: str, threads: int) -> VideoStream:
    """The first video stream that is a film: no cover picture."""
    if set(container.format.name.split(",")) & set(TEXT_FORMATS):
        raise MediaError("unreadable", f"{name} is text, no video")
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams and not container.streams.audio:
        raise MediaError("unreadable", f"{name} holds neither picture nor sound")
    if not streams:
        raise MediaError("no_video_stream", f"{name} has no video in it, only sound")
    stream: VideoStream = streams[0]
    stream.codec_context.thread_count = threads
    if threads > 1:
        stream.codec_context.thread_type = "AUTO"
    return stream


@contextlib.contextmanager
def open_file(source: Source) -> Iterator[BinaryIO]:
    """The file of a source, at its start; closed again only where it was a path.

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


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"a video may not open another file: {url}")


def _raise_if_out_of_memory(error: BaseException) -> None:
    if isinstance(error, MemoryError):  # FFmpeg's is one; it says nothing against the file's bytes
        raise error


def _at(video: OpenVideo, packet: Any) -> str:
    return "an unknown time" if packet.pts is None else f"{video.seconds(packet.pts):.1f} s"


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
