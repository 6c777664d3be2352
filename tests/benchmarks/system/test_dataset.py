"""The benchmark of datasets makes catalogs that an export reads, and runs the page's queries."""

from __future__ import annotations

from pathlib import Path

from benchmarks.system import dataset


def test_a_small_catalog_is_written_updated_and_queried(tmp_path: Path) -> None:
    row = dataset.measure(tmp_path, 3, dataset.Size(people=4, tracks=40))
    assert (row["titles"], row["tracks"]) == (3, 120)
    assert row["files"] == 21
    assert set(dataset.COLUMNS) == set(row)
    assert min(row.values()) > 0
