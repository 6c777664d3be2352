"""The medians of CenterFace's landmarks in dlib's chips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.method import chips
from benchmarks.result_file import read_result
from tests.helpers.photographs import group
from vcn_ray.models.align import CHIP_LANDMARKS, chip_to_frame
from vcn_ray.packs.load import load_pack
from vcn_ray.records import U8, Detections


class Known:
    """A detector that finds what it is given."""

    def __init__(self, found: Detections) -> None:
        self._found = found

    def detect(self, frames: U8) -> list[Detections]:
        return [self._found] * len(frames)


def test_the_template_is_near_the_places_in_a_picture() -> None:
    ours, dlibs = (load_pack(name).detector for name in ("centerface-dlib", "dlib"))
    placed = chips.in_chips(group(), ours, dlibs)
    assert placed.shape == (6, 5, 2)
    middle = np.median(placed, axis=0)
    assert np.abs(middle - CHIP_LANDMARKS).mean() < 4  # few faces, and all are posing


def test_landmarks_are_placed_in_the_chip_of_their_own_face() -> None:
    """Points that lie at known places of two chips come back as those places."""
    (others,) = load_pack("dlib").detector.detect(group()[None])
    two = Detections(others.boxes[:2], others.scores[:2], others.landmarks[:2])
    maps = [chip_to_frame(landmarks) for landmarks in two.landmarks]
    known = [CHIP_LANDMARKS @ m[:, :2].T + m[:, 2] for m in maps]
    faces = Detections(
        two.boxes[::-1].copy(), np.ones(2, np.float32), np.array(known[::-1], np.float32)
    )
    placed = chips.in_chips(group(), Known(faces), Known(two))
    np.testing.assert_allclose(placed, [CHIP_LANDMARKS] * 2, atol=0.01)
    unsure = Detections(faces.boxes, np.full(2, 0.79, np.float32), faces.landmarks)
    assert chips.in_chips(group(), Known(unsure), Known(two)).shape == (0, 5, 2)
    apart = Detections(faces.boxes + 500, faces.scores, faces.landmarks)
    assert chips.in_chips(group(), Known(apart), Known(two)).shape == (0, 5, 2)


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
