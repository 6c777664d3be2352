"""The medians of CenterFace's landmarks in dlib's chips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.method import chips
from benchmarks.result_file import read_result
from tests.helpers.photographs import group
from vcn_ray.models.align import CHIP_LANDMARKS, ChipAligner, DlibAligner
from vcn_ray.packs.load import load_pack


@pytest.fixture(scope="module")
def placed() -> np.ndarray:
    """The landmarks (n, 5, 2) of the picture of six people."""
    ours, dlibs = (load_pack(name).detector for name in ("centerface-dlib", "dlib"))
    return chips.in_chips(group(), ours, dlibs)


def test_the_template_is_near_the_places_in_a_picture(placed: np.ndarray) -> None:
    assert len(placed) >= 5
    middle = np.median(placed, axis=0)
    assert np.abs(middle - CHIP_LANDMARKS).max() < 4  # of 150 pixels; few faces, all posing


def test_places_in_a_chip_are_those_in_its_picture() -> None:
    """Faces found in a chip itself lie where the chip of the frame has them."""
    ours, dlibs = (load_pack(name).detector for name in ("centerface-dlib", "dlib"))
    (others,) = dlibs.detect(group()[None])
    cut = DlibAligner().align(group(), others)
    found = [ours.detect(chip[None])[0] for chip in cut]
    middle = np.median([f.landmarks[0] for f in found if len(f)], axis=0)
    assert np.abs(middle - np.median(chips.in_chips(group(), ours, dlibs), axis=0)).max() < 3
    assert ChipAligner().input_pixels == DlibAligner().input_pixels


def test_small_faces_and_empty_frames_do_not_count() -> None:
    ours, dlibs = (load_pack(name).detector for name in ("centerface-dlib", "dlib"))
    small = np.ascontiguousarray(group()[::3, ::3])
    for frame in (small, np.zeros((90, 160, 3), np.uint8)):
        assert chips.in_chips(frame, ours, dlibs).shape == (0, 5, 2)
    assert chips.median_row("none", np.empty((0, 5, 2))) == {"video": "none", "faces": 0}


def test_symmetric_points_are_their_own_mirror_image() -> None:
    np.testing.assert_allclose(chips.symmetric(CHIP_LANDMARKS), CHIP_LANDMARKS)
    found = chips.symmetric(CHIP_LANDMARKS + np.array([[4, 2], [0, 0], [3, 1], [0, 0], [0, 0]]))
    np.testing.assert_allclose(found[0] - CHIP_LANDMARKS[0], [2, 1])
    np.testing.assert_allclose(found[1] - CHIP_LANDMARKS[1], [-2, 1])
    np.testing.assert_allclose(found[2], [75, CHIP_LANDMARKS[2, 1] + 1])


def test_overlaps_are_over_the_union() -> None:
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]], np.float32)
    np.testing.assert_allclose(chips.overlaps(others[0], others), [1, 1 / 3, 0])


def test_a_folder_of_videos_becomes_a_table(film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / film.name).symlink_to(film)
    chips.main([str(folder), "--fps", "0.2", "--results", str(tmp_path)])
    (rows,) = read_result(tmp_path / "chips.md").tables
    assert [row["video"] for row in rows][:2] == [film.stem, "all"]
    assert rows[-1]["video"] == "in use"
    assert rows[-1]["nose"] == "75.0 79.9"
