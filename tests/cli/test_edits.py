"""`vcn edits` from the outside: a line for each decision, and where the tables are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.corrections import Seen, write_title
from tests.helpers.films import Ran, vcn
from vcn_ray.io.storage import Storage

FILM = (Seen("a1", "p001", 0, 4), Seen("b1", "p002", 10, 14), Seen("d1", None, 30, 33))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_title(Storage.open(str(tmp_path / "out")), FILM)
    return tmp_path / "out"


def edits(*words: str | Path) -> Ran:
    ran = vcn("edits", *words)
    assert "Traceback" not in ran.err
    return ran


def lines(output: Path, action: str, *words: str) -> list[str]:
    ran = edits(action, output, *words)
    assert ran.code == 0, ran.err
    said = ran.out.splitlines()
    folder = said[-1].removeprefix("reviewed tables: ")
    assert (Path(folder) / "people.parquet").is_file()
    return said[:-1]


def test_each_decision_is_a_line(output: Path) -> None:
    who = ["--who", "me"]
    (line,) = lines(output, "name", "p001", "Ann", *who, "--note", "sure")
    assert line.startswith("Film: p001 is called Ann (edit ")
    assert line.endswith(" by me)")
    said = [
        lines(output, "move", "d1", "--into", "p001", *who),
        lines(output, "merge", "p002", "p001", *who),
        lines(output, "undo", *who),
        lines(output, "redo", *who),
        lines(output, "lock", "p001", *who),
        lines(output, "unlock", "p001", *who),
        lines(output, "nobody", "p001", *who),
        lines(output, "no-face", "b1", "d1", *who),
        lines(output, "name", "p001", "", *who),
    ]
    assert [line.partition(" (")[0] for (line,) in said] == [
        "Film: track d1 moved to p001",
        "Film: p002 is p001",
        "Film: undone: p002 is p001",
        "Film: redone: p002 is p001",
        "Film: p001 is locked",
        "Film: p001 is not locked",
        "Film: p001 is nobody known",
        "Film: tracks b1, d1 show no face",
        "Film: p001 has no name",
    ]


def test_the_list_of_a_title_without_corrections_says_what_to_do(output: Path) -> None:
    ran = edits("list", output)
    assert ran.code == 0, ran.err
    (line,) = ran.out.splitlines()
    assert line.startswith("Film has no corrections: make them with vcn review ")


def test_the_list_says_what_counts_and_what_does_not_fit(output: Path) -> None:
    lines(output, "name", "p001", "Ann", "--who", "me", "--note", "sure")
    lines(output, "name", "d1", "Dan", "--who", "you")
    (undone,) = lines(output, "undo", "--who", "me")
    without = [seen for seen in FILM if seen.track_id != "d1"]
    write_title(Storage.open(str(output)), without, result="cluster-000000000002")
    ran = edits("list", output)
    assert ran.code == 0
    table = [[cell.strip() for cell in line.split("│")] for line in ran.out.splitlines()]
    rows = [cells for cells in table if len(cells) > 5]
    assert [row[1] for row in rows] == ["1", "2", "3"]
    assert [row[3] for row in rows] == ["me", "you", "me"]
    assert [row[6] for row in rows] == ["sure", "", ""]
    assert [row[7] for row in rows] == ["undone", "lost", "counts"]
    assert "1 correction; 1 correction does not fit any more\n" in ran.out
    assert "name Dan, by you: what it is about is not tracked any more" in ran.out
    assert ran.out.splitlines()[-1].startswith("reviewed tables, once written: ")
    assert undone.startswith("Film: undone: p001 is called Ann")


def test_an_edit_can_be_named_by_the_beginning_of_its_id(output: Path) -> None:
    (line,) = lines(output, "name", "p001", "Ann")
    edit = line.partition("edit ")[2][:16]
    lines(output, "undo", edit[:6])
    assert edits("undo", output, edit[:6]).code == 2
    lines(output, "redo", edit[:6])
    assert edits("undo", output, edit[:3]).code == 2


def test_a_sheet_there_and_back(output: Path, tmp_path: Path) -> None:
    lines(output, "name", "p001", "=Ann")
    sheet = tmp_path / "people.csv"
    ran = edits("export", output, sheet)
    assert ran.out.splitlines() == [
        f"2 people of 1 title in {sheet}",
        f"next: fill in column name, then vcn edits import {output} {sheet}",
    ]
    assert sheet.read_text("utf-8-sig").splitlines()[1:] == [
        "Film,p001,'=Ann,4.0,1,,",
        "Film,p002,,4.0,1,,",
    ]
    again = edits("import", output, sheet)
    assert again.code == 0
    assert again.out.startswith("people.csv: 0 new corrections, 1 there before\n")
    sheet.write_text("person;name\np002;Bea\np009;Eve\n")
    done = edits("import", output, sheet, "--who", "me")
    assert done.code == 1
    assert done.out.startswith("people.csv: 1 new correction, 0 there before, 1 not applied\n")
    assert done.err == "people.csv: row 3: Film has no person and no track 'p009'\n"


def test_wrong_usage_is_one_line(output: Path, tmp_path: Path) -> None:
    mistakes: list[list[str | Path]] = [
        ["name", output, "p009", "Ann"],
        ["list", output, "--title", "Other"],
        ["list", tmp_path / "nothing"],
        ["import", output, tmp_path / "missing.csv"],
        ["export", output, tmp_path / "no" / "folder.csv"],
        ["merge", output, "p001", "p001"],
    ]
    for words in mistakes:
        ran = edits(*words)
        assert ran.code == 2
        assert ran.err.startswith("vcn edits: ")
        assert len(ran.err.splitlines()) == 1
