"""Ten clusterings and their order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.method.rank_methods import METHODS, MIN_NORM, MIN_SCORE, centroid, mean_rows
from benchmarks.method.ranks import (
    ALL,
    MEASURES,
    correlation_rows,
    correlations,
    mean_ranks,
    score,
    spearman,
)
from benchmarks.method.track_sets import TrackSet, matched
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.core.vectors import unit_rows
from vcn_ray.evaluation.labels import NO_FACE
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.records import F64, TitleCrops


def track_set(seed: int = 0) -> TrackSet:
    """Three people of four tracks, and a track of no face with a low score."""
    random = np.random.default_rng(seed)
    names = [*np.repeat(["ann", "bob", "cid"], 4).tolist(), NO_FACE]
    centres = dict(zip(sorted(set(names)), np.eye(8)[:4] * 10, strict=True))
    rows = np.concatenate([centres[name] + random.normal(0, 0.6, (3, 8)) for name in names])
    track = np.repeat(np.arange(len(names)), 3)
    title = TitleCrops(np.zeros((len(track), 2, 2, 3), np.uint8), track, np.array([[0, 4]]))
    scores = np.where(track == len(names) - 1, 0.4, 0.9).astype(np.float32)
    labels = matched(
        "made", [MatchedTrack(str(n), who, None, 1.0, True) for n, who in enumerate(names)]
    )
    plain = rows.astype(np.float32)
    return TrackSet(labels, title, plain, plain, scores, scores[::3].astype(np.float64))


def test_there_are_ten_methods_that_label_every_track() -> None:
    tracks = track_set()
    assert len(METHODS) == 10
    for run in METHODS.values():
        label = run(tracks)
        assert label.shape == (13,)
        assert label.min() >= UNKNOWN


def test_a_clear_title_is_clustered_without_error() -> None:
    tracks = track_set()
    for name in ("average 0.5", "centroid 0.5", "average 0.5, weighted, mirrored, cannot-link"):
        found = score(tracks, METHODS[name](tracks))
        assert (found.there, found.found, found.made) == (3, 3, 4)
        assert (found.no_face, found.mixed, found.nmi) == (1, 0, 1)


def test_every_method_takes_a_title_of_one_track() -> None:
    whole = track_set()
    title = TitleCrops(whole.title.crops[:3], whole.title.track[:3], np.zeros((0, 2), np.int64))
    labels = matched("one", whole.labels.tracks[:1])
    rows = whole.plain[:3]
    one = TrackSet(labels, title, rows, rows, whole.scores[:3], whole.track_scores[:1])
    assert [run(one).tolist() for run in METHODS.values()] == [[0]] * len(METHODS)


def test_rejection_leaves_junk_unknown() -> None:
    tracks = track_set()
    label = METHODS["average 0.5, min score"](tracks)
    assert label[-1] == UNKNOWN
    assert (label[:-1] != UNKNOWN).all()
    assert score(tracks, label).no_face == 0
    assert 0 < MIN_SCORE < 1 < MIN_NORM


def literal_centroid(rows: F64, distance: float) -> list[set[int]]:
    groups = [{n} for n in range(len(rows))]
    while len(groups) > 1:
        means = unit_rows(np.stack([rows[sorted(group)].sum(axis=0) for group in groups]))
        pairs = [(1 - means[i] @ means[j], i, j) for j in range(len(groups)) for i in range(j)]
        nearest, i, j = min(pairs)
        if nearest >= distance:
            break
        groups[i] |= groups.pop(j)
    return groups


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distance", [0.2, 0.6])
def test_centroid_linkage_equals_its_literal_twin(seed: int, distance: float) -> None:
    rows = unit_rows(np.random.default_rng(seed).normal(size=(9, 3)))
    label = centroid(rows, distance)
    found = [set(np.flatnonzero(label == n).tolist()) for n in range(label.max() + 1)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, literal_centroid(rows, distance)))
    assert centroid(rows[:1], distance).tolist() == [0]


def test_weights_pull_a_mean_towards_good_crops() -> None:
    tracks = track_set()
    tracks.scores[:3] = [1.0, 0.01, 0.01]
    pulled = mean_rows(tracks, weighted=True)[0]
    assert pulled @ unit_rows(tracks.plain[:1])[0] > 0.999


def test_correlations_equal_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(size=(5, 10, 4)), random.normal(size=(7, 10, 4))
    found = correlations(left, right)
    for at in range(4):
        wanted = spearmanr(left.mean(axis=0)[:, at], right.mean(axis=0)[:, at])
        assert found[at] == pytest.approx(wanted.statistic)
    assert found[-1] == pytest.approx(spearmanr(mean_ranks(left), mean_ranks(right)).statistic)
    assert correlations(left, left) == pytest.approx([1.0] * 5)
    assert np.isnan(spearman(np.zeros(3), np.arange(3.0)))


def test_a_measure_that_is_equal_for_all_has_no_correlation() -> None:
    random = np.random.default_rng(1)
    real, clean = random.normal(size=(5, 10, 4)), random.normal(size=(3, 10, 4))
    clean[..., 2] = 0
    rows = {row["measure"]: row for row in correlation_rows(real, clean)}
    assert list(rows) == [*MEASURES, ALL]
    assert "Spearman" not in rows["no face"]
    assert all(rows[name]["from"] <= rows[name]["to"] for name in ("NMI", ALL))  # type: ignore[operator]
