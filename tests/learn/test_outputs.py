from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.helpers.synth import TinyBackbone, unit
from vcn_ray.learn import outputs as module
from vcn_ray.learn.heads import Head, Student
from vcn_ray.learn.loss import Temperatures, distillation_loss
from vcn_ray.learn.outputs import (
    CropEmbeddings,
    draw_masks,
    quality_of_crops,
    track_outputs,
)

TRACK = np.array([1, 0, 2, 1, 0, 1, 3])  # 2, 3, 1 and 1 crops
TEMPERATURES = Temperatures(0.07, 0.1)


def student() -> Student:
    head = Head(torch.zeros(24), 32, torch.Generator().manual_seed(5)).requires_grad_(False)
    return Student(head, 0.1 * unit(6, 32), TEMPERATURES)


def embeddings() -> CropEmbeddings:
    return CropEmbeddings(unit(0, 7, 24), unit(1, 2, 7, 24), unit(2, 7, 24), unit(3, 3, 7, 24))


def loss(known: torch.Tensor, guessed: torch.Tensor) -> float:
    """L of one pair, both sides through the student, as training computes it."""
    centre = student().centre.double()
    sides = known.double()[None], guessed.double()[None]
    return float(
        distillation_loss((sides[1], sides[1]), (sides[0], sides[0]), centre, TEMPERATURES)
    )


def test_track_outputs_equal_the_double_loops() -> None:
    crops, quality = embeddings(), np.linspace(0.2, 0.8, 7, dtype=np.float32)
    got = track_outputs(student(), crops, quality, TRACK)
    head = student().head
    plain, (left, right) = head(crops.plain), (head(view) for view in crops.augmented)
    for t in range(4):
        rows = np.flatnonzero(t == TRACK)
        pairs = [(i, j) for i in rows for j in rows if i != j] or [(rows[0], rows[0])]
        views = [(left[i], right[j]) for i, j in pairs] + [(right[i], left[j]) for i, j in pairs]
        within_views = np.mean([loss(*pair) for pair in views])
        assert abs(got.within_views[t] - within_views) < 1e-5
        within = np.mean([loss(plain[i], plain[j]) for i, j in pairs])
        assert abs(got.within[t] - (within if len(rows) > 1 else within_views)) < 1e-5
        cosines = [
            float(crops.pretrained_augmented[a, i] @ crops.pretrained_augmented[b, j])
            for i, j in pairs
            for a in range(3)
            for b in range(3)
            if a != b
        ]
        assert abs(got.pretrained_views[t] - (1 - np.mean(cosines))) < 1e-6
        np.testing.assert_allclose(got.output[t], plain[rows].mean(0), atol=1e-6)
        mean = functional.normalize(crops.pretrained[rows].mean(0), dim=0)
        np.testing.assert_allclose(got.pretrained[t], mean, atol=1e-6)
        assert abs(got.quality[t] - quality[rows].mean()) < 1e-6
    assert got.crops.tolist() == [2, 3, 1, 1]
    np.testing.assert_allclose(got.teacher.sum(axis=1), 1, atol=1e-5)


def test_blocks_of_crops_do_not_change_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = student(), embeddings(), np.ones(7, np.float32), TRACK
    whole = track_outputs(*arguments)
    monkeypatch.setattr(module, "OUTPUT_CROPS", 2)
    parts = track_outputs(*arguments)
    for name in ("crops", "teacher", "student", "within_views", "pretrained_views", "embedding"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-6)


def test_passes_use_the_same_masks_for_every_crop_and_rank_by_robustness() -> None:
    encoder = TinyBackbone()
    ticks: list[float] = []
    masks = draw_masks(30, 64, 0.5, torch.Generator().manual_seed(0))
    assert abs(float(masks.mean()) - 1) < 0.1
    assert set(masks.ravel().tolist()) == {0.0, 2.0}
    even = torch.ones(300, 64)
    peaked = torch.zeros(300, 64)
    peaked[:, :2] = 5  # what little there is may be dropped as a whole
    features = torch.cat([even, peaked])
    quality = quality_of_crops(encoder, features, masks, ticks.append)
    assert quality.shape == (600,)
    assert ((quality >= 0) & (quality <= 1)).all()
    assert quality[0] > quality[300]
    np.testing.assert_allclose(quality[:300], quality[0], atol=1e-5)
    assert ticks[-1] == 1
    still = quality_of_crops(
        encoder, features, draw_masks(5, 64, 0, torch.Generator()), lambda _: None
    )
    np.testing.assert_allclose(still, 1, atol=1e-3)
