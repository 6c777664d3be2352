"""Videos in many formats, and what they cost."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.system import formats
from benchmarks.system.formats import FORMATS, encode


@pytest.fixture
def clip(shared: Path) -> Path:
    return shared / "data/videos/grid_bbaf2n.mpg"


@pytest.mark.parametrize("name", ["1080i25", "1080p variable", "portrait"])
def test_a_video_has_the_format_that_its_name_says(name: str, clip: Path, tmp_path: Path) -> None:
    kind, path = FORMATS[name], tmp_path / "video.mp4"
    encode(clip, path, kind, 0.4)
    with av.open(str(path)) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == round(0.4 * kind.rate)
    assert {(frame.width, frame.height) for frame in frames} == {(kind.width, kind.height)}
    assert {frame.interlaced_frame for frame in frames} == {kind.interlaced}
    steps = np.diff([float(frame.time) for frame in frames if frame.time is not None])
    assert (steps.max() > 1.5 * steps.min()) == kind.variable


def test_hdr_has_ten_bits_and_says_so(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    encode(clip, path, FORMATS["2160p24 HEVC HDR"]._replace(width=640, height=360), 0.2)
    with av.open(str(path)) as video:
        frame = next(video.decode(video=0))
    assert (frame.format.name, frame.color_trc) == ("yuv420p10le", 16)


def test_a_format_is_detected_in_a_process_of_its_own(
    clip: Path, yunet_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--film", str(clip), "--seconds", "1", "--only", "portrait"]
    formats.main([*words, "--pack", str(yunet_pack), "--results", str(tmp_path)])
    (line,) = [row for row in capsys.readouterr().out.splitlines() if "| portrait" in row]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    row = dict(zip(formats.COLUMNS, cells, strict=True))
    assert int(row["frames"]) == FORMATS["portrait"].rate
    assert int(row["faces"]) > 0
    assert 0 < float(row["ratio"]) < 1
    assert 0 < float(row["worker MiB"]) < 1536
    assert 30 < float(row["decoder MiB"]) < 1536
