"""The film and its labels as files."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.sample_helpers import Detector, Written, overlap, two_shots
from vcn_ray.errors import StorageError, UsageError
from vcn_ray.sample.film import LABEL_COLUMNS, write_sample
from vcn_ray.sample.script import SHOTS


def test_a_film_is_written_with_its_labels(written: Written) -> None:
    film = written.film
    assert written.steps == [(n, 19) for n in range(1, 20)]
    assert (film.frames, film.seconds, film.shots, film.tracks, film.faces) == (19, 0.76, 2, 3, 28)
    assert sorted(path.name for path in film.video.parent.iterdir()) == ["labels.csv", "sample.mp4"]

    with av.open(str(film.video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (640, 360, 25)
        times = [frame.time for frame in container.decode(stream)]
    assert times == pytest.approx(np.arange(19) / 25)

    with film.labels.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == LABEL_COLUMNS
    assert len(rows) == film.faces
    assert {row["video"] for row in rows} == {"sample.mp4"}
    assert [int(row["frame"]) for row in rows] == sorted(int(row["frame"]) for row in rows)
    for row in rows:
        assert float(row["seconds"]) == pytest.approx(int(row["frame"]) / 25)
        assert 0 <= float(row["x0"]) < float(row["x1"]) <= 640
        assert 0 <= float(row["y0"]) < float(row["y1"]) <= 360


def test_the_same_seed_gives_the_same_bytes(written: Written, tmp_path: Path) -> None:
    first = written.film
    again, other = (
        write_sample(tmp_path / name, seed, shots=two_shots())
        for name, seed in (("a", 0), ("b", 1))
    )
    assert first.video.read_bytes() == again.video.read_bytes()
    assert first.labels.read_bytes() == again.labels.read_bytes()
    assert first.video.read_bytes() != other.video.read_bytes()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here already")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot write the sample film to") as caught:
            write_sample(folder, shots=two_shots())
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_stopped_film_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, 0, stop, two_shots())
    assert list(tmp_path.iterdir()) == []


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got -1"):
        write_sample(tmp_path, -1)


@pytest.mark.slow
def test_a_detector_finds_the_labelled_faces_of_the_whole_film(
    tmp_path: Path, find_faces: Detector
) -> None:
    film = write_sample(tmp_path)
    assert film.tracks >= 34
    labels: dict[int, list[np.ndarray]] = {}
    with film.labels.open(newline="") as stream:
        for row in csv.DictReader(stream):
            box = np.array([float(row[name]) for name in ("x0", "y0", "x1", "y1")])
            labels.setdefault(int(row["frame"]), []).append(box)
    found = total = extra = 0
    fades = _dissolve_frames()
    with av.open(str(film.video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 25 or index in fades:
                continue
            boxes = find_faces(frame.to_ndarray(format="rgb24"))
            truth = labels.get(index, [])
            seen = [any(overlap(face, box) > 0.4 for box in boxes) for face in truth]
            total, found = total + len(truth), found + sum(seen)
            extra += sum(all(overlap(face, box) <= 0.4 for face in truth) for box in boxes)
    assert total > 80
    assert found >= 0.97 * total
    assert extra == 0


def _dissolve_frames() -> set[int]:
    start, frames = 0, set()
    for shot in SHOTS:
        start -= shot.dissolve
        frames |= set(range(start, start + shot.dissolve))
        start += shot.frames
    return frames
