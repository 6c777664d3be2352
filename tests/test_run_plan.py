"""What belongs where: identities, titles and keys."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.montage import encode
from vcn_ray.config import RunConfig, load_config
from vcn_ray.distributed.reducer import ReducerState
from vcn_ray.errors import MediaError
from vcn_ray.io.catalog import CatalogVideo, read_catalog
from vcn_ray.io.storage import Storage
from vcn_ray.run.plan import PackHashes, Plan, plan_catalog
from vcn_ray.run.state import estimate_seconds, look_at
from vcn_ray.run.steps import segment_step

HASHES = PackHashes("detector", "encoder")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short films without a face, and a copy of the first under another name."""
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(("one", "two", "three")):
        frames = np.random.default_rng(seed).integers(0, 255, (6, 32, 48, 3), dtype=np.uint8)
        encode(list(frames), folder / f"{name}.mp4")
    shutil.copy(folder / "one.mp4", folder / "copy.mp4")
    return folder


def plan(films: Path, names: str, title: str | None = None, **settings: str) -> Plan:
    videos = [CatalogVideo(str(films / f"{name}.mp4"), title) for name in names.split()]
    return plan_catalog(videos, load_config(None, settings), HASHES)


def test_a_copy_in_a_title_counts_once(films: Path) -> None:
    both = plan(films, "one copy two", "Season")
    assert [v.video_id.split("-")[0] for v in both.titles[0].videos] == ["one", "two"]
    assert both.located[str(films / "copy.mp4")] == both.located[str(films / "one.mp4")]


def test_a_film_under_two_names_is_two_titles(films: Path) -> None:
    assert len(plan(films, "one copy").titles) == 2


def test_a_season_with_one_more_episode_is_the_same_title(films: Path) -> None:
    before = plan(films, "one nothing", "Season").titles[0]
    after = plan(films, "one two", "Season").titles[0]
    assert before.title_id == after.title_id
    assert before.result != after.result
    assert before.missing == (str(films / "nothing.mp4"),)
    assert after.videos[0].tracks == before.videos[0].tracks


def test_the_order_of_inputs_changes_no_adapted_model(films: Path) -> None:
    one, two = plan(films, "one two", "S").titles[0], plan(films, "two one", "S").titles[0]
    assert one.adapted == two.adapted
    assert one.result != two.result  # who is first seen depends on it


@pytest.mark.parametrize(
    ("setting", "value", "kept"),
    [
        ("cluster.rule", "paper", ("faces", "tracks", "adapted")),
        ("quality.lowest_score", "-3.5", ("faces", "tracks", "adapted")),
        ("finetune.rounds", "1", ("faces", "tracks")),
        ("seed", "1", ("faces", "tracks")),
        ("tracks.min_faces", "5", ("faces",)),
        ("decode.analysis_fps", "4", ()),
        ("resources.adapt_workers", "3", ("faces", "tracks", "adapted", "result")),
    ],
)
def test_a_key_depends_on_what_its_stage_does(
    films: Path, setting: str, value: str, kept: tuple[str, ...]
) -> None:
    def keys(planned: Plan) -> dict[str, str]:
        title = planned.titles[0]
        video = title.videos[0]
        stages = {"faces": video.faces, "tracks": video.tracks}
        return stages | {"adapted": title.adapted, "result": title.result}

    before, after = keys(plan(films, "one")), keys(plan(films, "one", **{setting: value}))
    assert tuple(name for name in before if before[name] == after[name]) == kept


def test_names_that_no_file_system_takes_are_failures(films: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "catalog.csv"
    manifest.write_text(f"uri\n{films / 'one.mp4'}\n{'x' * 300}.mp4\n")
    planned = plan_catalog(read_catalog([str(manifest)]), RunConfig(), HASHES)
    assert len(planned.titles) == 1
    assert [f.reason for f in planned.failures] == ["missing"]


def test_what_is_wrong_with_the_place_is_not_committed(films: Path, tmp_path: Path) -> None:
    shutil.copy(films / "three.mp4", tmp_path / "gone.mp4")
    job = plan(tmp_path, "gone").titles[0].videos[0].jobs()[0]
    (tmp_path / "gone.mp4").unlink()
    storage = Storage.open(str(tmp_path / "out"))
    with pytest.raises(MediaError, match="no such file"):
        segment_step(job, cast(Any, None), RunConfig(), storage)
    assert storage.names(job.faces) == []


def test_the_reducer_reads_from_storage_what_is_missing(films: Path, tmp_path: Path) -> None:
    planned = plan(films, "one two", "Season")
    storage = Storage.open(str(tmp_path))
    one, two = planned.videos
    state = ReducerState(planned, storage)
    assert state.complete_videos() == []
    assert state.segment_done(one.video_id, 0)
    assert state.segment_done(one.video_id, 0)  # told twice, it is as complete as once
    assert state.video_done(one.video_id) == []
    assert state.video_done(two.video_id) == [planned.titles[0].title_id]
    storage.write_json(f"{one.faces}/seg-00000.json", {})
    storage.commit(two.tracks, {})
    again = ReducerState(planned, storage)
    assert again.complete_videos() == [one.video_id, two.video_id]
    assert again.video_done(one.video_id) == [planned.titles[0].title_id]


def test_a_run_that_left_no_record_does_not_stop_an_estimate(films: Path, tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    states = look_at(plan(films, "one"), storage)
    storage.write_bytes("runs/killed/videos.parquet", b"")
    assert estimate_seconds(states, storage) is None
    storage.write_json("runs/whole/run.json", {"seconds": 30.0, "video_seconds": 60.0})
    duration = states[0].title.videos[0].info.duration_seconds
    assert estimate_seconds(states, storage) == pytest.approx(duration / 2)
