"""The method in four steps: detect, track, adapt, cluster; it knows no storage and no Ray.

    video -> [segments] detect -> [video] track -> [title] adapt -> cluster -> people

Each step is a plain function that calls the method by name. STEPS says of each what the rest of the
program needs to know: its name, where its output belongs, which settings that depends on, what it
reserves, and its words for people.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from vcn_ray.config import ResourceConfig, RunConfig, part_of, select
from vcn_ray.core.cluster import UNKNOWN, cluster_tracks
from vcn_ray.core.filter import face_sharpness, mark_faces
from vcn_ray.core.grid import FrameFound, GridConfig, GridDetector
from vcn_ray.core.pictures import best_pictures, picture_value
from vcn_ray.core.pose import frontality, roll_degrees
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.quality import rate_tracks
from vcn_ray.core.shots import find_shots
from vcn_ray.core.signals import Shown, SignalReader
from vcn_ray.core.track import sample_crops, track_faces
from vcn_ray.io.decoder import DecoderError
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.hardware import HardwareError
from vcn_ray.io.identity import digest
from vcn_ray.io.isolation import read_segment
from vcn_ray.io.tables import column_array
from vcn_ray.io.video import DecodeConfig, Source
from vcn_ray.learn.adapt import Adapted, adapt
from vcn_ray.learn.hooks import NO_HOOKS, Hooks
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import (
    F32,
    F64,
    I64,
    NO_CONSTRAINTS,
    U8,
    Clustering,
    Constraints,
    Detections,
    Mask,
    Segment,
    Tiers,
    TitleCrops,
    TrackOutputs,
)
from vcn_ray.rows.segment_rows import (
    FaceRows,
    FrameFaces,
    SegmentTables,
    segment_tables,
)
from vcn_ray.rows.video_rows import JoinedVideo, Links, VideoTables, join_segments, video_tables
from vcn_ray.schema import SCHEMA_VERSION

log = logging.getLogger(__name__)

METHOD_VERSION = "9"
"""Raised whenever the code gives other rows for the same input and settings."""

StepName = Literal["detect", "track", "adapt", "cluster"]


@dataclass(frozen=True, slots=True)
class Step:
    """What the program knows of a step besides what it does."""

    name: StepName
    unit: Literal["segment", "video", "title"]  # what one call works on
    settings: tuple[str, ...]  # dotted names of all settings that its output depends on
    cpus: Callable[[ResourceConfig], float]  # reserved for one call
    gpus: Callable[[ResourceConfig], float]
    doing: str  # for people, as in "detecting faces: 40 %"

    def folder(self, subject: str, config: RunConfig, *inputs: object) -> str:
        """Where the output of a video or title belongs, below the output of a run.

        Its key is a hash of all that the output depends on, so what is there under its key is
        right, whoever made it and when.

        Args:
            subject: Id of the video or title.
            config: Settings of the run.
            inputs: What else the output depends on, as JSON: keys of inputs, hashes of networks.
        """
        on_gpu = self.gpus(config.resources) > 0  # sums in another order round differently
        versions = (METHOD_VERSION, SCHEMA_VERSION)
        key = digest(self.name, versions, on_gpu, select(config, self.settings), *inputs)
        return f"{'titles' if self.unit == 'title' else 'videos'}/{subject}/{self.name}-{key}"


DETECT = Step(
    "detect",
    "segment",
    settings=("threads", "detect"),
    cpus=lambda resources: resources.detect_cpus,
    gpus=lambda resources: resources.detect_gpus,
    doing="detecting faces",
)
TRACK = Step(
    "track",
    "video",
    settings=("track",),
    cpus=lambda _: 1.0,
    gpus=lambda _: 0.0,
    doing="tracking faces",
)
ADAPT = Step(
    "adapt",
    "title",
    settings=("seed", "threads", "adapt", "cluster.cut", "resources.adapt_job_workers"),
    cpus=lambda resources: resources.adapt_cpus,
    gpus=lambda resources: resources.adapt_gpus,
    doing="adapting the encoder",
)
CLUSTER = Step(
    "cluster",
    "title",
    settings=("cluster",),
    cpus=lambda _: 1.0,
    gpus=lambda _: 0.0,
    doing="clustering tracks",
)
STEPS = (DETECT, TRACK, ADAPT, CLUSTER)
"""The steps in the order of the method."""

RESULT_SETTINGS = ("profile", "pack", "seed", "threads", "detect", "track", "adapt", "cluster")
"""Settings that a result depends on, and repeats."""

KEY_SETTINGS = (
    *RESULT_SETTINGS,
    "review.teach",
    "resources.detect_gpus",
    "resources.adapt_gpus",
    "resources.adapt_job_workers",
)
"""All settings that the keys of a result's folders depend on."""


