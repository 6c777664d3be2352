"""What a reviewer is asked, and in which order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vcn_ray.records import F32
from vcn_ray.review.queue import COST, KNOWN, Cast, nearest_people, rank_suggestions

CUT, STRANGERS = 0.4, 1.0


def directions(*degrees: float) -> F32:
    """Unit vectors in a plane."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def cast(person: list[int], degrees: list[float], seconds: list[float] | None = None) -> Cast:
    """People whose tracks follow one another in one video, each 2 s long or as said."""
    lengths = np.array(seconds or [2.0] * len(person))
    start = 10.0 * np.arange(len(person))
    people = max(person) + 1
    row = np.array(person)
    return Cast(
        person=row,
        span=np.stack([start, start + lengths], axis=1),
        video=np.zeros(len(row), np.int64),
        confidence=np.full(len(row), 0.9, np.float32),
        open=row < 0,
        screen=np.array([lengths[row == p].sum() for p in range(people)]),
        name=("",) * people,
        locked=np.zeros(people, np.bool_),
        nobody=np.zeros(people, np.bool_),
        embedding=directions(*degrees),
        cut=CUT,
        strangers=STRANGERS,
    )


def asked(made: Cast, kind: str) -> list[tuple[int, int, tuple[int, ...]]]:
    found = rank_suggestions(made, 100)
    return [(each.person, each.other, each.tracks) for each in found if each.ask == kind]


def test_near_people_come_before_far_ones_and_the_shorter_becomes_a_part() -> None:
    made = cast([0, 0, 1, 2, 3], [0, 4, 8, 90, 130])
    first, *others = asked(made, "merge")
    assert first == (1, 0, ())
    assert (2, 3, ()) in others or (3, 2, ()) in others
    best = next(s for s in rank_suggestions(made) if s.ask == "merge")
    assert best.probability > 0.9
    assert best.seconds == 2.0
    assert best.value == pytest.approx(best.probability * 2.0 / COST["merge"])


def test_order_is_by_time_settled_times_probability() -> None:
    made = cast([0, 1, 2, 3], [0, 5, 90, 95], [1, 1, 8, 8])
    found = rank_suggestions(made, 100)
    assert [s.value for s in found] == sorted((s.value for s in found), reverse=True)
    assert asked(made, "merge")[0] in [(2, 3, ()), (3, 2, ())]


def test_people_in_one_frame_are_hardly_one() -> None:
    apart = cast([0, 1], [0, 5])
    together = replace(apart, span=np.array([[0.0, 2.0], [1.0, 3.0]]))
    one, other = (rank_suggestions(each)[0] for each in (apart, together))
    assert one.ask == "merge"
    assert rank_suggestions(together, 9)[-1].ask == "merge"
    assert rank_suggestions(together, 9)[-1].probability < 0.15 < one.probability
    assert other.ask == "name"
    elsewhere = replace(together, video=np.array([0, 1]))
    assert rank_suggestions(elsewhere)[0].probability == pytest.approx(one.probability)


@pytest.mark.parametrize(
    "answered",
    [
        {"apart": frozenset({(0, 1)})},
        {"nobody": np.array([True, False])},
        {"locked": np.array([True, True])},
        {"name": ("Ann", "Bob")},
    ],
)
def test_what_was_answered_is_not_asked_again(answered: dict[str, object]) -> None:
    made = cast([0, 1], [0, 5])
    assert asked(made, "merge")
    assert not asked(replace(made, **answered), "merge")  # type: ignore[arg-type]


def test_two_of_one_name_are_asked_about_however_far_they_are() -> None:
    made = replace(cast([0, 0, 1], [0, 0, 150]), name=("Ann", "ann"))
    assert asked(made, "merge") == [(1, 0, ())]
    assert not asked(replace(made, apart=frozenset({(0, 1)})), "merge")


def test_a_named_person_stays_even_if_it_is_shorter() -> None:
    made = replace(cast([0, 0, 1], [0, 0, 5]), name=("", "Ann"))
    assert asked(made, "merge") == [(0, 1, ())]


