"""The one table of appearances: labels, numbers and joined ranges."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from tests.helpers.exports import person, spans_in, video
from vcn_ray.exports.ranges import join_ranges, number_people, plain


def test_people_without_a_name_are_called_by_their_id() -> None:
    people = number_people({"p003": None, "p012": " Ann\n ", "r-b": None, "r-a": "Bob"})
    assert {key: who.label for key, who in people.items()} == {
        "p003": "p003",
        "p012": "Ann",
        "r-b": "r-b",
        "r-a": "Bob",
    }
    assert {key: who.number for key, who in people.items()} == {
        "p003": 3,
        "p012": 12,
        "r-a": 13,
        "r-b": 14,
    }


def test_marks_within_an_emoji_stay() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert plain(f" {family} \ud800 ") == family


def test_ranges_are_joined_over_gaps_of_one_person() -> None:
    found = video(Fraction(25), spans=[(0, 25), (50, 75), (101, 110), (60, 65)], names=["Ann"])
    other = [replace(found.ranges[0], person=person(2), start_frame=10)]
    joined = join_ranges([*found.ranges, *other], 1.0)
    assert [(r.person.number, r.start_frame, r.end_frame) for r in joined] == [
        (1, 0, 75),
        (2, 10, 25),
        (1, 101, 110),
    ]
    assert joined[0].tracks == ("s0000-t00", "s0001-t00", "s0003-t00")
    assert joined[0].shots == ("s0000", "s0001", "s0003")
    assert (joined[0].start_seconds, joined[0].end_seconds) == (0.0, 3.0)


def test_without_a_gap_only_ranges_that_touch_are_joined() -> None:
    found = video(Fraction(30000, 1001), spans=[(0, 25), (25, 50), (51, 60)], names=["Ann"])
    joined = join_ranges(found.ranges, 0.0)
    assert [(r.start_frame, r.end_frame) for r in joined] == [(0, 50), (51, 60)]
    assert spans_in(found) == [(0, 25), (25, 50), (51, 60)]
