"""A title under review as the page takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vcn_ray.edits.record import Edit
from vcn_ray.review.present import history_json, screen_times, summary_json
from vcn_ray.rows.result_rows import screen_seconds


@pytest.mark.parametrize("seed", range(5))
def test_screen_times_are_those_of_the_tables(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 80
    person, video = rng.integers(-1, 6, count), rng.integers(0, 3, count)
    person[:6] = np.arange(6)
    start = rng.uniform(0, 40, count)
    span = np.stack([start, start + rng.uniform(0, 9, count)], axis=1)
    wanted = [screen_seconds(span[person == row], video[person == row]) for row in range(6)]
    assert screen_times(person, span, video) == pytest.approx(wanted)


def test_screen_times_of_nobody_are_none() -> None:
    span = np.array([[0.0, 1.0]])
    assert len(screen_times(np.array([-1]), span, np.zeros(1, np.int64))) == 0
    assert len(screen_times(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, np.int64))) == 0


def test_history_has_the_newest_first_and_says_what_counts() -> None:
    one = Edit("name", "ann", "2026", 1, person="p001", name="Ann")
    two = Edit("lock", "bob", "2026", 2, person="p001", name="Ann")
    undo = Edit("undo", "bob", "2026", 3, undoes=two.edit_id)
    lines = history_json([one, two, undo])
    assert [(line["what"], line["who"], line["counts"]) for line in lines] == [
        ("p001 is locked", "bob", False),
        ("p001 is called Ann", "ann", True),
    ]


def test_a_summary_counts_whom_nobody_knows_yet() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "Ann", "nobody": False, "screen_seconds": 2.0},
        {"name": None, "nobody": True, "screen_seconds": 1.0},
        {"name": "", "nobody": False, "screen_seconds": 0.5},
    ]
    found = summary_json(rows, conflicts=1, edits=4)
    assert found == {"people": 3, "unnamed": 1, "seconds": 3.5, "conflicts": 1, "edits": 4}
