"""METHOD 2.8 on trainings that do collapse, through settings that a user can give."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, title_of
from vcn_ray.core.cluster import ClusterConfig, cluster_tracks
from vcn_ray.learn.adapt import Adapted, adapt
from vcn_ray.learn.adapt_config import AdaptConfig, Trained
from vcn_ray.learn.loss import MIN_RELATIVE_VARIANCE
from vcn_ray.records import F32, Tiers

WHO = np.tile(np.arange(6), 4)

SHORT = replace(QUICK, epochs=5)

FAST: dict[str, Any] = {"teacher_momentum": 0.9, "epochs": 30}
PEAKED = replace(QUICK, **FAST, learning_rate=0.02, centre_momentum=1.0, teacher_temperature=0.02)
"""No centering and a sharp teacher: one output takes all."""

FLAT = replace(
    QUICK,
    **FAST,
    learning_rate=0.05,
    centre_momentum=0.99,
    teacher_temperature=1.0,
    student_temperature=1.0,
)
"""No sharpening: all outputs become equally likely."""

LATE = replace(SHORT, encoder_head_learning_rate=0.3, encoder_epochs=40)
"""A head that trains well until the encoder is trained with it."""


def run(config: AdaptConfig) -> Adapted:
    return adapt(title_of(WHO, 6), TinyBackbone(), config, NEAR, seed=0)


@cache
def ran(config: AdaptConfig) -> Adapted:
    """The same, trained once for all tests."""
    return run(config)


def people(adapted: Adapted) -> list[int]:
    """Who is who by the result, numbered by first track."""
    valid, none = np.ones(len(WHO), bool), np.zeros((0, 2), np.int64)
    rule = ClusterConfig(rule="paper")
    tiers = Tiers(core=valid, junk=~valid, readable=valid)
    label: list[int] = cluster_tracks(adapted.outputs, tiers, none, rule).label.tolist()
    return label


def cosines(rows: F32) -> F32:
    unit: F32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine: F32 = unit @ unit.T
    return cosine


@pytest.mark.parametrize(
    ("wild", "entropy"), [(PEAKED, 0.5), (FLAT, math.log(64))], ids=["peaked", "flat"]
)
def test_a_collapse_of_the_head_falls_back_to_the_pretrained_encoder(
    wild: AdaptConfig, entropy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = ran(wild)
    assert adapted.warnings == ("collapsed",)
    last, before = adapted.history[-1], adapted.history[:-1]
    kept = min(record.relative_variance for record in before)
    assert last.relative_variance < MIN_RELATIVE_VARIANCE <= kept
    assert last.entropy < entropy if wild is PEAKED else last.entropy > entropy - 0.05
    assert {record.phase for record in adapted.history} == {"head"}
    np.testing.assert_allclose(adapted.outputs.embedding, adapted.outputs.pretrained, atol=1e-6)
    assert not any(name.startswith("encoder.") for name in adapted.tensors)
    assert people(adapted) == WHO.tolist()
    # Without the guard the same training no longer tells people apart.
    monkeypatch.setattr("vcn_ray.learn.loss.MIN_RELATIVE_VARIANCE", 0.0)
    unguarded = run(replace(wild, encoder="frozen"))
    assert unguarded.warnings == ()
    assert people(unguarded) != WHO.tolist()


def test_clustering_after_a_collapse_sees_the_pretrained_geometry() -> None:
    title = title_of(WHO, 6)
    plain = TinyBackbone().embed(torch.from_numpy(title.crops)).numpy()
    mean = np.stack([plain[title.track == t].mean(axis=0) for t in range(title.tracks)])
    output = ran(PEAKED).outputs.output  # of the plain crops alone
    np.testing.assert_allclose(cosines(output), cosines(mean), atol=0.02)


@pytest.mark.parametrize("part", ["tail", "all"])
def test_a_collapse_of_the_encoder_falls_back_to_the_head(part: Trained) -> None:
    adapted = run(replace(LATE, encoder=part))
    assert adapted.warnings == ("encoder_collapsed",)
    assert adapted.history[-1].phase == "encoder"
    assert adapted.history[-1].relative_variance < MIN_RELATIVE_VARIANCE
    head = ran(replace(LATE, encoder="frozen"))
    assert head.warnings == ()
    np.testing.assert_array_equal(adapted.outputs.output, head.outputs.output)
    np.testing.assert_array_equal(adapted.outputs.centre, head.outputs.centre)
    np.testing.assert_array_equal(adapted.outputs.embedding, head.outputs.embedding)
    assert adapted.tensors.keys() == head.tensors.keys()
    assert people(adapted) == WHO.tolist()


@pytest.mark.parametrize(
    ("wild", "code"),
    [
        (replace(SHORT, learning_rate=1e30), "collapsed"),
        (replace(SHORT, encoder_learning_rate=1e30), "encoder_collapsed"),
    ],
    ids=["head", "encoder"],
)
def test_a_loss_that_is_not_finite_is_a_collapse(wild: AdaptConfig, code: str) -> None:
    adapted = run(wild)
    assert adapted.warnings == (code,)
    assert people(adapted) == WHO.tolist()


def test_one_person_alone_is_no_collapse() -> None:
    adapted = adapt(title_of(np.zeros_like(PEOPLE), 6), TinyBackbone(), QUICK, NEAR, seed=0)
    assert adapted.warnings == ()
    kept = min(record.relative_variance for record in adapted.history)
    assert kept > 2 * MIN_RELATIVE_VARIANCE
