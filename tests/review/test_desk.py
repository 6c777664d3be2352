"""A title under review: what a reviewer may decide, and what that leaves in storage."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.corrections import RIGHT, TITLE_ID, Seen, write_title
from vcn_ray.edits.record import Edit, now
from vcn_ray.edits.store import EditLog, edits_folder
from vcn_ray.errors import StorageError, UsageError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk
from vcn_ray.run.reviewed import REVIEWED
from vcn_ray.schema import CONFLICTS, REVIEWED_APPEARANCES, REVIEWED_PEOPLE, REVIEWED_TRACKS

FILM = (
    Seen("a1", "p001", 0, 4),
    Seen("a2", "p001", 10, 14),
    Seen("b1", "p002", 0, 3, RIGHT),
    Seen("c1", None, 30, 33),
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path))
    write_title(storage, FILM)
    return storage


def reviewed_folders(storage: Storage) -> list[str]:
    return [n for n in storage.names(f"titles/{TITLE_ID}") if n.startswith(REVIEWED)]


def people(storage: Storage, folder: str) -> dict[str, str | None]:
    table = CommittedFolder.open(storage, folder).read_table("people.parquet")
    return {row["person_id"]: row["name"] for row in table.to_pylist()}


def test_decisions_are_written_replayed_and_committed(storage: Storage) -> None:
    desk = Desk(storage, who="me")
    desk.name("p001", "  Ann\n")
    desk.move(["b1"], "p001")
    edit = desk.no_face(["c1"], note="a poster")
    folder = desk.commit()
    assert (edit.sequence, edit.note, edit.who) == (3, "a poster", "me")
    assert people(storage, folder) == {"p001": "Ann"}
    done = CommittedFolder.open(storage, folder)
    schemas = {
        "people": REVIEWED_PEOPLE,
        "tracks": REVIEWED_TRACKS,
        "appearances": REVIEWED_APPEARANCES,
        "conflicts": CONFLICTS,
    }
    for name, schema in schemas.items():
        assert done.read_table(f"{name}.parquet").schema.equals(schema)
    tracks = {row["track_id"]: row for row in done.read_table("tracks.parquet").to_pylist()}
    assert [tracks["b1"][n] for n in ("status", "person_id", "confidence")] == [
        "clustered",
        "p001",
        1,
    ]
    assert [tracks["c1"][n] for n in ("status", "reason", "edit_id")] == [
        "no_face",
        "reviewer",
        edit.edit_id,
    ]
    assert tracks["a1"]["edit_id"] is None
    (row,) = done.read_table("people.parquet").to_pylist()
    assert (row["tracks"], row["screen_seconds"]) == (3, 8.0)
    shown = done.read_table("appearances.parquet").to_pylist()
    assert [(r["name"], r["track_id"]) for r in shown] == [
        ("Ann", "a1"),
        ("Ann", "b1"),
        ("Ann", "a2"),
    ]
    assert (done.manifest["corrections"], done.manifest["misfits"]) == (3, 0)


def test_tables_of_fewer_edits_are_removed(storage: Storage) -> None:
    desk = Desk(storage, who="me")
    desk.name("p001", "Ann")
    first = desk.commit()
    assert desk.commit() == first
    desk.name("p002", "Bea")
    second = desk.commit()
    assert reviewed_folders(storage) == [second.rpartition("/")[2]] != [first.rpartition("/")[2]]
    assert storage.names(first) == []


def test_tables_of_more_edits_and_those_in_the_making_are_kept(storage: Storage) -> None:
    one, two = Desk(storage, who="me"), Desk(storage, who="you")
    storage.write_bytes(f"titles/{TITLE_ID}/{REVIEWED}0123456789ab/people.parquet", b"half")
    one.name("p001", "Ann")
    reviewed = one.reviewed
    two.name("p002", "Bea")
    both = two.commit()
    from vcn_ray.run.reviewed import commit_reviewed

    commit_reviewed(reviewed, storage)  # of one edit, a moment late
    assert storage.is_committed(both)
    assert f"{REVIEWED}0123456789ab" in reviewed_folders(storage)


def test_two_desks_see_each_other(storage: Storage) -> None:
    one, two = Desk(storage, who="me"), Desk(storage, who="you")
    one.name("p001", "Ann")
    assert two.reviewed.state.about("p001").name == ""
    assert two.refresh()
    assert not two.refresh()
    assert two.reviewed.state.about("p001").name == "Ann"
    two.merge("p002", "p001")
    assert one.commit() == two.commit()


def test_a_desk_goes_on_where_a_run_gives_a_new_result(storage: Storage) -> None:
    desk = Desk(storage, who="me")
    desk.name("p001", "Ann")
    again = [
        Seen(f"n{seen.track_id}", seen.person, seen.start, seen.end, seen.box) for seen in FILM
    ]
    write_title(storage, again, result="cluster-000000000002")
    assert desk.refresh()
    assert desk.reviewed.result == "cluster-000000000002"
    assert desk.reviewed.state.about("p001").name == "Ann"
    assert desk.reviewed.state.found == {"box": 2, "embedding": 0, "lost": 0}
    desk.move(["nc1"], "p001")
    assert people(storage, desk.commit()) == {"p001": "Ann", "p002": None}


def test_undo_and_redo(storage: Storage) -> None:
    desk, other = Desk(storage, who="me"), Desk(storage, who="you")
    first = desk.name("p001", "Ann")
    desk.name("p002", "Bea")
    other.name("p002", "Bee")
    desk.undo(note="no")
    assert desk.reviewed.state.about("p002").name == "Bee"  # only its own
    desk.undo(first.edit_id)
    assert desk.reviewed.state.about("p001").name == ""
    desk.redo()
    assert desk.reviewed.state.about("p001").name == "Ann"
    with pytest.raises(UsageError, match="that counts: vcn edits list"):
        desk.undo("f" * 16)
    desk.undo(first.edit_id)
    with pytest.raises(UsageError, match="that counts"):
        desk.undo(first.edit_id)


def test_redo_takes_back_the_undos_of_all_reviewers(storage: Storage) -> None:
    desk = Desk(storage, who="me")
    edit = desk.name("p001", "Ann")
    log = EditLog(storage, TITLE_ID)
    for who in ("me", "you"):
        log.append(Edit("undo", who, now(), undoes=edit.edit_id))
    desk.redo(edit.edit_id)
    assert desk.reviewed.state.about("p001").name == "Ann"


MISTAKES: dict[str, tuple[Callable[[Desk], object], str]] = {
    "no such person": (
        lambda d: d.merge("p009", "p001"),
        "Film has no person 'p009': there are p001",
    ),
    "no such target": (lambda d: d.move(["a1"], "p009"), "has no person 'p009'"),
    "no such track": (lambda d: d.move(["zz"], "p001"), "no person and no track 'zz'"),
    "no tracks": (lambda d: d.no_face([]), "name at least one track"),
    "with itself": (lambda d: d.merge("p001", "p001"), "cannot be merged with itself"),
    "track of somebody": (lambda d: d.name("a1", "Ann"), "track a1 is of p001: name the person"),
    "nobody's track": (lambda d: d.nobody("a1"), "track a1 is of p001"),
    "no name": (lambda d: d.lock("p001"), "p001 has no name: name a person before you lock it"),
    "nothing to remove": (lambda d: d.name("p001", ""), "p001 has no name"),
    "a track without a name": (lambda d: d.name("c1", " "), "give it a name"),
    "not locked": (lambda d: d.unlock("p001"), "p001 is not locked"),
    "nothing to undo": (lambda d: d.undo(), "me has no edit of Film to undo"),
    "nothing to redo": (lambda d: d.redo(), "me has undone no edit of Film"),
    "not undone": (lambda d: d.redo("f" * 16), "is not undone"),
    "too long": (lambda d: d.name("p001", "x" * 2001), "the name has 2001 characters"),
    "long note": (lambda d: d.undo(d.name("p001", "x").edit_id, "x" * 2001), "the note has"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_write_nothing_wrong(storage: Storage, mistake: str) -> None:
    act, words = MISTAKES[mistake]
    desk = Desk(storage, who="me")
    with pytest.raises(UsageError, match=words) as caught:
        act(desk)
    assert "\n" not in str(caught.value)
    assert len(storage.names(edits_folder(TITLE_ID))) == (mistake == "long note")


def test_locked_people_are_not_merged(storage: Storage) -> None:
    desk = Desk(storage, who="me")
    for person, name in (("p001", "Ann"), ("p002", "Bea")):
        desk.name(person, name)
        desk.lock(person)
    with pytest.raises(UsageError, match="both locked: unlock one of them first"):
        desk.merge("p001", "p002")
    desk.unlock("p001")
    desk.merge("p001", "p002")
    assert desk.reviewed.state.tracks_of("p002") == ["a1", "a2", "b1"]


def test_who_is_who_sits_at_the_machine(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Desk(storage).name("p001", "Ann").who == getpass.getuser()
    with pytest.raises(UsageError, match="say who makes the corrections"):
        Desk(storage, who="  ")

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    with pytest.raises(UsageError, match="say who makes the corrections"):
        Desk(storage)


def test_a_title_must_be_there(storage: Storage) -> None:
    with pytest.raises(UsageError, match="0 called 'other'"):
        Desk(storage, "other", "me")
    write_title(storage, FILM, title="Second", title_id="second-0123456789ab")
    with pytest.raises(UsageError, match="name one of"):
        Desk(storage, who="me")
    assert Desk(storage, "Second", "me").title_id == "second-0123456789ab"


def test_a_title_without_a_face(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    write_title(storage, [])
    desk = Desk(storage, who="me")
    with pytest.raises(UsageError, match="there are nobody"):
        desk.merge("p001", "p002")
    assert people(storage, desk.commit()) == {}


def test_damaged_edits_are_conflicts(storage: Storage) -> None:
    desk = Desk(storage, who="me")
    edit = desk.name("p001", "Ann")
    desk.name("p002", "Bea")
    path = f"{edits_folder(TITLE_ID)}/{edit.file_name}"
    storage.write_bytes(path, b"{")
    desk = Desk(storage, who="me")
    assert desk.reviewed.state.about("p002").name == "Bea"
    done = CommittedFolder.open(storage, desk.commit())
    (row,) = done.read_table("conflicts.parquet").to_pylist()
    assert (row["problem"], row["edit_id"], row["sequence"]) == ("damaged", edit.edit_id, 1)
    assert path in row["message"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, storage: Storage) -> None:
    desk = Desk(storage, who="me")
    (tmp_path / "edited").symlink_to("x" * 300)
    with pytest.raises(StorageError, match="cannot write"):
        desk.name("p001", "Ann")
