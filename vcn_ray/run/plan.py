"""What belongs where: identity, segments and keys of videos and titles; it changes nothing.

A key is a hash of all that a stage's output depends on, so an output that is there under its key is
right, whoever made it and when.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

from vcn_ray.config import (
    ADAPT_SECTIONS,
    FACES_SECTIONS,
    RESULT_SECTIONS,
    TRACKS_SECTIONS,
    RunConfig,
    select,
)
from vcn_ray.errors import MediaError, Reason
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.identity import digest, title_id
from vcn_ray.records import Segment, VideoInfo
from vcn_ray.redact import one_line, redact
from vcn_ray.run.sources import Memory, look_at_video
from vcn_ray.schema import SCHEMA_VERSION

log = logging.getLogger(__name__)

METHOD_VERSION = "4"
"""Raised whenever the code gives other rows for the same input and settings."""


VERSIONS = (METHOD_VERSION, SCHEMA_VERSION)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video or a part of it is missing: a row of the `failures` table."""

    uri: str
    stage: str  # plan | faces | tracks | adapt | result
    segment: int | None
    reason: Reason
    message: str
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class SegmentJob:
    """All that a worker needs to know of a segment: a row of plain values."""

    uri: str
    video_id: str
    faces: str  # folder below the output
    index: int
    start_pts: int
    end_pts: int | None
    start_seconds: float
    end_seconds: float
    etag: str = ""  # of the object that was planned; empty for a local file

    @property
    def segment(self) -> Segment:
        """The part of the video."""
        return Segment(
            self.index, self.start_pts, self.end_pts, self.start_seconds, self.end_seconds
        )


@dataclass(frozen=True, slots=True, eq=False)
class VideoPlan:
    """A readable video and where its outputs belong."""

    uri: str
    video_id: str
    info: VideoInfo
    segments: tuple[Segment, ...]
    faces: str  # folder below the output
    tracks: str
    etag: str = ""  # of the object that was planned; empty for a local file

    @property
    def identity(self) -> str:
        """The part of its id that stands for its content alone."""
        return self.video_id.rsplit("-", 1)[-1]

    def jobs(self) -> list[SegmentJob]:
        """Its segments as work to be given away."""
        return [
            SegmentJob(
                self.uri,
                self.video_id,
                self.faces,
                segment.index,
                segment.start_pts,
                segment.end_pts,
                segment.start_seconds,
                segment.end_seconds,
                self.etag,
            )
            for segment in self.segments
        ]


@dataclass(frozen=True, slots=True, eq=False)
class TitlePlan:
    """A title and where its outputs belong."""

    title: str
    title_id: str
    videos: tuple[VideoPlan, ...]  # in the order they were listed
    adapted: str
    result: str
    missing: tuple[str, ...]  # uris that belong to it but cannot be read


class InputNote(NamedTuple):
    """What the record of a run says of a readable input."""

    video_id: str  # of the copy that counts, where a title has the same video twice
    title_id: str
    title: str
    segments: int
    duration_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class PlannedTitle:
    """What came of looking at the videos of one title."""

    title: TitlePlan | None  # None: none of them can be read
    inputs: dict[str, InputNote]  # by uri; those that can be read
    failures: tuple[Failure, ...]  # and why the others cannot
    again: bool = False  # other inputs gave the same title before


class TitleInputs(NamedTuple):
    """What the catalog says of a title."""

    title: str
    named: bool  # by the manifest; then the name alone says which title it is
    videos: tuple[CatalogVideo, ...]


@dataclass(frozen=True, slots=True)
class PackHashes:
    """What of a pack the keys depend on."""

    detector: str
    encoder: str


def look_at_input(
    config: RunConfig, pack: PackHashes, memory: Memory | None, video: CatalogVideo
) -> VideoPlan | Failure:
    """Look at one video and say where its outputs belong.

    Args:
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
        memory: Where it is remembered what videos on S3 hold, so that they are not read again.
        video: What the user named.

    Returns:
        The plan, or why there is none.
    """
    try:
        return _plan_video(video, config, pack, memory)
    except MediaError as error:
        return Failure(video.uri, "plan", None, error.reason, error.message, error.attempts)
    except Exception as error:  # one video must never stop the others
        log.debug("%s cannot be planned", redact(video.uri), exc_info=True)
        reason: Reason = "unreadable" if isinstance(error, OSError) else "internal_error"
        return Failure(video.uri, "plan", None, reason, one_line(error))


