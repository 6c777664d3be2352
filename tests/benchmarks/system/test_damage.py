"""The benchmark of damaged files finds and repairs what it damages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.result_file import read_result
from benchmarks.system import damage


@pytest.mark.parametrize("way", damage.DAMAGES)
def test_each_way_changes_a_file(tmp_path: Path, way: str) -> None:
    path = tmp_path / "file"
    for seed in range(20):
        path.write_bytes(bytes(range(256)))
        damage.DAMAGES[way](path, np.random.default_rng(seed))
        assert not path.exists() or path.read_bytes() != bytes(range(256))
    left = path.read_bytes() if path.exists() else None
    assert {"empty": left == b"", "delete": left is None}.get(way, bool(left))


def test_two_files_change_places(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    damage.swap(one, two)
    assert (one.read_bytes(), two.read_bytes()) == (b"2", b"1")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_a_few_damages_are_named_and_repaired(film: Path, yunet_pack: Path, tmp_path: Path) -> None:
    words = [str(film), "--pack", str(yunet_pack), "--damages", "4", "--results", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        damage.main(words)
    assert ended.value.code == 0
    rows = read_result(tmp_path / "damage.md").tables[0]
    assert rows[-1]["file"] == "all"
    assert (rows[-1]["damages"], rows[-1]["named"], rows[-1]["wrong"]) == ("4", "4", "0")
