"""Reads the frames of one segment, each once; it knows nothing of faces, shots or results."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from vcn_ray.errors import MediaError
from vcn_ray.io.decoding import DisplayedSize, Picture, decode_frames, displayed_size
from vcn_ray.io.hardware import HardwareError, open_device, to_planar
from vcn_ray.io.timeline import frame_period, max_gap_seconds
from vcn_ray.io.video import (
    MAX_PIXELS,
    DecodeConfig,
    OpenVideo,
    Source,
    open_video,
)
from vcn_ray.records import U8, Segment

SMALL_LONG_SIDE = 256  # pixels of the picture from which shot and motion signals are computed
STEPS_BACK_SECONDS = (0.0, 1.0, 4.0, 16.0, math.inf)  # seek this far back until the start decodes
END_SLACK_SECONDS = 1.0  # containers round up the duration of a stream
FILE_SLACK_SECONDS = 10.0  # the duration of a file includes sound, which may outlast the picture
MAX_STAND_SECONDS = 1.0  # a longer gap in a damaged segment is a hole, not a picture that stands
UNSPECIFIED = 2  # colour matrix of ISO/IEC 23091-2
HD_LINES = 720  # from this height on, players assume BT.709 where no matrix is specified


class DecodedFrame(NamedTuple):
    """One frame of a segment."""

    number_in_segment: int  # 0, 1, ... in order of presentation
    seconds: float  # from the start of the file
    end_seconds: float  # until the picture stands
    analysed: bool  # faces are sought in this frame
    image: U8 | None  # (h, w, 3) RGB at analysis size; None unless analysed
    small: U8  # (h, w, 3) RGB, SMALL_LONG_SIDE at most
    scale: float  # displayed pixels in one pixel of `image`
    displayed_width: int  # pixels; the size may change within a video
    displayed_height: int


def read_segment(
    source: Source,
    segment: Segment,
    config: DecodeConfig,
    max_pixels: int = MAX_PIXELS,
    device: str | None = None,
) -> SegmentFrames:
    """Read the frames that a segment owns, each once and in order of presentation.

    Args:
        source: Path or seekable binary file.
        segment: One of `plan_segments` for the same file.
        config: Which frames are analysed, and how large.
        max_pixels: Of one picture.
        device: The GPU that decodes what it can, such as `cuda`; None: the CPU.

    Returns:
        An iterable; once it has ended, its `problems` lists what could not be read.
    """
    return SegmentFrames(source, segment, config, max_pixels, device)


class SegmentFrames:
    """Iterates over a segment's frames.

    Damaged parts are skipped and listed in `problems`. MediaError is raised for a segment without
    one decodable frame (`decode_error`), a picture over the limit (`too_large`) and a file that
    cannot be opened (with the reason that `open_video` gives). HardwareError is raised, possibly
    after some frames, where a GPU fails or the file is damaged, of which a GPU says too little:
    these frames must be discarded, and the segment be read again without the GPU.

    Attributes:
        problems: One line per problem, complete once the iteration has ended; empty if every frame
            was read.
        decoded_on: `cpu` or `cuda`, once the iteration has begun.
        decoder_seconds: CPU time of the iteration so far.
    """

    def __init__(
        self,
        source: Source,
        segment: Segment,
        config: DecodeConfig,
        max_pixels: int,
        device: str | None = None,
    ) -> None:
        self.problems: list[str] = []
        self.decoded_on = "cpu"
        self._device = device
        self.decoder_seconds = 0.0
        self._source = source
        self._segment = segment
        self._config = config
        self._max_pixels = max_pixels

    def __iter__(self) -> Iterator[DecodedFrame]:
        began = time.process_time()
        for frame in self._frames():
            self.decoder_seconds += time.process_time() - began
            yield frame
            began = time.process_time()
        self.decoder_seconds += time.process_time() - began

    def _frames(self) -> Iterator[DecodedFrame]:
        self.problems.clear()
        device = open_device(self._device) if self._device else None
        threads = self._config.decoder_threads
        with open_video(self._source, threads, self._max_pixels, device) as video:
            self.decoded_on = "cuda" if video.gpu_size else "cpu"
            converter = _Converter(video, self._config)
            slot: int | None = None
            end: float | None = None
            for number, timed in enumerate(self._timed(video)):
                end = timed.end_seconds
                last_slot, slot = slot, math.floor(timed.seconds * self._config.analysis_fps + 1e-6)
                stands = timed.end_seconds - timed.seconds >= 1.5 / self._config.analysis_fps
                yield converter.convert(timed, number, analysed=slot != last_slot or stands)
            if not (video.gpu_size and end is None):
                self._check_end(video, end)
            if video.gpu_size and (end is None or self.problems):
                first = next(iter(self.problems), "no frame decodes")
                raise HardwareError("decode_error", f"{video.name}: {first}")

    def _timed(self, video: OpenVideo) -> Iterator[_TimedPicture]:
        """The segment's frames, each with the time until the next one, for which it stands."""
        segment = self._segment
        # Where stamps jumped before this segment, its times differ from what its stamps say.
        offset = segment.start_seconds - video.seconds(segment.start_pts) if segment.index else 0.0
        clock = video.timeline(offset)
        waiting: _TimedPicture | None = None
        for picture in self._owned(video):
            pts = picture.frame.pts
            seconds = clock.read(None if pts is None else video.seconds(pts))
            if waiting:
                yield waiting._replace(end_seconds=self._stands_until(waiting, seconds))
            waiting = _TimedPicture(picture, seconds, seconds + _nominal_seconds(video, picture))
        if waiting and self._reached is not None:
            after = clock.place(video.seconds(self._reached))
            if not clock.is_jump(video.seconds(self._reached)):
                waiting = waiting._replace(end_seconds=self._stands_until(waiting, after))
        if waiting:
            yield waiting

    def _stands_until(self, picture: _TimedPicture, next_seconds: float) -> float:
        gap = next_seconds - picture.seconds
        is_hole = bool(self.problems) and gap > MAX_STAND_SECONDS
        return picture.end_seconds if is_hole else max(next_seconds, picture.seconds)

    def _owned(self, video: OpenVideo) -> Iterator[Picture]:
        """The frames that belong to the segment, even if decoding has to start far before it."""
        self._reached: int | None = None
        corrupt = 0
        for picture in self._from_start(video):
            frame, end = picture.frame, self._segment.end_pts
            if frame.pts is not None and end is not None and frame.pts >= end:
                self._reached = frame.pts
                break
            if self._is_before(frame):
                continue  # leads an open group of pictures: the previous segment owns it
            corrupt += frame.is_corrupt
            yield picture
        if corrupt:
            self.problems.append(f"{corrupt} frames are damaged")

    def _from_start(self, video: OpenVideo) -> Iterator[Picture]:
        """Frames from the segment's first one on, possibly preceded by earlier ones."""
        if self._segment.index == 0:
            return decode_frames(video, self.problems)
        for step in STEPS_BACK_SECONDS:
            self.problems.clear()
            self._seek(video, step)
            frames = decode_frames(video, self.problems)
            first = next((found for found in frames if not self._is_before(found.frame)), None)
            # Some demuxers seek past the keyframe, and some keyframes need frames before them.
            starts = first and first.frame.pts == self._segment.start_pts
            if first and starts and not first.frame.is_corrupt:
                break
        return frames if first is None else itertools.chain((first,), frames)

    def _seek(self, video: OpenVideo, seconds_back: float) -> None:
        target = video.first_pts
        if math.isfinite(seconds_back):
            target = self._segment.start_pts - round(seconds_back / float(video.time_base))
        try:
            video.container.seek(max(target, video.first_pts), stream=video.stream)
        except av.FFmpegError as error:
            message = f"{video.name}: cannot seek to {self._segment.start_seconds:.1f} s"
            raise MediaError("decode_error", message) from error

    def _is_before(self, frame: VideoFrame) -> bool:
        before = frame.pts is not None and frame.pts < self._segment.start_pts
        return before and self._segment.index > 0

    def _check_end(self, video: OpenVideo, end_seconds: float | None) -> None:
        segment = self._segment
        if end_seconds is None:
            raise MediaError(
                "decode_error",
                f"{video.name}: no frame decodes from {segment.start_seconds:.1f} s"
                f" to {segment.end_seconds:.1f} s",
            )
        if self._reached is not None:
            return
        slack = END_SLACK_SECONDS if video.stream.duration else FILE_SLACK_SECONDS
        if segment.end_pts is not None or segment.end_seconds - end_seconds > slack:
            self.problems.append(
                f"ends at {end_seconds:.1f} s where {segment.end_seconds:.1f} s were promised"
            )


