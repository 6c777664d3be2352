"""How many rounds there are, and what each is trained on (METHOD 2.5-2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, check_outputs, title_of
from vcn_ray.core.cut import TitleCut
from vcn_ray.core.distance import cosine_space
from vcn_ray.core.linkage import Partition
from vcn_ray.core.prior import FacePrior
from vcn_ray.learn.adapt import Adapted, adapt
from vcn_ray.learn.adapt_config import AdaptConfig, Matcher
from vcn_ray.learn.pairs import PairSampler, pairs_of_groups
from vcn_ray.learn.rounds import Rounds
from vcn_ray.records import I64, TitleCrops

PRIOR = FacePrior(
    stranger_cosine=0.9,
    stranger_sd=0.01,
    min_score=0.6,
    intercept=3.0,
    per_score=0.0,
    per_length=0.0,
    per_stability=0.0,
)
"""Every face is recognisable; whether it is surely one is told by its score."""


def run(title: TitleCrops, config: AdaptConfig, prior: FacePrior | None = None) -> Adapted:
    return adapt(title, TinyBackbone(), config, NEAR, seed=0, prior=prior)


def let_match(monkeypatch: pytest.MonkeyPatch, found: Iterator[I64]) -> None:
    """Let the matchings of a training be these, one after the other."""

    def cut_title(*_: object) -> TitleCut:
        return TitleCut(
            Partition(next(found), ()), cosine_space(np.eye(8)), np.zeros((0, 2), np.int64)
        )

    monkeypatch.setattr("vcn_ray.learn.pairs.cut_title", cut_title)


@pytest.mark.parametrize("matcher", ["partition", "gaussian", "none"])
def test_every_matcher_runs(matcher: Matcher) -> None:
    adapted = run(title_of(PEOPLE), replace(QUICK, matcher=matcher))
    check_outputs(adapted.outputs, 8)
    assert [pairs.shape[1] for pairs in adapted.matches] == [2, 2, 2]
    assert not len(adapted.matches[0])
    assert (len(adapted.matches[2]) > 0) == (matcher != "none")


def test_one_person_alone_needs_no_matches() -> None:
    adapted = run(title_of(np.zeros(8, np.int64)), replace(QUICK, rounds=9, encoder="frozen"))
    assert [len(pairs) for pairs in adapted.matches] == [0, 0]  # and the rounds end


def test_rounds_end_when_matches_settle() -> None:
    title = title_of(PEOPLE, 6)
    settled = run(title, replace(QUICK, rounds=9, encoder="frozen"))
    rounds = len(settled.matches)
    assert 2 <= rounds < 9
    assert settled.history[-1].round == rounds - 1
    same = run(title, replace(QUICK, rounds=rounds, encoder="frozen"))
    np.testing.assert_array_equal(settled.outputs.output, same.outputs.output)


def test_rounds_continue_while_matches_change(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_full_agreement_asks_for_equal_matches(monkeypatch: pytest.MonkeyPatch) -> None:
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
) -> None:
    monkeypatch.setattr("vcn_ray.learn.rounds.MIN_STEPS", 7)
    config = replace(QUICK, epochs=1, batch_pairs=batch, rounds=1, encoder="frozen")
    assert len(run(title_of(PEOPLE), config).history) == epochs


def test_nothing_is_trained_where_nobody_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    let_match(monkeypatch, iter([np.arange(8)]))
    adapted = run(title_of(PEOPLE), QUICK, PRIOR)
    assert adapted.warnings == ("nobody_returns",)
    assert adapted.history == ()
    assert "head" not in adapted.seconds
    assert not any(name.startswith("encoder.") for name in adapted.tensors)
    np.testing.assert_allclose(adapted.outputs.embedding, adapted.outputs.pretrained, atol=1e-6)


def test_nothing_is_trained_on_a_title_of_few_tracks() -> None:
    for few, code in ((9, ("few_tracks",)), (8, ())):
        adapted = run(title_of(PEOPLE), replace(QUICK, min_tracks=few), PRIOR)
        assert adapted.warnings == code
        assert bool(adapted.history) is not bool(code)


@pytest.mark.parametrize("labels", [np.zeros(8, np.int64), np.array([0, 1, 2, 3, 4, 5, 6, 0])])
def test_one_who_comes_back_is_enough_even_if_nobody_else_is_there(
    labels: I64, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_match(monkeypatch, repeat(labels))
    adapted = run(title_of(PEOPLE), replace(QUICK, encoder="frozen"), PRIOR)
    assert adapted.warnings == ()
    assert adapted.history


def test_without_a_prior_or_another_matcher_every_title_is_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_match(monkeypatch, repeat(np.arange(8)))
    quick = replace(QUICK, encoder="frozen")
    assert run(title_of(PEOPLE), quick).history
    assert run(title_of(PEOPLE), replace(quick, matcher="none"), PRIOR).history


@pytest.mark.parametrize("matcher", ["partition", "gaussian"])
def test_pairs_come_only_from_core_tracks(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    title = title_of(PEOPLE)
    weak = np.isin(title.track, (1, 3, 6))  # hardly faces, by their scores
    title = replace(title, score=np.where(weak, 0.2, 0.9).astype(np.float32))
    drawn: list[I64] = []
    original = Rounds._epoch

    def epoch(self: Rounds, phase: Any, sampler: PairSampler, number: int) -> Any:
        state = self.generator.get_state()
        limit = phase.crops_per_track
        drawn.append(sampler.epoch(self.generator, self.config.matched_fraction, limit).numpy())
        self.generator.set_state(state)
        return original(self, phase, sampler, number)

    monkeypatch.setattr(Rounds, "_epoch", epoch)
    close = replace(PRIOR, stranger_sd=0.001)
    adapted = run(title, replace(QUICK, matcher=matcher), close)
    assert adapted.history
    rows = np.concatenate(drawn)
    assert len(rows)
    assert not weak[rows].any()
    assert set(title.track[rows[:, 0]].tolist()) == {0, 2, 4, 5, 7}
    check_outputs(adapted.outputs, 8)  # weak tracks have outputs all the same


def test_fewer_than_two_core_tracks_are_not_trained_on() -> None:
    title = title_of(PEOPLE)
    score = np.where(title.track == 0, 0.9, 0.2).astype(np.float32)
    adapted = run(replace(title, score=score), QUICK, PRIOR)
    assert adapted.history == ()
