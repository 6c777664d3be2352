"""Joining a cluster that is not there is refused in one line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import vcn_ray
from vcn_ray.config import ResourceConfig
from vcn_ray.distributed.session import check_room, cluster
from vcn_ray.errors import UsageError


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "which is for ray job: submit jobs/index.py there"),
        ("nonsense", "no Ray cluster can be joined at RAY_ADDRESS nonsense"),
        ("127.0.0.1:1", "no Ray cluster can be joined at RAY_ADDRESS 127.0.0.1:1 .*refused"),
        ("nowhere.invalid:6379", "no Ray cluster can be joined at RAY_ADDRESS nowhere.invalid"),
    ],
)
def test_an_address_that_cannot_be_joined(
    monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match=message) as refused, cluster(ResourceConfig()):
        raise AssertionError("a cluster was joined")
    assert "\n" not in str(refused.value)


def test_a_machine_without_room_is_refused() -> None:
    check_room(ResourceConfig(), {"CPU": 2.0})
    with pytest.raises(UsageError, match="there is room for 1 CPU, and the settings ask for 2"):
        check_room(ResourceConfig(), {"CPU": 1.0})


def test_a_folder_that_is_not_there_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="films/: no such file or folder"):
        vcn_ray.index(f"{tmp_path}/films/", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_ray_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with tempfile.NamedTemporaryFile(dir="/tmp") as taken:
        monkeypatch.setenv("RAY_TMPDIR", taken.name)
        message = "Ray cannot start on this machine"
        with pytest.raises(UsageError, match=message) as refused, cluster(ResourceConfig()):
            raise AssertionError("Ray was started")
    assert "\n" not in str(refused.value)
    assert "--local" in str(refused.value)
