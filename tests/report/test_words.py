"""Numbers in plain words."""

from __future__ import annotations

import pytest

from vcn_ray.report import words


@pytest.mark.parametrize(
    ("seconds", "tenths", "text"),
    [
        (0, False, "0:00"),
        (59.96, True, "1:00.0"),
        (59.6, False, "1:00"),
        (75.25, True, "1:15.2"),
        (3600, False, "1:00:00"),
        (7325.4, False, "2:02:05"),
        (-0.01, False, "0:00"),
    ],
)
def test_clock(seconds: float, tenths: bool, text: str) -> None:
    assert words.clock(seconds, tenths) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (185, "3 min 5 s"), (3600, "1 h"), (6720, "1 h 52 min")],
)
def test_length(seconds: float, text: str) -> None:
    assert words.length(seconds) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0, "0\u2009%"),
        (0.004, "under 1\u2009%"),
        (0.125, "12\u2009%"),
        (0.996, "over 99\u2009%"),
        (1, "100\u2009%"),
    ],
)
def test_percent(fraction: float, text: str) -> None:
    assert words.percent(fraction) == text


def test_counts_have_their_noun() -> None:
    assert words.count(1, "track") == "1 track"
    assert words.count(2310, "track") == "2,310 tracks"
    assert words.count(2, "person", "people") == "2 people"


def test_unknown_codes_are_still_readable() -> None:
    assert words.rejected_words("too_dark")[0] == "Too dark"
    assert "new rule" in words.rule_words("new_rule")


def test_a_message_becomes_a_sentence() -> None:
    assert words.sentence("no face was found") == "No face was found."
    assert words.sentence("No face was found!") == "No face was found!"


def test_numbers_that_are_none() -> None:
    assert words.number(float("inf")) == "none"
    assert words.number(0.12345) == "0.123"
    assert words.number(12345.6) == "12,346"
