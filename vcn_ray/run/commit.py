"""The four steps on storage: each reads its inputs, runs, writes its output, and commits it last.

A step can run anywhere and any number of times. Its output lies under its key, so twice is as good
as once, and a killed step leaves nothing that counts. It knows nothing of Ray.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from vcn_ray.config import RunConfig
from vcn_ray.errors import MediaError
from vcn_ray.io.s3_file import open_source
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import load_outputs, save_arrays, save_outputs
from vcn_ray.learn.hooks import NO_HOOKS, Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import check_planned
from vcn_ray.records import Mask, TrackOutputs
from vcn_ray.rows.result_rows import result_tables
from vcn_ray.rows.segment_rows import SegmentTables
from vcn_ray.rows.title_rows import (
    Splits,
    TitleTracks,
    decode_crops,
    find_splits,
    gather_tracks,
    part_ids,
    split_tracks,
)
from vcn_ray.run.checkpoint_file import StoredCheckpoint
from vcn_ray.run.devices import device_for
from vcn_ray.run.failures import SEGMENT_ATTEMPTS, Failure, is_permanent, retry
from vcn_ray.run.ledger import Stopwatch, Work
from vcn_ray.run.plan import (
    SegmentJob,
    TitlePlan,
    VideoPlan,
    adapt_folder,
    detect_folder,
)
from vcn_ray.run.status import TitleStatus, point_to, read_status
from vcn_ray.run.summary import build_summary, is_turned
from vcn_ray.steps import ADAPT, DETECT, adapt_title, cluster_title, detect_segment, track_video

RESULT_TABLES = ("people", "tracks", "appearances", "merges")
VIDEO_TABLES = ("shots", "tracks", "crops")


def segment_file(folder: str, index: int, kind: str, ending: str = "parquet") -> str:
    """Where a part of a segment's output belongs."""
    return f"{folder}/{kind}-{index:05d}.{ending}"


def is_segment_done(job: SegmentJob, storage: Storage) -> bool:
    """True where a segment is committed: its marker is written after its tables."""
    return storage.exists(segment_file(job.detect_folder, job.index, "seg", "json"))


def commit_detect(
    job: SegmentJob, pack: FacePack, config: RunConfig, storage: Storage
) -> Work | None:
    """Run step `detect` on a segment and commit its output.

    A permanent fault of the content is committed too, because the next try would fail alike.

    Returns:
        What it took; None where the segment was committed before.

    Raises:
        PackError: This machine has another pack than the one that planned.
        MediaError: The file cannot be opened any more, though it could when it was planned.
        StorageError: Nothing can be read or written at the moment.
    """
    if is_segment_done(job, storage):
        return None
    planned = detect_folder(job.video_id, config, pack.detector_hash)
    check_planned(pack, job.detect_folder == planned)
    watch = Stopwatch()
    marker: dict[str, Any] = {"segment": job.index, "frames": 0, "faces": 0, "failure": None}
    marker |= _write_faces(job, pack, config, storage)
    marker["seconds"] = watch.seconds
    storage.write_json(segment_file(job.detect_folder, job.index, "seg", "json"), marker)
    gpus = DETECT.gpus(config.resources)
    return watch.done("detect", job.video_id, gpus, marker["frames"], marker["faces"])


def _write_faces(
    job: SegmentJob, pack: FacePack, config: RunConfig, storage: Storage
) -> dict[str, Any]:
    """Write a segment's tables; returns counts, or the permanent failure, for its marker."""
    source = open_source(job.uri, job.etag, config.s3)
    try:
        tables = retry(lambda: detect_segment(source, job.segment, pack, config), SEGMENT_ATTEMPTS)
    except MediaError as error:
        if not is_permanent(error):
            raise
        failure = {"reason": error.reason, "message": error.message, "attempts": error.attempts}
        return {"failure": failure}
    storage.write_table(segment_file(job.detect_folder, job.index, "frames"), tables.frames)
    storage.write_table(segment_file(job.detect_folder, job.index, "seg"), tables.detections)
    problem = {"reason": "decode_error", "message": "; ".join(tables.problems)}
    return {
        "frames": tables.frames.num_rows,
        "faces": tables.detections.num_rows,
        "failure": problem if tables.problems else None,
    }