def detect_segment(
    source: Source, segment: Segment, pack: FacePack, config: RunConfig
) -> SegmentTables:
    """Find every face of a segment, kept or marked (METHOD 1.2, 1.3), and read its signals.

    Frames are decoded once. Pixels end here: what leaves are rows, aligned crops and pictures of
    faces as JPEG, and three small pictures for the join. Where a GPU fails to decode, the segment
    is read again from its start without it.

    Args:
        source: The video.
        segment: The part of it.
        pack: Detector and aligner.
        config: How to decode and filter.

    Raises:
        MediaError: No frame of it can be read, or its decoder had to be stopped.
    """
    device = decoding_gpu(config.resources)
    if device is not None:
        try:
            return _detect_decoded(source, segment, pack, config, device)
        except (HardwareError, DecoderError) as error:
            log.debug("segment %d is decoded again on the CPU: %s", segment.index, error)
    return _detect_decoded(source, segment, pack, config, None)


def decoding_gpu(resources: ResourceConfig) -> str | None:
    """The GPU on which a worker decodes what it can, such as `cuda`; None: none."""
    if resources.decode_device == "auto":
        return "cuda" if resources.detect_gpus > 0 else None
    return None if resources.decode_device == "cpu" else resources.decode_device


def _detect_decoded(
    source: Source, segment: Segment, pack: FacePack, config: RunConfig, device: str | None
) -> SegmentTables:
    """Run `detect_segment` once, decoding on a device; None: the CPU."""
    decode = part_of(config.detect, DecodeConfig)
    frames = read_segment(source, segment, decode, config.isolation, device)
    signals = SignalReader()
    detector = _TimedDetector(pack)
    grid = GridDetector(detector, part_of(config.detect, GridConfig), decode.analysis_fps)
    rows = FaceRows(segment.index)
    for frame, image, found in _find_faces(frames, signals, grid):  # METHOD 1.2
        if len(found.faces):
            rows.add(_describe_faces(frame, image, found, pack, config))
    tables = segment_tables(segment.index, signals.result(), rows.rows, tuple(frames.problems))
    return replace(
        tables,
        decoded_on=frames.decoded_on,
        decoder_seconds=frames.decoder_seconds,
        detector_seconds=detector.seconds,
    )


def track_video(
    video_id: str,
    segments: Iterable[SegmentTables],
    config: RunConfig,
    pictures: Iterable[pa.Table],
) -> VideoTables:
    """Join a video's segments, cut it into shots and link its faces to tracks.

    Args:
        video_id: Of the video; ids of shots and tracks hold its hash.
        segments: In order of time; unreadable ones are missing. Each is used once.
        config: Settings of the run.
        pictures: The columns PICTURES of the faces of each segment again, in the same order: first
            it is chosen which ones are needed, and only these are kept in memory.
    """
    video = join_segments(segments)
    seconds = video.signals.seconds[video.faces.frame]  # (n,)
    sharpness = column_array(video.rows, "sharpness").astype(np.float32)  # (n,)

    shots = find_shots(video.signals, config.track)  # METHOD 1.1
    track = track_faces(video.faces, shots, video.signals, config.track)  # (n,), METHOD 1.4
    sampled = sample_crops(seconds, track, sharpness, config.track)  # (n,), METHOD 1.5
    links = Links(track, sampled, _pictures(video, seconds, sharpness, track))
    return video_tables(video_id, video, shots, links, pictures)


def _pictures(video: JoinedVideo, seconds: F64, sharpness: F32, track: I64) -> Mask:
    """The faces (n,) whose picture their track keeps, for people."""
    frontal = column_array(video.rows, "frontality").astype(np.float32)
    value = picture_value(video.faces.boxes, video.faces.scores, sharpness, frontal)
    return best_pictures(seconds, track, value, video.pictured)


def adapt_title(
    crops: TitleCrops,
    encoder: Backbone,
    prior: FacePrior | None,
    config: RunConfig,
    hooks: Hooks = NO_HOOKS,
) -> Adapted:
    """Fine-tune the encoder on the title's own tracks (METHOD 2) and describe each with it.

    Args:
        crops: The title's sampled crops and their tracks.
        encoder: The pretrained one; it stays unchanged.
        prior: Of the pack; None: it has none.
        config: Settings of the run.
        hooks: Progress, checkpoints and other ranks.
    """
    cut = config.cluster.cut
    return adapt(crops, encoder, config.adapt, cut, seed=config.seed, prior=prior, hooks=hooks)


