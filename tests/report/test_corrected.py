"""The page of a corrected title: names, marks, and what does not fit; others stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.corrections import TITLE_ID, Seen, write_title
from tests.report.test_page import Document
from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.edits.record import Edit, Kind, now
from vcn_ray.io.storage import Storage
from vcn_ray.report.pages import render_title
from vcn_ray.report.view import build_view
from vcn_ray.review.desk import Desk
from vcn_ray.run.reviewed import ReviewedTitle, read_reviewed, review
from vcn_ray.run.stored import StoredTitle, read_title

HOSTILE = "</script><script>alert(1)</script>"


def corrected(short: StoredTitle, result: str = "") -> ReviewedTitle:
    """The short film after some corrections; made on another result where one is named."""
    index = TrackIndex(short.tracks, short.crops)
    people = short.tracks.column("person_id").to_pylist()

    def edit(kind: Kind, person: str, name: str = "", into: str = "") -> Edit:
        mine, theirs = (
            [track for track, who in zip(index.ids, people, strict=True) if who and who == each]
            for each in (person, into)
        )
        return Edit(
            kind,
            HOSTILE,
            now(),
            result=result or short.folder.rpartition("/")[2],
            subject=index.anchors(mine),
            person=person,
            into=index.anchors(theirs),
            into_person=into,
            name=name,
        )

    made = [
        edit("name", "p001", HOSTILE),
        edit("lock", "p001", HOSTILE),
        edit("nobody", "p002"),
        edit("merge", "p004", into="p003"),
        Edit("move", "me", now(), result="another", subject=(), into=(), note="gone"),
    ]
    lost = Edit("name", "me", now(), result="another", person="p009", name="Nobody left")
    return review(short, index, [*made, lost], {})


def test_names_and_marks_are_on_the_page(short: StoredTitle) -> None:
    reviewed = corrected(short)
    view = build_view(short, reviewed)
    first, second = (
        next(p for p in view.people if p.person_id == person) for person in ("p001", "p002")
    )
    assert (first.name, first.marks) == (HOSTILE, ("locked",))
    assert second.marks == ("nobody you know",)
    assert len(view.people) == len(build_view(short).people) - 1
    page = Document(render_title(view))
    assert [tag for tag, _ in page.tags].count("script") == 2
    text = page.visible_text()
    assert HOSTILE in text
    assert "Corrected: 6 corrections by people. 1 part does not fit this result." in text
    assert "Corrections that do not fit" in text
    assert "Name Nobody left, by me: what it is about is not tracked any more." in text
    assert "#misfits" in [attrs.get("href") for _, attrs in page.tags]


def test_a_title_without_corrections_says_nothing_of_them(short_page: str) -> None:
    assert "Corrected:" not in short_page
    assert 'id="misfits"' not in short_page
    assert 'class="id">locked' not in short_page


def test_the_place_of_what_does_not_fit_is_said(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    film = [Seen("a1", "p001", 0, 4), Seen("b1", "p002", 65, 69)]
    write_title(storage, film)
    Desk(storage, who="me").name("p002", "Bea")
    write_title(storage, film[:1], result="cluster-000000000002")
    reviewed = read_reviewed(read_title(TITLE_ID, storage), storage)
    (row,) = reviewed.tables.conflicts.to_pylist()
    assert (row["start_seconds"], row["end_seconds"]) == (65, 69)


@pytest.mark.parametrize("name", ["p003", "p005"])
def test_people_without_corrections_keep_their_names(short: StoredTitle, name: str) -> None:
    view = build_view(short, corrected(short))
    person = next(person for person in view.people if person.person_id == name)
    assert person.name.startswith("Person ")
    assert person.marks == ()
