"""Corrections through `import vcn_ray`: read them, and make them."""

from __future__ import annotations

from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.corrections import TITLE_ID, Seen, write_title
from vcn_ray.io.storage import Storage
from vcn_ray.results import Reviewed

FILM = (Seen("a1", "p001", 0, 4), Seen("b1", "p002", 10, 13), Seen("d1", None, 30, 33))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_title(Storage.open(str(tmp_path)), FILM)
    return tmp_path


def reviewed(output: Path) -> Reviewed:
    return vcn_ray.open_results(output).title("Film").reviewed


def test_a_title_without_corrections_is_as_it_is(output: Path) -> None:
    found = reviewed(output)
    title = vcn_ray.open_results(output).title("Film")
    assert [p.person_id for p in found.people] == [p.person_id for p in title.people]
    assert [t[:13] for t in found.tracks] == [tuple(t) for t in title.tracks]
    assert len(found.misfits) == 0
    assert not list(output.glob("titles/*/reviewed-*"))


def test_a_desk_decides_and_results_show_it(output: Path) -> None:
    desk = vcn_ray.open_desk(output, who="me")
    edit = desk.name("p001", "Ann")
    desk.move(["d1"], "p001")
    in_memory = reviewed(output)  # before anything is committed
    desk.commit()
    stored = reviewed(output)
    for found in (in_memory, stored):
        ann, other = found.people
        assert (ann.name, ann.tracks, ann.screen_seconds, ann.locked) == ("Ann", 2, 7.0, False)
        assert other.name is None
        assert [(seen.name, seen.track_id) for seen in found.appearances][:2] == [
            ("Ann", "a1"),
            ("Ann", "d1"),
        ]
        assert found.tracks[2].confidence == 1
        assert repr(found) == "Reviewed(people=2, named=1, misfits=0)"
    assert edit.who == "me"
    assert isinstance(stored.people[0], vcn_ray.ReviewedPerson)


def test_tables_that_vanish_are_made_in_memory(output: Path) -> None:
    desk = vcn_ray.open_desk(output, who="me")
    desk.name("p001", "Ann")
    folder = desk.commit()
    (output / folder / "tracks.parquet").unlink()
    assert reviewed(output).people[0].name == "Ann"


def test_what_does_not_fit_is_a_record(output: Path) -> None:
    vcn_ray.open_desk(output, who="me").name("d1", "Dan")
    write_title(Storage.open(str(output)), FILM[:2], result="cluster-000000000002")
    (misfit,) = reviewed(output).misfits
    assert (misfit.problem, misfit.name, misfit.track_id) == ("lost", "Dan", None)
    assert (misfit.start_seconds, misfit.end_seconds) == (30, 33)
    assert vcn_ray.open_desk(output, TITLE_ID, "me").title_id == TITLE_ID
