import tracemalloc
from dataclasses import astuple, replace

import numpy as np
import pytest

from tests import reference
from tests.helpers.core_data import made_title
from vcn_ray.core import forest, vectors
from vcn_ray.core.closure import close, thresholds
from vcn_ray.core.distance import mean_within_groups, row_span, soft_assign
from vcn_ray.core.vectors import group_sums, log_softmax, softmax, unit_rows

TAU_T, TAU_S = 0.07, 0.1


def title_of(outputs, track, centre):
    """TrackOutputs of given head outputs (m, o), in float64 so that no comparison is close."""
    k = int(track.max()) + 1
    crops = np.bincount(track)
    teacher, student = softmax((outputs - centre) / TAU_T), log_softmax(outputs / TAU_S)

    def mean(rows):
        return group_sums(rows, track, k) / crops[:, None]

    return replace(
        made_title(np.zeros(k, np.int64)),
        crops=crops,
        teacher=mean(teacher),
        student=mean(student),
        within=mean_within_groups(teacher, student, track, k),
        output=mean(outputs),
        centre=centre,
    )


def made_outputs(people, seed, noise):
    rng = np.random.default_rng(seed)
    crops = rng.integers(2, 5, len(people))
    track = np.repeat(np.arange(len(people)), crops)
    centres = rng.normal(0, 0.4, (max(people) + 1, 10))[people]
    tracks = centres + rng.normal(0, noise, centres.shape)
    return tracks[track] + rng.normal(0, noise, (len(track), 10)), track


@pytest.mark.parametrize("cells", [1, 4_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_the_letter_of_the_method(seed, cells, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    outputs, track = made_outputs([0, 1, 2, 0, 1, 0, 3, 0], seed, 0.07)
    centre = outputs.mean(axis=0)
    found = close(title_of(outputs, track, centre), "closure")
    crops = [outputs[track == t] for t in range(8)]
    assert np.array_equal(found.label, reference.close(crops, centre, TAU_T, TAU_S))
    assert 1 < found.label.max() + 1 < 8
    assert len(found.merges) == 8 - (found.label.max() + 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_letter_of_the_method_with_a_head_of_a_narrow_last_layer(seed):
    people = [0, 1, 2, 0, 1, 0, 3, 0, 4, 4, 5, 1]
    hidden, track = made_outputs(people, seed, 0.05)
    outputs = hidden[:, :4] @ np.random.default_rng(seed).normal(size=(4, 10))
    centre = outputs.mean(axis=0)
    title = title_of(outputs, track, centre)
    assert row_span([title.student], 10).shape == (10, 5)
    found = close(title, "closure")
    crops = [outputs[track == t] for t in range(12)]
    assert np.array_equal(found.label, reference.close(crops, centre, TAU_T, TAU_S))
    assert 1 < found.label.max() + 1 < 12


@pytest.mark.parametrize("noise", [0.1, 1.0])
@pytest.mark.parametrize("fold_edges", [0, 1_000_000])
def test_folding_changes_no_label_and_no_merge(fold_edges, noise, monkeypatch):
    title = made_title(np.arange(90) % 8, noise=noise, wobble=6)
    whole = close(title, "closure")
    monkeypatch.setattr(forest, "FOLD_EDGES", fold_edges)
    monkeypatch.setattr(vectors, "BLOCK_CELLS", 1600)
    tiled = close(title, "closure")
    assert np.array_equal(whole.label, tiled.label)
    assert len(whole.merges) == 90 - (whole.label.max() + 1) > 60
    for merge, other in zip(whole.merges, tiled.merges, strict=True):
        assert astuple(merge)[:6] == astuple(other)[:6]
        assert astuple(merge)[6:] == pytest.approx(astuple(other)[6:], abs=1e-12)


@pytest.mark.parametrize("cells", [4, 4_000_000])
def test_the_distance_of_two_tracks_is_the_mean_loss_of_their_crops(cells, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    outputs, track = made_outputs([0, 1, 2, 0, 1, 0, 3, 0], 0, 0.07)
    found = close(title_of(outputs, track, np.zeros(10)), "closure")
    teacher, student = softmax(outputs / TAU_T), log_softmax(outputs / TAU_S)
    first = [merge for merge in found.merges if merge.round == 1]
    assert len(first) > 2
    for merge in first:
        a, b = track == merge.left, track == merge.right
        literal = reference.mean_between(teacher[a], student[a], teacher[b], student[b])
        assert merge.distance == pytest.approx(literal, abs=1e-10)


def test_no_copy_of_all_outputs_and_no_table_of_all_pairs_is_held(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", 100_000)
    monkeypatch.setattr(forest, "FOLD_EDGES", 10_000)
    rng = np.random.default_rng(0)
    k, o = 2500, 256
    z = unit_rows(unit_rows(rng.normal(size=(k, 6))) @ rng.normal(size=(6, o)))
    z = z.astype(np.float32)
    p, q = softmax(z / TAU_T).astype(np.float32), log_softmax(z / TAU_S).astype(np.float32)
    title = replace(
        made_title(np.zeros(k, np.int64), crops=1),
        teacher=p,
        student=q,
        output=z,
        centre=np.zeros(o, np.float32),
        within=np.full(k, 8.0),
    )
    tracemalloc.start()
    label = close(title, "closure").label
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert label.max() == 0
    copy, pairs = 8 * k * o, 8 * k * k
    assert peak < copy < pairs


def test_thresholds_are_means_over_all_crops_of_a_cluster():
    outputs, track = made_outputs([0, 1, 0, 1, 1], 0, 0.1)
    label = np.array([0, 1, 0, 1, 2])
    title = title_of(outputs, track, np.zeros(10))
    teacher, student = softmax(outputs / TAU_T), log_softmax(outputs / TAU_S)
    literal = [
        reference.mean_within(teacher[label[track] == c], student[label[track] == c])
        for c in range(3)
    ]
    assert np.abs(thresholds(title, label) - literal).max() < 1e-10


def test_a_cluster_of_one_crop_keeps_the_threshold_of_its_views():
    title = made_title([0, 1, 2], crops=1)
    assert np.allclose(thresholds(title, np.arange(3)), title.within)


def test_merges_connect_each_component_by_its_shortest_matches():
    title = made_title([0, 0, 0, 1, 1], noise=0.1, wobble=6)
    found = close(title, "closure")
    assert found.label.tolist() == [0, 0, 0, 1, 1]
    assert [merge.rule for merge in found.merges] == ["closure"] * 3
    assert all(
        m.left < m.right and m.distance < max(m.left_threshold, m.right_threshold)
        for m in found.merges
    )


@pytest.mark.parametrize("tracks", [0, 1])
def test_nothing_to_merge(tracks):
    found = close(made_title(np.zeros(tracks, np.int64)), "closure")
    assert found.label.tolist() == [0] * tracks
    assert found.merges == ()


def test_a_loss_of_zero_is_a_match():
    certain = np.zeros((4, 3))
    certain[:, 0] = 1000.0
    p, q = soft_assign(certain, np.zeros(3), TAU_T, TAU_S)
    title = replace(
        title_of(certain, np.array([0, 0, 1, 1]), np.zeros(3)),
        teacher=p[:2],
        student=q[:2],
        within=np.full(2, 0.1),
    )
    assert close(title, "closure").label.tolist() == [0, 0]
