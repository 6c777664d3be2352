"""Odd but sound files, each with what is right for it (`trials` of the test material)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from vcn_ray.api import index
from vcn_ray.io.storage import Storage
from vcn_ray.report.pages import write_reports
from vcn_ray.report.view import build_view
from vcn_ray.run.stored import StoredTitle, stored_titles

CUTS = (2.80, 5.36, 7.92, 9.84)  # of the film that most of them show, in its own time
PEOPLE = 7


@dataclass(frozen=True)
class Right:
    """What is right for a file."""

    people: int
    end: float  # seconds
    shots: tuple[float, ...]  # seconds at which they start
    warnings: tuple[str, ...] = ()


def film(start: float = 0.0, end: float = 12.48) -> Right:
    """The film, starting later than the file."""
    return Right(PEOPLE, end, (start, *(start + cut for cut in CUTS)))


RIGHT = {
    "t02_video_late_3s.mp4": film(3.0, 15.48),
    "psd_delayed_start.mp4": Right(0, 2.035, (1.075,), ("empty",)),
    "t63_vfr_last_frame_held.mp4": film(end=15.48),
    "t10_stills_4s_each.mp4": Right(5, 12.0, (0.0, 4.0, 8.0)),
    "t36_two_cameras.mp4": Right(5, 6.0, (0.0, 2.8, 5.36), ("several_pictures",)),
    "t38_cover_not_flagged.mkv": film(0.064, 12.544),
    "t42_size_changes.ts": film(end=12.40),
    "t45_joined_twice.ts": Right(
        PEOPLE,
        25.024,
        tuple(0.064 + part + cut for part in (0.0, 12.48) for cut in (0.0, *CUTS)),
    ),
    "t69_keyframe_pop.mkv": Right(PEOPLE, 17.12, (0.0, 2.64, 4.64, 7.44, 10.00, 12.56, 14.48)),
}


@pytest.fixture(scope="module")
def trials(shared: Path) -> Path:
    folder = shared / "data" / "trials"
    if not folder.is_dir():
        pytest.skip(f"no test material at {folder}: odd files are not shipped")
    return folder


def indexed(path: Path, output: Path) -> StoredTitle:
    """Index a file in which nothing is wrong."""
    done = index(path, output, local=True)
    assert done.failures == ()
    assert done.record["videos"]["done"] == 1
    (title,) = stored_titles(Storage.open(str(output)))
    return title


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_an_odd_file_is_right(trials: Path, tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    title = indexed(trials / name, tmp_path / "out")
    assert title.people.num_rows == right.people
    assert [warning["code"] for warning in title.summary["warnings"]] == list(right.warnings)
    starts = title.shots.column("start_seconds").to_pylist()
    # A size that changes with the cut was encoded a frame or two earlier.
    assert starts == pytest.approx(right.shots, abs=0.1)
    (video,) = title.summary["videos"]
    assert video["duration_seconds"] == pytest.approx(right.end, abs=0.01)
    assert title.shots.column("end_seconds").to_pylist()[-1] == pytest.approx(right.end, abs=0.01)
    view = build_view(title)
    assert view.timeline.seconds == pytest.approx(right.end, abs=0.01)
    bars = [bar for person in view.people for bar in person.bars]
    assert len(bars) == title.appearances.num_rows
    assert all(bar.width > 0 and bar.left + bar.width <= 100.001 for bar in bars)
    write_reports(Storage.open(str(tmp_path / "out")))


@pytest.mark.slow
def test_stills_are_seen_as_long_as_they_stand(trials: Path, tmp_path: Path) -> None:
    title = indexed(trials / "t10_stills_4s_each.mp4", tmp_path)
    lengths = [row["end_seconds"] - row["start_seconds"] for row in title.appearances.to_pylist()]
    assert lengths == pytest.approx([4.0] * len(lengths), abs=0.01)
    assert sum(title.people.column("screen_seconds").to_pylist()) == pytest.approx(sum(lengths))


@pytest.mark.slow
def test_who_is_in_the_last_picture_is_seen_until_its_end(trials: Path, tmp_path: Path) -> None:
    title = indexed(trials / "t63_vfr_last_frame_held.mp4", tmp_path)
    last = [row for row in title.appearances.to_pylist() if row["end_seconds"] > 12.5]
    assert len(last) == 3
    assert [row["end_seconds"] for row in last] == pytest.approx([15.48] * 3)


@pytest.mark.slow
def test_one_frame_a_second_has_every_shot(trials: Path, tmp_path: Path) -> None:
    title = indexed(trials / "t07_1fps.mp4", tmp_path)
    assert title.shots.num_rows == 22
    shots = {row["shot_id"]: row for row in title.shots.to_pylist()}
    for row in title.tracks.to_pylist():
        shot = shots[row["shot_id"]]
        assert shot["start_frame"] <= row["start_frame"] < row["end_frame"] <= shot["end_frame"]


@pytest.mark.slow
def test_a_film_upside_down_is_no_silent_error(trials: Path, tmp_path: Path) -> None:
    """All its people, or none and a word."""
    title = indexed(trials / "t11_upside_down.mp4", tmp_path)
    if title.people.num_rows != PEOPLE:
        assert title.people.num_rows == 0
        assert "turned" in [warning["code"] for warning in title.summary["warnings"]]
        assert set(title.tracks.column("status").to_pylist()) <= {"unknown", "no_face"}