class _TimedPicture(NamedTuple):
    """A decoded frame and when it is shown."""

    picture: Picture
    seconds: float
    end_seconds: float


def _nominal_seconds(video: OpenVideo, picture: Picture) -> float:
    """How long a frame claims to stand, else how long frames stand on average."""
    stated = float((picture.frame.duration or 0) * video.time_base)
    return stated if 0 < stated <= max_gap_seconds(video.container) else frame_period(video.stream)


class _Geometry(NamedTuple):
    """How frames of one shape become upright pictures."""

    shown: DisplayedSize
    size: tuple[int, int]  # of the picture that is analysed
    small_size: tuple[int, int]
    # A reformatter reuses its tables while the sizes stay the same.
    to_image: VideoReformatter
    to_small: VideoReformatter


class _Converter:
    """Turns decoded frames into upright RGB pictures, each frame in its own geometry."""

    def __init__(self, video: OpenVideo, config: DecodeConfig) -> None:
        self._video = video
        self._long_side = config.long_side_pixels
        self._key: tuple[object, ...] = ()
        self._geometry: _Geometry | None = None
        self._to_planar = VideoReformatter()

    def convert(self, timed: _TimedPicture, number: int, *, analysed: bool) -> DecodedFrame:
        picture = timed.picture
        if self._video.gpu_size:
            picture = picture._replace(frame=to_planar(picture.frame, self._to_planar))
        frame, geometry = picture.frame, self._geometry_of(picture)
        shown, rotation, mirrored = geometry.shown, geometry.shown.rotation, picture.mirrored
        small = _upright(frame, geometry.to_small, geometry.small_size, rotation, mirrored)
        image = None
        if analysed:
            image = _upright(frame, geometry.to_image, geometry.size, rotation, mirrored)
        return DecodedFrame(
            number_in_segment=number,
            seconds=timed.seconds,
            end_seconds=timed.end_seconds,
            analysed=analysed,
            image=image,
            small=small,
            scale=shown.width / geometry.size[0],
            displayed_width=shown.width,
            displayed_height=shown.height,
        )

    def _geometry_of(self, picture: Picture) -> _Geometry:
        frame = picture.frame
        key = (frame.width, frame.height, frame.format.name, picture.rotation, picture.aspect)
        if self._geometry is None or key != self._key:
            shown = displayed_size(self._video, picture)
            shape = (shown.width, shown.height)
            self._key = key
            self._geometry = _Geometry(
                shown,
                _fit(*shape, self._long_side),
                _fit(*shape, SMALL_LONG_SIDE),
                VideoReformatter(),
                VideoReformatter(),
            )
        return self._geometry


def _upright(
    frame: VideoFrame,
    reformatter: VideoReformatter,
    size: tuple[int, int],
    rotation: int,
    mirrored: bool,
) -> U8:
    width, height = size if rotation in (0, 180) else size[::-1]
    assumed = frame.colorspace == UNSPECIFIED and frame.height >= HD_LINES
    picture = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=av.video.reformatter.Colorspace.ITU709 if assumed else None,
        interpolation="AREA",
        threads=1,
    ).to_ndarray()
    picture = picture[::-1] if mirrored else picture
    return np.ascontiguousarray(np.rot90(picture, rotation // 90), dtype=np.uint8)


def _fit(width: int, height: int, long_side: int) -> tuple[int, int]:
    factor = min(1.0, long_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))
