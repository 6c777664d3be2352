"""Fine-tuning on storage: what is kept, what is gone on with, and what it cost."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.helpers.committed import commit
from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, crops_of
from vcn_ray.config import ClusterSettings, ResourceConfig, RunConfig
from vcn_ray.errors import StorageError
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import box_fields, encode_jpeg, make_table
from vcn_ray.learn.hooks import Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import VideoInfo
from vcn_ray.run.commit import commit_adapt, commit_cluster
from vcn_ray.run.plan import TitlePlan, VideoPlan, adapt_folder
from vcn_ray.schema import CROPS, SHOTS, VIDEO_TRACKS

CROPS_EACH = 4
CONFIG = RunConfig(adapt=replace(QUICK, epochs=2), cluster=ClusterSettings(rule="paper", cut=NEAR))
EAGER = replace(CONFIG, resources=ResourceConfig(checkpoint_seconds=0))
"""Keeps a checkpoint after each epoch."""
PACK = cast(
    FacePack,
    SimpleNamespace(
        name="tiny",
        licence="none",
        commercial_use=True,
        source="",
        detector_hash="detector",
        encoder_hash="encoder",
        load_encoder=TinyBackbone,
        prior=None,
    ),
)
VIDEO = VideoPlan(
    uri="film.mp4",
    video_id="film-1",
    info=cast(
        VideoInfo,
        SimpleNamespace(
            duration_seconds=8.0,
            width=64,
            height=48,
            frame_rate=25.0,
            codec="h264",
            hdr=False,
            interlaced=False,
        ),
    ),
    segments=(),
    detect_folder="videos/film-1/faces-1",
    track_folder="videos/film-1/tracks-1",
)
ADAPTED = adapt_folder("film", (VIDEO,), CONFIG, PACK.encoder_hash)
TITLE = TitlePlan("Film", "film", (VIDEO,), ADAPTED, "titles/film/result-1", ())
EPOCHS = 6
CHECKPOINT = f"{TITLE.adapt_folder}/checkpoint.safetensors"


@pytest.fixture(autouse=True)
def _as_many_epochs_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcn_ray.learn.rounds.MIN_STEPS", 1)


class KilledError(Exception):
    """What stands in for the end of a process."""


def write_tracks(storage: Storage) -> None:
    """Eight tracks of three people, one after another, as the step before leaves them."""
    tracks, crops = [], []
    for row, crop in enumerate(crops_of(PEOPLE, CROPS_EACH)):
        track, frame = f"t{row // CROPS_EACH:02d}", 5 * row
        box = box_fields([0, 0, 16, 16])
        crops.append(
            {
                "track_id": track,
                "frame": frame,
                "seconds": frame / 25,
                **box,
                "score": 1.0,
                "sharpness": 1.0,
                "frontality": 1.0,
                "image": encode_jpeg(crop),
                "face": None,
            }
        )
    for number in range(len(PEOPLE)):
        start = 5 * CROPS_EACH * number
        end = start + 5 * CROPS_EACH
        tracks.append(
            {
                "track_id": f"t{number:02d}",
                "video_id": VIDEO.video_id,
                "shot_id": "s",
                "start_frame": start,
                "end_frame": end,
                "start_seconds": start / 25,
                "end_seconds": end / 25,
                "faces": CROPS_EACH,
                "crops": CROPS_EACH,
            }
        )
    storage.write_table(f"{VIDEO.track_folder}/tracks.parquet", make_table(tracks, VIDEO_TRACKS))
    storage.write_table(f"{VIDEO.track_folder}/crops.parquet", make_table(crops, CROPS))
    storage.write_table(f"{VIDEO.track_folder}/shots.parquet", SHOTS.empty_table())
    faces = {"failures": [], "faces": len(crops), "seconds": 1.0}
    manifest = {
        "rejected": {},
        "turned": 0,
        "tracked": 0,
        "crops": len(crops),
        "seconds": 0.5,
        "detect": faces,
    }
    commit(storage, VIDEO.track_folder, manifest)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    opened = Storage.open(str(tmp_path / "output"))
    write_tracks(opened)
    return opened


@pytest.fixture
def whole(tmp_path: Path) -> Storage:
    """The same, fine-tuned without a break."""
    opened = Storage.open(str(tmp_path / "whole"))
    write_tracks(opened)
    commit_adapt(TITLE, PACK, CONFIG, opened)
    return opened


class Epochs:
    """Counts the epochs that are trained; dies in one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.steps: list[str] = []
        self._last = last

    def __call__(self, step: str, share: float) -> None:
        if step in ("head", "encoder"):  # so few crops make one batch an epoch
            self.steps.append(step)
            if len(self.steps) == self._last:
                raise KilledError


