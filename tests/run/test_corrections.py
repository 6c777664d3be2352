"""Corrections over several runs: each result has its tables, and what does not fit is said."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.corrections import RIGHT, TITLE_ID, Seen, write_title
from tests.helpers.films import QUICK, Ran, vcn
from tests.helpers.plans import title as make_plan
from vcn_ray.io.storage import LocalPlace, Storage
from vcn_ray.review.desk import Desk
from vcn_ray.run.corrections import correct
from vcn_ray.run.plan import TitlePlan
from vcn_ray.run.status import TitleStatus

FILM = (Seen("a1", "p001", 0, 4), Seen("b1", "p002", 0, 4, RIGHT), Seen("c1", "p003", 20, 24))
STATUS = TitleStatus("Film", TITLE_ID, "", 3, 3, 0, 0, 0.0, (), reused=False)


def plan(result: str, *edits: str) -> TitlePlan:
    folder = f"titles/{TITLE_ID}/{result}"
    return replace(make_plan("Film"), title_id=TITLE_ID, cluster_folder=folder, edits=edits)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path))
    write_title(storage, FILM)
    return storage


def folders(storage: Storage) -> list[str]:
    return [n for n in storage.names(f"titles/{TITLE_ID}") if n.startswith("reviewed-")]


def test_each_result_has_its_tables(storage: Storage) -> None:
    desk = Desk(storage, who="me")
    edit = desk.name("p003", "Cat").file_name
    first = plan("cluster-000000000001", edit)
    assert (correct(STATUS, first, storage).corrections, len(folders(storage))) == (1, 1)
    before = folders(storage)
    write_title(storage, FILM[:2], result="cluster-000000000002")
    second = plan("cluster-000000000002", edit)
    done = correct(STATUS, second, storage)
    assert (done.corrections, done.misfits) == (1, 1)
    assert len(folders(storage)) == 1
    assert folders(storage) != before
    assert correct(STATUS, second, storage) == done


def test_a_title_without_corrections_costs_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("names", "exists", "read", "entries", "write", "create"):
        monkeypatch.delattr(LocalPlace, name)
    assert correct(STATUS, plan("cluster-000000000001"), storage) == STATUS


def test_tables_that_are_there_cost_a_listing_and_a_reading(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(storage, who="me")
    edit = desk.name("p003", "Cat").file_name
    desk.commit()
    read: list[str] = []
    once = LocalPlace.read

    def note(place: LocalPlace, key: str, /) -> bytes:
        read.append(key)
        return once(place, key)

    monkeypatch.setattr(LocalPlace, "read", note)
    assert correct(STATUS, plan("cluster-000000000001", edit), storage).corrections == 1
    assert len(read) == 1


def index(film: Path, output: Path, pack: Path, *more: str) -> Ran:
    ran = vcn("index", film, "--output", output, "--pack", pack, *QUICK, *more)
    assert ran.code == 0, ran.err
    return ran


def row(ran: Ran) -> tuple[int, int]:
    (title,) = ran.record["titles"]
    return title["corrections"], title["misfits"]


@pytest.mark.slow
def test_corrections_outlive_a_run_with_other_settings(
    film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def run(*more: str) -> Ran:
        return index(film, output, yunet_pack, "--local", *more)

    assert row(run()) == (0, 0)
    title_id = run().record["titles"][0]["title_id"]
    assert vcn("edits", "name", output, "p001", "Ann", "--who", "me").code == 0
    home = output / "titles" / title_id
    for folder in home.glob("reviewed-*"):
        shutil.rmtree(folder)
    again = run()  # nothing to do but for the correction
    assert "already done" in again.out
    assert row(again) == (1, 0)
    assert len(list(home.glob("reviewed-*"))) == 1
    other = run("--set", "seed=1", "--set", "detect.analysis_fps=5")
    assert row(other) == (1, 0)
    assert ", 1 correction, " in other.out
    listed = vcn("edits", "list", output)
    assert "counts" in listed.out

    # Of a face that no run finds any more, nothing can be said: the list keeps it.
    lost = run("--set", "detect.min_face_pixels=2000")
    assert row(lost) == (1, 1)
    assert lost.record["misfits"] == 1
    hint = f"vcn edits list {output} --title {title_id}"
    assert f"film: 1 correction does not fit any more: {hint}" in lost.out
    assert "lost" in vcn("edits", "list", output).out
