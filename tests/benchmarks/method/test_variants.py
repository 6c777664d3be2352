"""Versions of the sample film: their labels, their frames, and a whole run on one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.method import variants
from benchmarks.method.variants import VERSIONS, kept_frames, place_labels, write_version
from benchmarks.result_file import read_result
from tests.helpers.sample_helpers import two_shots
from tests.helpers.videos import read_frames
from vcn_ray.evaluation.labels import Labels
from vcn_ray.records import F64
from vcn_ray.sample.film import SampleFilm, write_sample

LABELS = Labels(
    frame=np.array([0, 6, 12, 13]),
    seconds=None,
    boxes=np.array(
        [[300, 100, 340, 160], [100, 100, 200, 200], [200, 90, 236, 150], [400, 90, 440, 150]],
        np.float32,
    ),
    identity=["a", "b", "c", "d"],
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleFilm:
    return write_sample(tmp_path_factory.mktemp("sample"), shots=two_shots())


@pytest.mark.parametrize(
    ("rate", "frames", "kept"),
    [(25, 4, [0, 1, 2, 3]), (4, 20, [0, 6, 12, 19]), (2, 26, [0, 12, 25]), (2, 1, [0])],
)
def test_the_nearest_frames_are_kept(rate: int, frames: int, kept: list[int]) -> None:
    assert kept_frames(rate, frames) == kept


@pytest.mark.parametrize(
    ("name", "size", "boxes"),
    [
        ("grain", (640, 360), LABELS.boxes),
        ("240 lines", (426, 240), LABELS.boxes * np.tile([426 / 640, 2 / 3], 2)),
        ("letterboxed", (640, 480), LABELS.boxes + np.tile([0, 60], 2)),
    ],
)
def test_labels_move_with_the_picture(name: str, size: tuple[int, int], boxes: F64) -> None:
    placed = place_labels(VERSIONS[name], LABELS, 20, size)
    np.testing.assert_allclose(placed.boxes, boxes, rtol=1e-6)
    assert placed.identity == LABELS.identity


def test_faces_outside_a_crop_do_not_count() -> None:
    placed = place_labels(VERSIONS["portrait"], LABELS, 20, (202, 360))
    assert placed.identity == ["a", "?", "d"]  # of d, 21 of 40 columns are inside
    assert placed.boxes[1:].tolist() == [[0, 90, 17, 150], [181, 90, 202, 150]]


def test_labels_of_frames_that_are_left_out_are_dropped() -> None:
    placed = place_labels(VERSIONS["4 a second"], LABELS, 20, (640, 360))
    assert placed.frame is not None
    assert (placed.frame.tolist(), placed.identity) == ([0, 1, 2], ["a", "b", "c"])


@pytest.mark.parametrize("name", [name for name in VERSIONS if name[-5:] != "lines"])
def test_a_version_has_the_size_and_the_frames_that_its_labels_expect(
    name: str, sample: SampleFilm, tmp_path: Path
) -> None:
    version = VERSIONS[name]
    paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for path in paths:
        write_version(version, sample, path, seed=1)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    frames = read_frames(paths[0])
    assert len(frames) == len(kept_frames(version.rate, sample.frames))
    before = read_frames(sample.video)[0].mean(axis=2)
    x, y = (int(-shift) for shift in version.shift)
    height, width = frames[0].shape[:2]
    wanted = before[max(y, 0) :, max(x, 0) : x + width]
    shown = frames[0].mean(axis=2)[max(-y, 0) : height - max(-y, 0)]
    assert np.corrcoef(shown.ravel(), wanted.ravel())[0, 1] > 0.9


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(SystemExit):
        variants.main(["--only", "sepia"])


@pytest.mark.slow
def test_a_version_is_measured(
    sample: SampleFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "write_sample", lambda _: sample)
    variants.main(["--only", "grey,portrait", "--results", str(tmp_path)])
    (rows,) = read_result(tmp_path / "variants.md").tables
    assert [row["version"] for row in rows] == ["grey", "portrait"]
    assert rows[0]["people"] == rows[0]["found"] == "3"
