"""What belongs where: identities, titles and keys."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.helpers.committed import commit
from tests.helpers.videos import encode
from vcn_ray.cli.outlook import read_planned
from vcn_ray.config import RunConfig, load_config
from vcn_ray.edits.record import Edit, now
from vcn_ray.edits.store import EditLog
from vcn_ray.errors import MediaError, PackError, StorageError
from vcn_ray.io.catalog import CatalogVideo, read_catalog
from vcn_ray.io.s3_objects import Entry
from vcn_ray.io.storage import LocalPlace, Storage
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.run.commit import commit_adapt, commit_detect
from vcn_ray.run.failures import Failure
from vcn_ray.run.parallel import THREADS
from vcn_ray.run.plan import PackHashes, PlannedTitle, TitlePlan
from vcn_ray.run.planning import (
    group_titles,
    look_up,
    plan_titles,
    sample_titles,
)
from vcn_ray.run.sources import PlanCache

HASHES = PackHashes("detector", "encoder")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short films without a face, and a copy of the first under another name."""
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(("one", "two", "three")):
        frames = np.random.default_rng(seed).integers(0, 255, (6, 32, 48, 3), dtype=np.uint8)
        encode(folder / f"{name}.mp4", frames)
    shutil.copy(folder / "one.mp4", folder / "copy.mp4")
    return folder


def planned(videos: list[CatalogVideo], **settings: str) -> list[PlannedTitle]:
    return list(plan_titles(group_titles(videos), load_config(None, settings), HASHES))


def plan(films: Path, names: str, title: str | None = None, **settings: str) -> list[PlannedTitle]:
    videos = [CatalogVideo(str(films / f"{name}.mp4"), title) for name in names.split()]
    return planned(videos, **settings)


def only(titles: list[PlannedTitle]) -> TitlePlan:
    (found,) = titles
    assert found.title
    return found.title


def test_a_copy_in_a_title_counts_once(films: Path) -> None:
    (both,) = plan(films, "one copy two", "Season")
    assert [v.video_id.split("-")[0] for v in only([both]).videos] == ["one", "two"]
    assert both.inputs[str(films / "copy.mp4")] == both.inputs[str(films / "one.mp4")]


def test_a_film_under_two_names_is_two_titles(films: Path) -> None:
    assert [found.again for found in plan(films, "one copy")] == [False, False]


def test_a_film_in_two_folders_is_one_title(films: Path, tmp_path: Path) -> None:
    shutil.copy(films / "one.mp4", tmp_path / "one.mp4")
    videos = [CatalogVideo(str(folder / "one.mp4")) for folder in (films, tmp_path)]
    first, second = planned(videos)
    assert (first.again, second.again) == (False, True)
    assert list(first.inputs.values()) == list(second.inputs.values())


def test_a_title_called_as_a_file_is_another_title(films: Path) -> None:
    path = str(films / "one.mp4")
    groups = group_titles([CatalogVideo(path), CatalogVideo(str(films / "two.mp4"), path)])
    assert [(group.title, group.named) for group in groups] == [("one", False), (path, True)]


def test_episodes_of_a_title_need_not_be_listed_together(films: Path) -> None:
    names = (("one", "S"), ("two", None), ("three", "S"))
    groups = group_titles([CatalogVideo(f"{name}.mp4", title) for name, title in names])
    assert [[video.uri for video in group.videos] for group in groups] == [
        ["one.mp4", "three.mp4"],
        ["two.mp4"],
    ]


def test_a_larger_share_holds_a_smaller_one() -> None:
    groups = group_titles([CatalogVideo(f"{number}.mp4") for number in range(1000)])
    hundredth, tenth = (sample_titles(groups, share, seed=0) for share in (0.01, 0.1))
    assert (len(hundredth), len(tenth)) == (10, 100)
    assert set(hundredth) < set(tenth)
    assert sample_titles(groups, 0.01, seed=0) == hundredth != sample_titles(groups, 0.01, seed=1)
    assert [group for group in groups if group in set(tenth)] == tenth  # in their order
    assert len(sample_titles(groups[:5], 0.01, seed=0)) == 3
    assert sample_titles(groups[:2], 0.01, seed=0) == groups[:2]


