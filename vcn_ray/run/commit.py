"""The four steps on storage: each reads its inputs, runs, writes its output, and commits it last.

A step can run anywhere and any number of times. Its output lies under its key, so twice is as good
as once, and a killed step leaves nothing that counts. What a step reads is compared with its
manifest: a damaged input is uncommitted, and the step raises DamagedError. It knows nothing of Ray.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from vcn_ray.config import RunConfig
from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.edits.constraints import learn_constraints
from vcn_ray.edits.store import EditLog, edits_folder
from vcn_ray.errors import DamagedError, MediaError
from vcn_ray.io.committed import FILES, CommittedFolder, FolderWriter, record_of
from vcn_ray.io.s3_file import S3File, open_source
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import load_outputs, save_arrays, save_outputs
from vcn_ray.io.video import Source
from vcn_ray.learn.hooks import NO_HOOKS, Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import check_planned
from vcn_ray.records import NO_CONSTRAINTS, Constraints, Mask, TrackOutputs
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
from vcn_ray.rows.tombstones import Span, without_erased
from vcn_ray.rows.video_rows import PICTURES
from vcn_ray.run.checkpoint_file import StoredCheckpoint
from vcn_ray.run.damage import open_usable, segment_file, segment_name, uncommitting
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
from vcn_ray.run.retention import expire_finished
from vcn_ray.run.status import TitleStatus, point_to, read_status
from vcn_ray.run.summary import DECODED_ON, ORIGIN, Manifests, build_summary, is_turned
from vcn_ray.run.tombstones import honoured, read_spans
from vcn_ray.steps import ADAPT, DETECT, adapt_title, cluster_title, detect_segment, track_video

MODEL = "model.safetensors"
OUTPUTS = "outputs.safetensors"
RESULT_TABLES = ("people", "tracks", "appearances", "merges")
VIDEO_TABLES = ("shots", "tracks", "crops")


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
    spans = read_spans(job.video_id, job.erased, storage)  # nothing is found without them
    planned = detect_folder(job.video_id, config, pack.detector_hash)
    check_planned(pack, job.detect_folder == planned)
    watch = Stopwatch()
    marker: dict[str, Any] = {"segment": job.index, "frames": 0, "faces": 0, "failure": None}
    writer = FolderWriter(storage, job.detect_folder)
    content, spent = _write_faces(job, pack, config, writer, spans)
    marker |= content | honoured(job.erased)
    marker["seconds"] = watch.seconds
    if is_segment_done(job, storage):  # by a worker that was thought dead: its manifest is right
        return None
    writer.commit(marker, segment_name(job.index, "seg", "json"))
    length = job.end_seconds - job.start_seconds
    work = watch.done("detect", job.video_id, length, DETECT.gpus(config.resources))
    apart = spent.decoder if config.isolation.isolate else 0.0  # computed by another process
    return replace(
        work,
        cpu_seconds=work.cpu_seconds + apart,
        limit_seconds=spent.decoder + spent.detector,
        frames=marker["frames"],
        faces=marker["faces"],
    )


class Spent(NamedTuple):
    """CPU seconds that a segment cost at least."""

    decoder: float
    detector: float


def _write_faces(
    job: SegmentJob, pack: FacePack, config: RunConfig, writer: FolderWriter, spans: list[Span]
) -> tuple[dict[str, Any], Spent]:
    """Write a segment's tables; returns counts, or the permanent failure, for its marker."""
    source = open_source(job.uri, job.etag, config.s3, job.size)
    try:
        tables = retry(lambda: detect_segment(source, job.segment, pack, config), SEGMENT_ATTEMPTS)
    except MediaError as error:
        if not is_permanent(error):
            raise
        _confirm(source)
        failure = {"reason": error.reason, "message": error.message, "attempts": error.attempts}
        return {"failure": failure}, Spent(0.0, 0.0)
    if tables.problems:
        _confirm(source)
    tables = without_erased(tables, spans) if spans else tables
    writer.write_table(segment_name(job.index, "frames"), tables.frames)
    writer.write_table(segment_name(job.index, "seg"), tables.detections)
    problem = {"reason": "decode_error", "message": "; ".join(tables.problems)}
    content = {
        "frames": tables.frames.num_rows,
        "faces": tables.detections.num_rows,
        DECODED_ON: tables.decoded_on,
        "failure": problem if tables.problems else None,
    }
    return content, Spent(tables.decoder_seconds, tables.detector_seconds)


def _confirm(source: Source) -> None:
    """Make sure that a fault is one of the video, before it is committed for good.

    Raises:
        MediaError: `storage_error`: the bytes of the video came altered.
    """
    if isinstance(source, S3File):
        source.confirm()


class TrackDone(NamedTuple):
    """What commit_track returns."""

    failures: tuple[Failure, ...]  # segments of the video that could not be used
    work: Work | None  # None: it was committed before
    crops: int  # sampled along its tracks


