"""The scripts of the registry run, and their rows add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.method import registry
from benchmarks.system import registry_growth


def test_growth_is_measured_without_other_indexes(
    tmp_path: Path,
) -> None:
    row = registry_growth.measure_links(200, 5)
    assert (row["wrong"], row["missed"]) == (0, 0)
    assert row["catalog people"] == row["true"]
    assert registry_growth.measure_search(2000, "registry")["recall"] == 1.0
    first, same, more = registry_growth.measure_builds(tmp_path, 3)
    assert [first["read"], same["read"], more["read"]] == [3, 0, 1]


def test_a_presenter_and_people_who_are_seen_once_are_kept_apart() -> None:
    row = registry_growth.measure_shared(registry_growth.Show(300, 1, 1, 200))
    assert (row["wrong"], row["missed"]) == (0, 0)
    assert row["of pairs"] == 300 * 299 // 2


@pytest.mark.slow
def test_titles_are_joined_and_compared_with_cuts(
    shared: Path, yunet_pack: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--shared", str(shared), "--pack", str(yunet_pack)]
    registry.main([*words, "--quick", "--cache", str(tmp_path)])
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("| true")]
    methods = [line.split("|")[2].strip() for line in lines]
    assert methods == ["registry", "one cut, apart", "one cut", "components"]
