"""The stages on storage: each step reads what it needs, runs, writes, and commits last.

A step can be run anywhere, any number of times: its output lies under its key, so twice is as good
as once, and a step that was killed leaves nothing that counts. It knows nothing of Ray.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from vcn_ray.config import RunConfig
from vcn_ray.errors import MediaError, Reason
from vcn_ray.io.source import open_source
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.io.weights import load_outputs, save_arrays, save_outputs
from vcn_ray.learn.settings import NO_HOOKS, Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import check_planned
from vcn_ray.redact import redact
from vcn_ray.rows.result_rows import ResultTables
from vcn_ray.rows.title_rows import TitleTracks, gather_tracks
from vcn_ray.rows.video_rows import SegmentTables
from vcn_ray.run.attempts import SEGMENT_ATTEMPTS, is_content_fault, try_again
from vcn_ray.run.checkpoint_file import StoredCheckpoint
from vcn_ray.run.devices import device_for
from vcn_ray.run.ledger import Stopwatch, Work
from vcn_ray.run.plan import (
    Failure,
    SegmentJob,
    TitlePlan,
    VideoPlan,
    adapted_folder,
    faces_folder,
)
from vcn_ray.run.summary import build_summary
from vcn_ray.steps import Scope, run_stages


@dataclass(frozen=True, slots=True)
class TitleStatus:
    """How a title went."""

    title: str
    title_id: str
    result: str  # folder below the output
    people: int
    tracks: int
    unknown: int
    seconds: float  # spent on it in this run
    warnings: tuple[str, ...]
    reused: bool


def segment_file(folder: str, index: int, kind: str, ending: str = "parquet") -> str:
    """Where a part of a segment's output belongs."""
    return f"{folder}/{kind}-{index:05d}.{ending}"


def is_segment_done(job: SegmentJob, storage: Storage) -> bool:
    """True where a segment is committed: its marker is written after its tables."""
    return storage.exists(segment_file(job.faces, job.index, "seg", "json"))


def segment_step(
    job: SegmentJob, pack: FacePack, config: RunConfig, storage: Storage
) -> Work | None:
    """Decode a segment, find its faces and commit both.

    What is wrong with the content is committed with it: it would be as wrong the next time.

    Returns:
        What it took; None where the segment was committed before.

    Raises:
        PackError: This machine has another pack than the one that planned.
        MediaError: The file cannot be opened any more, though it could when it was planned.
        StorageError: Nothing can be read or written just now.
    """
    if is_segment_done(job, storage):
        return None
    check_planned(pack, job.faces == faces_folder(job.video_id, config, pack.detector_hash))
    watch = Stopwatch()
    content: dict[str, Any] = {"segment": job.index, "frames": 0, "faces": 0, "failure": None}
    content |= _find_faces(job, pack, config, storage)
    content["seconds"] = watch.seconds
    storage.write_json(segment_file(job.faces, job.index, "seg", "json"), content)
    gpus = config.resources.segment_gpus
    return watch.done("faces", job.video_id, gpus, content["frames"], content["faces"])


def _find_faces(
    job: SegmentJob, pack: FacePack, config: RunConfig, storage: Storage
) -> dict[str, Any]:
    source = open_source(job.uri, job.etag, config.s3)
    values = {"source": source, "segment": job.segment, "pack": pack}
    try:
        rows = try_again(
            lambda: run_stages(Scope.SEGMENT, values, config)["faces"], SEGMENT_ATTEMPTS
        )
    except MediaError as error:
        if not is_content_fault(error):
            raise
        failure = {"reason": error.reason, "message": error.message, "attempts": error.attempts}
        return {"failure": failure}
    storage.write_table(segment_file(job.faces, job.index, "frames"), rows.frames)
    storage.write_table(segment_file(job.faces, job.index, "seg"), rows.detections)
    problem = {"reason": "decode_error", "message": "; ".join(rows.problems)}
    return {
        "frames": rows.frames.num_rows,
        "faces": rows.detections.num_rows,
        "failure": problem if rows.problems else None,
    }


class VideoDone(NamedTuple):
    """What video_step returns."""

    failures: tuple[Failure, ...]  # what of the video could not be used: its failed segments
    work: Work | None  # None: it was committed before
    crops: int  # sampled, of all its tracks


