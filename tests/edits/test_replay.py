"""Edits applied to results: each kind, each problem, and what reviewers of years meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.corrections import ENCODER, LEFT, RIGHT, Seen, index_of, people_of
from vcn_ray.edits.record import Edit, Kind
from vcn_ray.edits.replay import replay
from vcn_ray.edits.state import PROBLEMS, Reviewed

AT = "2026-01-02T03:04:05.678+00:00"
OLD, NEW = "cluster-old", "cluster-new"

FILM = (
    Seen("a1", "p001", 0, 4),
    Seen("a2", "p001", 10, 14),
    Seen("a3", "p001", 20, 24),
    Seen("b1", "p002", 0, 4, RIGHT),
    Seen("b2", "p002", 10, 14, RIGHT),
    Seen("c1", "p003", 30, 33),
    Seen("d1", None, 40, 42),
    Seen("e1", None, 50, 51),
)
"""Three people and two tracks of nobody."""


class Log:
    """Makes edits as a desk does: of the people that the edits before them left."""

    def __init__(self, seen: Sequence[Seen] = FILM, result: str = OLD, who: str = "me") -> None:
        self.seen, self.result, self.who = seen, result, who
        self.index = index_of(seen)
        self.edits: list[Edit] = []

    @property
    def state(self) -> Reviewed:
        return replay(people_of(self.seen), self.index, self.edits, self.result)

    def add(
        self, kind: Kind, subject: str = "", into: str = "", name: str = "", **more: Any
    ) -> Edit:
        """An edit of a person or of tracks, which are named with spaces between them."""
        state = self.state
        who = subject if subject in state.person.values() else ""
        tracks = state.tracks_of(who) if who else subject.split()
        edit = Edit(
            kind,
            self.who,
            AT,
            sequence=len(self.edits) + 1,
            result=self.result,
            subject=self.index.anchors(tracks),
            person=who,
            into=self.index.anchors(state.tracks_of(into)) if into else (),
            into_person=into,
            name=name,
            **more,
        )
        self.edits.append(edit)
        return edit

    def undo(self, edit: Edit) -> Edit:
        return self.add("undo", undoes=edit.edit_id)

    def goes_on(self, seen: Sequence[Seen], result: str = NEW) -> Log:
        """The same edits on another result."""
        other = Log(seen, result)
        other.edits = self.edits
        return other

    def on(self, seen: Sequence[Seen]) -> Reviewed:
        return self.goes_on(seen).state


def rerun(person: dict[str, str | None] | None = None, **more: Any) -> tuple[Seen, ...]:
    """The film in another run: other ids, jitter, and other people for some tracks."""
    return tuple(
        replace(
            seen,
            track_id=f"n{seen.track_id}",
            person=(person or {}).get(seen.track_id, seen.person),
            jitter=3.0,
            **more,
        )
        for seen in FILM
    )


def names(state: Reviewed) -> dict[str, str]:
    """Name of each track whose person has one."""
    known = {who: about.name for who, about in state.people.items() if about.name}
    return {track: known[who] for track, who in state.person.items() if who in known}


def problems(state: Reviewed) -> list[tuple[str, str]]:
    return [(conflict.edit.kind, conflict.problem) for conflict in state.conflicts]


def groups(state: Reviewed) -> set[frozenset[str]]:
    return {frozenset(state.tracks_of(who)) for who in {*state.person.values()} if who is not None}


# Each kind, on the result that it was made on and on another one.


def test_a_name() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    for state, prefix in ((log.state, ""), (log.on(rerun()), "n")):
        assert names(state) == {f"{prefix}{track}": "Ann" for track in ("a1", "a2", "a3")}
        assert problems(state) == []
    log.add("name", "p001", name="Anna")
    assert set(names(log.on(rerun())).values()) == {"Anna"}
    log.add("name", "p001", name="")
    assert names(log.state) == names(log.on(rerun())) == {}


def test_a_name_of_a_track_of_nobody_makes_a_person() -> None:
    log = Log()
    edit = log.add("name", "d1", name="Dan")
    assert names(log.state) == {"d1": "Dan"}
    assert log.state.person["d1"] == f"r-{edit.edit_id[:8]}"
    log.add("name", f"r-{edit.edit_id[:8]}", name="Daniel")
    state = log.on(rerun({"d1": "p001"}))  # now taken for somebody else's
    assert names(state) == {"nd1": "Daniel"}
    assert state.moved_by == {"nd1": edit.edit_id}
    assert groups(state) >= {frozenset({"na1", "na2", "na3"})}


def test_a_track_stays_with_a_person_of_the_name_that_it_was_given() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    log.add("name", "d1", name="Ann")
    state = log.on(rerun({"d1": "p001"}))
    assert frozenset({"na1", "na2", "na3", "nd1"}) in groups(state)
    assert problems(state) == []


def test_a_merge() -> None:
    log = Log()
    log.add("name", "p003", name="Cat")
    log.add("merge", "p003", into="p002")
    state = log.state
    assert state.tracks_of("p002") == ["b1", "b2", "c1"]
    assert names(state) == dict.fromkeys(["b1", "b2", "c1"], "Cat")
    assert groups(log.on(rerun())) == {
        frozenset({"na1", "na2", "na3"}),
        frozenset({"nb1", "nb2", "nc1"}),
    }
    merged = log.on(rerun({"c1": "p002"}))  # this run knows it already
    assert names(merged) == dict.fromkeys(["nb1", "nb2", "nc1"], "Cat")
    assert problems(merged) == []


def test_a_move() -> None:
    log = Log()
    log.add("name", "p002", name="Bea")
    log.add("move", "a3 d1", into="p002")
    new = log.add("move", "a2 e1")
    for state, n in ((log.state, ""), (log.on(rerun()), "n")):
        assert names(state) == dict.fromkeys([f"{n}{t}" for t in ("a3", "b1", "b2", "d1")], "Bea")
        assert state.tracks_of(f"r-{new.edit_id[:8]}") == [f"{n}a2", f"{n}e1"]
        assert problems(state) == []


def test_no_face() -> None:
    log = Log()
    edit = log.add("no_face", "c1 e1")
    for state, n in ((log.state, ""), (log.on(rerun()), "n")):
        assert state.no_face == {f"{n}c1", f"{n}e1"}
        assert state.person[f"{n}c1"] is None
        assert state.moved_by[f"{n}c1"] == edit.edit_id
    log.add("move", "c1", into="p001")
    assert log.state.no_face == {"e1"}


def test_nobody() -> None:
    log = Log()
    log.add("nobody", "p003")
    log.add("nobody", "d1")
    for state, n in ((log.state, ""), (log.on(rerun()), "n")):
        assert [who for who, about in state.people.items() if about.nobody] == ["p003"]
        assert state.settled == {f"{n}d1"}
    log.add("name", "p003", name="Cat")  # somebody after all
    assert not log.state.people["p003"].nobody


def test_lock_and_unlock() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    log.add("lock", "p001", name="Ann")
    assert log.on(rerun()).people["p001"].locked
    log.add("unlock", "p001")
    assert not log.state.people["p001"].locked
    assert not log.on(rerun()).people["p001"].locked


def test_undo_and_what_stands_on_it() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    merge = log.add("merge", "p002", into="p003")
    log.add("name", "p003", name="Cat")
    undo = log.undo(merge)
    assert names(log.state) == {"a1": "Ann", "a2": "Ann", "a3": "Ann", "c1": "Cat"}
    log.undo(undo)
    assert log.state.tracks_of("p003") == ["b1", "b2", "c1"]
    assert set(names(log.state).values()) == {"Ann", "Cat"}


def test_a_result_says_which_person_an_undone_merge_left_a_name_to() -> None:
    """Most tracks of the subject are the other's, but in its own result the id decides."""
    log = Log()
    merge = log.add("merge", "p001", into="p003")
    log.add("name", "p003", name="Cat")
    log.undo(merge)
    assert names(log.state) == {"c1": "Cat"}


