"""How many rounds there are, and what each is trained on (METHOD 2.5-2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, check_outputs, title_of
from vcn_ray.core.cut import TitleCut
from vcn_ray.core.distance import cosine_space
from vcn_ray.core.linkage import Partition
from vcn_ray.learn.adapt import Adapted, adapt
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.pairs import pairs_of_groups
from vcn_ray.records import TitleCrops


def run(title: TitleCrops, config: AdaptConfig) -> Adapted:
    return adapt(title, TinyBackbone(), config, NEAR, seed=0)


def let_match(monkeypatch: pytest.MonkeyPatch, found: Iterator[np.ndarray]) -> None:
    """Let the matchings of a training be these, one after the other."""

    def cut_title(*_: object) -> TitleCut:
        return TitleCut(
            Partition(next(found), ()), cosine_space(np.eye(8)), np.zeros((0, 2), np.int64)
        )

    monkeypatch.setattr("vcn_ray.learn.pairs.cut_title", cut_title)


@pytest.mark.parametrize("matcher", ["partition", "gaussian", "none"])
def test_every_matcher_runs(matcher):
    adapted = run(title_of(PEOPLE), replace(QUICK, matcher=matcher))
    check_outputs(adapted.outputs, 8)
    assert [pairs.shape[1] for pairs in adapted.matches] == [2, 2, 2]
    assert not len(adapted.matches[0])
    assert (len(adapted.matches[2]) > 0) == (matcher != "none")


def test_one_person_alone_needs_no_matches():
    adapted = run(title_of(np.zeros(8, np.int64)), replace(QUICK, rounds=9, encoder="frozen"))
    assert [len(pairs) for pairs in adapted.matches] == [0, 0]  # and the rounds end


def test_rounds_end_when_matches_settle():
    title = title_of(PEOPLE, 6)
    settled = run(title, replace(QUICK, rounds=9, encoder="frozen"))
    rounds = len(settled.matches)
    assert 2 <= rounds < 9
    assert settled.history[-1].round == rounds - 1
    same = run(title, replace(QUICK, rounds=rounds, encoder="frozen"))
    np.testing.assert_array_equal(settled.outputs.output, same.outputs.output)


def test_rounds_continue_while_matches_change(monkeypatch: pytest.MonkeyPatch):
    mixed = ([0] * 7 + [1], [0] * 4 + [1] * 4, [0, 1] * 4, [0, 1] * 4)
    labels = [np.array(groups) for groups in mixed]
    found = iter(labels)
    let_match(monkeypatch, found)
    adapted = run(title_of(PEOPLE), replace(QUICK, rounds=9))
    # One without matches, three that differ, and the encoder's, for which the last ones serve.
    assert [r.phase for r in adapted.history if r.round == 4] == ["encoder"] * 2
    expected = [0, *(len(pairs_of_groups(label)) for label in labels[:3]), 12]
    assert [len(pairs) for pairs in adapted.matches] == expected
    assert next(found, None) is None


def test_full_agreement_asks_for_equal_matches(monkeypatch: pytest.MonkeyPatch):
    labels = [np.array([0] * 6 + [1, 2]), np.array([0] * 7 + [1]), np.array([0] * 7 + [1])]
    for agreement, rounds in ((1.0, 3), (0.7, 2)):  # 15 of 21 pairs are in common
        found = iter(labels)
        let_match(monkeypatch, found)
        monkeypatch.setattr("vcn_ray.learn.rounds.SETTLED_AGREEMENT", agreement)
        config = replace(QUICK, rounds=9, encoder="frozen")
        assert len(run(title_of(PEOPLE), config).matches) == rounds


@pytest.mark.parametrize(("batch", "epochs"), [(128, 7), (8, 2), (4, 1)])
def test_a_title_of_few_crops_gets_more_epochs(
    monkeypatch: pytest.MonkeyPatch, batch: int, epochs: int
):
    monkeypatch.setattr("vcn_ray.learn.rounds.MIN_STEPS", 7)
    config = replace(QUICK, epochs=1, batch_pairs=batch, rounds=1, encoder="frozen")
    assert len(run(title_of(PEOPLE), config).history) == epochs
