"""Probes an open video and decodes its frames in order, each in its own geometry."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import NamedTuple, cast

import av
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vcn_ray.errors import MediaError
from vcn_ray.io.damage import DamageWatch
from vcn_ray.io.hardware import HardwareError, check_picture
from vcn_ray.io.streams import start_timecode
from vcn_ray.io.video import (
    MAX_PIXELS,
    OpenVideo,
    Source,
    encrypted_error,
    open_video,
    raise_if_out_of_memory,
    reason_of,
)
from vcn_ray.records import VideoInfo

MAX_BAD_PACKETS = 200  # in a row, after which decoding stops
DISPLAY_MATRIX = "DISPLAYMATRIX"
HDR_TRANSFERS = (16, 18)  # PQ and HLG in ISO/IEC 23091-2


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
            timecode=start_timecode(video.container, video.stream),
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
    rotation: int  # degrees counter-clockwise by which it must turn
    mirrored: bool = False  # whether it must first be turned over, top to bottom


def displayed_size(video: OpenVideo, picture: Picture) -> DisplayedSize:
    """Apply a frame's pixel aspect and rotation to its size.

    Raises:
        MediaError: `too_large`.
    """
    frame = picture.frame
    width, height = max(1, round(frame.width * picture.aspect)), frame.height
    video.check_size(width, height)  # flat pixels can make a small picture a wide one
    rotation = round(picture.rotation / 90) * 90 % 360
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
        HardwareError: The GPU failed, or its pictures are not as expected.
    """
    damaged = bad_in_a_row = 0
    aspects, orientations = _Aspects(video), _Orientations()
    for packet in packets_from_keyframe(video, problems):
        if packet.has_sidedata("encryption_info"):
            raise encrypted_error(video.name)
        aspects.number(packet)
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if video.gpu_size:  # of the device or of the file: only a software decoder can tell
                text = f"{video.name}: the GPU failed near {_at(video, packet)}: {reason_of(error)}"
                raise HardwareError("decode_error", text) from error
            raise_if_out_of_memory(error)
            damaged, bad_in_a_row = damaged + 1, bad_in_a_row + 1
            if damaged == 1:
                problems.append(
                    f"a packet near {_at(video, packet)} is damaged: {reason_of(error)}"
                )
            if bad_in_a_row == MAX_BAD_PACKETS:
                problems.append(f"gave up after {bad_in_a_row} damaged packets in a row")
                return
            continue
        bad_in_a_row = 0 if frames else bad_in_a_row
        aspects.update()
        for frame in frames:
            video.check_size(frame.width, frame.height)  # the size may change within a stream
            if video.gpu_size:
                check_picture(frame, video.gpu_size)
            yield Picture(frame, aspects.of(frame), *orientations.of(frame))
    if damaged > 1:
        problems.append(f"{damaged} packets are damaged")


class _Orientation(NamedTuple):
    """How a decoded frame becomes upright; as in Picture."""

    rotation: int = 0
    mirrored: bool = False


class _Orientations:
    """The orientation of each frame: what a coded picture states holds until the next keyframe.

    Side data is read only where a frame states another rotation than the one before. Reading it
    makes a cycle of references, in which each picture would wait for Python's garbage collection.
    """

    def __init__(self) -> None:
        self._stated: int | None = None  # by the last frame that was read; None: no frame yet
        self._now = _Orientation()

    def of(self, frame: VideoFrame) -> _Orientation:
        """The orientation of the next frame."""
        stated = int(frame.rotation)
        changes = stated != self._stated and (stated or frame.key_frame)
        if self._stated is None or changes:
            self._stated, self._now = stated, _read_orientation(frame)
        return self._now


def _read_orientation(frame: VideoFrame) -> _Orientation:
    """The orientation that a frame's display matrix states; upright without one."""
    matrices = [
        bytes(data)
        for data in map(partial(cast, SideData), frame.side_data)
        if data.type.name == DISPLAY_MATRIX
    ]
    if not matrices:
        return _Orientation()
    right_x, right_y, _, down_x, down_y, *_ = struct.unpack("=9i", matrices[0])
    turned_over = right_x * down_y - right_y * down_x
    # Where all points fall on a line, as in a matrix of zeros, it says nothing.
    return _Orientation(int(frame.rotation), turned_over < 0) if turned_over else _Orientation()


class _Aspects:
    """The pixel aspect of each frame: the container's, until the coded one changes."""

    def __init__(self, video: OpenVideo) -> None:
        self._context = video.stream.codec_context
        self._coded = self._context.sample_aspect_ratio
        self._now = self._before = video.stream.sample_aspect_ratio or Fraction(1)
        self._packets = 0
        self._since = 0  # number of the first packet with the present aspect
        self._threaded = self._context.thread_count > 1
        self._context.copy_opaque = True  # a frame then carries the number of its packet

    def number(self, packet: Packet[VideoStream]) -> None:
        """Number a packet before it is decoded."""
        self._packets += 1
        packet.opaque = self._packets

    def update(self) -> None:
        """Take over the aspect that the last packet has set."""
        coded = self._context.sample_aspect_ratio
        if coded == self._coded or not coded:
            return
        known = self._coded is not None
        self._coded = coded
        if known:
            self._before, self._now = self._now, coded
            self._since = 0 if self._threaded else self._packets

    def of(self, frame: VideoFrame) -> Fraction:
        """The aspect of a frame; one that waited to be shown is older than the change."""
        number = frame.opaque if isinstance(frame.opaque, int) else self._packets
        return self._now if number >= self._since else self._before


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
            raise_if_out_of_memory(error)
            problems.append(f"cannot be read to its end: {reason_of(error)}")
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


def _at(video: OpenVideo, packet: Packet[VideoStream]) -> str:
    return "an unknown time" if packet.pts is None else f"{video.seconds(packet.pts):.1f} s"
