"""Fixtures that several tests share."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest
import torch

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
    """The pack folder YuNet + MobileFaceNet; beside it lies scrfd-mobilefacenet."""
    script = Path(__file__).resolve().parents[1] / "scripts" / "test_packs"
    dest = tmp_path_factory.mktemp("packs")
    assert runpy.run_path(str(script))["main"]([str(dest)]) == 0
    return dest / "yunet-mobilefacenet"