def plan_title(
    group: TitleInputs, looked: list[VideoPlan | Failure], config: RunConfig, pack: PackHashes
) -> PlannedTitle:
    """Say where the outputs of a title belong.

    Args:
        group: The title and its inputs.
        looked: What look_at_input said of each.
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
    """
    failures = tuple(found for found in looked if isinstance(found, Failure))
    located: dict[str, VideoPlan] = {}
    first: dict[str, VideoPlan] = {}
    for video, found in zip(group.videos, looked, strict=True):
        if isinstance(found, VideoPlan):
            # A copy under another name would be seen twice: in a title, content counts once.
            located[video.uri] = first.setdefault(found.identity, found)
    if not located:
        return PlannedTitle(None, {}, failures)
    missing = tuple(failure.uri for failure in failures)
    title = _make_title(group, tuple(first.values()), missing, config, pack)
    inputs = {
        uri: InputNote(
            video.video_id,
            title.title_id,
            title.title,
            len(video.segments),
            video.info.duration_seconds,
        )
        for uri, video in located.items()
    }
    return PlannedTitle(title, inputs, failures)


def faces_folder(video_id: str, config: RunConfig, detector_hash: str) -> str:
    """Where the faces of a video belong: what they depend on is in the name."""
    identity = video_id.rsplit("-", 1)[-1]
    settings = select(config, FACES_SECTIONS)
    on_gpu = config.resources.segment_gpus > 0  # sums in another order round differently
    key = digest("faces", VERSIONS, on_gpu, identity, settings, detector_hash)
    return f"videos/{video_id}/faces-{key}"


def adapted_folder(
    title_id: str, videos: tuple[VideoPlan, ...], config: RunConfig, encoder_hash: str
) -> str:
    """Where the adapted model of a title belongs."""
    inputs: list[Any] = sorted(video.tracks for video in videos)
    settings = select(config, ADAPT_SECTIONS)
    resources = config.resources  # sums in another order round differently
    where = (resources.adapt_gpus > 0, resources.train_workers)
    key = digest("adapted", VERSIONS, where, inputs, settings, encoder_hash)
    return f"titles/{title_id}/adapted-{key}"


def _plan_video(
    video: CatalogVideo, config: RunConfig, pack: PackHashes, memory: Memory | None
) -> VideoPlan:
    name, etag, info, segments = look_at_video(video, config, VERSIONS, memory)
    faces = faces_folder(name, config, pack.detector)
    faces_key = faces.rsplit("-", 1)[-1]
    tracks_key = digest("tracks", faces_key, select(config, TRACKS_SECTIONS))
    return VideoPlan(
        uri=video.uri,
        video_id=name,
        info=info,
        segments=segments,
        faces=faces,
        tracks=f"videos/{name}/tracks-{tracks_key}",
        etag=etag,
    )


def _make_title(
    group: TitleInputs,
    videos: tuple[VideoPlan, ...],
    missing: tuple[str, ...],
    config: RunConfig,
    pack: PackHashes,
) -> TitlePlan:
    # A season that gets one more episode stays the same title; a film is told apart by content.
    name = title_id(group.title, [] if group.named else [video.video_id for video in videos])
    adapted = adapted_folder(name, videos, config, pack.encoder)
    adapted_key = adapted.rsplit("-", 1)[-1]
    order = [video.video_id for video in videos]  # "first seen" depends on it
    settings = select(config, RESULT_SECTIONS)
    result_key = digest("result", adapted_key, order, sorted(missing), settings)
    return TitlePlan(
        title=group.title,
        title_id=name,
        videos=videos,
        adapted=adapted,
        result=f"titles/{name}/result-{result_key}",
        missing=missing,
    )
