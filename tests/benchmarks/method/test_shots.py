"""How cuts are counted, and a whole run on a small clip."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.method.shots import TOTAL, count_right, main
from benchmarks.result_file import read_result
from tests.helpers.videos import encode, shot


@pytest.mark.parametrize(
    ("found", "right"),
    [([], 0), ([1.0, 5.0], 2), ([1.2, 4.7], 1), ([0.9, 1.1, 5.0], 2), ([3.0], 0)],
)
def test_each_cut_counts_once(found: list[float], right: int) -> None:
    assert count_right(found, [1.0, 5.0]) == right


def test_a_clip_is_measured_and_an_absent_one_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode(tmp_path / "here.mp4", shot(1, 30) + shot(2, 30))
    for name in ("here", "absent"):
        text = f"video,seconds\n{name},1.2\n"
        (tmp_path / f"{name}.cuts.csv").write_text(text, encoding="utf-8")
    folder = str(tmp_path)
    main([folder, "--labels", folder, "--trials", folder, "--results", folder])
    rows, costs = read_result(tmp_path / "shots.md").tables
    assert [row["clip"] for row in rows] == ["here", TOTAL]
    assert rows[0]["ours precision"] == rows[0]["ours recall"] == "1.000"
    assert float(costs[0]["signals"]) > 0
    assert "absent: no such clip" in capsys.readouterr().err