class TrackDone(NamedTuple):
    """What commit_track returns."""

    failures: tuple[Failure, ...]  # segments of the video that could not be used
    work: Work | None  # None: it was committed before
    crops: int  # sampled along its tracks


def commit_track(video: VideoPlan, config: RunConfig, storage: Storage) -> TrackDone:
    """Run step `track` on a video whose segments are committed, and commit both steps."""
    work = None
    if not storage.is_committed(video.track_folder):
        watch = Stopwatch()
        if not storage.is_committed(video.detect_folder):
            storage.commit(video.detect_folder, _detect_manifest(video, storage))
        detected = storage.read_manifest(video.detect_folder)
        manifest = _write_tracks(video, detected["read"], config, storage)
        manifest["seconds"] = watch.seconds
        # A user may delete the bulky detections once tracks are committed; their counts stay.
        storage.commit(video.track_folder, manifest | {"detect": detected})
        work = watch.done("track", video.video_id)
    manifest = storage.read_manifest(video.track_folder)
    return TrackDone(failures_in(manifest, video), work, manifest["crops"])


def failures_in(manifest: dict[str, Any], video: VideoPlan) -> tuple[Failure, ...]:
    """The segments without which a video's tracks were made, by the manifest of these."""
    failures = manifest["detect"]["failures"]
    return tuple(Failure(video.uri, "detect", **failure) for failure in failures)


def _detect_manifest(video: VideoPlan, storage: Storage) -> dict[str, Any]:
    markers = [
        storage.read_json(segment_file(video.detect_folder, segment.index, "seg", "json"))
        for segment in video.segments
    ]
    return {
        "segments": len(markers),
        "read": [marker["segment"] for marker in markers if marker["frames"]],
        "failures": [
            {"segment": marker["segment"], **marker["failure"]}
            for marker in markers
            if marker["failure"]
        ],
        "frames": sum(marker["frames"] for marker in markers),
        "faces": sum(marker["faces"] for marker in markers),
        "seconds": round(sum(marker["seconds"] for marker in markers), 3),
    }


def _write_tracks(
    video: VideoPlan, segments: list[int], config: RunConfig, storage: Storage
) -> dict[str, Any]:
    parts = [
        SegmentTables(
            detections=storage.read_table(segment_file(video.detect_folder, index, "seg")),
            frames=storage.read_table(segment_file(video.detect_folder, index, "frames")),
        )
        for index in segments
    ]
    tables = track_video(video.video_id, parts, config)
    for name in VIDEO_TABLES:
        storage.write_table(f"{video.track_folder}/{name}.parquet", getattr(tables, name))
    return {
        "rejected": tables.rejected,
        "turned": tables.turned,
        "tracked": tables.crops.num_rows,
        "tracks": tables.tracks.num_rows,
        "crops": sum(tables.tracks.column("crops").to_pylist()),
        "end_seconds": tables.end_seconds,
    }


def read_tracks(title: TitlePlan, storage: Storage) -> TitleTracks:
    """The tracks of all videos of a title, as step `track` made them."""
    tables = [
        [storage.read_table(f"{video.track_folder}/{name}.parquet") for video in title.videos]
        for name in ("tracks", "crops")
    ]
    return gather_tracks(*tables)


def _check_encoder(title: TitlePlan, pack: FacePack, config: RunConfig) -> None:
    planned = adapt_folder(title.title_id, title.videos, config, pack.encoder_hash)
    check_planned(pack, title.adapt_folder == planned)