# Problems.


def test_what_is_not_tracked_any_more_is_lost() -> None:
    log = Log()
    log.add("name", "p003", name="Cat")
    log.add("name", "d1", name="Dan")
    log.add("move", "c1 a1", into="p002")
    log.add("no_face", "e1")
    log.add("nobody", "e1")
    gone = [seen for seen in rerun() if seen.track_id not in ("nc1", "nd1", "ne1")]
    state = log.on(gone)
    assert problems(state) == [
        ("name", "lost"),
        ("name", "lost"),
        ("move", "lost"),
        ("no_face", "lost"),
        ("nobody", "lost"),
    ]
    assert [c.anchor.track_id for c in state.conflicts if c.anchor] == ["c1", "e1", "e1"]
    assert state.person["na1"] == "p002"  # the rest of the move is done
    assert state.found["lost"] == 5


def test_a_video_that_left_the_title_loses_its_edits_alone() -> None:
    other = "other-0123456789ab"
    film = (*FILM, Seen("x1", "p001", video=other), Seen("y1", "p004", video=other))
    log = Log(film)
    log.add("name", "p001", name="Ann")
    log.add("name", "p004", name="Yan")
    state = log.on(rerun())
    assert set(names(state)) == {"na1", "na2", "na3"}
    assert problems(state) == [("name", "lost")]


