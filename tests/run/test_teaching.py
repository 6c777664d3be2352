"""What corrections do to later runs of a title."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.films import SMALL, Ran, vcn
from vcn_ray.io.storage import Storage
from vcn_ray.results import Title, open_results
from vcn_ray.review.desk import Desk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def indexed(film: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("output")
    assert _index(film, yunet_pack, output).code == 0
    return output


@pytest.fixture
def output(indexed: Path, tmp_path: Path) -> Path:
    """A copy of the output of a film of two people."""
    return Path(shutil.copytree(indexed, tmp_path / "out"))


def _index(film: Path, pack: Path, output: Path, *words: str) -> Ran:
    return vcn("index", film, "--output", output, "--pack", pack, "--local", *SMALL, *words)


def _title(output: Path) -> Title:
    return open_results(output)[0]


def _desk(output: Path) -> Desk:
    return Desk(Storage.open(str(output)), who="ann")


def test_a_move_teaches_and_its_undo_finds_the_first_result_again(
    output: Path, film: Path, yunet_pack: Path
) -> None:
    first = _title(output)
    desk = _desk(output)
    tracks = desk.reviewed.state.tracks_of("p001")
    moved, rest = tracks[:2], tracks[2:]
    assert rest
    desk.move(moved)
    assert _index(film, yunet_pack, output).code == 0
    taught = _title(output)
    assert taught.summary["keys"]["adapt"] != first.summary["keys"]["adapt"]
    assert taught.summary["taught_by"] == [desk.reviewed.edits[0].file_name]
    person = {track.track_id: track.person_id for track in taught.tracks}
    assert len({person[track] for track in moved}) == 1
    assert person[moved[0]] not in {person[track] for track in rest}
    rules = {row["rule"] for row in taught._table("merges").to_pylist()}
    assert "must_link" in rules

    desk.undo()
    assert _index(film, yunet_pack, output).code == 0
    assert _title(output).summary["keys"] == first.summary["keys"]
    assert _title(output).summary["taught_by"] == []


def test_names_and_a_setting_teach_nothing(output: Path, film: Path, yunet_pack: Path) -> None:
    desk = _desk(output)
    desk.name("p001", "Ann")
    assert "already done" in _index(film, yunet_pack, output).out
    desk.merge("p002", "p001")
    off = _index(film, yunet_pack, output, "--set", "review.teach=false")
    assert "already done" in off.out
    assert len(_title(output).people) == 2
    assert _index(film, yunet_pack, output).code == 0
    assert len(_title(output).people) == 1


def test_a_correction_that_is_damaged_teaches_nothing(
    output: Path, film: Path, yunet_pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = _title(output)
    edit = _desk(output).merge("p002", "p001")
    path = output / "titles" / first.title_id / "edits" / edit.file_name
    path.write_bytes(path.read_bytes().replace(b'"merge"', b'"apart"'))
    assert _index(film, yunet_pack, output).code == 0
    assert _title(output).summary["keys"] == first.summary["keys"]
    assert "a correction does not count" in caplog.text
