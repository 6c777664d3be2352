"""What a run would do: identity, segments and keys of videos and titles; it changes nothing.

A key is a hash of all that a stage's output depends on, so an output that is there under its key is
right, whoever made it and when.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vcn_ray.config import (
    ADAPT_SECTIONS,
    FACES_SECTIONS,
    RESULT_SECTIONS,
    TRACKS_SECTIONS,
    RunConfig,
    select,
)
from vcn_ray.errors import MediaError, Reason, StorageError
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.identity import digest, title_id
from vcn_ray.io.redact import one_line, redact
from vcn_ray.records import Segment, VideoInfo
from vcn_ray.run.sources import Memory, look_at_video
from vcn_ray.schema import SCHEMA_VERSION

log = logging.getLogger(__name__)

METHOD_VERSION = "3"
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


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All titles of a run, and the videos that cannot even be planned."""

    titles: tuple[TitlePlan, ...]
    failures: tuple[Failure, ...]
    located: dict[str, str]  # uri to video_id of every readable video; copies share one

    @property
    def videos(self) -> tuple[VideoPlan, ...]:
        """The readable videos, each once."""
        found = {video.video_id: video for title in self.titles for video in title.videos}
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class PackHashes:
    """What of a pack the keys depend on."""

    detector: str
    encoder: str


def plan_catalog(
    videos: list[CatalogVideo],
    config: RunConfig,
    pack: PackHashes,
    progress: Callable[[str, float], None] | None = None,
    memory: Memory | None = None,
) -> Plan:
    """Look at every video and say what belongs where.

    Args:
        videos: What the user named.
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
        progress: Called with "plan" and the share done.
        memory: Where it is remembered what videos on S3 hold, so that they are not read again.

    Returns:
        The plan; videos that cannot be read are failures, never errors.
    """
    planned: dict[str, list[VideoPlan]] = {}
    missing: dict[str, list[str]] = {}
    failures: list[Failure] = []
    located: dict[str, str] = {}
    for number, video in enumerate(videos):
        group = video.title or video.uri  # two files of one name are two titles
        planned.setdefault(group, [])
        try:
            found = _plan_video(video, config, pack, memory)
            # A copy under another name would be seen twice: within a title, content counts once.
            same = [v for v in planned[group] if v.identity == found.identity]
            located[video.uri] = same[0].video_id if same else found.video_id
            planned[group] += [] if same else [found]
        except MediaError as error:
            failures.append(
                Failure(video.uri, "plan", None, error.reason, error.message, error.attempts)
            )
            missing.setdefault(group, []).append(video.uri)
        except StorageError:  # nothing could be written down of any video
            raise
        except (OSError, RuntimeError) as error:  # one video must never stop the others
            log.debug("%s cannot be planned", redact(video.uri), exc_info=True)
            reason: Reason = "unreadable" if isinstance(error, OSError) else "internal_error"
            failures.append(Failure(video.uri, "plan", None, reason, one_line(error)))
            missing.setdefault(group, []).append(video.uri)
        if progress:
            progress("plan", (number + 1) / len(videos))
    names = {v.title or v.uri: v.title or Path(v.uri).stem for v in videos}
    named = {video.title for video in videos if video.title}
    titles = [
        _plan_title(
            TitleInputs(names[group], group in named, members, tuple(missing.get(group, ()))),
            config,
            pack,
        )
        for group, members in planned.items()
        if members
    ]
    unique = {title.title_id: title for title in titles}
    return Plan(titles=tuple(unique.values()), failures=tuple(failures), located=located)


def _plan_video(
    video: CatalogVideo, config: RunConfig, pack: PackHashes, memory: Memory | None
) -> VideoPlan:
    name, etag, info, segments = look_at_video(video, config, VERSIONS, memory)
    identity = name.rsplit("-", 1)[-1]
    settings = select(config, FACES_SECTIONS)
    on_gpu = config.resources.segment_gpus > 0  # sums in another order round differently
    faces_key = digest("faces", VERSIONS, on_gpu, identity, settings, pack.detector)
    tracks_key = digest("tracks", faces_key, select(config, TRACKS_SECTIONS))
    return VideoPlan(
        uri=video.uri,
        video_id=name,
        info=info,
        segments=segments,
        faces=f"videos/{name}/faces-{faces_key}",
        tracks=f"videos/{name}/tracks-{tracks_key}",
        etag=etag,
    )


class TitleInputs(NamedTuple):
    """What a title is made of."""

    title: str
    named: bool  # by the manifest; then the name alone says which title it is
    videos: list[VideoPlan]
    missing: tuple[str, ...]


def _plan_title(given: TitleInputs, config: RunConfig, pack: PackHashes) -> TitlePlan:
    title, named, videos, missing = given
    # A season that gets one more episode stays the same title; a film is told apart by content.
    name = title_id(title, [] if named else [video.video_id for video in videos])
    inputs: list[Any] = sorted(video.tracks for video in videos)
    settings = select(config, ADAPT_SECTIONS)
    resources = config.resources  # sums in another order round differently
    where = (resources.adapt_gpus > 0, resources.train_workers)
    adapted_key = digest("adapted", VERSIONS, where, inputs, settings, pack.encoder)
    order = [video.video_id for video in videos]  # "first seen" depends on it
    settings = select(config, RESULT_SECTIONS)
    result_key = digest("result", adapted_key, order, sorted(missing), settings)
    return TitlePlan(
        title=title,
        title_id=name,
        videos=tuple(videos),
        adapted=f"titles/{name}/adapted-{adapted_key}",
        result=f"titles/{name}/result-{result_key}",
        missing=missing,
    )
