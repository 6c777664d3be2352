"""What people in several clusters have in common counts less, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests import reference
from tests.helpers.core_data import PRIOR, made_title, no_pairs
from vcn_ray.core.changes import MIN_CHANGES, Shrinking, discount_changes, may_show_changes
from vcn_ray.core.cut import CutConfig, cut_title
from vcn_ray.core.vectors import unit_rows
from vcn_ray.records import F64, I64, NO_CONSTRAINTS, TrackOutputs

PEOPLE, EACH = 12, 6
PERSON = np.repeat(np.arange(PEOPLE), EACH)
CHANGED = np.tile(np.arange(EACH) % 2 == 1, PEOPLE)  # every second track, such as one with a mask
PARTS = 2 * PERSON + CHANGED  # clusters of an encoder that takes the change for another person


def title(common: bool = True) -> TrackOutputs:
    """People who all go through one change, or each through another one."""
    plain = made_title(PERSON, noise=0.5)
    rng = np.random.default_rng(1)
    change = rng.normal(size=(PEOPLE, plain.pretrained.shape[1]))
    change = unit_rows(change[np.zeros(PEOPLE, np.int64) if common else np.arange(PEOPLE)])
    moved = unit_rows(unit_rows(plain.pretrained) + 1.3 * CHANGED[:, None] * change[PERSON])
    rows = moved.astype(np.float32)
    return replace(plain, pretrained=rows, embedding=rows)


def merges(people: int) -> I64:
    """A reviewer joins the two parts of some people."""
    return np.array([[EACH * who, EACH * who + at] for who in range(people) for at in (1, 2, 3)])


def test_people_whom_nobody_named_are_joined() -> None:
    outputs = title()

    def clusters(people: int) -> I64:
        known = NO_CONSTRAINTS._replace(must=merges(people)) if people else NO_CONSTRAINTS
        return cut_title(outputs, no_pairs(), CutConfig(), "cut", PRIOR, known).partition.label

    before, after = clusters(0), clusters(4)
    parts = [len(set(before[who == PERSON].tolist())) for who in range(PEOPLE)]
    assert min(parts) == 2
    assert [len(set(after[who == PERSON].tolist())) for who in range(PEOPLE)] == [1] * PEOPLE
    assert len(set(after.tolist())) == PEOPLE  # and strangers stay apart


def test_a_change_of_each_person_alone_teaches_nothing() -> None:
    outputs = title(common=False)
    same = discount_changes(outputs, PARTS, merges(6))
    assert same.pretrained is outputs.pretrained
    assert same.embedding is outputs.embedding


def test_few_people_and_whole_ones_teach_nothing() -> None:
    outputs = title()
    assert discount_changes(outputs, PARTS, merges(MIN_CHANGES - 1)) is outputs
    assert discount_changes(outputs, PERSON, merges(PEOPLE)) is outputs  # nobody is in two parts
    assert not may_show_changes(merges(MIN_CHANGES - 1), len(outputs))
    assert may_show_changes(merges(MIN_CHANGES), len(outputs))
    assert not may_show_changes(NO_CONSTRAINTS.must, len(outputs))


@pytest.mark.parametrize("people", [1, 3])
def test_directions_shrink_as_written_out(people: int) -> None:
    rng = np.random.default_rng(people)
    changes: list[F64] = [rng.normal(size=(2 + at, 7)) for at in range(people)]
    rows = unit_rows(rng.normal(size=(9, 7)))
    wanted = reference.shrink_changes(rows, changes, 0.3)
    assert Shrinking.learn(changes, 0.3)(rows) == pytest.approx(wanted)