def test_an_episode_that_was_added_changes_nothing() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    log.add("move", "d1", into="p001")
    other = "other-0123456789ab"
    season = (*rerun(), Seen("x1", "p001", video=other), Seen("x2", "p009", 5, 9, video=other))
    state = log.on(season)
    assert set(names(state)) == {"na1", "na2", "na3", "nd1", "x1"}
    assert problems(state) == []


def test_a_person_who_is_split_keeps_the_name_where_most_of_it_is() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    state = log.on(rerun({"a3": "p009"}))
    assert set(names(state)) == {"na1", "na2"}
    assert problems(state) == []


@pytest.mark.parametrize(
    "person",
    [
        {"a1": "p007", "a2": "p008", "a3": "p009"},
        {"a2": None, "a3": None},  # only a third of it is in p001, which may be anybody
        {"a1": None, "a2": None, "a3": None},
    ],
)
def test_a_person_in_pieces_is_unclear(person: dict[str, str | None]) -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    log.add("merge", "p001", into="p002")
    log.add("move", "d1", into="p002")
    state = log.on(rerun(person))
    assert names(state) == {}
    assert problems(state)[:2] == [("name", "unclear"), ("merge", "unclear")]


def test_two_names_of_one_person_are_a_conflict() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    log.add("name", "p002", name="Bea")
    log.add("nobody", "p003")
    one = rerun({"b1": "p001", "b2": "p001", "c1": "p001"})
    state = log.on(one)
    assert set(names(state).values()) == {"Ann"}
    assert problems(state) == [("name", "two_names"), ("nobody", "two_names")]
    log.undo(log.edits[0])
    assert set(names(log.on(one)).values()) == {"Bea"}


def test_one_track_of_two_people_takes_the_name_of_none_but_the_first() -> None:
    """Two faces one after the other in one place, which a later run takes for one track."""
    film = (Seen("a", None, 0, 4), Seen("b", None, 4, 8))
    log = Log(film)
    log.add("name", "a", name="Ann")
    log.add("name", "b", name="Bea")
    state = log.on([Seen("n", None, 0, 8)])
    assert names(state) == {"n": "Ann"}
    assert problems(state) == [("name", "contested")]


def test_tracks_that_are_one_now_cannot_be_of_two_people() -> None:
    film = (*FILM, Seen("x", None, 60, 64), Seen("y", None, 64, 68), Seen("z", None, 68, 72))
    log = Log(film)
    log.add("move", "x", into="p001")
    log.add("move", "y", into="p002")
    log.add("no_face", "z")
    log.add("move", "z", into="p001")
    joined = (*rerun(), Seen("n", None, 60, 72))
    state = log.on(joined)
    assert state.person["n"] == "p001"
    assert problems(state) == [("move", "contested"), ("no_face", "contested")]
    assert state.no_face == set()
    assert [c.anchor.track_id for c in state.conflicts if c.anchor] == ["y", "z"]


def test_a_track_that_was_moved_twice_is_where_it_was_moved_last() -> None:
    """Over three results: the second reviewer saw what the first had made of it."""
    log = Log()
    log.add("move", "d1", into="p001")
    later = log.goes_on(rerun(), "cluster-2")
    later.add("move", "nd1", into="p002")
    third = tuple(replace(seen, track_id=f"n{seen.track_id}") for seen in rerun())
    state = later.goes_on(third, "cluster-3").state
    assert state.person["nnd1"] == "p002"
    assert problems(state) == []


def test_ids_that_two_results_share_by_chance_are_not_one_track() -> None:
    film = (*FILM, Seen("t7", None, 60, 64))
    log = Log(film)
    log.add("move", "t7", into="p001")
    later = log.goes_on((*rerun(), Seen("t7", None, 64, 68)), "cluster-2")
    later.add("move", "t7", into="p002")
    state = later.goes_on((*rerun(), Seen("n", None, 60, 68)), "cluster-3").state
    assert state.person["n"] == "p001"
    assert problems(state) == [("move", "contested")]


