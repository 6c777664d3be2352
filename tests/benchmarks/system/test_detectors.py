"""The comparison of detectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.result_file import read_result


def test_detectors_are_compared(
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.system import detectors  # insightface takes seconds to import

    monkeypatch.setattr(detectors, "BATCHES", (1, 3))
    yunet = shared / "models" / "yunet" / "yunet_n_dynamic.onnx"
    scrfd = shared / "models" / "scrfd_500m" / "det_500m.onnx"
    words = [str(yunet), str(scrfd), "--repeats", "1", "--pixels", "192"]
    detectors.main([*words, "--results", str(tmp_path)])
    rows = capsys.readouterr().out.splitlines()
    assert sum(row.startswith("| yunet_n_dynamic |") for row in rows) == len(detectors.BATCHES)
    assert sum(row.startswith("| det_500m |") for row in rows) == len(detectors.BATCHES)
    assert sum(row.startswith("| centerface |") for row in rows) == len(detectors.BATCHES)
    result = read_result(tmp_path / "detectors.md")
    assert [len(table) for table in result.tables] == [3 * len(detectors.BATCHES), 3, 3]
    assert [row["faces"] for row in result.tables[1]] == ["1", "6", "48"]
    assert not [row for row in rows if row and not row.startswith("|")]
    assert result.facts["command"].startswith("`python -m benchmarks.system.detectors yunet_n_")
