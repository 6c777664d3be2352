"""Reads the frames of one segment, each once; it knows nothing of faces, shots or results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from vcn_ray.errors import MediaError
from vcn_ray.io.video import (
    MAX_PIXELS,
    DecodeConfig,
    OpenVideo,
    Source,
    decode_frames,
    displayed_size,
    open_video,
)
from vcn_ray.records import U8, Segment

SMALL_LONG_SIDE = 256  # pixels of the picture from which shot and motion signals are computed
STEPS_BACK_SECONDS = (0.0, 1.0, 4.0, 16.0, math.inf)  # seek this far back until the start decodes
END_SLACK_SECONDS = 1.0  # containers round up the duration of a stream
FILE_SLACK_SECONDS = 10.0  # the duration of a file includes sound, which may outlast the picture
UNSPECIFIED = 2  # colour matrix of ISO/IEC 23091-2
HD_LINES = 720  # from this height on, players assume BT.709 where no matrix is specified


class DecodedFrame(NamedTuple):
    """One frame of a segment."""

    number_in_segment: int  # 0, 1, ... in order of presentation
    seconds: float  # from the start of the video
    analysed: bool  # faces are detected in this frame
    image: U8 | None  # (h, w, 3) RGB at analysis size; None unless analysed
    small: U8  # (h, w, 3) RGB, SMALL_LONG_SIDE at most; one size throughout a video
    scale: float  # displayed pixels in one pixel of `image`
    displayed_width: int  # pixels


def read_segment(
    source: Source, segment: Segment, config: DecodeConfig, max_pixels: int = MAX_PIXELS
) -> SegmentFrames:
    """Read the frames that a segment owns, each once and in order of presentation.

    Args:
        source: Path or seekable binary file.
        segment: One of `plan_segments` for the same file.
        config: Which frames are analysed, and how large.
        max_pixels: Of one picture.

    Returns:
        An iterable; once it has ended, its `problems` lists what could not be read.
    """
    return SegmentFrames(source, segment, config, max_pixels)


class SegmentFrames:
    """Iterates over a segment's frames.

    Damaged parts are skipped and listed in `problems`. MediaError is raised for a segment without
    one decodable frame (`decode_error`), a picture over the limit (`too_large`) and a file that
    cannot be opened (with the reason that `open_video` gives).

    Attributes:
        problems: One line per problem, complete once the iteration has ended; empty if every frame
            was read.
    """

    def __init__(
        self, source: Source, segment: Segment, config: DecodeConfig, max_pixels: int
    ) -> None:
        self.problems: list[str] = []
        self._source = source
        self._segment = segment
        self._config = config
        self._max_pixels = max_pixels

    def __iter__(self) -> Iterator[DecodedFrame]:
        self.problems.clear()
        with open_video(self._source, self._config.decoder_threads, self._max_pixels) as video:
            clock = _Clock(video)
            converter: _Converter | None = None
            slot = None
            for number, frame in enumerate(self._owned(video)):
                seconds = clock.read(frame)
                if converter is None:
                    converter = _Converter(video, frame, self._config)
                last_slot, slot = slot, math.floor(seconds * self._config.analysis_fps + 1e-6)
                yield converter.convert(frame, number, seconds, analysed=slot != last_slot)
            self._check_end(video, clock.last)

    def _owned(self, video: OpenVideo) -> Iterator[VideoFrame]:
        """The frames that belong to the segment, even if decoding has to start far before it."""
        self._reached_end = False
        corrupt = 0
        for frame in self._from_start(video):
            end = self._segment.end_pts
            if frame.pts is not None and end is not None and frame.pts >= end:
                self._reached_end = True
                break
            if self._is_before(frame):
                continue  # leads an open group of pictures: the previous segment owns it
            corrupt += frame.is_corrupt
            yield frame
        if corrupt:
            self.problems.append(f"{corrupt} frames are damaged")

    def _from_start(self, video: OpenVideo) -> Iterator[VideoFrame]:
        """Frames from the segment's first one on, possibly preceded by earlier ones."""
        if self._segment.index == 0:
            return decode_frames(video, self.problems)
        for step in STEPS_BACK_SECONDS:
            self.problems.clear()
            self._seek(video, step)
            frames = decode_frames(video, self.problems)
            first = next((frame for frame in frames if not self._is_before(frame)), None)
            # Some demuxers seek past the keyframe, and some keyframes need frames before them.
            if first and first.pts == self._segment.start_pts and not first.is_corrupt:
                break
        return frames if first is None else itertools.chain((first,), frames)

    def _seek(self, video: OpenVideo, seconds_back: float) -> None:
        target = video.origin
        if math.isfinite(seconds_back):
            target = self._segment.start_pts - round(seconds_back / float(video.time_base))
        try:
            video.container.seek(max(target, video.origin), stream=video.stream)
        except av.FFmpegError as error:
            message = f"{video.name}: cannot seek to {self._segment.start_seconds:.1f} s"
            raise MediaError("decode_error", message) from error

    def _is_before(self, frame: VideoFrame) -> bool:
        before = frame.pts is not None and frame.pts < self._segment.start_pts
        return before and self._segment.index > 0

    def _check_end(self, video: OpenVideo, last_seconds: float | None) -> None:
        segment = self._segment
        if last_seconds is None:
            raise MediaError(
                "decode_error",
                f"{video.name}: no frame decodes from {segment.start_seconds:.1f} s"
                f" to {segment.end_seconds:.1f} s",
            )
        if self._reached_end:
            return
        slack = END_SLACK_SECONDS if video.stream.duration else FILE_SLACK_SECONDS
        if segment.end_pts is not None or segment.end_seconds - last_seconds > slack:
            self.problems.append(
                f"ends at {last_seconds:.1f} s where {segment.end_seconds:.1f} s were promised"
            )


