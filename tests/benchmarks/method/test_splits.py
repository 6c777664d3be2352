"""Tracks of several people made of tracks of one, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.method.hard_films import in_parts
from benchmarks.method.hard_tracks import HardTitle
from benchmarks.method.splits import CHAINS, KINDS, Run, cells, draw, is_right
from tests.helpers.core_data import PRIOR, scatter
from vcn_ray.core.vectors import unit_rows
from vcn_ray.evaluation.labels import NO_FACE
from vcn_ray.records import TitleCrops


def made_runs() -> list[Run]:
    """Two tracks of ann, one of bob and cid each, of six crops; a short one and one of no face."""
    rng = np.random.default_rng(0)
    centre = dict(zip(["ann", "bob", "cid", NO_FACE], np.eye(64)[:4], strict=True))
    lengths = {"ann": 6, "bob": 6, "cid": 6, NO_FACE: 6}
    runs = []
    for name, count in [*lengths.items(), ("ann", 6), ("bob", 2)]:
        rows = np.tile(centre[name], (count, 1))
        rows = unit_rows(rows + scatter(rng, rows, 0.5)).astype(np.float32)
        runs.append(Run(name, rows, np.full(count, 0.8, np.float32)))
    return runs


@pytest.mark.parametrize(
    ("kind", "number", "split"),
    [
        ("sound", 6, 0),
        ("pieces", 5, 0),
        ("one person", 1, 0),
        ("halves", 10, 10),
        ("thirds", 12, 12),
        ("return", 10, 10),
    ],
)
def test_chains_of_clear_people(kind: str, number: int, split: int) -> None:
    row = cells(list(KINDS[kind](made_runs())), PRIOR)
    assert (row["number"], row["split"], row["right"]) == (number, split, number)
    assert row["long enough"] == (5 if kind == "sound" else number)


def test_a_split_elsewhere_or_once_too_often_is_not_right() -> None:
    chain = next(iter(KINDS["halves"](made_runs())))  # they meet at crop 6
    assert [is_right(chain, places) for places in ([6], [7], [8], [6, 9], [])] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_only_kinds_that_grow_too_fast_are_drawn() -> None:
    run = made_runs()[0]
    assert len(draw([(run, run)] * (CHAINS + 5))) == CHAINS
    assert len(draw([(run,)] * (CHAINS + 5))) == CHAINS + 5


def test_parts_of_a_hard_title_have_the_label_of_their_track() -> None:
    track, none = np.array([0, 0, 0, 0, 1, 1]), np.zeros((0, 2), np.int64)
    made = HardTitle(
        name="made",
        title=TitleCrops(np.zeros((6, 2, 2, 3), np.uint8), track, none),
        identity=("ann", "bob"),
        there=frozenset({"ann", "bob"}),
        scores=np.ones(6, np.float32),
        track_scores=np.ones(2),
        seconds=np.array([4.0, 2.0]),
        scene=np.zeros(2, np.int64),
        wrong=none,
        boxes=np.zeros((0, 4), np.float32),
        detected=np.zeros(0, np.bool_),
        tracked=np.zeros(0, np.bool_),
    )
    assert in_parts(made, track) is made
    parts = in_parts(made, np.array([0, 1, 1, 1, 2, 2])).match(["p1", "p2", None])
    assert [(t.identity, t.person, t.seconds) for t in parts.tracks] == [
        ("ann", "p1", 1.0),
        ("ann", "p2", 3.0),
        ("bob", None, 2.0),
    ]
