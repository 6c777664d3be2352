"""Labels are read, matched to frames and compared with faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vcn_ray.errors import UsageError
from vcn_ray.evaluation import (
    FrameBoxes,
    Labels,
    best_overlaps,
    count_votes,
    match_frames,
    read_labels,
)

BOX = [0.0, 0.0, 10.0, 10.0]


def labels(frame: list[int] | None, seconds: list[float] | None, names: list[str]) -> Labels:
    return Labels(
        None if frame is None else np.array(frame),
        None if seconds is None else np.array(seconds),
        np.array([BOX] * len(names), np.float32),
        names,
    )


def matched(truth: Labels, analysed: list[bool]) -> list[int]:
    """Frames of the labels in a video of 25 frames a second."""
    seconds = np.arange(len(analysed)) * 0.04
    return match_frames(truth, seconds, np.array(analysed, bool)).tolist()


def test_only_labels_of_analysed_frames_count() -> None:
    truth = labels([0, 1, 2, 9], None, list("abcd"))
    assert matched(truth, [True, False, True]) == [0, -1, 2, -1]


def test_labels_in_seconds_go_to_the_nearest_frame() -> None:
    truth = labels(None, [0.0, 0.035, 0.079, 5.0, -3.0], list("abcde"))
    assert matched(truth, [True, True, True]) == [0, 1, 2, -1, -1]


def test_a_video_without_any_frame() -> None:
    assert matched(labels([0], None, ["a"]), []) == [-1]


def test_seconds_in_a_video_of_one_frame() -> None:
    assert matched(labels(None, [0.0, 2.0], ["a", "b"]), [True]) == [0, -1]


def test_overlap_is_the_best_in_the_same_frame() -> None:
    labelled = FrameBoxes(np.array([0, 0, 1]), np.array([BOX, [20, 0, 30, 10], BOX], np.float32))
    found = FrameBoxes(
        np.array([0, 0, 2]), np.array([[0, 0, 10, 5], [100, 0, 110, 10], BOX], np.float32)
    )
    np.testing.assert_allclose(best_overlaps(labelled, found), [0.5, 0.0, 0.0])


def test_faces_vote_for_the_label_they_overlap_most() -> None:
    truth = labels([0, 0, 1], None, ["anna", "bert", "anna"])
    truth.boxes[1] = [20, 0, 30, 10]
    boxes = np.array([BOX, [21, 0, 31, 10], BOX, [200, 0, 210, 10]], np.float32)
    faces = FrameBoxes(np.array([0, 0, 1, 1]), boxes)
    votes = count_votes(["x", "y", "x", "z"], faces, np.array([0, 0, 1]), truth)
    assert {name: dict(count) for name, count in votes.items()} == {
        "x": {"anna": 2},
        "y": {"bert": 1},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,frame,x0,y0,x1,identity\n", "lacks y1"),
        ("video,x0,y0,x1,y1,identity\n", "lacks frame or seconds"),
        ("video,frame,x0,y0,x1,y1,identity\na,first,0,0,1,1,b\n", "is not a number"),
        ("", "cannot be read as CSV"),
        ("video,frame,x0,x0,y0,x1,y1,identity\n", "more than once: x0"),
        ("video,frame,x0,y0,x1,y1,identity\na,,0,0,1,1,b\n", "empty cells in frame"),
        ("video,seconds,x0,y0,x1,y1,identity\na,nan,0,0,1,1,b\n", "not finite|empty cells"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_labels(path)


def test_labels_are_grouped_by_video(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "video,seconds,x0,y0,x1,y1,identity\na.mp4,0.5,0,0,1,1,7\nb.mp4,1,0,0,1,1,8\na.mp4,1,2,2,3,3,9\n"
    )
    found = read_labels(path)
    assert found["a.mp4"].identity == ["7", "9"]
    assert found["a.mp4"].frame is None
    np.testing.assert_array_equal(found["a.mp4"].seconds, [0.5, 1.0])
    assert found["b.mp4"].boxes.tolist() == [[0, 0, 1, 1]]
