from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.videos import scene
from vcn_ray.core.filter import FilterConfig, face_sharpness, mark_faces
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, U8


def boxes_of(sides: list[tuple[float, float]]) -> F32:
    table = np.array(sides, np.float32).reshape(-1, 2)
    return np.concatenate([np.full_like(table, 10), table + 10], axis=1)


def ones(count: int, value: float = 1.0) -> F32:
    return np.full(count, value, np.float32)


def test_the_smaller_side_decides_what_is_small() -> None:
    found = mark_faces(
        boxes_of([(9.9, 90), (10, 10), (90, 5)]), ones(3), ones(3, 99), FilterConfig()
    )
    assert found == ("small", "kept", "small")


def test_a_crowd_keeps_its_largest_faces() -> None:
    sides: list[tuple[float, float]] = [(30 + n, 30 + n) for n in (3, 0, 9, 1, 7)]
    found = mark_faces(boxes_of(sides), ones(5), ones(5, 99), FilterConfig(max_faces=2))
    assert found == ("crowd", "crowd", "kept", "crowd", "kept")


def test_scores_settle_ties_and_small_faces_take_no_place() -> None:
    boxes = boxes_of([(40, 40), (40, 40), (9, 400)])
    found = mark_faces(
        boxes, np.array([0.5, 0.6, 1.0], np.float32), ones(3, 99), FilterConfig(max_faces=1)
    )
    assert found == ("crowd", "kept", "small")


def test_each_face_has_the_first_reason_that_fits() -> None:
    boxes = boxes_of([(9, 9), (50, 50), (40, 40), (30, 30)])
    found = mark_faces(boxes, ones(4), ones(4, 0), FilterConfig(max_faces=2))
    assert found == ("small", "blurred", "blurred", "crowd")


def test_no_faces_and_arrays_that_do_not_fit() -> None:
    assert mark_faces(boxes_of([]), ones(0), ones(0), FilterConfig()) == ()
    with pytest.raises(ShapeError, match="2 boxes"):
        mark_faces(boxes_of([(30, 30)] * 2), ones(2), ones(3), FilterConfig())


def test_sharpness_falls_with_blur_and_not_with_the_size_of_the_crop() -> None:
    crop = cv2.resize(scene(4), (150, 150), interpolation=cv2.INTER_AREA)
    blurred = [face_sharpness(cv2.GaussianBlur(crop, (0, 0), s)) for s in (0.5, 1, 2, 4)]
    assert blurred == sorted(blurred, reverse=True)
    small = cv2.resize(crop, (112, 112), interpolation=cv2.INTER_AREA)
    assert face_sharpness(crop) == pytest.approx(face_sharpness(small), rel=0.01)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    assert face_sharpness(grey) == face_sharpness(small)
    assert face_sharpness(np.full((90, 90), 128, np.uint8)) == 0.0


def grey_picture(path: Path) -> U8:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def test_only_smears_of_real_faces_are_marked(shared: Path) -> None:
    limit = FilterConfig().min_sharpness
    photographs = sorted((shared / "data" / "faces").glob("*/*.jpg"))[::40]
    crops = [grey_picture(path)[65:185, 65:185] for path in photographs]

    def usable(side: int = 112, blur: float = 0.0) -> float:
        changed = [cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in crops]
        changed = [cv2.GaussianBlur(crop, (0, 0), blur) if blur else crop for crop in changed]
        return float(np.mean([face_sharpness(crop) >= limit for crop in changed]))

    assert usable() == usable(side=24) == usable(blur=1.0) == usable(blur=2.0) == 1.0
    assert usable(blur=4.0) < 0.1


@pytest.mark.parametrize(
    "wrong", [{"min_face_pixels": -1}, {"max_faces": 0}, {"min_sharpness": -0.1}]
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        FilterConfig(**wrong)
