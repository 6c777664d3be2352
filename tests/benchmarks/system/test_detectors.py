"""The comparison of detectors."""

from __future__ import annotations

from benchmarks.result_file import read_result


def test_detectors_are_compared(shared, tmp_path, capsys, monkeypatch):
    from benchmarks.system import detectors  # insightface takes seconds to import

    monkeypatch.setattr(detectors, "BATCHES", (1, 3))
    yunet = shared / "models" / "yunet" / "yunet_n_dynamic.onnx"
    scrfd = shared / "models" / "scrfd_500m" / "det_500m.onnx"
    words = [str(yunet), str(scrfd), "--repeats", "1", "--pixels", "192"]
    detectors.main([*words, "--results", str(tmp_path)])
    rows = capsys.readouterr().out.splitlines()
    assert sum(row.startswith("| yunet_n_dynamic |") for row in rows) == len(detectors.BATCHES)
    assert sum(row.startswith("| det_500m |") for row in rows) == len(detectors.BATCHES)
    assert [row.split()[1] for row in rows[-3:]] == ["1", "6", "48"]
    result = read_result(tmp_path / "detectors.md")
    assert [len(table) for table in result.tables] == [2 * len(detectors.BATCHES), 3]
    assert result.facts["command"].startswith("`python -m benchmarks.system.detectors yunet_n_")