def video_step(video: VideoPlan, config: RunConfig, storage: Storage) -> VideoDone:
    """Join a video's segments into shots and tracks and commit both stages."""
    work = None
    if not storage.is_committed(video.tracks):
        watch = Stopwatch()
        if not storage.is_committed(video.faces):
            storage.commit(video.faces, _faces_manifest(video, storage))
        faces = storage.read_manifest(video.faces)
        manifest = _write_tracks(video, faces["read"], config, storage)
        manifest["seconds"] = watch.seconds
        # The bulky faces may be thrown away once tracks are made; what was said of them stays.
        storage.commit(video.tracks, manifest | {"faces_stage": faces})
        work = watch.done("tracks", video.video_id)
    manifest = storage.read_manifest(video.tracks)
    return VideoDone(failures_in(manifest, video), work, manifest["crops"])


def failures_in(manifest: dict[str, Any], video: VideoPlan) -> tuple[Failure, ...]:
    """What the tracks of a video were made without, as their manifest says."""
    stage = manifest["faces_stage"]
    return tuple(Failure(video.uri, "faces", **failure) for failure in stage["failures"])


def _faces_manifest(video: VideoPlan, storage: Storage) -> dict[str, Any]:
    statuses = [
        storage.read_json(segment_file(video.faces, segment.index, "seg", "json"))
        for segment in video.segments
    ]
    return {
        "segments": len(statuses),
        "read": [status["segment"] for status in statuses if status["frames"]],
        "failures": [
            {"segment": status["segment"], **status["failure"]}
            for status in statuses
            if status["failure"]
        ],
        "frames": sum(status["frames"] for status in statuses),
        "faces": sum(status["faces"] for status in statuses),
        "seconds": round(sum(status["seconds"] for status in statuses), 3),
    }


def _write_tracks(
    video: VideoPlan, segments: list[int], config: RunConfig, storage: Storage
) -> dict[str, Any]:
    parts = [
        SegmentTables(
            storage.read_table(segment_file(video.faces, index, "frames")),
            storage.read_table(segment_file(video.faces, index, "seg")),
        )
        for index in segments
    ]
    values = {"video_id": video.video_id, "segments": parts, "displayed_width": video.info.width}
    rows = run_stages(Scope.VIDEO, values, config)["rows"]
    for name, table in (("shots", rows.shots), ("tracks", rows.tracks), ("crops", rows.crops)):
        storage.write_table(f"{video.tracks}/{name}.parquet", table)
    return {
        "rejected": rows.rejected,
        "tracks": rows.tracks.num_rows,
        "crops": sum(rows.tracks.column("crops").to_pylist()),
    }


def read_tracks(title: TitlePlan, storage: Storage) -> TitleTracks:
    """The tracks of all videos of a title."""
    tables = [
        [storage.read_table(f"{video.tracks}/{name}.parquet") for video in title.videos]
        for name in ("tracks", "crops")
    ]
    return gather_tracks(*tables)


def _check_encoder(title: TitlePlan, pack: FacePack, config: RunConfig) -> None:
    belongs = adapted_folder(title.title_id, title.videos, config, pack.encoder_hash)
    check_planned(pack, title.adapted == belongs)