def test_what_was_merged_since_is_no_contest() -> None:
    film = (*FILM, Seen("x", None, 60, 64), Seen("y", None, 64, 68))
    log = Log(film)
    log.add("move", "x", into="p003")
    log.add("merge", "p003", into="p001")
    log.add("move", "y", into="p001")
    state = log.on((*rerun(), Seen("n", None, 60, 68)))
    assert state.person["n"] == "p001"
    assert problems(state) == []


def test_a_track_that_was_of_two_people_in_turn_does_not_give_one_the_name_of_the_other() -> None:
    film = (*FILM, Seen("x", None, 60, 64), Seen("y", None, 70, 71))
    log = Log(film)
    log.add("name", "x", name="Xena")
    xena = log.state.person["x"] or ""
    log.add("move", "y", into=xena)
    log.add("move", "x", into="p003")
    log.add("name", "p003", name="Cat")
    assert names(log.state) == {"y": "Xena", "x": "Cat", "c1": "Cat"}
    # Where p003 is not found any more, x stays Xena's, and her name is hers.
    without = [seen for seen in rerun() if seen.track_id != "nc1"]
    state = log.on([*without, Seen("nx", None, 60, 64), Seen("ny", None, 70, 71)])
    assert names(state) == {"nx": "Xena", "ny": "Xena"}
    assert {problem for _, problem in problems(state)} <= {"lost", "two_names", "unclear"}
    assert ("name", "two_names") in problems(state)


def test_a_name_that_came_by_a_merge_can_be_changed_later() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    log.add("merge", "p001", into="p002")
    log.add("name", "p002", name="Anna")
    for seen in (rerun(), rerun({"b1": "p001", "b2": "p001"})):
        state = log.on(seen)
        assert set(names(state).values()) == {"Anna"}
        assert problems(state) == []


def test_a_swap_in_the_middle_of_two_tracks_is_lost_and_not_guessed() -> None:
    log = Log()
    log.add("move", "b1", into="p003")
    swapped = [seen for seen in rerun() if seen.track_id not in ("na1", "nb1")]
    halves = (Seen("x", "p001", 0, 4), Seen("y", "p002", 0, 4, RIGHT))
    state = log.on([*swapped, *halves])
    assert state.person["y"] == "p003"
    near = (105.0, 100.0, 205.0, 220.0)
    state = log.on([*swapped, halves[0], Seen("y", "p002", 0, 4, near)])
    assert problems(state) == [("move", "lost")]


def _two_locked(first: str = "p001", second: str = "p002") -> Log:
    log = Log()
    for person, name in ((first, "Ann"), (second, "Bea")):
        log.add("name", person, name=name)
        log.add("lock", person, name=name)
    return log


def test_two_locked_people_are_parted_again() -> None:
    log = _two_locked()
    state = log.on(rerun({"b1": "p001", "b2": "p001", "c1": "p001", "d1": "p001"}))
    assert names(state) == {
        "na1": "Ann",
        "na2": "Ann",
        "na3": "Ann",
        "nb1": "Bea",
        "nb2": "Bea",
    }
    assert all(
        state.people[who].locked for who in {state.person["na1"], state.person["nb1"]} if who
    )
    assert [(c.problem, c.anchor and c.anchor.track_id) for c in state.conflicts] == [
        ("locked", "nc1"),
        ("locked", "nd1"),
    ]
    assert state.person["nc1"] is None


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 1, 3), (0, 2, 3, 1), (2, 3, 0, 1)])
def test_locked_people_are_parted_in_whatever_order_they_were_locked(order: list[int]) -> None:
    edits = _two_locked().edits
    log = Log()
    log.edits = [replace(edits[at], sequence=n + 1) for n, at in enumerate(order)]
    state = log.on(rerun({"b1": "p001", "b2": "p001"}))
    assert {track: name[0] for track, name in names(state).items()} == {
        **dict.fromkeys(["na1", "na2", "na3"], "A"),
        **dict.fromkeys(["nb1", "nb2"], "B"),
    }
    assert problems(state) == []


def test_an_unlock_is_only_of_the_person_whom_it_names() -> None:
    log = _two_locked()
    log.add("unlock", "p002")
    log.add("merge", "p003", into="p002")
    state = log.on(rerun({"b1": "p001", "b2": "p001"}))
    assert state.people["p001"].locked
    assert state.people["p001"].name == "Ann"