@pytest.mark.parametrize("last", [2, 4, 6])
def test_a_killed_step_goes_on_and_gives_equal_files(
    storage: Storage, whole: Storage, last: int
) -> None:
    with pytest.raises(KilledError):
        commit_adapt(TITLE, PACK, EAGER, storage, Hooks(Epochs(last)))
    assert storage.names(TITLE.adapt_folder) == ["checkpoint.safetensors"]
    rest = Epochs()
    commit_adapt(TITLE, PACK, EAGER, storage, Hooks(rest))
    assert len(rest.steps) == EPOCHS - (last - 1)  # the one it died in is trained again
    assert storage.read_manifest(TITLE.adapt_folder)["resumed_epochs"] == last - 1
    assert whole.read_manifest(TITLE.adapt_folder)["resumed_epochs"] == 0
    names = ["manifest.json", "model.safetensors", "outputs.safetensors"]
    assert storage.names(TITLE.adapt_folder) == whole.names(TITLE.adapt_folder) == names
    for name in names[1:]:
        left, right = (s.read_bytes(f"{TITLE.adapt_folder}/{name}") for s in (storage, whole))
        assert left == right, name


def test_the_checkpoint_is_there_until_the_result_is(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: FolderWriter, manifest: dict[str, Any]) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(FolderWriter, "commit", die)
        with pytest.raises(KilledError):
            commit_adapt(TITLE, PACK, EAGER, storage)
    assert storage.exists(CHECKPOINT)
    rest = Epochs()
    commit_adapt(TITLE, PACK, CONFIG, storage, Hooks(rest))
    assert rest.steps == []
    assert not storage.exists(CHECKPOINT)


def test_a_short_title_writes_no_checkpoint(storage: Storage) -> None:
    with pytest.raises(KilledError):
        commit_adapt(TITLE, PACK, CONFIG, storage, Hooks(Epochs(EPOCHS)))
    assert storage.names(TITLE.adapt_folder) == []


def test_training_goes_on_where_a_checkpoint_cannot_be_written_or_read(
    storage: Storage,
    whole: Storage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write, read = Storage.write_bytes, Storage.read_bytes

    def fail_to_write(self: Storage, path: str, data: bytes) -> None:
        if path == CHECKPOINT:
            raise StorageError("the disk is full")
        write(self, path, data)

    def fail_to_read(self: Storage, path: str) -> bytes:
        if path == CHECKPOINT:
            raise StorageError("it is gone")
        return read(self, path)

    storage.write_bytes(CHECKPOINT, b"from before")
    monkeypatch.setattr(Storage, "write_bytes", fail_to_write)
    monkeypatch.setattr(Storage, "read_bytes", fail_to_read)
    with caplog.at_level(logging.WARNING):
        commit_adapt(TITLE, PACK, EAGER, storage)
    assert "training starts from scratch: it is gone" in caplog.text
    assert "training continues without a checkpoint: the disk is full" in caplog.text
    name = f"{TITLE.adapt_folder}/model.safetensors"
    assert read(storage, name) == read(whole, name)


def test_what_adaptation_cost_is_in_the_result(whole: Storage) -> None:
    steps = {"views", "head", "match", "encoder", "outputs"}
    manifest = whole.read_manifest(TITLE.adapt_folder)
    assert manifest["adapt_seconds"].keys() == steps
    assert 0 < sum(manifest["adapt_seconds"].values()) <= manifest["seconds"]
    commit_cluster(TITLE, PACK, CONFIG, whole)
    summary = whole.read_json(f"{TITLE.cluster_folder}/result.json")
    for name in ("adapt_seconds", "adapt_peak_bytes"):
        assert summary[name] == manifest[name]
    assert summary["adapt_peak_bytes"] > 100e6
    assert summary["seconds"].keys() == {"detect", "track", "adapt", "cluster"}


def test_a_collapse_is_told_in_words(storage: Storage) -> None:
    wild = replace(CONFIG.adapt, encoder_learning_rate=1e30)
    config = replace(CONFIG, adapt=wild)
    adapted = adapt_folder("film", (VIDEO,), config, PACK.encoder_hash)
    title = replace(TITLE, adapt_folder=adapted)
    commit_adapt(title, PACK, config, storage)
    status = commit_cluster(title, PACK, config, storage).status
    assert "encoder_collapsed" in status.warnings
    summary = storage.read_json(f"{TITLE.cluster_folder}/result.json")
    told = {warning["code"]: warning["message"] for warning in summary["warnings"]}
    assert told["encoder_collapsed"].endswith("only the head was adapted")