class _Clock:
    """Turns time stamps into seconds that never run backwards."""

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        rate = video.stream.average_rate or video.stream.guessed_rate or 25
        self._period = 1.0 / float(rate)
        self._offset = 0.0
        self.last: float | None = None

    def read(self, frame: VideoFrame) -> float:
        if frame.pts is None:
            seconds = 0.0 if self.last is None else self.last + self._period
        else:
            seconds = self._video.seconds(frame.pts) + self._offset
        if self.last is not None and seconds < self.last - 1.0:
            # Time stamps restart where two recordings are joined: count on from the last frame.
            self._offset += self.last + self._period - seconds
            seconds = self.last + self._period
        self.last = max(seconds, self.last or 0.0)
        return self.last


class _Converter:
    """Turns decoded frames into upright RGB pictures of two fixed sizes."""

    def __init__(self, video: OpenVideo, first: VideoFrame, config: DecodeConfig) -> None:
        self._displayed_width, height, self._rotation = displayed_size(video, first)
        shape = (self._displayed_width, height)
        self._size = _fit(*shape, config.long_side_pixels)
        self._small_size = _fit(*shape, SMALL_LONG_SIDE)
        # A reformatter reuses its tables while the sizes stay the same.
        self._to_image = VideoReformatter()
        self._to_small = VideoReformatter()

    def convert(
        self, frame: VideoFrame, number: int, seconds: float, *, analysed: bool
    ) -> DecodedFrame:
        image = self._upright(frame, self._to_image, self._size) if analysed else None
        return DecodedFrame(
            number_in_segment=number,
            seconds=seconds,
            analysed=analysed,
            image=image,
            small=self._upright(frame, self._to_small, self._small_size),
            scale=self._displayed_width / self._size[0],
            displayed_width=self._displayed_width,
        )

    def _upright(
        self, frame: VideoFrame, reformatter: VideoReformatter, size: tuple[int, int]
    ) -> U8:
        width, height = size if self._rotation in (0, 180) else size[::-1]
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
        return np.ascontiguousarray(np.rot90(picture, self._rotation // 90), dtype=np.uint8)


def _fit(width: int, height: int, long_side: int) -> tuple[int, int]:
    factor = min(1.0, long_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))