def commit_adapt(
    title: TitlePlan,
    pack: FacePack,
    config: RunConfig,
    storage: Storage,
    hooks: Hooks = NO_HOOKS,
) -> Work | None:
    """Run step `adapt` on a title and commit the adapted model and its outputs.

    A killed run resumes from the last checkpoint, with the same result. Each of several ranks calls
    this; the first commits.

    Returns:
        What it took; None where it was committed before, or another rank commits it.
    """
    # All ranks follow the first, or one might wait for the others.
    if hooks.ranks.agree(storage.is_committed(title.adapt_folder)):
        return None
    _check_encoder(title, pack, config)
    watch, gpus = Stopwatch(), ADAPT.gpus(config.resources)
    checkpoint = StoredCheckpoint(
        storage,
        f"{title.adapt_folder}/checkpoint.safetensors",
        config.resources.checkpoint_seconds,
    )
    tracks = read_tracks(title, storage)
    crops = decode_crops(tracks)
    encoder = pack.load_encoder().to(device_for(gpus))
    adapted = adapt_title(
        crops, encoder, pack.prior, config, hooks._replace(checkpoints=checkpoint)
    )
    if hooks.ranks.number:
        return None
    storage.write_bytes(f"{title.adapt_folder}/model.safetensors", save_arrays(adapted.tensors))
    splits = find_splits(tracks, crops, adapted.title.track)
    outputs = _in_order(adapted.outputs, tracks, splits)
    storage.write_bytes(f"{title.adapt_folder}/outputs.safetensors", save_outputs(outputs))
    manifest = {
        "tracks": [video.track_folder for video in title.videos],
        "splits": splits,
        "warnings": list(adapted.warnings),
        "history": [asdict(epoch) for epoch in adapted.history],
        "resumed_epochs": adapted.resumed_epochs,
        "seconds": watch.seconds,
        "adapt_seconds": {part: round(took, 3) for part, took in adapted.seconds.items()},
        "adapt_peak_bytes": adapted.peak_bytes,
    }
    storage.commit(title.adapt_folder, manifest)
    checkpoint.discard()
    return watch.done("adapt", title.title_id, gpus * hooks.ranks.count)


def _in_order(outputs: TrackOutputs, tracks: TitleTracks, splits: Splits) -> TrackOutputs:
    """The outputs of tracks and parts, which are by track and part, as `split_tracks` has them."""
    before = tracks.tracks.column("track_id").to_pylist()
    row = {name: n for n, name in enumerate(p for t in before for p in part_ids(t, splits))}
    after = split_tracks(tracks, splits).tracks.column("track_id").to_pylist()
    return outputs[np.array([row[name] for name in after], np.int64)]


def _turned_tracks(title: TitlePlan, tracks: TitleTracks, storage: Storage) -> Mask:
    """The tracks (k,) of the title's videos whose picture is on its side or upside down."""
    turned = [
        video.video_id
        for video in title.videos
        if is_turned(storage.read_manifest(video.track_folder))
    ]
    return np.isin(np.array(tracks.tracks.column("video_id").to_pylist(), str), turned)


class ClusterDone(NamedTuple):
    """What commit_cluster returns."""

    status: TitleStatus
    work: Work | None  # None: it was committed before


def commit_cluster(
    title: TitlePlan, pack: FacePack, config: RunConfig, storage: Storage
) -> ClusterDone:
    """Run step `cluster` on an adapted title and commit its result."""
    folder = title.cluster_folder
    if storage.is_committed(folder):
        return ClusterDone(read_status(title, storage, reused=False), None)
    watch = Stopwatch()
    _check_encoder(title, pack, config)
    splits = storage.read_manifest(title.adapt_folder)["splits"]
    tracks = split_tracks(read_tracks(title, storage), splits)
    outputs = load_outputs(storage.read_bytes(f"{title.adapt_folder}/outputs.safetensors"))
    turned = _turned_tracks(title, tracks, storage)
    clustering = cluster_title(outputs, tracks.cannot_link, pack.prior, config, turned)
    order = [video.video_id for video in title.videos]
    tables = result_tables(tracks, outputs, clustering, order)
    for name in RESULT_TABLES:
        storage.write_table(f"{folder}/{name}.parquet", getattr(tables, name))
    model = storage.read_bytes(f"{title.adapt_folder}/model.safetensors")
    storage.write_bytes(f"{folder}/model.safetensors", model)
    summary = build_summary(title, tables, clustering.warnings, pack, config, storage)
    summary["seconds"]["cluster"] = watch.seconds
    storage.write_json(f"{folder}/result.json", summary)
    storage.commit(folder, {"counts": summary["counts"]})
    point_to(title, storage)
    work = watch.done("cluster", title.title_id)
    return ClusterDone(read_status(title, storage, reused=False), work)
