"""A part of a catalog done first, and what it tells of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.films import vcn
from tests.helpers.videos import encode


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films without a face."""
    folder = tmp_path_factory.mktemp("films")
    for seed in range(6):
        frames = np.random.default_rng(seed).integers(0, 255, (12, 96, 128, 3), dtype=np.uint8)
        encode(folder / f"{seed}.mp4", frames)
    return folder


def test_a_share_is_done_and_tells_of_the_rest(
    films: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    words = [films, "--output", tmp_path, "--pack", yunet_pack]
    first = vcn("index", *words, "--local", "--sample", "0.1")
    assert first.code == 0, first.err
    assert first.record["videos"] == {"done": 3, "reused": 0, "partial": 0, "failed": 0, "open": 0}
    plan = vcn("plan", *words, "--set", "prices.cpu_hour=2")
    assert plan.record["titles_by_action"] == {"everything": 3, "nothing": 3}
    assert plan.record["estimated_from_titles"] == 3
    likely, low, high = (plan.record[f"estimated_seconds{end}"] for end in ("", "_low", "_high"))
    assert 0 <= low <= likely <= high
    assert "estimated from 3 titles with these settings" in plan.out
    assert "cost: about" in plan.out
    larger = vcn("index", *words, "--local", "--sample", "0.6")
    assert (larger.record["videos"]["done"], larger.record["videos"]["reused"]) == (1, 3)
    rest = vcn("index", *words, "--local")
    assert (rest.record["videos"]["done"], rest.record["videos"]["reused"]) == (2, 4)
    done = vcn("plan", *words)
    assert "there is nothing to do" in done.out


@pytest.mark.parametrize("share", ["0", "2", "-1", "much"])
def test_a_share_is_a_part_of_one(films: Path, tmp_path: Path, share: str) -> None:
    ran = vcn("index", films, "--output", tmp_path, "--sample", share)
    assert ran.code == 2
    assert "--sample" in ran.err