def test_no_more_is_planned_than_is_taken(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(
        config: object, pack: object, memory: object, erased: object, video: CatalogVideo
    ) -> Failure:
        looked.append(video.uri)
        return Failure(video.uri, "plan", None, "missing", "is not there")

    monkeypatch.setattr("vcn_ray.run.planning.plan_input", look)
    groups = group_titles([CatalogVideo(f"{number}.mp4") for number in range(10_000)])
    titles = plan_titles(groups, RunConfig(), HASHES)
    assert next(titles).failures[0].uri == "0.mp4"
    assert len(looked) <= 3 * THREADS
    assert [next(titles).failures[0].uri for _ in range(100)] == [f"{n}.mp4" for n in range(1, 101)]
    assert len(looked) <= 101 + 3 * THREADS
    cast(Any, titles).close()


def test_a_season_with_one_more_episode_is_the_same_title(films: Path) -> None:
    before = only(plan(films, "one nothing", "Season"))
    after = only(plan(films, "one two", "Season"))
    assert before.title_id == after.title_id
    assert before.cluster_folder != after.cluster_folder
    assert before.missing == (str(films / "nothing.mp4"),)
    assert after.videos[0].track_folder == before.videos[0].track_folder


def test_the_order_of_inputs_changes_no_adapted_model(films: Path) -> None:
    one, two = only(plan(films, "one two", "S")), only(plan(films, "two one", "S"))
    assert one.adapt_folder == two.adapt_folder
    assert one.cluster_folder != two.cluster_folder  # who is first seen depends on it


@pytest.mark.parametrize(
    ("setting", "value", "kept"),
    [
        ("cluster.rule", "paper", ("detect", "track", "adapt")),
        ("cluster.quality.min_score", "-3.5", ("detect", "track", "adapt")),
        ("adapt.rounds", "1", ("detect", "track")),
        ("cluster.cut.view_factor", "1.5", ("detect", "track")),  # matches tracks too
        ("seed", "1", ("detect", "track")),
        ("track.min_faces", "5", ("detect",)),
        ("detect.analysis_fps", "4", ()),
        ("resources.adapt_workers", "3", ("detect", "track", "adapt", "cluster")),
    ],
)
def test_a_key_depends_on_the_settings_of_its_step(
    films: Path, setting: str, value: str, kept: tuple[str, ...]
) -> None:
    def keys(planned: list[PlannedTitle]) -> dict[str, str]:
        title = only(planned)
        video = title.videos[0]
        folders = {"detect": video.detect_folder, "track": video.track_folder}
        return folders | {"adapt": title.adapt_folder, "cluster": title.cluster_folder}

    before, after = keys(plan(films, "one")), keys(plan(films, "one", **{setting: value}))
    assert tuple(name for name in before if before[name] == after[name]) == kept


def test_names_that_no_file_system_takes_are_failures(films: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "catalog.csv"
    manifest.write_text(f"uri\n{films / 'one.mp4'}\n{'x' * 300}.mp4\n")
    titles = planned(read_catalog([str(manifest)]))
    assert [found.title is not None for found in titles] == [True, False]
    assert [f.reason for found in titles for f in found.failures] == ["missing"]


def test_what_is_wrong_with_the_place_is_not_committed(films: Path, tmp_path: Path) -> None:
    shutil.copy(films / "three.mp4", tmp_path / "gone.mp4")
    job = only(plan(tmp_path, "gone")).videos[0].jobs()[0]
    (tmp_path / "gone.mp4").unlink()
    storage = Storage.open(str(tmp_path / "out"))
    with pytest.raises(MediaError, match="no such file"):
        commit_detect(job, pack_of(HASHES), RunConfig(), storage)
    assert storage.names(job.detect_folder) == []


def pack_of(hashes: PackHashes) -> FacePack:
    """A pack of which only the name and the hashes are asked; its detector never runs."""
    known = {"detector_hash": hashes.detector, "encoder_hash": hashes.encoder}
    return cast(FacePack, SimpleNamespace(name="mine", detector=None, **known))


def test_work_planned_with_another_pack_is_refused(films: Path, tmp_path: Path) -> None:
    title = only(plan(films, "three"))
    storage = Storage.open(str(tmp_path / "out"))
    other = pack_of(PackHashes("detector of another machine", "encoder of another machine"))
    with pytest.raises(
        PackError, match="pack mine differs between this machine and the one that planned"
    ):
        commit_detect(title.videos[0].jobs()[0], other, RunConfig(), storage)
    with pytest.raises(
        PackError, match="pack mine differs between this machine and the one that planned"
    ):
        commit_adapt(title, other, RunConfig(), storage)
    assert storage.names("") == []


def test_the_look_up_says_which_segments_are_missing(films: Path, tmp_path: Path) -> None:
    (season,) = plan(films, "one two", "Season")
    storage = Storage.open(str(tmp_path))
    one, two = only([season]).videos
    (looked,) = look_up(iter([season]), storage)
    assert (looked.title, looked.jobs) == (season.title, (*one.jobs(), *two.jobs()))
    commit(storage, one.detect_folder, {}, "seg-00000.json")
    (looked,) = look_up(iter([season]), storage)
    assert looked.jobs == tuple(two.jobs())
    commit(storage, two.track_folder, {})  # its faces may be thrown away
    (looked,) = look_up(iter([season]), storage)
    assert (looked.title, looked.jobs) == (season.title, ())
    (again,) = look_up(iter([replace(season, again=True)]), storage)
    assert (again.title, again.jobs) == (None, ())


def test_a_title_that_cannot_be_looked_up_stops_no_other(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = plan(films, "one two")
    storage = Storage.open(str(tmp_path))
    entries = Storage.entries

    def broken(self: Storage, path: str) -> dict[str, Entry]:
        if path == only(titles[:1]).videos[0].detect_folder:
            raise StorageError("not just now")
        return entries(self, path)

    monkeypatch.setattr(Storage, "entries", broken)
    first, second = look_up(iter(titles), storage)
    assert isinstance(first.found, Failure)
    assert (first.found.step, first.found.reason) == ("detect", "storage_error")
    assert (first.title, second.title) == (None, titles[1].title)
    assert len(second.jobs) == 1


def test_a_damaged_result_is_planned_again(films: Path, tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    titles = plan(films, "one two")
    damaged = only(titles[:1])
    for folder in (damaged.cluster_folder, *(video.track_folder for video in damaged.videos)):
        commit(storage, folder, {"detect": {"failures": []}})
    storage.write_bytes(f"{damaged.cluster_folder}/result.json", b"{")
    first, second = look_up(iter(titles), storage)
    assert first.found is second.found is None
    assert (first.title, first.jobs) == (damaged, ())  # its tracks are sound
    (line,) = first.damage
    assert line.endswith(f"{damaged.cluster_folder}/result.json is damaged: it is no JSON")
    assert not storage.is_committed(damaged.cluster_folder)
    manifest = f"{damaged.videos[0].track_folder}/manifest.json"
    storage.write_bytes(manifest, b"{")
    state = read_planned(storage, titles[0]).state
    assert state is not None
    assert (state.action, state.why) == ("everything", f"damaged: {manifest}")
    assert storage.read_bytes(manifest) == b"{"  # planning changes nothing
    (again,) = look_up(iter(titles[:1]), storage)
    assert again.jobs == tuple(damaged.videos[0].jobs())
    assert not storage.exists(manifest)


def test_a_plan_knows_the_edits_of_its_title(films: Path, tmp_path: Path) -> None:
    storage, names = Storage.open(str(tmp_path)), ["one", "two", "three"]
    groups = group_titles([CatalogVideo(str(films / f"{name}.mp4")) for name in names])

    def edits() -> list[tuple[str, ...]]:
        cache = PlanCache(storage, keep=False)
        titles = plan_titles(groups, RunConfig(), HASHES, cache)
        return [only([planned]).edits for planned in titles]

    assert edits() == [(), (), ()]
    second = only(plan(films, "two")).title_id
    log = EditLog(storage, second)
    written = [log.append(Edit("name", "me", now(), name=name)) for name in ("Ann", "Bea")]
    assert edits() == [(), tuple(edit.file_name for edit in written), ()]


def test_titles_without_edits_cost_no_request(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = group_titles([CatalogVideo(str(films / f"{name}.mp4")) for name in ("one", "two")])
    asked: list[str] = []
    names = LocalPlace.names

    def listed(place: LocalPlace, folder: str, /) -> list[str]:
        asked.append(folder)
        return names(place, folder)

    monkeypatch.setattr(LocalPlace, "names", listed)
    cache = PlanCache(Storage.open(str(tmp_path)), keep=False)
    assert len(list(plan_titles(groups, RunConfig(), HASHES, cache))) == 2
    assert asked == [str(tmp_path / "edited")]


def test_a_title_whose_edits_cannot_be_listed_fails_alone(films: Path, tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    first = only(plan(films, "one")).title_id
    EditLog(storage, first).append(Edit("name", "me", now(), name="Ann"))
    folder = tmp_path / "titles" / first / "edits"
    aside = folder.rename(tmp_path / "aside")
    folder.symlink_to("x" * 300)  # a listing of it is an error
    groups = group_titles([CatalogVideo(str(films / f"{name}.mp4")) for name in ("one", "two")])
    one, two = plan_titles(groups, RunConfig(), HASHES, PlanCache(storage, keep=False))
    assert [failure.reason for failure in one.failures] == ["storage_error"]
    assert one.title is None
    assert two.title is not None
    assert aside.is_dir()
