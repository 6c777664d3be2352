"""What is measured of a pack before it sees a title."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.photographs import actor, group, portrait
from tests.helpers.synth import PIXELS, TinyBackbone
from vcn_ray.core.pose import LandmarkOrder
from vcn_ray.core.prior import recognisability
from vcn_ray.errors import UsageError
from vcn_ray.packs.calibrate import HEIGHTS, measure_prior, ruined_copies
from vcn_ray.packs.embedded import load_built_in
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import U8, Detections


class SquareDetector:
    """Finds the bright half of a picture; a small one is a worse face, and a tiny one is none."""

    def detect(self, frames: U8) -> list[Detections]:
        return [self._find(frame) for frame in frames]

    def _find(self, frame: U8) -> Detections:
        height = frame.shape[0] / 2
        count = int(height >= 9)
        side = np.array([height / 2, height / 2, height * 1.5, height * 1.5], np.float32)
        return Detections(
            np.tile(side, (count, 1)),
            np.full(count, min(0.9, height / 100 + 0.3), np.float32),
            np.tile(np.float32(height), (count, 5, 2)),
        )


class SquareAligner:
    input_pixels = PIXELS
    landmark_order: LandmarkOrder = "eyes_nose_mouth"

    def align(self, frame: U8, detections: Detections) -> U8:
        crops = np.zeros((len(detections), PIXELS, PIXELS, 3), np.uint8)
        for crop, box in zip(crops, detections.boxes, strict=True):
            x0, y0, x1, y1 = np.maximum(box, 0).round().astype(int)
            crop[:] = cv2.resize(frame[y0:y1, x0:x1], (PIXELS, PIXELS))
        return crops


PACK = FacePack(
    name="squares",
    licence="none",
    commercial_use=True,
    source="",
    detector=SquareDetector(),
    aligner=SquareAligner(),
    encoder="tiny",
    detector_hash="",
    encoder_hash="",
    make_encoder=TinyBackbone,
)


def pictures(count: int = 6) -> list[U8]:
    """A face of chequered colours in the middle of each."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 12, 3)).astype(np.uint8)
    return [picture.repeat(16, axis=0).repeat(16, axis=1) for picture in coarse]


def test_the_prior_of_a_made_up_pack() -> None:
    done: list[float] = []
    prior = measure_prior(PACK, pictures(), progress=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    encoder = TinyBackbone()
    crops = np.concatenate(
        [PACK.aligner.align(p, PACK.detector.detect(p[None])[0]) for p in pictures()]
    )
    unit = encoder.embed(torch.from_numpy(crops)).numpy()
    cosines = (unit @ unit.T)[np.triu_indices(6, 1)]
    assert prior.stranger_cosine == pytest.approx(float(cosines.mean()), abs=1e-3)
    assert prior.stranger_sd == pytest.approx(float(cosines.std()), abs=1e-3)
    assert 0.3 < prior.min_score <= 0.9
    assert min(prior.per_score, prior.per_length, prior.per_stability) >= 0
    good, bad = recognisability(prior, *np.array([[0.9, 0.2], [3.0, 3.0], [0.5, 0.5]]))
    assert good > bad
    assert measure_prior(PACK, pictures()) == prior


def test_people_of_one_number_are_no_strangers() -> None:
    twice = pictures(3) * 2
    apart = measure_prior(PACK, twice)
    known = measure_prior(PACK, twice, person=[0, 1, 2, 0, 1, 2])
    assert known.stranger_cosine < apart.stranger_cosine
    with pytest.raises(UsageError, match="of two people or more"):
        measure_prior(PACK, pictures(), person=[3] * 6)


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(UsageError, match="3 faces of at least 40 pixels were found, needed are 4"):
        measure_prior(PACK, pictures(3))
    small = [np.zeros((40, 40, 3), np.uint8)] * 9  # faces of 20 pixels
    with pytest.raises(UsageError, match="0 faces of at least"):
        measure_prior(PACK, small)


def test_ruined_copies_shrink_to_each_height_below_that_of_the_face() -> None:
    (picture,) = pictures(1)
    copies = list(ruined_copies(picture, 30.0, seed=1))
    assert [scale * 30 for _, scale in copies] == pytest.approx([h for h in HEIGHTS if h <= 30])
    for copy, scale in copies:
        assert copy.shape == (*[max(8, round(192 * scale))] * 2, 3)
    again, other = (list(ruined_copies(picture, 30.0, seed)) for seed in (1, 2))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(copies, again, strict=True))
    assert not all(np.array_equal(a, b) for (a, _), (b, _) in zip(copies, other, strict=True))


@pytest.mark.slow
def test_the_prior_of_the_default_pack_from_photographs_that_ship_with_libraries() -> None:
    pack = load_built_in("centerface-sface")
    wide = cv2.copyMakeBorder(actor(), 60, 60, 60, 60, cv2.BORDER_REPLICATE).astype(np.uint8)
    prior = measure_prior(pack, [group(), wide, portrait()])
    assert prior.stranger_cosine == pytest.approx(0.13, abs=0.05)
    assert prior.min_score == pytest.approx(0.62, abs=0.1)
    assert pack.prior is not None
    shipped = replace(pack.prior, stranger_cosine=prior.stranger_cosine)
    assert prior.cut == pytest.approx(shipped.cut, abs=0.25)
