"""The benchmark of priors, and that the constants of the built-in packs are what it measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.command import RESULTS
from benchmarks.method import priors
from benchmarks.result_file import read_result
from vcn_ray.packs.embedded import BUILT_IN_NAMES, describe_built_in


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_the_constants_are_the_measured_ones(name: str) -> None:
    (table,) = read_result(RESULTS / "priors.md").tables
    (row,) = [r for r in table if r["pack"] == name and r["pictures"] == "130 of FACES"]
    prior = describe_built_in(name).prior
    assert prior is not None
    values = asdict(prior)
    for column, field in priors.FIELDS.items():
        assert row[column] == f"{values[field]:.4f}"
    assert row["cut"] == f"{prior.cut:.4f}"


@pytest.mark.slow
def test_the_script_measures_both_kinds_of_pictures(
    shared: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    for number in range(5):
        person = shared / "data" / "faces" / f"id{number:03d}"
        (tmp_path / "faces" / person.name).mkdir(parents=True)
        for path in sorted(person.iterdir())[:2]:
            shutil.copy(path, tmp_path / "faces" / person.name)
    rows = tmp_path / "rows.json"
    words = [str(tmp_path / "faces"), "--packs", str(yunet_pack), "--json", str(rows)]
    priors.main([*words, "--results", str(tmp_path)])
    shipped, labelled = json.loads(rows.read_text())
    assert (shipped["pictures"], shipped["people"]) == ("3 shipped", 8)
    assert (labelled["pictures"], labelled["people"]) == ("5 of FACES", 5)
    for row in (shipped, labelled):
        assert row["pack"] == yunet_pack.name
        assert row["as in the pack"] == "no"
        assert 0.3 < row["cut"] < 0.8
