"""Films that are joined or repeated keep every frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from benchmarks.system.reels import REEL_RATE, REEL_SIZE, repeat_film, write_reel


def frames_of(path: Path) -> tuple[list[tuple[int, int]], list[float]]:
    """Sizes and times of the frames of a film."""
    with av.open(str(path)) as film:
        frames = [(f.width, f.height, float(f.time or 0)) for f in film.decode(video=0)]
    return [(width, height) for width, height, _ in frames], [time for *_, time in frames]


def test_a_reel_and_its_repetitions_have_every_frame(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/videos/grid_bbaf2n.mpg"
    count = len(frames_of(path)[0])
    reel = write_reel([path], tmp_path / "reel.mp4")
    sizes, times = frames_of(reel)
    assert sizes == [REEL_SIZE] * count
    np.testing.assert_allclose(times, np.arange(count) / REEL_RATE, atol=1e-6)
    with av.open(str(reel)) as film:
        picture = next(film.decode(video=0)).to_ndarray(format="gray")
    assert picture[:1080, :100].max() < 40  # a border: the video is not as wide as the reel
    assert picture[:1080, 900:1000].max() > 100
    sizes, times = frames_of(repeat_film(reel, tmp_path / "long.mp4", 2))
    assert len(sizes) == 2 * count
    np.testing.assert_allclose(times, np.arange(2 * count) / REEL_RATE, atol=1e-3)
