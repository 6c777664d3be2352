"""An output of two titles that share a film: the film itself, and a season that it belongs to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.films import vcn
from tests.helpers.montage import write_montage
from tests.helpers.upkeep import Indexed


@pytest.fixture(scope="session")
def original(
    shared: Path, film: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Indexed:
    """The output, with pages; no test changes it."""
    home = tmp_path_factory.mktemp("upkeep")
    second = home / "second.mp4"
    write_montage(sorted((shared / "data/videos").glob("grid_*.mpg"))[1:3], second, seed=1)
    same = home / "copy" / film.name  # a file cannot be listed twice, its content can
    same.parent.mkdir()
    shutil.copy(film, same)
    catalog = home / "catalog.csv"
    catalog.write_text(f"uri,title\n{film},\n{same},Season\n{second},Season\n")
    made = Indexed(home / "out", catalog, yunet_pack)
    ran = made.index()
    assert ran.code == 0, ran.err
    assert vcn("report", made.output).code == 0
    return made


@pytest.fixture
def indexed(original: Indexed, tmp_path: Path) -> Indexed:
    """A copy of it."""
    return original.at(Path(shutil.copytree(original.output, tmp_path / "out")))