def adapt_step(
    title: TitlePlan,
    pack: FacePack,
    config: RunConfig,
    storage: Storage,
    hooks: Hooks = NO_HOOKS,
) -> Work | None:
    """Fine-tune on a title's tracks and commit the adapted model and what it says of each track.

    What was killed goes on from its last checkpoint, and gives the same as if it had not been. Of
    several ranks each calls this; the first commits.

    Returns:
        What it took; None where it was committed before, or another rank commits it.
    """
    # The first looks for all, or one might wait for the others.
    if hooks.ranks.agree(storage.is_committed(title.adapted)):
        return None
    _check_encoder(title, pack, config)
    watch = Stopwatch()
    kept = StoredCheckpoint(
        storage, f"{title.adapted}/checkpoint.safetensors", config.resources.checkpoint_seconds
    )
    values = {
        "title": read_tracks(title, storage),
        "encoder": pack.load_encoder().to(device_for(config.resources.adapt_gpus)),
        "hooks": hooks._replace(checkpoints=kept),
    }
    adapted = run_stages(Scope.ADAPT, values, config)["adapted"]
    if hooks.ranks.number:
        return None
    storage.write_bytes(f"{title.adapted}/model.safetensors", save_arrays(adapted.tensors))
    storage.write_bytes(f"{title.adapted}/outputs.safetensors", save_outputs(adapted.outputs))
    manifest = {
        "tracks": [video.tracks for video in title.videos],
        "warnings": list(adapted.warnings),
        "history": [asdict(epoch) for epoch in adapted.history],
        "resumed_epochs": adapted.resumed_epochs,
        "seconds": watch.seconds,
        "adapt_seconds": {step: round(took, 3) for step, took in adapted.seconds.items()},
        "adapt_peak_bytes": adapted.peak_bytes,
    }
    storage.commit(title.adapted, manifest)
    kept.discard()
    return watch.done("adapt", title.title_id, config.resources.adapt_gpus * hooks.ranks.count)


class ResultDone(NamedTuple):
    """What result_step returns."""

    status: TitleStatus
    work: Work | None  # None: it was committed before


def result_step(
    title: TitlePlan, pack: FacePack, config: RunConfig, storage: Storage
) -> ResultDone:
    """Cluster a title's tracks and commit its result."""
    if storage.is_committed(title.result):
        return ResultDone(read_status(title, storage, reused=False), None)
    watch = Stopwatch()
    _check_encoder(title, pack, config)
    outputs = load_outputs(storage.read_bytes(f"{title.adapted}/outputs.safetensors"))
    names = [video.video_id for video in title.videos]
    values = {"title": read_tracks(title, storage), "outputs": outputs, "videos": names}
    made = run_stages(Scope.TITLE, values, config)
    tables: ResultTables = made["tables"]
    for name in ("people", "tracks", "appearances", "merges"):
        storage.write_table(f"{title.result}/{name}.parquet", getattr(tables, name))
    model = storage.read_bytes(f"{title.adapted}/model.safetensors")
    storage.write_bytes(f"{title.result}/model.safetensors", model)
    summary = build_summary(title, tables, made["clusters"].warnings, pack, config, storage)
    summary["seconds"]["result"] = watch.seconds
    storage.write_json(f"{title.result}/result.json", summary)
    storage.commit(title.result, {"counts": summary["counts"]})
    point_to(title, storage)
    work = watch.done("result", title.title_id)
    return ResultDone(read_status(title, storage, reused=False), work)


def point_to(title: TitlePlan, storage: Storage) -> None:
    """Make `latest.json` of a title name this result, and where its videos are by now."""
    content = {
        "result": title.result.rsplit("/", 1)[-1],
        "title": title.title,
        "uris": {video.video_id: redact(video.uri) for video in title.videos},
    }
    path = f"titles/{title.title_id}/latest.json"
    # A second run of a finished catalog writes nothing, not even this.
    if not storage.exists(path) or storage.read_json(path) != content:
        storage.write_json(path, content)


def read_status(title: TitlePlan, storage: Storage, reused: bool) -> TitleStatus:
    """How a committed title went."""
    summary = storage.read_json(f"{title.result}/result.json")
    counts = summary["counts"]
    return TitleStatus(
        title=title.title,
        title_id=title.title_id,
        result=title.result,
        people=counts["people"],
        tracks=counts["tracks"],
        unknown=counts["unknown"],
        seconds=0.0 if reused else float(sum(summary["seconds"].values())),
        warnings=tuple(w["code"] for w in summary["warnings"]),
        reused=reused,
    )


def failure_of(title: TitlePlan, stage: str, error: Exception) -> Failure:
    """The `failures` row of a title that could not be finished."""
    where = title.videos[0].uri if len(title.videos) == 1 else title.title
    attempts = getattr(error, "attempts", 1)
    return Failure(where, stage, None, reason_of(error), one_line(error), attempts)


def reason_of(error: Exception) -> Reason:
    """The entry of the closed list for an error."""
    if isinstance(error, MediaError):
        return error.reason
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, OSError):  # StorageError is one
        return "storage_error"
    return "internal_error"
