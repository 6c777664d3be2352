"""Chooses the stream of a container that is the film; it decodes nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vcn_ray.errors import MediaError

TEXT_FORMATS = ("tty", "hls", "concat", "dash", "sdp")  # FFmpeg would render or follow their text
NO_FILM = (
    Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
)  # covers and previews
PICTURE_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpegxl", "jpeg2000")
COUNTED_PACKETS = 4_000  # of all streams, to see which pictures move
COUNTED_SECONDS = 30.0
MIN_RATE = 0.05  # of the liveliest stream's frames; slower ones are previews
MIN_PICTURE_RATE = 0.5  # the same for codecs of single pictures, beside a codec of films
MIN_SIZE = 0.5  # of the largest picture's pixels, for a stream that is marked as the default
TIMECODE_TAG = "timecode"
TIMECODE = re.compile(r"\d{2}:\d{2}:\d{2}[:;.,]\d{2}")
ENCRYPTED_TAGS = ("encv", "drmi")  # sample entries of ISO/IEC 23001-7 and of FairPlay


class Choice(NamedTuple):
    """The stream that is the film."""

    stream: VideoStream
    moving: int  # number of streams that show moving pictures


def choose_stream(
    container: InputContainer, name: str, count: Callable[[], Counter[int]]
) -> Choice:
    """Choose the default or the largest moving picture.

    Covers, previews and smaller copies are left aside, whether they are marked as such or not.

    Args:
        container: The file.
        name: For messages.
        count: Returns the number of packets of each stream near the start.

    Raises:
        MediaError: `unreadable` or `no_video_stream`.
    """
    if set(container.format.name.split(",")) & set(TEXT_FORMATS):
        raise MediaError("unreadable", f"{name} is text, not a video")
    streams = [stream for stream in container.streams.video if not stream.disposition & NO_FILM]
    streams = [stream for stream in streams if stream.codec_context is not None]
    sound = len(container.streams.audio) > 0
    if not streams and not sound:
        raise MediaError("unreadable", f"{name} contains neither video nor sound")
    if not streams:
        raise MediaError("no_video_stream", f"{name} contains only sound, no video")
    alone = len(streams) == 1
    if alone and not (sound and _is_picture(streams[0])):
        return Choice(streams[0], 1)
    packets = count()
    if alone and packets[streams[0].index] < 2:
        raise MediaError("no_video_stream", f"{name} contains only sound and a cover, no video")
    moving = _moving(streams, packets)
    return Choice(_best(moving or streams), max(1, len(moving)))


def count_packets(container: InputContainer) -> Counter[int]:
    """Number of packets of each stream near the start of a container."""
    packets: Counter[int] = Counter()
    first: dict[int, float] = {}
    for number, packet in enumerate(container.demux(), start=1):
        packets[packet.stream_index] += packet.size > 0
        if packet.dts is not None:
            seconds = float(packet.dts * packet.time_base)
            begun = first.setdefault(packet.stream_index, seconds)
            if seconds - begun > COUNTED_SECONDS:
                break
        if number == COUNTED_PACKETS:
            break
    return packets


def is_encrypted(stream: VideoStream) -> bool:
    """True for a picture that a container marks as encrypted."""
    tag = stream.codec_context.codec_tag
    return tag in ENCRYPTED_TAGS or "enc_key_id" in stream.metadata


def start_timecode(container: InputContainer, stream: VideoStream) -> str:
    """The SMPTE timecode that a file states for its first frame; empty where it states none.

    FFmpeg copies the one of a tmcd track to the picture that the track belongs to. Other formats
    state it for the picture or for the whole file.
    """
    places = [stream.metadata, *(data.metadata for data in container.streams.data)]
    for tags in (*places, container.metadata):
        for name, value in tags.items():
            if name.lower() == TIMECODE_TAG and TIMECODE.fullmatch(value.strip()):
                return value.strip()
    return ""


def _is_picture(stream: VideoStream) -> bool:
    return stream.codec_context.name in PICTURE_CODECS


def _moving(streams: list[VideoStream], packets: Counter[int]) -> list[VideoStream]:
    most = max(packets[stream.index] for stream in streams)
    films = any(not _is_picture(s) and packets[s.index] > 1 for s in streams)

    def moves(stream: VideoStream) -> bool:
        rate = MIN_PICTURE_RATE if films and _is_picture(stream) else MIN_RATE
        return packets[stream.index] > 1 and packets[stream.index] >= rate * most

    return [stream for stream in streams if moves(stream)]


def _best(streams: list[VideoStream]) -> VideoStream:
    largest = max(_pixels(stream) for stream in streams)

    def rank(stream: VideoStream) -> tuple[bool, int, int]:
        default = bool(stream.disposition & Disposition.default)
        return (
            default and _pixels(stream) >= MIN_SIZE * largest,
            _pixels(stream),
            -stream.index,
        )

    return max(streams, key=rank)


def _pixels(stream: VideoStream) -> int:
    context: av.VideoCodecContext = stream.codec_context
    return int(context.width * context.height)
