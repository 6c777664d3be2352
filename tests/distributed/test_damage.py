"""What is damaged while a run on Ray lasts is done again in that run, with the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.system.chaos import files_of
from benchmarks.system.damage import flip
from tests.helpers.films import QUICK
from vcn_ray.api import index
from vcn_ray.config import ResourceConfig, RunConfig, load_config
from vcn_ray.distributed.session import cluster
from vcn_ray.run.events import DamageFound, Event, WorkDone

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

CASES = {
    "videos/*/detect-*/seg-00000.parquet": "detect",
    "videos/*/track-*/crops.parquet": "track",
    "titles/*/adapt-*/outputs.safetensors": "adapt",
}
"""Files, and the step that writes them; they are damaged before the next step reads them."""


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """One Ray for all tests of this module."""
    with cluster(ResourceConfig()):
        yield


def settings(yunet_pack: Path, **more: str) -> RunConfig:
    given = dict(word.split("=", 1) for word in QUICK if "=" in word)
    # One segment: its work is the last that ends before the video is tracked.
    return load_config(
        None, given | {"detect.segment_seconds": "60", "pack": str(yunet_pack)} | more
    )


@pytest.fixture(scope="module")
def whole(film: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of an undisturbed output, made without Ray."""
    output = tmp_path_factory.mktemp("whole")
    assert not index(film, output, local=True, config=settings(yunet_pack)).failures
    return files_of(output)


@pytest.mark.parametrize("kind", CASES)
def test_damage_is_mended_in_the_same_run(
    film: Path, yunet_pack: Path, whole: dict[str, str], here: None, tmp_path: Path, kind: str
) -> None:
    named: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, DamageFound):
            named.append(event.message)
        elif isinstance(event, WorkDone) and event.work.step == CASES[kind] and not named:
            for path in tmp_path.glob(kind):
                flip(path, np.random.default_rng(0))

    done = index(film, tmp_path, config=settings(yunet_pack), progress=watch)
    assert done.failures == ()
    assert len(named) == 1
    assert Path(kind).name in named[0]
    assert files_of(tmp_path) == whole


def test_damage_of_an_earlier_run_is_mended(
    film: Path, yunet_pack: Path, whole: dict[str, str], here: None, tmp_path: Path
) -> None:
    config = settings(yunet_pack)
    index(film, tmp_path, config=config)
    (tmp_path / next(p for p in whole if p.endswith("people.parquet"))).write_bytes(b"")
    (tmp_path / next(p for p in whole if p.endswith("crops.parquet"))).unlink()
    done = index(film, tmp_path, config=config)
    assert done.failures == ()
    assert len(done.record["damaged"]) == 2
    assert files_of(tmp_path) == whole


def test_a_train_job_is_not_begun_on_damaged_tracks(
    film: Path, yunet_pack: Path, here: None, tmp_path: Path
) -> None:
    named: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, DamageFound):
            named.append(event.message)
        elif isinstance(event, WorkDone) and event.work.step == "track" and not named:
            next(tmp_path.glob("videos/*/track-*/tracks.parquet")).write_bytes(b"")

    config = settings(yunet_pack, **{"resources.adapt_job_crops": "0"})
    done = index(film, tmp_path, config=config, progress=watch)
    assert done.failures == ()
    assert len(named) == 1
    assert done.record["work"]["track"]["steps"] == 2