def test_a_track_far_from_its_person_is_asked_about() -> None:
    made = cast([0, 0, 0, 0], [0, 2, 3, 120])
    assert asked(made, "split") == [(0, -1, (3,))]
    decided = replace(made, confidence=np.array([1.0, 1.0, 1.0, 1.0], np.float32))
    assert asked(decided, "split") == []


def test_the_track_that_a_reviewer_keeps_is_what_others_are_compared_with() -> None:
    made = replace(cast([0, 0], [0, 120]), confidence=np.array([1.0, 0.9], np.float32))
    assert asked(made, "split") == [(0, -1, (1,))]


def test_uncertain_tracks_are_asked_about_without_embeddings() -> None:
    confidence = np.array([0.9, 0.9, 0.3], np.float32)
    made = replace(cast([0, 0, 0], [0, 0, 0]), confidence=confidence, embedding=None)
    assert asked(made, "split") == [(0, -1, (2,))]
    assert asked(made, "merge") == []


def test_tracks_that_were_named_otherwise_are_asked_about() -> None:
    made = replace(cast([0, 0, 0, 1], [0, 1, 2, 90]), renamed=((1, 2), (3,)))
    assert asked(made, "split")[0] == (0, -1, (1, 2))
    decided = replace(made, confidence=np.array([0.9, 1, 1, 0.9], np.float32))
    assert (0, -1, (1, 2)) not in asked(decided, "split")


def test_unnamed_people_are_asked_about_by_time() -> None:
    made = cast([0, 1, 2], [0, 120, 240], [1, 9, 5])
    assert [person for person, _, _ in asked(made, "name")] == [1, 2, 0]
    assert rank_suggestions(made)[0].probability == KNOWN
    named = replace(made, name=("", "Ann", ""), nobody=np.array([False, False, True]))
    assert [person for person, _, _ in asked(named, "name")] == [0]


def test_a_track_of_nobody_is_offered_to_the_nearest_person() -> None:
    made = cast([0, 1, -1], [0, 90, 80])
    assert asked(made, "assign") == [(-1, 1, (2,))]
    assert asked(replace(made, open=np.zeros(3, np.bool_)), "assign") == []
    blind = replace(made, embedding=None)
    assert asked(blind, "assign") == [(-1, -1, (2,))]


def test_a_pack_without_a_prior_still_ranks_by_distance() -> None:
    made = replace(cast([0, 0, 1, 2, 2], [0, 3, 6, 90, 94]), cut=None, strangers=None)
    assert asked(made, "merge")[0] == (1, 0, ())


def test_an_empty_title_has_no_questions() -> None:
    made = cast([0], [0])
    empty = replace(
        made,
        person=np.zeros(0, np.int64),
        span=np.zeros((0, 2)),
        video=np.zeros(0, np.int64),
        confidence=np.zeros(0, np.float32),
        open=np.zeros(0, np.bool_),
        screen=np.zeros(0),
        name=(),
        locked=np.zeros(0, np.bool_),
        nobody=np.zeros(0, np.bool_),
        embedding=np.zeros((0, 2), np.float32),
    )
    assert rank_suggestions(empty) == []


def test_nearest_people_are_in_order_and_leave_out_their_own() -> None:
    made = cast([0, 1, 2], [0, 10, 50])
    assert nearest_people(made, [0]) == [1, 2]
    assert nearest_people(made, [2]) == [1, 0]
    assert nearest_people(replace(made, embedding=None), [0]) == [1, 2]


def test_crowds_are_ranked_quickly() -> None:
    rng = np.random.default_rng(0)
    person = np.concatenate([np.arange(300), rng.integers(0, 300, 4700)])
    made = cast(person.tolist(), rng.uniform(0, 360, 5000).tolist())
    assert len(rank_suggestions(made, 50)) == 50


def test_names_of_other_titles_are_asked_about_first() -> None:
    made = replace(cast([0, 0, 1, 2, 3], [0, 4, 8, 90, 130]), known=((3, 0.6), (2, 0.9)))
    assert [s.ask for s in rank_suggestions(made, 3)][:2] == ["known", "known"]
    assert asked(made, "known") == [(2, -1, ()), (3, -1, ())]
    named = replace(made, name=("", "", "Ann", ""), nobody=np.array([False, False, False, True]))
    assert asked(named, "known") == []
