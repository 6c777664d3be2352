"""What a long film costs is read from its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.system import long_film
from benchmarks.system.reels import REEL_RATE


def test_a_short_film_is_indexed_as_a_long_one_is(
    shared: Path, yunet_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = shared / "data/videos/grid_bbaf2n.mpg"
    words = ["--minutes", "0.1", "--workers", "0", "--pack", str(yunet_pack)]
    words += ["--film", str(tmp_path / "film.mp4"), "--results", str(tmp_path)]
    long_film.main([str(clip), *words])
    whole, *steps = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(f"| {yunet_pack.name}")
    ]
    row = dict(zip(long_film.WHOLE, whole, strict=True))
    assert int(row["frames"]) >= 0.1 * 60 * REEL_RATE
    assert int(row["people"]) >= 1
    assert float(row["peak MiB"]) > 200
    assert float(row["h a core-hour"]) > 0
    assert [step[1] for step in steps] == ["detect", "track", "adapt", "cluster"]
    assert (tmp_path / "long_film.md").exists()
