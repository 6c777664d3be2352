"""The examples run as a user runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(name: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "examples" / name), *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clips(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of one person each, in a folder."""
    folder = tmp_path_factory.mktemp("clips")
    for clip in sorted((shared / "data/videos").glob("grid_*.mpg"))[:2]:
        shutil.copy(clip, folder)
    return folder


def test_a_folder_of_videos(clips: Path, tmp_path: Path) -> None:
    out = run("index_folder.py", clips, tmp_path / "out")
    assert out.count("people=1, ") == 2
    assert out.count("p001:") == 2


def test_a_season(clips: Path, tmp_path: Path) -> None:
    out = run("join_season.py", "Season 1", tmp_path / "out", *sorted(clips.iterdir()))
    line, header, _, *rows = out.splitlines()
    assert line.startswith("Season 1: 2 people in 2 tracks")
    assert all(clip.name in header for clip in clips.iterdir())
    assert [row.split()[0] for row in rows] == ["p001", "p002"]


def test_crops_of_ones_own(shared: Path, tmp_path: Path) -> None:
    people = sorted((shared / "data/faces").iterdir())[:4]
    for person in people:
        for number, picture in enumerate(sorted(person.iterdir())[:6]):
            track = tmp_path / f"{person.name}-{number // 3}"
            track.mkdir(exist_ok=True)
            shutil.copy(picture, track)
    first, *rows = run("cluster_crops.py", tmp_path).splitlines()
    assert first.startswith("People(")
    listed = [name for row in rows for name in row.partition(": ")[2].split(", ")]
    assert len(listed) == len(set(listed)) <= 8
    for row in rows:  # nobody is mixed up with somebody else
        names = row.partition(": ")[2].split(", ")
        assert len({name.rsplit("-", 1)[0] for name in names}) == 1, row
