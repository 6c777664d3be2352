"""Pack folders to change, for tests of packs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.pack_files import pack_files


@pytest.fixture
def folder(yunet_pack: Path, tmp_path: Path) -> Path:
    """A copy of the pack folder YuNet + MobileFaceNet."""
    return Path(shutil.copytree(yunet_pack, tmp_path / "pack"))


@pytest.fixture
def buffalo(shared: Path, tmp_path: Path) -> Path:
    """A folder with the files of InsightFace's smallest pack; its encoder is another net."""
    folder = tmp_path / "elsewhere" / "buffalo_sc"
    folder.mkdir(parents=True)
    for name, file in pack_files(shared).items():
        shutil.copy(file, folder / name)
    return folder
