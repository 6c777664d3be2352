"""Measures the prior of a pack from pictures of faces and from their ruined copies.

No labels of a title are needed: a ruined copy shows the same person as the intact face, and faces
of different pictures are taken as different people, unless the pictures' folders say otherwise.
Copies are made of whole pictures, so that detector and aligner see them as they see a film.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy import optimize, special

from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import pairwise_iou, unit_rows
from vcn_ray.errors import UsageError
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.stability import StabilityMeter
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.accuracy import framed_face
from vcn_ray.packs.face_pack import FacePack, Progress, no_progress
from vcn_ray.records import F32, F64, I64, U8, Detections

HEIGHTS = (64.0, 40.0, 28.0, 20.0, 14.0, 10.0, 7.0)
"""Heights in pixels to which a face is shrunk; the last cannot be recognised by anybody."""

MIN_FACES = 4
GOOD_HEIGHT = 40.0  # pixels; faces of at least this height are told apart by every encoder
MATCH_IOU = 0.3  # of a box found in a copy with the place of the face
MIN_SCORE = 0.7  # `min_score` over the usual score of a good face
MISSED = 0.05  # fraction of good faces that may score less, where scores vary more than that
RIDGE = 1e-3  # of the fit, on standardised cues
BATCH = 16
DETECTING = 0.3  # of the progress; the rest is embedding
DIGITS = 4  # after the point


class _Cues(NamedTuple):
    """Faces that a pack made of pictures and copies."""

    crops: U8  # (n, p, p, 3)
    score: F64  # (n,) 0 where the detector missed the face
    height: F64  # (n,) pixels, in the picture or copy
    intact: I64  # (n,) row of the intact face


def measure_prior(
    pack: FacePack,
    pictures: Sequence[U8],
    person: Sequence[int] | None = None,
    progress: Progress = no_progress,
) -> FacePrior:
    """Measure a pack's prior.

    Args:
        pack: Its detector, aligner and encoder are used.
        pictures: (h, w, 3) uint8 RGB; every face found in them counts, if `person` is None, else
            the most central one of each picture.
        person: Number of the person of each picture; None: all faces are of different people.
        progress: Called with the finished fraction.

    Raises:
        UsageError: Fewer than MIN_FACES faces are found, or none of two people, or all look alike.
    """
    cues, people = _collect(pack, pictures, person, lambda done: progress(DETECTING * done))
    if len(people) < MIN_FACES or len(set(people.tolist())) < 2:
        raise UsageError(
            f"{len(people)} faces of at least {GOOD_HEIGHT:.0f} pixels were found, needed are "
            f"{MIN_FACES}, of two people or more"
        )
    embeddings, stability = embed_and_rate(
        pack.load_encoder(), cues.crops, lambda done: progress(DETECTING + (1 - DETECTING) * done)
    )
    length = np.linalg.norm(embeddings, axis=1)
    unit = unit_rows(embeddings)
    intact = np.flatnonzero(cues.intact == np.arange(len(cues.intact)))
    good = unit[intact]
    first, second = np.triu_indices(len(intact), 1)
    strangers = people[first] != people[second]
    cosines = (good @ good.T)[first, second][strangers]
    mean, sd = float(cosines.mean()), float(cosines.std())
    if round(sd, DIGITS) <= 0:
        raise UsageError("the encoder gives all faces the same embedding")
    kept = np.clip((np.einsum("nd,nd->n", unit, unit[cues.intact]) - mean) / (1 - mean), 0, 1)
    copies = cues.intact != np.arange(len(cues.intact))
    usual = cues.score[(cues.height >= GOOD_HEIGHT - 1) & (cues.score > 0)]
    min_score = min(MIN_SCORE * float(np.median(usual)), float(np.quantile(usual, MISSED)))
    table = np.stack([cues.score, length, stability], axis=1)
    weights = _fit(table[copies], kept[copies])
    return FacePrior(
        stranger_cosine=round(mean, DIGITS),
        stranger_sd=round(sd, DIGITS),
        min_score=round(min_score, DIGITS),
        intercept=_rounded(weights[0]),
        per_score=_rounded(weights[1]),
        per_length=_rounded(weights[2]),
        per_stability=_rounded(weights[3]),
    )


def _rounded(weight: float) -> float:
    """Round to DIGITS after the point, and keep as many digits of a small number."""
    zeros = -math.floor(math.log10(max(abs(weight), 1e-9))) - 1
    return round(weight, DIGITS + max(0, zeros))


def ruined_copies(picture: U8, height: float, seed: int) -> Iterator[tuple[U8, float]]:
    """Make copies of a picture in which a face is hard to recognise.

    Args:
        picture: (h, w, 3) uint8 RGB.
        height: Of the face, pixels.
        seed: Of blur and compression.

    Yields:
        The copy, and its scale.
    """
    for number, to in enumerate(HEIGHTS):
        scale = to / height
        if scale > 1:
            continue
        generator = np.random.default_rng((seed, number))
        size = (max(8, round(picture.shape[1] * scale)), max(8, round(picture.shape[0] * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), generator.uniform(0.3, 0.9))
        yield _compressed(small, int(generator.integers(30, 75))), scale


def _compressed(picture: U8, quality: int) -> U8:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def _collect(
    pack: FacePack, pictures: Sequence[U8], person: Sequence[int] | None, progress: Progress
) -> tuple[_Cues, I64]:
    labels = None if person is None else list(person)
    crops: list[U8] = []
    rows: list[tuple[float, float, int]] = []
    people: list[int] = []
    for number, picture in enumerate(pictures):
        if labels is None:
            (faces,) = pack.detector.detect(picture[None])
        else:
            picture, faces = framed_face(pack.detector, picture)
        for face in range(len(faces)):
            one = faces[[face]]
            height = float(one.boxes[0, 3] - one.boxes[0, 1])
            if height < GOOD_HEIGHT:
                continue
            source, intact = len(people), len(crops)
            people.append(source if labels is None else labels[number])
            crops.append(pack.aligner.align(picture, one)[0])
            rows.append((float(one.scores[0]), height, intact))
            for copy, scale in ruined_copies(picture, height, seed=source):
                found, score = _found_again(pack, copy, one, scale)
                crops.append(pack.aligner.align(copy, found)[0])
                rows.append((score, height * scale, intact))
        progress((number + 1) / len(pictures))
    table = np.array(rows, np.float64).reshape(-1, 3)
    cues = _Cues(
        np.stack(crops) if crops else np.zeros((0, 1, 1, 3), np.uint8),
        table[:, 0],
        table[:, 1],
        table[:, 2].astype(np.int64),
    )
    return cues, np.array(people, np.int64)


def _found_again(
    pack: FacePack, copy: U8, face: Detections, scale: float
) -> tuple[Detections, float]:
    """Find a face in a copy: as the detector sees it there, or where it must be, with score 0."""
    expected = Detections(
        (face.boxes * scale).astype(np.float32),
        face.scores,
        (face.landmarks * scale).astype(np.float32),
    )
    (faces,) = pack.detector.detect(copy[None])
    if len(faces):
        overlap = pairwise_iou(expected.boxes, faces.boxes)[0]
        best = int(overlap.argmax())
        if overlap[best] >= MATCH_IOU:
            return faces[[best]], float(faces.scores[best])
    return expected, 0.0


@torch.inference_mode()
def embed_and_rate(
    encoder: Backbone, crops: U8, progress: Progress = no_progress
) -> tuple[F32, F32]:
    """Embed crops (n, p, p, 3) and measure how stable the embeddings are (METHOD 3.1).

    Args:
        encoder: The pretrained one.
        crops: uint8 RGB.
        progress: Called with the finished fraction.

    Returns:
        (n, d) embeddings, not normalised; their stability (n,) under dropout.
    """
    usual = AdaptConfig()
    meter = StabilityMeter(usual.quality_passes, usual.quality_dropout, seed=0)
    embeddings: list[F32] = []
    stability: list[F32] = []
    for batch in torch.split(torch.from_numpy(crops), BATCH):
        features = encoder.tail(encoder.trunk(encoder.prepare(batch)))
        embeddings.append(encoder.project(features).float().numpy())
        stability.append(meter.rate(encoder, features).numpy())
        progress(min(1.0, len(stability) * BATCH / len(crops)))
    return np.concatenate(embeddings), np.concatenate(stability)


def _fit(cues: F64, target: F64) -> list[float]:
    """Fit `target` (n,) in [0, 1] by a logistic function of cues (n, c): intercept, then weights.

    No cue may count against a face: weights are not negative.
    """
    mean, sd = cues.mean(axis=0), np.maximum(cues.std(axis=0), 1e-9)
    table = np.column_stack([np.ones(len(cues)), (cues - mean) / sd])

    def loss(weights: F64) -> tuple[float, F64]:
        logit = table @ weights
        value = (np.logaddexp(0, logit) - target * logit).mean() + RIDGE * weights[1:] @ weights[1:]
        gradient = table.T @ (special.expit(logit) - target) / len(target)
        gradient[1:] += 2 * RIDGE * weights[1:]
        return float(value), gradient

    bounds = [(None, None), *[(0, None)] * cues.shape[1]]
    start = np.zeros(table.shape[1])
    weights = optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = weights[1:] / sd
    return [float(weights[0] - slopes @ mean), *slopes.tolist()]
