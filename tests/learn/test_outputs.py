from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.helpers.synth import unit
from vcn_ray.learn import outputs as module
from vcn_ray.learn.heads import Head, Student
from vcn_ray.learn.loss import Temperatures, distillation_loss
from vcn_ray.learn.outputs import MIN_WEIGHT, CropCues, CropEmbeddings, TrackMeans, track_outputs

TRACK = np.array([1, 0, 2, 1, 0, 1, 3])  # 2, 3, 1 and 1 crops
TEMPERATURES = Temperatures(0.07, 0.1)


def student() -> Student:
    head = Head(torch.zeros(24), 32, torch.Generator().manual_seed(5)).requires_grad_(False)
    return Student(head, 0.1 * unit(6, 32), TEMPERATURES)


def embeddings() -> CropEmbeddings:
    return CropEmbeddings(unit(0, 7, 24), unit(7, 7, 24), unit(2, 7, 24), unit(8, 7, 24))


def cues() -> CropCues:
    score, quality, readable = np.random.default_rng(9).random((3, 7), np.float32)
    readable[4] = 0  # a ruined crop, alone on its own side of the mean
    return CropCues(score, quality, readable)


def loss(known: torch.Tensor, guessed: torch.Tensor) -> float:
    """L of one pair, both sides through the student, as training computes it."""
    centre = student().centre.double()
    sides = known.double()[None], guessed.double()[None]
    return float(
        distillation_loss((sides[1], sides[1]), (sides[0], sides[0]), centre, TEMPERATURES)
    )


def test_track_outputs_equal_the_double_loops() -> None:
    crops, seen = embeddings(), cues()
    got = track_outputs(student(), crops, seen, TRACK)
    head = student().head
    plain, mirrored = head(crops.plain), head(crops.mirrored)
    for t in range(4):
        rows = np.flatnonzero(t == TRACK)
        pairs = [(i, j) for i in rows for j in rows if i != j] or [(rows[0], rows[0])]
        views = [(plain[i], mirrored[j]) for i, j in pairs]
        views += [(mirrored[i], plain[j]) for i, j in pairs]
        within_views = np.mean([loss(*pair) for pair in views])
        assert abs(got.within_views[t] - within_views) < 1e-5
        within = np.mean([loss(plain[i], plain[j]) for i, j in pairs])
        assert abs(got.within[t] - (within if len(rows) > 1 else within_views)) < 1e-5
        cosines = [
            float(one[i] @ other[j])
            for i, j in pairs
            for one, other in (
                (crops.pretrained, crops.pretrained_mirrored),
                (crops.pretrained_mirrored, crops.pretrained),
            )
        ]
        assert abs(got.pretrained_views[t] - (1 - np.mean(cosines))) < 1e-6
        weight = np.maximum(seen.recognisability[rows], MIN_WEIGHT)
        np.testing.assert_allclose(
            got.output[t], weight @ plain[rows].numpy() / weight.sum(), atol=1e-6
        )
        for name in ("pretrained", "embedding"):
            both = (
                (crops.pretrained, crops.pretrained_mirrored)
                if name == "pretrained"
                else (crops.plain, crops.mirrored)
            )
            total = torch.zeros(24)
            for row, share in zip(rows, weight, strict=True):
                total += float(share) * (both[0][row] + both[1][row])
            want = functional.normalize(total, dim=0)
            np.testing.assert_allclose(getattr(got, name)[t], want, atol=1e-6)
        for name in ("quality", "score", "recognisability"):  # plain means
            assert abs(getattr(got, name)[t] - getattr(seen, name)[rows].mean()) < 1e-6
    assert got.crops.tolist() == [2, 3, 1, 1]
    np.testing.assert_allclose(got.teacher.sum(axis=1), 1, atol=1e-5)


def test_blocks_of_crops_do_not_change_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = track_outputs(student(), embeddings(), cues(), TRACK)
    monkeypatch.setattr(module, "OUTPUT_CROPS", 2)
    parts = track_outputs(student(), embeddings(), cues(), TRACK)
    for name in ("crops", "teacher", "student", "within_views", "pretrained_views", "embedding"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-6)


def test_a_weighted_mean_by_hand() -> None:
    track = np.array([1, 0, 1, 1])
    means = TrackMeans(track, np.array([0.5, 0.0, 0.25, 0.0], np.float32))
    values = np.array([[4, 0], [7, 1], [8, 4], [900, 0]], np.float32)
    total = 0.5 + 0.25 + MIN_WEIGHT
    want = np.array([[7, 1], [(0.5 * 4 + 0.25 * 8 + MIN_WEIGHT * 900) / total, 0.25 * 4 / total]])
    np.testing.assert_allclose(means.weighted(values), want, rtol=1e-6)
    np.testing.assert_allclose(means.of(values), np.array([[7, 1], [304, 4 / 3]]), rtol=1e-6)
    assert means.crops.tolist() == [1, 3]


def test_one_crop_of_unknown_score_leaves_its_track_without_one() -> None:
    score = cues().score.copy()
    score[0] = np.nan
    got = track_outputs(student(), embeddings(), cues()._replace(score=score), TRACK)
    assert np.isnan(got.score).tolist() == [False, True, False, False]