def cluster_title(
    outputs: TrackOutputs,
    cannot_link: I64,
    prior: FacePrior | None,
    config: RunConfig,
    turned: Mask | None = None,
    constraints: Constraints = NO_CONSTRAINTS,
) -> Clustering:
    """Which tracks are one person (METHOD 3.2, 4).

    Args:
        outputs: What the adapted model gives for k tracks.
        cannot_link: (c, 2) tracks that share a frame.
        prior: Of the pack; None: it has none.
        config: Settings of the run.
        turned: (k,) tracks of a picture on its side or upside down, which no encoder can read;
            None: there are none.
        constraints: What a reviewer says of the tracks.
    """
    tiers = rate_tracks(outputs, config.cluster.quality, prior)  # METHOD 3.2
    if turned is not None:
        tiers = Tiers(tiers.core & ~turned, tiers.junk, tiers.readable & ~turned)
    return cluster_tracks(
        outputs, tiers, cannot_link, config.cluster, prior, constraints
    )  # METHOD 4


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The people among k tracks, the one with most crops first.

    A track whose face changes to another person's has a row for each part, in order of time.
    """

    track: I64  # (k,) the tracks' own numbers, rising
    row: I64  # (m,) row of each crop, so `person[row]` says who is seen in it
    person: I64  # (k,) 0, 1, ... for each track; -1: unknown
    confidence: F32  # (k,) probability that it is the right person; 0 for unknown
    quality: F32  # (k,) METHOD 3.1, in [0, 1]
    clustering: Clustering
    adapted: Adapted

    def __len__(self) -> int:
        return int(self.person.max(initial=-1)) + 1

    def __iter__(self) -> Iterator[I64]:
        """The track numbers of each person."""
        return (self.track[self.person == number] for number in range(len(self)))

    def __repr__(self) -> str:
        unknown = int((self.person == UNKNOWN).sum())
        return f"People(people={len(self)}, tracks={len(self.person)}, unknown={unknown})"


def run_title(
    crops: TitleCrops,
    encoder: Backbone,
    prior: FacePrior | None,
    config: RunConfig,
    hooks: Hooks = NO_HOOKS,
) -> People:
    """The method on one title in memory (METHOD 2 to 4): crops in, people out.

    Args:
        crops: The title's sampled crops, their tracks, and which tracks share a frame.
        encoder: The pretrained one; it stays unchanged.
        prior: Of the pack; None: it has none.
        config: Settings of the run.
        hooks: Progress and checkpoints.
    """
    adapted = adapt_title(crops, encoder, prior, config, hooks)
    split = adapted.title
    clustering = cluster_title(
        adapted.outputs, split.cannot_link, prior, config, constraints=split.constraints
    )
    return People(
        track=crops.track[np.unique(adapted.title.track, return_index=True)[1]],
        row=adapted.title.track,
        person=_by_size(clustering.label, adapted.outputs.crops),
        confidence=clustering.confidence,
        quality=adapted.outputs.quality,
        clustering=clustering,
        adapted=adapted,
    )


class _TimedDetector:
    """A pack's detector, with its CPU seconds counted."""

    def __init__(self, pack: FacePack) -> None:
        self.seconds = 0.0
        self._pack = pack

    def __call__(self, frames: U8) -> list[Detections]:
        """Find the faces of frames (b, h, w, 3)."""
        began = time.process_time()
        found = self._pack.detector.detect(frames)
        self.seconds += time.process_time() - began
        return found


def _find_faces(
    frames: Iterable[DecodedFrame], signals: SignalReader, grid: GridDetector
) -> Iterator[tuple[DecodedFrame, U8, FrameFound]]:
    """Read the signals of all frames, and find the faces of the analysed ones, in order."""
    waiting: deque[tuple[DecodedFrame, U8]] = deque()
    for frame in frames:
        signal = signals.add(
            frame.small,
            frame.seconds,
            analysed=frame.analysed,
            shown=Shown(frame.displayed_width, frame.displayed_height),
            end_seconds=frame.end_seconds,
        )
        if frame.image is not None:
            waiting.append((frame, frame.image))
        for found in grid.add(frame.image, frame.seconds, signal.layout):
            yield *waiting.popleft(), found
    for found in grid.finish():
        yield *waiting.popleft(), found


def _describe_faces(
    frame: DecodedFrame, image: U8, found: FrameFound, pack: FacePack, config: RunConfig
) -> FrameFaces:
    """Align and mark the faces of an analysed frame."""
    faces = found.faces
    crops = pack.aligner.align(image, faces)
    sharpness = np.array([face_sharpness(crop) for crop in crops], np.float32)
    boxes = faces.boxes * frame.scale  # displayed pixels
    status = mark_faces(boxes, faces.scores, sharpness, config.detect)  # METHOD 1.3
    order = pack.aligner.landmark_order
    frontal, roll = frontality(faces.landmarks, order), roll_degrees(faces.landmarks, order)
    return FrameFaces(frame, faces, found.measured, crops, sharpness, frontal, roll, status)


def _by_size(label: I64, crops: I64) -> I64:
    """Cluster numbers (k,) in order of falling crops; -1 stays."""
    known = label >= 0
    size: Any = np.bincount(label[known], crops[known])
    rank = np.argsort(np.argsort(-size, kind="stable"), kind="stable")
    person = np.full(len(label), UNKNOWN, np.int64)
    person[known] = rank[label[known]]
    return person
