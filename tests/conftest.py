"""Fixtures that several tests share."""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from tests.helpers.s3_server import S3Server

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test material beside the project: detectors, encoders, clips, photographs."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "models").is_dir():
        pytest.skip(f"no test material at {folder}: clips, photographs and models are not shipped")
    return folder


@pytest.fixture(scope="session")
def yunet_pack(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack folder YuNet + MobileFaceNet; beside it lie those with SCRFD."""
    script = Path(__file__).resolve().parents[1] / "scripts" / "test_packs"
    dest = tmp_path_factory.mktemp("packs")
    assert runpy.run_path(str(script))["main"]([str(dest)]) == 0
    return dest / "yunet-mobilefacenet"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without packs and an empty cache; returns where InsightFace's packs would lie."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("VCN_PACKS", raising=False)
    return tmp_path / ".insightface" / "models"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server on loopback, with credentials for it in the environment as AWS wants them."""
    from tests.helpers.s3_server import KEYS, running_server  # moto takes a second to import

    with pytest.MonkeyPatch.context() as patch, running_server() as server:
        patch.setenv("AWS_ACCESS_KEY_ID", KEYS["aws_access_key_id"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["aws_secret_access_key"])
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


@pytest.fixture(scope="session")
def film(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short film of real clips in which two people speak by turns."""
    from tests.helpers.montage import write_montage  # OpenCV and FFmpeg take a moment to import

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_montage(sorted((shared / "data/videos").glob("grid_*.mpg"))[:2], path)
    return path
