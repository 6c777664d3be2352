"""The fuzz of inputs: repeatable, without faults on a few, and it counts the faults it sees."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.result_file import read_result
from benchmarks.system import hostile
from benchmarks.system.input_fuzz import FAULTS, KINDS, Reader, answer_of, main
from vcn_ray.errors import UsageError


@pytest.mark.slow
def test_a_few_inputs_of_each_kind_end_without_a_fault(tmp_path: Path) -> None:
    main(["--inputs", "200", "--seed", "7", "--results", str(tmp_path)])
    (table,) = read_result(tmp_path / "input_fuzz.md").tables
    assert [row["input"] for row in table] == list(KINDS)
    assert sum(int(row["number"]) for row in table) == 200
    assert all(row[fault] == "0" for row in table for fault in FAULTS)
    assert all(int(row["refused"]) > 0 for row in table)


def test_a_number_makes_the_same_input_again() -> None:
    def made() -> list[object]:
        random = np.random.default_rng([3, 1])
        graph = hostile.hostile_graph(random, hostile.encoder_graph())
        return [hostile.hostile_text(random, hostile.SETTINGS, "="), graph]

    assert made() == made()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "accepted"),
        (UsageError("one line"), "refused"),
        (UsageError("x" * 5000), "odd error"),
        (KeyError("x"), "traceback"),
        (RecursionError(), "traceback"),
    ],
)
def test_outcomes_are_told_apart(
    error: Exception | None, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(random: hostile.Random, folder: Path) -> None:
        if error:
            raise error

    monkeypatch.setitem(KINDS, "labels", (10, read))
    assert answer_of("labels", 0, 0, tmp_path).outcome == outcome


def test_a_child_that_hangs_or_dies_is_replaced(tmp_path: Path) -> None:
    with closing(Reader(tmp_path)) as reader:
        assert reader.read("labels", 0, 0, seconds=0.0).outcome == "hang"
        reader._process.kill()
        reader._process.join()
        assert reader.read("labels", 0, 0, seconds=20.0) == ("crash", "exit code -9")
        assert reader.read("labels", 0, 0, seconds=20.0).outcome in ("accepted", "refused")
