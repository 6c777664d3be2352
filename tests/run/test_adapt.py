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
from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import StorageError
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import box_fields, encode_jpeg, make_table
from vcn_ray.learn.hooks import Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import VideoInfo
from vcn_ray.rows.title_rows import split_tracks
from vcn_ray.run.commit import commit_adapt, commit_cluster, read_tracks
from vcn_ray.run.plan import TitlePlan, VideoPlan, adapt_folder
from vcn_ray.run.stored import read_title
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
            moving_pictures=1,
            timecode="",
        ),
    ),
    segments=(),
    detect_folder="videos/film-1/faces-1",
    track_folder="videos/film-1/tracks-1",
)
ADAPTED = adapt_folder("film", (VIDEO,), CONFIG, PACK.encoder_hash)
TITLE = TitlePlan("Film", "film", (VIDEO,), ADAPTED, "titles/film/result-1", ())
TINY_PRIOR = FacePrior(
    stranger_cosine=0.84,
    stranger_sd=0.03,
    min_score=0.5,
    intercept=3.0,
    per_score=0.0,
    per_length=0.0,
    per_stability=0.0,
)
"""TinyBackbone's: strangers are very alike to it, and every crop can be recognised."""
EPOCHS = 6
CHECKPOINT = f"{TITLE.adapt_folder}/checkpoint.safetensors"


@pytest.fixture(autouse=True)
def _as_many_epochs_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcn_ray.learn.rounds.MIN_STEPS", 1)


class KilledError(Exception):
    """What stands in for the end of a process."""


NAMES = tuple(f"t{number:02d}" for number in range(len(PEOPLE)))


def write_tracks(storage: Storage, names: tuple[str, ...] = NAMES) -> None:
    """Eight tracks of three people, one after another, as the step before leaves them.

    Args:
        storage: Where to.
        names: Ids of the tracks; neighbours with one id are one track.
    """
    tracks, crops = [], []
    for row, crop in enumerate(crops_of(PEOPLE, CROPS_EACH)):
        track, frame = names[row // CROPS_EACH], 5 * row
        box = box_fields([0, 0, 16, 16])
        crops.append(
            {
                "track_id": track,
                "frame": frame,
                "seconds": frame / 25,
                **box,
                "score": 1.0,
                "detected": True,
                "sharpness": 1.0,
                "frontality": 1.0,
                "image": encode_jpeg(crop),
                "face": None,
            }
        )
    for name in dict.fromkeys(names):
        count = CROPS_EACH * names.count(name)
        start = 5 * CROPS_EACH * names.index(name)
        end = start + 5 * count
        tracks.append(
            {
                "track_id": name,
                "video_id": VIDEO.video_id,
                "shot_id": "s",
                "start_frame": start,
                "end_frame": end,
                "start_seconds": start / 25,
                "end_seconds": end / 25,
                "faces": count,
                "crops": count,
            }
        )
    storage.write_table(f"{VIDEO.track_folder}/tracks.parquet", make_table(tracks, VIDEO_TRACKS))
    storage.write_table(f"{VIDEO.track_folder}/crops.parquet", make_table(crops, CROPS))
    storage.write_table(f"{VIDEO.track_folder}/shots.parquet", SHOTS.empty_table())
    faces = {"failures": [], "faces": len(crops), "seconds": 1.0}
    manifest = {
        "rejected": {},
        "turned": 0,
        "end_seconds": 8.0,
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


def test_a_track_of_two_people_is_two_tracks_from_then_on(tmp_path: Path) -> None:
    """The first track shows two people; its parts are tracks in every table and when read back."""
    storage = Storage.open(str(tmp_path))
    write_tracks(storage, ("t00", "t00", *NAMES[2:]))
    pack = cast(FacePack, SimpleNamespace(**{**vars(PACK), "prior": TINY_PRIOR}))
    commit_adapt(TITLE, pack, CONFIG, storage)
    commit_cluster(TITLE, pack, CONFIG, storage)
    changes = {"t00": [5 * CROPS_EACH]}
    assert storage.read_manifest(TITLE.adapt_folder)["splits"] == changes
    title = read_title(TITLE.title_id, storage)
    assert title.summary["splits"] == changes
    assert title.summary["counts"]["tracks"] == len(PEOPLE)
    rows = {row["track_id"]: row for row in title.tracks.to_pylist()}
    assert list(rows) == ["t00-1", "t00-2", *NAMES[2:]]
    person = [row["person_id"] for row in rows.values()]
    assert len(set(person)) == 3
    assert [person.index(who) for who in person] == [PEOPLE.tolist().index(n) for n in PEOPLE]
    for number, name in enumerate(("t00-1", "t00-2")):
        start = 5 * CROPS_EACH * number
        last = start + 5 * (CROPS_EACH - 1)
        spent = [rows[name][key] for key in ("start_frame", "end_frame", "crops")]
        assert spent == [start, last + 1, CROPS_EACH]
        assert rows[name]["start_seconds"] == pytest.approx(start / 25)
        assert rows[name]["end_seconds"] == pytest.approx(last / 25 + 5 / 25)  # 5 frames are shown
    faces = title.crops.column("track_id").to_pylist()
    assert faces == [name for name in rows for _ in range(CROPS_EACH)]
    assert set(faces) == set(title.appearances.column("track_id").to_pylist())


def test_parts_that_begin_later_than_other_tracks_are_in_order_of_time(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    write_tracks(storage, ("t00", "t00", *NAMES[2:]))
    tracks = read_tracks(TITLE, storage)
    splits = {"t00": [20], "t05": [110, 115]}
    after = split_tracks(tracks, splits)
    starts = after.tracks.column("start_frame").to_pylist()
    assert starts == sorted(starts)
    assert sum(after.tracks.column("faces").to_pylist()) == after.faces.num_rows
    names = ["t05-1", "t05-2", "t05-3"]
    assert [n for n in after.tracks.column("track_id").to_pylist() if n[:3] == "t05"] == names
    assert split_tracks(tracks, {}) is tracks
