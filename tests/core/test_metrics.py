from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests import reference
from vcn_ray.core import vectors
from vcn_ray.core.metrics import (
    ClusterScores,
    evaluate_clustering,
    match_times,
    separate_people,
    verify_people,
)
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, I64


def check(truth: list[int], predicted: list[int]) -> ClusterScores:
    found = evaluate_clustering(np.array(truth), np.array(predicted))
    assert found.wcp == pytest.approx(reference.purity(truth, predicted), abs=1e-12)
    assert found.nmi == pytest.approx(reference.mutual_information(truth, predicted), abs=1e-12)
    precision, recall = reference.bcubed(truth, predicted)
    assert found.bcubed_precision == pytest.approx(precision, abs=1e-12)
    assert found.bcubed_recall == pytest.approx(recall, abs=1e-12)
    assert found.bcubed_f == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.pcr == len(set(predicted)) / len(set(truth))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_their_literal_twins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(rng.integers(0, 6, 40).tolist(), rng.integers(0, 9, 40).tolist())


def test_a_perfect_clustering_with_other_numbers() -> None:
    found = check([5, 5, 2, 9], [0, 0, 1, 2])
    assert (found.wcp, found.pcr, found.bcubed_f) == (1, 1, 1)
    assert found.nmi == pytest.approx(1)


def test_over_splitting_is_pure_and_seen_by_the_others() -> None:
    found = check([0] * 6 + [1] * 6, list(range(12)))
    assert (found.wcp, found.pcr) == (1, 6)
    assert found.bcubed_recall == pytest.approx(1 / 6)


@pytest.mark.parametrize(("truth", "predicted"), [([0], [0]), ([0, 0], [3, 3]), ([0, 1], [0, 0])])
def test_one_cluster_or_one_track(truth: list[int], predicted: list[int]) -> None:
    check(truth, predicted)


def test_unknown_tracks_count_as_unknown_and_as_identities_only() -> None:
    found = evaluate_clustering(np.array([0, 0, 1, 2]), np.array([0, 0, 1, -1]))
    assert (found.tracks, found.identities, found.clusters) == (4, 3, 2)
    assert found.unknown_fraction == 0.25
    assert (found.wcp, found.bcubed_f) == (1, 1)
    assert found.pcr == pytest.approx(2 / 3)


def test_tracks_without_an_identity_are_ignored() -> None:
    found = evaluate_clustering(np.array([-1, 0, 1]), np.array([0, 0, 4]))
    assert (found.tracks, found.clusters, found.wcp) == (2, 2, 1)


@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([0, 1], [-1, -1]), ([-1], [0])])
def test_nothing_to_score_is_zero(truth: list[int], predicted: list[int]) -> None:
    found = evaluate_clustering(np.array(truth, np.int64), np.array(predicted, np.int64))
    assert (found.wcp, found.pcr, found.nmi, found.bcubed_f) == (0, 0, 0, 0)


def test_labels_of_different_length_are_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        evaluate_clustering(np.zeros(3, np.int64), np.zeros(2, np.int64))


@pytest.mark.parametrize("seed", range(20))
def test_times_are_paired_as_by_their_literal_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found, true = (np.sort(rng.uniform(0, 2, rng.integers(0, 7))) for _ in range(2))
    wanted = reference.pairs_in_time(found.tolist(), true.tolist(), 0.2)
    assert match_times(found, true, 0.2) == wanted


def test_a_time_is_in_one_pair() -> None:
    assert match_times(np.array([1.0, 1.1]), np.array([1.05]), 0.2) == 1
    assert match_times(np.array([1.0, 1.25]), np.array([0.75, 1.0]), 0.25) == 2  # not 1.0 with 1.0
    assert match_times(np.array([1.0]), np.array([1.5]), 0.2) == 0


def people(seed: int, count: int = 60, maximum: int = 9) -> tuple[F32, I64]:
    """Embeddings about one middle a person, and whose they are, in no order."""
    rng = np.random.default_rng(seed)
    identity = rng.integers(0, maximum, count)
    middles = rng.normal(size=(maximum, 8))
    return (middles[identity] + rng.normal(size=(count, 8))).astype(np.float32), identity


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cells", [16, 300, vectors.BLOCK_CELLS])
def test_acceptance_equals_its_literal_twin(
    seed: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)  # one tile, or very many
    embeddings, identity = people(seed)
    rates = (0.2, 0.01, 0.05)
    found = verify_people(embeddings, identity, rates)
    same, different = reference.cosines_of_pairs(embeddings, identity)
    assert (found.same_pairs, found.different_pairs) == (len(same), len(different))
    wide = embeddings.astype(np.float64)
    assert found.accepted == tuple(reference.accepted_at(wide, identity, rate) for rate in rates)
    assert len(set(found.accepted)) == 3


@pytest.mark.parametrize("seed", range(4))
def test_separation_equals_its_literal_twin(seed: int) -> None:
    embeddings, identity = people(seed)
    identity[0] = 100  # alone, and so without pairs of their own
    wide = embeddings.astype(np.float64)
    several = np.flatnonzero(np.bincount(identity) > 1)
    assert len(several) >= 8
    wanted = [reference.separation(wide, identity, person) for person in several.tolist()]
    assert separate_people(embeddings, identity) == pytest.approx(wanted, abs=1e-9)


def test_people_apart_are_all_accepted() -> None:
    identity = np.repeat(np.arange(20), 3)
    embeddings = np.eye(20, dtype=np.float32)[identity]
    found = verify_people(embeddings, identity, (0.01, 0.001))
    assert found == (60, 1710, (1.0, 1.0))
    embeddings[:] = 1  # all alike: no threshold separates any two pairs
    assert verify_people(embeddings, identity, (0.01,)).accepted == (0.0,)


def test_too_few_pairs_give_no_rate() -> None:
    embeddings, identity = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
    assert verify_people(embeddings, identity, (0.01, 0.25)) == (2, 4, (None, 0.0))
    alone = verify_people(embeddings, np.arange(4), (0.5,))
    assert alone == (0, 6, (None,))
    nothing = verify_people(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), (0.5,))
    assert nothing == (0, 0, (None,))
    assert len(separate_people(embeddings, np.zeros(4, np.int64))) == 0


def test_one_identity_for_each_embedding() -> None:
    with pytest.raises(ShapeError, match=r"\(4, 4\), \(3,\)"):
        verify_people(np.eye(4, dtype=np.float32), np.zeros(3, np.int64), (0.5,))


def test_pairs_are_never_all_held() -> None:
    embeddings, identity = people(0, count=4000, maximum=400)
    tracemalloc.start()
    try:
        found = verify_people(embeddings, identity, (1e-2, 1e-3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * 8 * found.different_pairs
