"""How a run on the grid is compared with one on every frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.method import grid
from benchmarks.method.grid import Found, compare_faces, compare_tracks, sum_row
from benchmarks.result_file import read_result
from tests.helpers.films import SMALL
from vcn_ray.evaluation.matching import FrameBoxes

FACES = [(0, 0, "a"), (0, 50, "b"), (4, 2, "a"), (4, 52, "b"), (8, 4, "a")]
"""Frame, left side and track of some faces."""


def found_of(faces: list[tuple[int, int, str]]) -> Found:
    frame = np.array([face[0] for face in faces], np.int64)
    boxes = np.array([(x, 0, x + 20, 20) for _, x, _ in faces], np.float32).reshape(-1, 4)
    _, owner = np.unique([name for *_, name in faces], return_inverse=True)
    rows = FrameBoxes(frame, boxes)
    return Found(rows, rows, owner.astype(np.int64))


def test_equal_runs_differ_in_nothing() -> None:
    expected = found_of(FACES)
    assert compare_faces(expected.faces, expected.faces) == {"faces": 5, "missed": 0, "false": 0}
    same = compare_tracks(expected, found_of([*reversed(FACES)]))
    assert same == {"tracks": 2, "broken": 0, "lost": 0, "joined": 0}


def test_faces_are_missed_or_false_by_their_place_and_frame() -> None:
    moved = [(8, 30, "a") if face[0] == 8 else face for face in FACES]
    cells = compare_faces(found_of(FACES).faces, found_of([*moved, (12, 0, "a")]).faces)
    assert cells == {"faces": 5, "missed": 1, "false": 2}


@pytest.mark.parametrize(
    ("faces", "broken", "lost", "joined"),
    [
        ([(f, x, "c" if f == 8 else name) for f, x, name in FACES], 1, 0, 0),
        ([face for face in FACES if face[2] == "a"], 0, 1, 0),
        ([(f, x, "a") for f, x, _ in FACES], 0, 0, 1),
        ([], 0, 2, 0),
    ],
)
def test_tracks_are_broken_lost_or_joined(
    faces: list[tuple[int, int, str]], broken: int, lost: int, joined: int
) -> None:
    cells = compare_tracks(found_of(FACES), found_of(faces))
    assert cells == {"tracks": 2, "broken": broken, "lost": lost, "joined": joined}


def test_the_last_rows_have_the_runs_of_all_frames() -> None:
    row = dict.fromkeys(grid.COLUMNS) | {"step": 4}
    rows = [
        {**row, "analysed": 30, "runs": 0.5, "missed": 1, "NMI": 0.8},
        {**row, "analysed": 10, "runs": 1.0, "missed": 2, "NMI": 1.0},
    ]
    total = sum_row(rows)
    assert total["runs"] == 25 / 40
    assert (total["step"], total["missed"], total["analysed"]) == (4, 3, 40)
    assert total["NMI"] == pytest.approx(0.9)


@pytest.mark.slow
def test_a_clip_is_measured_with_each_step(film: Path, yunet_pack: Path, tmp_path: Path) -> None:
    (tmp_path / "film.labels.csv").write_text(
        "video,frame,x0,y0,x1,y1,identity\nfilm,0,0,0,9,9,x\n"
    )
    words = [str(film.parent), "--labels", str(tmp_path), "--pack", str(yunet_pack), *SMALL]
    words += ["--steps", "1,4", "--results", str(tmp_path), "--json", str(tmp_path / "rows.json")]
    grid.main(words)
    every, some, *sums = json.loads((tmp_path / "rows.json").read_text())
    assert (every["step"], every["runs"], every["missed"], every["false"]) == (1, 1, 0, 0)
    assert every["broken"] == every["lost"] == every["joined"] == 0
    assert some["step"] == 4
    assert 0.25 < some["runs"] < 0.8
    assert 0 < some["detect s"] < every["detect s"]
    assert some["tracks"] == every["tracks"] > 0
    assert [row["clip"] for row in sums] == ["sum, mean"] * 2
    (table,) = read_result(tmp_path / "grid.md").tables
    assert len(table) == 4