def commit_track(video: VideoPlan, config: RunConfig, storage: Storage) -> TrackDone:
    """Run step `track` on a video whose segments are committed, and commit both steps.

    Raises:
        DamagedError: A file of a segment, or of the tracks, is damaged; it is uncommitted.
    """
    work = None
    with uncommitting(storage):
        if not storage.is_committed(video.track_folder):
            work = _commit_tracks(video, config, storage)
        manifest = storage.read_manifest(video.track_folder)
    return TrackDone(failures_in(manifest, video), work, manifest["crops"])


def _commit_tracks(video: VideoPlan, config: RunConfig, storage: Storage) -> Work | None:
    watch = Stopwatch()
    if not storage.is_committed(video.detect_folder):
        _commit_detected(video, storage)
    detected = open_usable(storage, video.detect_folder)
    writer = FolderWriter(storage, video.track_folder)
    manifest = _write_tracks(video, detected, config, writer)
    manifest["seconds"] = watch.seconds
    # A user may delete the bulky detections once tracks are committed; their counts stay.
    counts = {name: value for name, value in detected.manifest.items() if name != FILES}
    if storage.is_committed(video.track_folder):  # by a task that was thought dead
        return None
    writer.commit(manifest | {"detect": counts} | honoured(video.erased))
    return watch.done("track", video.video_id, video.info.duration_seconds)


def failures_in(manifest: dict[str, Any], video: VideoPlan) -> tuple[Failure, ...]:
    """The segments without which a video's tracks were made, by the manifest of these."""
    failures = manifest["detect"]["failures"]
    return tuple(Failure(video.uri, "detect", **failure) for failure in failures)


def _commit_detected(video: VideoPlan, storage: Storage) -> None:
    """Commit the segments of a video as one folder, by their markers."""
    writer, markers = FolderWriter(storage, video.detect_folder), []
    for segment in video.segments:
        name = segment_name(segment.index, "seg", "json")
        path = f"{video.detect_folder}/{name}"
        data = storage.find_bytes(path)
        if data is None:
            raise storage.damaged(path, "it is missing")
        marker = storage.parse_json(path, data)
        writer.files |= marker[FILES] | {name: record_of(data)}
        markers.append(marker)
    counts = {
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
        DECODED_ON: video_decoded_on(markers),
    }
    writer.commit(counts | honoured(video.erased))


def video_decoded_on(markers: list[dict[str, Any]]) -> str:
    """Where the segments of a video were decoded: `cpu`, `cuda`, or `mixed` if on both."""
    devices = {marker.get(DECODED_ON, "cpu") for marker in markers if marker["frames"]}
    return devices.pop() if len(devices) == 1 else "mixed" if devices else "cpu"


def _write_tracks(
    video: VideoPlan, detected: CommittedFolder, config: RunConfig, writer: FolderWriter
) -> dict[str, Any]:
    read = detected.manifest["read"]
    # Read one by one, and their pictures once more: those of a whole film do not fit in memory.
    parts = (
        SegmentTables(
            detections=detected.read_table(segment_name(index, "seg")),
            frames=detected.read_table(segment_name(index, "frames")),
        )
        for index in read
    )
    pictures = (detected.read_table(segment_name(index, "seg"), PICTURES) for index in read)
    tables = track_video(video.video_id, parts, config, pictures)
    for name in VIDEO_TABLES:
        writer.write_table(f"{name}.parquet", getattr(tables, name))
    return {
        "rejected": tables.rejected,
        "turned": tables.turned,
        "tracked": tables.crops.num_rows,
        "tracks": tables.tracks.num_rows,
        "crops": sum(tables.tracks.column("crops").to_pylist()),
        "end_seconds": tables.end_seconds,
    }


def read_tracks(title: TitlePlan, storage: Storage) -> TitleTracks:
    """The tracks of all videos of a title, as step `track` made them.

    Raises:
        DamagedError: A file is missing or damaged.
    """
    return _join_tracks(_track_folders(title, storage))


def _track_folders(title: TitlePlan, storage: Storage) -> list[CommittedFolder]:
    return [open_usable(storage, video.track_folder) for video in title.videos]


def _join_tracks(folders: list[CommittedFolder]) -> TitleTracks:
    tables = [
        [folder.read_table(f"{name}.parquet") for folder in folders] for name in ("tracks", "crops")
    ]
    return gather_tracks(*tables)


