"""The benchmark of the wire knows many modes, and sees what a fault does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.result_file import read_result
from benchmarks.system import wire
from tests.helpers.s3_server import Answer, Request

FILM = Request("GET", "films", "0.mp4", {}, {}, 206, 100)
PART = Answer(206, {"Content-Range": "bytes 0-99/300", "ETag": '"e"'}, bytes(range(100)))


def test_there_are_many_modes() -> None:
    assert len(wire.ANSWERS) + len(wire.REQUESTS) >= 28
    for mode, (about, spoil) in wire.ANSWERS.items():
        if about is wire.of_videos:
            spoiled = spoil(FILM, PART)
            assert spoiled != PART, mode


def test_a_fault_spoils_the_first_and_some_more() -> None:
    fault = wire.Fault("range: one byte less", np.random.default_rng(0))
    lengths = [len(fault._alter(FILM, PART).content) for _ in range(300)]
    assert lengths[0] == 99
    assert lengths.count(99) == fault.spoiled == wire.MAX_SPOILED
    assert fault._alter(Request("GET", "films", "", {}, {}, 200, 0), PART) == PART


@pytest.mark.slow
@pytest.mark.network
def test_a_mode_ends_with_equal_rows(film: Path, yunet_pack: Path, tmp_path: Path) -> None:
    words = [str(film), "--pack", str(yunet_pack), "--results", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        wire.main([*words, "--only", "range: half of it, range", "write: half"])
    assert ended.value.code == 0
    rows = read_result(tmp_path / "wire.md").tables[0]
    assert [(row["wrong"], row["after"]) for row in rows] == [("0", "equal")] * 2
    assert all(int(row["spoiled"]) for row in rows)
