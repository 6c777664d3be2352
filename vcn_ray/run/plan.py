"""Plans: identity, segments and folders of videos and titles; it changes nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import NamedTuple

from vcn_ray.config import RunConfig
from vcn_ray.edits.constraints import TEACHING_VERSION
from vcn_ray.errors import MediaError, Reason
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.identity import hash_part, title_id
from vcn_ray.records import Segment, VideoInfo
from vcn_ray.redact import one_line, redact
from vcn_ray.run.failures import Failure
from vcn_ray.run.sources import PlanCache, probe_video
from vcn_ray.run.tombstones import ErasedVideos
from vcn_ray.steps import ADAPT, CLUSTER, DETECT, TRACK

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SegmentJob:
    """A segment as a worker needs it: a row of plain values."""

    uri: str
    video_id: str
    detect_folder: str  # below the output
    index: int
    start_pts: int
    end_pts: int | None
    start_seconds: float
    end_seconds: float
    etag: str = ""  # of the object that was planned; empty for a local file
    size: int | None = None  # bytes of that object; None for a local file
    erased: tuple[str, ...] = ()  # hashes of the video's tombstones

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
    detect_folder: str  # below the output
    track_folder: str
    etag: str = ""  # of the object that was planned; empty for a local file
    size: int | None = None  # bytes of that object; None for a local file
    erased: tuple[str, ...] = ()  # hashes of its tombstones

    @property
    def identity(self) -> str:
        """The part of its id that is a hash of its content."""
        return hash_part(self.video_id)

    def jobs(self) -> list[SegmentJob]:
        """Its segments as rows for workers."""
        return [
            SegmentJob(
                self.uri,
                self.video_id,
                self.detect_folder,
                segment.index,
                segment.start_pts,
                segment.end_pts,
                segment.start_seconds,
                segment.end_seconds,
                self.etag,
                self.size,
                self.erased,
            )
            for segment in self.segments
        ]


@dataclass(frozen=True, slots=True, eq=False)
class TitlePlan:
    """A title and where its outputs belong."""

    title: str
    title_id: str
    videos: tuple[VideoPlan, ...]  # in the order they were listed
    adapt_folder: str  # below the output
    cluster_folder: str
    missing: tuple[str, ...]  # uris that belong to it but cannot be read
    edits: tuple[str, ...] = ()  # names of its corrections that there were when it was planned
    teaching: tuple[str, ...] = ()  # names of those that adapt and cluster learn from
    shared: tuple[str, ...] = ()  # ids of its videos that other titles of the run may hold too

    @property
    def seconds(self) -> float:
        """The length of its videos together."""
        return sum(video.info.duration_seconds for video in self.videos)

    @property
    def erased(self) -> tuple[str, ...]:
        """The hashes of the tombstones of its videos."""
        return tuple(sorted({name for video in self.videos for name in video.erased}))

    @property
    def where(self) -> str:
        """What a failure of it names: the uri of its only video, or the title."""
        return self.videos[0].uri if len(self.videos) == 1 else self.title


class InputNote(NamedTuple):
    """What the record of a run holds of a readable input."""

    video_id: str  # of its first copy, where a title has the same video twice
    title_id: str
    title: str
    segments: int
    duration_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class PlannedTitle:
    """The plan of one title, and what is known of its inputs."""

    title: TitlePlan | None  # None: none of them can be read
    inputs: dict[str, InputNote]  # by uri; those that can be read
    failures: tuple[Failure, ...]  # and why the others cannot
    again: bool = False  # earlier inputs gave the same title


class TitleInputs(NamedTuple):
    """A title of the catalog."""

    title: str
    named: bool  # by the manifest; then the name alone identifies it
    videos: tuple[CatalogVideo, ...]


@dataclass(frozen=True, slots=True)
class PackHashes:
    """The hashes of a pack that keys depend on."""

    detector: str
    encoder: str


def plan_input(
    config: RunConfig,
    pack: PackHashes,
    cache: PlanCache | None,
    erased: ErasedVideos | None,
    video: CatalogVideo,
) -> VideoPlan | Failure:
    """Probe one video and plan where its outputs belong.

    Args:
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
        cache: Of what videos on S3 hold, so that they are not read again.
        erased: Videos that have tombstones of erased persons, if any.
        video: An entry of the catalog.

    Returns:
        The plan, or why there is none.
    """
    if video.problem:
        return Failure(video.uri, "plan", None, "unreadable", f"{video.uri}: {video.problem}")
    try:
        plan = _plan_video(video, config, pack, cache)
        return replace(plan, erased=erased.of(plan.video_id)) if erased else plan
    except MediaError as error:
        return Failure(video.uri, "plan", None, error.reason, error.message, error.attempts)
    except Exception as error:  # one video must never stop the others
        log.debug("%s cannot be planned", redact(video.uri), exc_info=True)
        reason: Reason = "unreadable" if isinstance(error, OSError) else "internal_error"
        return Failure(video.uri, "plan", None, reason, one_line(error))


def plan_title(
    group: TitleInputs, found: list[VideoPlan | Failure], config: RunConfig, pack: PackHashes
) -> PlannedTitle:
    """Plan where the outputs of a title belong.

    Args:
        group: The title and its inputs.
        found: What plan_input gave for each.
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
    """
    failures = tuple(plan for plan in found if isinstance(plan, Failure))
    located: dict[str, VideoPlan] = {}
    first: dict[str, VideoPlan] = {}
    for video, plan in zip(group.videos, found, strict=True):
        if isinstance(plan, VideoPlan):
            # In a title, content counts once, even where copies have several names.
            located[video.uri] = first.setdefault(plan.identity, plan)
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


def detect_folder(video_id: str, config: RunConfig, detector_hash: str) -> str:
    """Where the faces of a video belong."""
    return DETECT.folder(video_id, config, hash_part(video_id), detector_hash)


def adapt_folder(
    title_id: str,
    videos: tuple[VideoPlan, ...],
    config: RunConfig,
    encoder_hash: str,
    teaching: tuple[str, ...] = (),
) -> str:
    """Where the adapted model of a title belongs; the order of its videos does not matter.

    Args:
        title_id: Of the title.
        videos: Of the title.
        config: Settings of the run.
        encoder_hash: Of the pack.
        teaching: Names of the corrections that it learns from.
    """
    tracks = sorted(video.track_folder for video in videos)
    # Without any, the key is as ever.
    taught = [TEACHING_VERSION, list(teaching)] if teaching else []
    return ADAPT.folder(title_id, config, tracks, encoder_hash, *taught)


def with_edits(
    title: TitlePlan,
    edits: tuple[str, ...],
    teaching: tuple[str, ...],
    config: RunConfig,
    pack: PackHashes,
) -> TitlePlan:
    """The plan of a title that has corrections.

    Args:
        title: Its plan without them.
        edits: Names of all corrections.
        teaching: Names of those that adapt and cluster learn from.
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
    """
    adapt = adapt_folder(title.title_id, title.videos, config, pack.encoder, teaching)
    cluster = _cluster_folder(title.title_id, adapt, title.videos, title.missing, config)
    return replace(
        title, edits=edits, teaching=teaching, adapt_folder=adapt, cluster_folder=cluster
    )


def _cluster_folder(
    title_id: str,
    adapt: str,
    videos: tuple[VideoPlan, ...],
    missing: tuple[str, ...],
    config: RunConfig,
) -> str:
    order = [video.video_id for video in videos]  # "first seen" depends on it
    return CLUSTER.folder(title_id, config, hash_part(adapt), order, sorted(missing))


def _plan_video(
    video: CatalogVideo, config: RunConfig, pack: PackHashes, cache: PlanCache | None
) -> VideoPlan:
    known = probe_video(video, config, cache)
    detect = detect_folder(known.video_id, config, pack.detector)
    return VideoPlan(
        uri=video.uri,
        video_id=known.video_id,
        info=known.info,
        segments=known.segments,
        detect_folder=detect,
        track_folder=TRACK.folder(known.video_id, config, hash_part(detect)),
        etag=known.etag,
        size=known.size,
    )


def _make_title(
    group: TitleInputs,
    videos: tuple[VideoPlan, ...],
    missing: tuple[str, ...],
    config: RunConfig,
    pack: PackHashes,
) -> TitlePlan:
    # A season that gets one more episode stays the same title; a film's name does not identify it.
    name = title_id(group.title, [] if group.named else [video.video_id for video in videos])
    adapt = adapt_folder(name, videos, config, pack.encoder)
    return TitlePlan(
        title=group.title,
        title_id=name,
        videos=videos,
        adapt_folder=adapt,
        cluster_folder=_cluster_folder(name, adapt, videos, missing, config),
        missing=missing,
    )