def _check_encoder(title: TitlePlan, pack: FacePack, config: RunConfig) -> None:
    planned = adapt_folder(title.title_id, title.videos, config, pack.encoder_hash, title.teaching)
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

    Raises:
        DamagedError: A file of its tracks is damaged; it is uncommitted.
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
    with uncommitting(storage):
        tracks = read_tracks(title, storage)
        crops = decode_crops(tracks)
        crops = replace(crops, constraints=_constraints(title, tracks, storage))
    encoder = pack.load_encoder().to(device_for(gpus))
    adapted = adapt_title(
        crops, encoder, pack.prior, config, hooks._replace(checkpoints=checkpoint)
    )
    if hooks.ranks.number or storage.is_committed(title.adapt_folder):
        return None
    splits = find_splits(tracks, crops, adapted.title.track)
    writer = FolderWriter(storage, title.adapt_folder)
    writer.write_bytes(MODEL, save_arrays(adapted.tensors))
    writer.write_bytes(OUTPUTS, save_outputs(_in_order(adapted.outputs, tracks, splits)))
    manifest = {
        "tracks": [video.track_folder for video in title.videos],
        "taught_by": list(title.teaching),
        "splits": splits,
        "warnings": list(adapted.warnings),
        "history": [asdict(epoch) for epoch in adapted.history],
        "resumed_epochs": adapted.resumed_epochs,
        "seconds": watch.seconds,
        "adapt_seconds": {part: round(took, 3) for part, took in adapted.seconds.items()},
        "adapt_peak_bytes": adapted.peak_bytes,
    } | honoured(title.erased)
    writer.commit(manifest)
    checkpoint.discard()
    return watch.done("adapt", title.title_id, title.seconds, gpus * hooks.ranks.count)


def _in_order(outputs: TrackOutputs, tracks: TitleTracks, splits: Splits) -> TrackOutputs:
    """The outputs of tracks and parts, which are by track and part, as `split_tracks` has them."""
    before = tracks.tracks.column("track_id").to_pylist()
    row = {name: n for n, name in enumerate(p for t in before for p in part_ids(t, splits))}
    after = split_tracks(tracks, splits).tracks.column("track_id").to_pylist()
    return outputs[np.array([row[name] for name in after], np.int64)]


def _turned_tracks(title: TitlePlan, tracks: TitleTracks, manifests: Manifests) -> Mask:
    """The tracks (k,) of the title's videos whose picture is on its side or upside down."""
    turned = [
        video.video_id
        for video, manifest in zip(title.videos, manifests.tracks, strict=True)
        if is_turned(manifest)
    ]
    return np.isin(np.array(tracks.tracks.column("video_id").to_pylist(), str), turned)


def _constraints(title: TitlePlan, tracks: TitleTracks, storage: Storage) -> Constraints:
    """What the corrections that were planned with say of the tracks.

    Raises:
        DamagedError: One of them cannot be read any more: without it, the result would be another.
    """
    if not title.teaching:
        return NO_CONSTRAINTS
    log = EditLog(storage, title.title_id)
    edits = log.read(title.teaching)
    for name, problem in log.damaged.items():
        raise DamagedError(f"{edits_folder(title.title_id)}/{name}", problem)
    return learn_constraints(edits, TrackIndex(tracks.tracks, tracks.faces))


class ClusterDone(NamedTuple):
    """What commit_cluster returns."""

    status: TitleStatus
    work: Work | None  # None: it was committed before


def commit_cluster(
    title: TitlePlan, pack: FacePack, config: RunConfig, storage: Storage
) -> ClusterDone:
    """Run step `cluster` on an adapted title and commit its result.

    Raises:
        DamagedError: A file of its tracks or its adapted model is damaged; it is uncommitted.
    """
    with uncommitting(storage):
        if storage.is_committed(title.cluster_folder):
            return ClusterDone(read_status(title, storage, reused=False), None)
        _check_encoder(title, pack, config)
        work = _write_result(title, pack, config, storage)
    point_to(title, storage)
    expire_finished(title, config.retention, storage)
    return ClusterDone(read_status(title, storage, reused=False), work)


def _write_result(
    title: TitlePlan, pack: FacePack, config: RunConfig, storage: Storage
) -> Work | None:
    watch = Stopwatch()
    writer = FolderWriter(storage, title.cluster_folder)
    adapted = open_usable(storage, title.adapt_folder)
    sources = _track_folders(title, storage)
    manifests = Manifests([source.manifest for source in sources], adapted.manifest)
    tracks = split_tracks(_join_tracks(sources), adapted.manifest["splits"])
    outputs = load_outputs(adapted.read_bytes(OUTPUTS))
    model = adapted.read_bytes(MODEL) if MODEL in adapted.files else None
    turned = _turned_tracks(title, tracks, manifests)
    known = _constraints(title, tracks, storage)
    clustering = cluster_title(outputs, tracks.cannot_link, pack.prior, config, turned, known)
    order = [video.video_id for video in title.videos]
    tables = result_tables(tracks, outputs, clustering, order)
    summary = build_summary(title, tables, clustering.warnings, pack, config, manifests)
    if storage.is_committed(title.cluster_folder):  # by an actor that was thought dead
        return None
    for name in RESULT_TABLES:
        writer.write_table(f"{name}.parquet", getattr(tables, name))
    if model is not None:  # an erasure removes a model that has seen the person
        writer.write_bytes(MODEL, model)
    summary["seconds"]["cluster"] = watch.seconds
    writer.write_json("result.json", summary)
    content = {"counts": summary["counts"], ORIGIN: summary[ORIGIN]}
    writer.commit(content | honoured(title.erased))
    return watch.done("cluster", title.title_id, title.seconds)
