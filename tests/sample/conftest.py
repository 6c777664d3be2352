"""What the tests of the sample film share, because it is slow to build or to render."""

from __future__ import annotations

import dlib
import numpy as np
import pytest

from tests.helpers.sample_helpers import Detector, Written, two_shots
from vcn_ray.sample.film import write_sample


@pytest.fixture(scope="session")
def find_faces() -> Detector:
    """dlib's frontal detector as a function of an RGB picture and the number of upsamplings."""
    detector = dlib.get_frontal_face_detector()

    def find(picture: np.ndarray, upsample: int = 0) -> list[np.ndarray]:
        found = detector(picture, upsample)
        return [np.array([r.left(), r.top(), r.right(), r.bottom()]) for r in found]

    return find


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The film of two shots, written with seed 0 to a folder that did not exist."""
    steps: list[tuple[int, int]] = []
    folder = tmp_path_factory.mktemp("sample") / "new" / "place"
    film = write_sample(folder, 0, lambda *step: steps.append(step), two_shots())
    return Written(film, steps)
