"""Films and checks that the tests of decoding share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.decoders import decoders
from tests.helpers.videos import encode, encode_grey, shot
from vcn_ray.io.decoder import close_idle


@pytest.fixture
def no_decoder_left() -> Iterator[None]:
    """Check that a test leaves at most one idle decoder, and no shared memory."""
    before = _shared_memory()
    yield
    assert len(decoders()) <= 1
    close_idle()
    assert not decoders()
    assert _shared_memory() <= before


def _shared_memory() -> set[str]:
    """Shared memory of this machine, without the locks of processes that run beside this one."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.mp-")}


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds with a keyframe each."""
    folder = tmp_path_factory.mktemp("film")
    pictures = shot(1, 75, speed=2.0)
    return encode(folder / "film.mp4", pictures, options={"g": "25"})


@pytest.fixture(scope="session")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few kilobytes that decode to pictures of 36 million pixels."""
    return encode_grey(tmp_path_factory.mktemp("huge") / "huge.ts", 6000, frames=2)