def test_locked_people_cannot_be_merged_by_an_earlier_reviewers_edit() -> None:
    log = Log()
    for person, name in (("p001", "Ann"), ("p002", "Bea")):
        log.add("name", person, name=name)
    log.add("lock", "p001", name="Ann")
    other = Log(who="you")  # who has not seen the lock
    other.edits = list(log.edits)
    merge = other.add("merge", "p001", into="p002")
    log.add("lock", "p002", name="Bea")
    both = Log()
    both.edits = [*log.edits, replace(merge, sequence=5)]
    assert problems(both.state) == [("merge", "locked")]
    assert len(groups(both.state)) == 3


def test_two_reviewers_at_once_end_with_one_order() -> None:
    log = Log()
    one, two = Log(), Log(who="you")
    edits = [one.add("name", "p001", name="Ann"), two.add("name", "p001", name="Anna")]
    log.edits = edits
    assert len({edit.sequence for edit in edits}) == 1
    seen = set(names(log.state).values())
    log.edits = edits[::-1]
    assert set(names(log.state).values()) == seen
    assert len(seen) == 1


def test_a_video_that_is_turned_now_keeps_its_edits() -> None:
    film = tuple(replace(seen, face=number) for number, seen in enumerate(FILM))
    log = Log(film)
    log.index = index_of(film, ENCODER)
    log.add("name", "p001", name="Ann", encoder=ENCODER)
    log.add("merge", "p002", into="p003", encoder=ENCODER)
    turned = tuple(
        replace(seen, track_id=f"n{seen.track_id}", box=(seen.box[1], 600, seen.box[3], 700))
        for seen in film
    )
    state = replay(people_of(turned), index_of(turned, ENCODER), log.edits, NEW)
    assert set(names(state)) == {"na1", "na2", "na3"}
    assert state.found == {"box": 0, "embedding": 6, "lost": 0}
    assert frozenset({"nb1", "nb2", "nc1"}) in groups(state)
    # In a film that is where it was, a like face of that time in another place is another one.
    one = (*film[1:], replace(film[0], track_id="x", box=(600, 100, 700, 220)))
    assert replay(people_of(one), index_of(one, ENCODER), log.edits, NEW).found["lost"] == 1


def test_a_title_without_tracks() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    log.add("move", "d1", into="p001")
    state = log.on([])
    assert state.person == {}
    assert problems(state) == [("name", "lost"), ("move", "lost")]
    assert replay({}, index_of([]), [], NEW).conflicts == []


def test_parts_of_a_track_that_was_split() -> None:
    """An earlier result cut a track where the face changes; a later one does so elsewhere."""
    film = (*FILM, Seen("s-1", "p001", 60, 64), Seen("s-2", "p002", 64, 70))
    log = Log(film)
    log.add("move", "s-2", into="p003")
    whole = log.on((*rerun(), Seen("s", "p001", 60, 70)))
    assert whole.person["s"] == "p003"  # all boxes of s-2 lie in it
    later = (*rerun(), Seen("s-1", "p001", 60, 65), Seen("s-2", "p002", 65, 70))
    parted = log.on(later)
    assert parted.person["s-2"] == "p003"


def test_edits_of_two_results_build_on_each_other() -> None:
    log = Log()
    log.add("name", "p001", name="Ann")
    new = log.goes_on(rerun({"a3": "p009"}))
    new.add("merge", "p009", into="p001")
    new.add("name", "p009" if "p009" in new.state.person.values() else "p001", name="Anna")
    for seen in (FILM, rerun({"a3": "p009"}), rerun({"a2": "p001", "a3": "p001"})):
        third = tuple(replace(each, track_id=f"x{each.track_id}") for each in seen)
        state = new.goes_on(third, "cluster-3").state
        assert set(names(state).values()) == {"Anna"}
        assert len(names(state)) == 3
        assert problems(state) == []


def test_a_result_made_again_with_other_ids_is_found_by_its_boxes() -> None:
    """As by another kind of machine, under the same settings."""
    log = Log()
    log.add("name", "p001", name="Ann")
    again = {"p001": "p002", "p002": "p001"}
    seen = tuple(
        replace(each, person=again.get(each.person or "", each.person)) for each in rerun()
    )
    assert set(names(log.goes_on(seen, OLD).state)) == {"na1", "na2", "na3"}


def test_every_problem_has_words() -> None:
    assert all(PROBLEMS.values())
    assert LEFT != RIGHT
