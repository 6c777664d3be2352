"""Corrections as sheets: what Excel makes of them, and what a page exports."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.helpers.corrections import TITLE_ID, Seen, write_title
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk
from vcn_ray.review.imports import Imported, import_sheet
from vcn_ray.review.sheet import Row, read_sheet, write_sheet

FILM = (
    Seen("a1", "p001", 0, 4),
    Seen("b1", "p002", 10, 14),
    Seen("c1", "p003", 20, 22),
    Seen("d1", None, 30, 33),
    Seen("e1", None, 40, 43),
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path))
    write_title(storage, FILM)
    return storage


def rows_of(text: str, encoding: str = "utf-8") -> list[Row]:
    return read_sheet("x.csv", text.encode(encoding)).rows


def named(text: str) -> dict[str, str]:
    return {row.subject: row.name for row in rows_of(text)}


def do(storage: Storage, text: str, name: str = "x.csv", title: str | None = None) -> Imported:
    return import_sheet(read_sheet(name, text.encode()), storage, title, "me")


@pytest.mark.parametrize(
    "text",
    [
        "person,name\np001,Ann\n",
        "\ufeffperson,name\r\np001,Ann\r\n",
        "Person;Name\r\np001;Ann\r\n",
        "sep=;\r\nperson;name\r\np001;Ann\r\n",
        "name\tperson\nAnn\tp001\n",
        ' "person" , "name"\n p001 , Ann \n'.replace(' "', '"').replace('" ', '"'),
        'person,name\n"p001","Ann"',
        'person,name,seconds,tracks\np001,"=""Ann""",3,4\n',
        "title,person,track,name,action,into,note,colour\n,p001,,Ann,,,,red\n,,,,,,,\n",
        "person,name\np001,Ann\n\n,\np002,\n",
    ],
)
def test_a_name_in_every_dress(text: str) -> None:
    assert named(text) == {"p001": "Ann"}


def test_what_looks_like_a_formula_stays_a_text() -> None:
    names = [
        "=1+1",
        "+49",
        "-Ann",
        "@home",
        "'Ann'",
        'Ann "the" B',
        "a;b,c",
        "O'Neil",
        "two\nlines",
    ]
    data = write_sheet([("Film", f"p{n}", name, "1.0", 3, "", "") for n, name in enumerate(names)])
    assert data.startswith("\ufeff".encode())
    (_, *cells) = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert not [cell for row in cells for cell in row if cell.startswith(tuple("=+-@"))]
    assert [row.name for row in read_sheet("x.csv", data).rows] == names
    semicolons = write_sheet([("Film", "p1", "a;b", "1.0", 3, "", "")], ";")
    assert [row.name for row in read_sheet("x.csv", semicolons).rows] == ["a;b"]


BAD = {
    "person,name\np001,Ann\n,Bea\n": "row 3: name a person or a track",
    "person,track,name\np001,a1,Ann\n": "row 2: name one: person or track",
    "person,action\np001,dance\n": "row 2: there is no action 'dance': use one of name, merge",
    "person,action\np001,move\n": "row 2: move is about tracks",
    "track,action,into\na1,merge,p001\n": "row 2: merge is about a person",
    "person,action\np001,merge\n": "row 2: merge needs a person in column into",
}


@pytest.mark.parametrize("text", BAD)
def test_a_row_that_says_nothing_clear_is_named(text: str) -> None:
    (problem,) = read_sheet("x.csv", text.encode()).problems
    assert problem.startswith(BAD[text])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.csv", "person,name\np001,Zoë".encode("cp1252"), 'save it as "CSV UTF-8"'),
        ("x.csv", "person,name".encode("utf-16"), "is not UTF-8"),
        ("x.csv", b"", "has no column person or track"),
        ("x.csv", b"who,name\np001,Ann", "has no column person or track"),
        ("x.csv", b'person,name\np001,"Ann', "is no CSV"),
        ("x.json", b"[1]", "holds no names by person"),
        ("x.json", b'{"p001": 1}', "holds no names by person"),
        ("x.json", b"{", "is no JSON"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_sheet(name, data)


ALL = """title,person,track,name,action,into,note
Film,p001,,Ann,,,
Film,p002,,,merge,p001,alike
Film,,d1,,move,p001,
Film,,e1,,move,,
Film,p003,,,nobody,,
Film,p001,,,lock,,
"""


def test_rows_are_applied_once(storage: Storage) -> None:
    first = do(storage, ALL)
    assert first.problems == []
    assert [edit.kind for edit in first.edits] == [
        "name",
        "merge",
        "move",
        "move",
        "nobody",
        "lock",
    ]
    assert [edit.note for edit in first.edits][1] == "alike"
    again = do(storage, ALL)
    assert (again.edits, again.unchanged, again.problems) == ([], 6, [])
    assert again.folders == first.folders
    state = Desk(storage, who="me").reviewed.state
    assert state.tracks_of("p001") == ["a1", "b1", "d1"]
    assert state.about("p001").locked


@pytest.mark.parametrize(
    "text",
    [
        "track,name\nd1,Dan\n",
        "track,action\nd1,no-face\nd1 e1,no face\n",
        "track,action\nd1,nobody\n",
        "person,name,action\np001,Ann,name\np001,,lock\np001,,unlock\n",
    ],
)
def test_a_second_import_changes_nothing(storage: Storage, text: str) -> None:
    do(storage, text)
    before = len(Desk(storage, who="me").reviewed.edits)
    again = do(storage, text.replace("p001,,lock\n", ""))
    assert (again.edits, again.problems) == ([], [])
    assert len(Desk(storage, who="me").reviewed.edits) == before


def test_rows_that_do_not_fit_stop_no_other(storage: Storage) -> None:
    done = do(
        storage,
        "title,person,name,action\nFilm,p009,Eve,\nOther,p001,Eve,\nFilm,p001,Ann,\n"
        "Film,p002,,lock\nFilm,p003,Cat,\n",
    )
    assert [edit.name for edit in done.edits] == ["Ann", "Cat"]
    assert [problem.partition(":")[0] for problem in done.problems] == ["row 2", "row 3", "row 5"]
    assert "called 'Other'" in done.problems[1]


def test_rows_of_several_titles(storage: Storage) -> None:
    write_title(storage, FILM, title="Second", title_id="second-0123456789ab")
    done = do(storage, "title,person,name\nFilm,p001,Ann\nSecond,p001,Sue\n,p002,Bea\n")
    assert len(done.folders) == 2
    assert [p.partition(":")[0] for p in done.problems] == ["row 4"]  # of which title?
    assert do(storage, "person,name\np002,Bea\n", title="Second").problems == []


def test_names_of_a_page(storage: Storage) -> None:
    names = json.dumps({"p001": "Ann", "p002": None, "p003": " ", "p009": "Eve"})
    done = do(storage, names, f"{TITLE_ID}.cluster-000000000001-names (1).json")
    assert [(edit.person, edit.name) for edit in done.edits] == [("p001", "Ann")]
    assert [p.partition(":")[0] for p in done.problems] == ["p003", "p009"]
    older = do(storage, names, f"{TITLE_ID}.cluster-00000000000f-names.json")
    assert older.edits == []
    assert all("older result" in problem for problem in older.problems)
    assert do(storage, '{"p002": "Bea"}', "renamed.json").edits[0].person == "p002"
    assert do(storage, '{"p002": "Bob"}', "my-names.json", "Film").problems == []
    assert do(storage, '{"p002": "Bee"}', f"{TITLE_ID}-names.json").edits[0].name == "Bee"
