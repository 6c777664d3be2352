"""What is removed stays removed in a run on Ray: erased persons, and pictures by retention."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.films import QUICK, Ran, vcn
from tests.helpers.upkeep import arrays_in, pictures_in
from vcn_ray.config import ResourceConfig
from vcn_ray.distributed.session import cluster
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.run.stored import stored_titles

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """One Ray for all tests of this module."""
    with cluster(ResourceConfig()):
        yield


def index(what: Path, output: Path, pack: Path, *more: str) -> Ran:
    ran = vcn("index", what, "--output", output, "--pack", pack, *QUICK, *more)
    assert ran.code == 0, ran.err
    return ran


def test_an_erased_person_does_not_come_back(
    film: Path, yunet_pack: Path, here: None, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    index(film, output, yunet_pack, "--local")
    (before,) = stored_titles(Storage.open(str(output)))
    gone = before.tracks.filter(np.array(before.tracks["person_id"].to_pylist()) == "p002")
    gone = gone["track_id"].to_pylist()
    assert gone
    assert vcn("erase", output, "--person", "film:p002").code == 0
    # Every frame is detected again, by workers that must know the tombstones.
    ran = index(film, output, yunet_pack, "--set", "detect.analysis_fps=5")
    assert ran.record["work"]["detect"]["steps"] > 0
    (after,) = stored_titles(Storage.open(str(output)))
    assert after.folder != before.folder
    assert after.people.num_rows == before.people.num_rows - 1
    owner, seconds = (before.crops[name].to_pylist() for name in ("track_id", "seconds"))
    boxes, new = read_boxes(before.crops), read_boxes(after.crops)
    times = column_array(after.crops, "seconds")
    for row, track in enumerate(owner):
        if track in gone:
            near = np.abs(times - seconds[row]) < 0.1
            middle = (boxes[row, :2] + boxes[row, 2:]) / 2
            inside = (new[near, :2] < middle) & (middle < new[near, 2:])
            assert not inside.all(axis=1).any()
    assert vcn("verify", output).code == 0


def test_retention_with_two_titles_that_share_a_video(
    film: Path, yunet_pack: Path, here: None, tmp_path: Path
) -> None:
    same = tmp_path / "copy" / film.name  # a file cannot be listed twice, its content can
    same.parent.mkdir()
    shutil.copy(film, same)
    catalog = tmp_path / "catalog.csv"
    catalog.write_text(f"uri,title\n{film},\n{same},Season\n")
    output = tmp_path / "out"
    keep = ["--set", "retention.crops_days=0", "--set", "retention.embeddings_days=0"]
    ran = index(catalog, output, yunet_pack, *keep)
    storage = Storage.open(str(output))
    assert len(list(stored_titles(storage))) == 2
    assert (pictures_in(storage), arrays_in(storage)) == (0, [])
    segments = len(list(output.glob("videos/*/detect-*/seg-*.parquet")))
    assert ran.record["work"]["detect"]["steps"] == segments  # the shared film's only once
    assert vcn("verify", output).code == 0
    assert "nothing to do" in index(catalog, output, yunet_pack).out
