"""What of a machine is a warning or a fault, and that a broken check stops no other."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from vcn_ray.config import RunConfig
from vcn_ray.health import machine
from vcn_ray.health.finding import checked
from vcn_ray.health.machine import (
    GIB,
    disk_finding,
    machine_findings,
    memory_findings,
    open_to_others,
    pack_findings,
    port_findings,
    token_finding,
)

Usage = namedtuple("Usage", "total used free")  # as shutil has it


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free bytes of the disk, as the check sees them."""
    found = {"free": 100 * GIB}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(200 * GIB, 100 * GIB, found["free"]))
    return found


@pytest.mark.parametrize(
    ("free", "state"), [(100 * GIB, "ok"), (5 * GIB, "warning"), (GIB // 2, "fault")]
)
def test_room_on_a_disk(room: dict[str, int], free: int, state: str, tmp_path: Path) -> None:
    room["free"] = free
    finding = disk_finding("output", tmp_path / "new" / "folder")
    assert finding.state == state
    assert finding.text.startswith(f"{tmp_path} has ")
    assert not (tmp_path / "new").exists()


def test_memory(room: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    room["free"] = 64 << 20
    monkeypatch.setattr(machine, "free_memory", lambda: 3 * GIB)
    memory, shared = memory_findings()
    assert (memory.state, shared.state) == ("warning", "warning")
    assert "--shm-size" in shared.advice
    monkeypatch.undo()
    assert (machine.free_memory() or 0) > GIB


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert token_finding().state == "ok"
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("secret of a test")
    path.chmod(0o644)
    assert token_finding().advice == f"chmod 600 {path}"
    path.chmod(0o600)
    assert token_finding().state == "ok"
    assert "secret" not in token_finding().text
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token_finding().state == "warning"


def test_ports_that_others_reach() -> None:
    line = "   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 0 0 0 1"
    lines = [
        line.format(address="00000000", port=8265, state="0A"),
        line.format(address="0100007F", port=6379, state="0A"),
        line.format(address="0" * 32, port=10001, state="0A"),
        line.format(address="0000000000000000FFFF00000100007F", port=52365, state="0A"),
        line.format(address="00000000", port=44217, state="01"),  # a connection
    ]
    assert open_to_others(lines) == {8265, 10001}


@pytest.mark.network
def test_a_dashboard_that_is_open_is_a_warning() -> None:
    import socket

    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("0.0.0.0", 8265))
        except OSError:
            pytest.skip("another Ray of this machine has a dashboard")
        server.listen()
        for in_cluster in (False, True):
            found = [f for f in port_findings(in_cluster) if "8265" in f.text]
            assert [finding.state for finding in found] == ["warning"]


@pytest.mark.skipif(machine.NVIDIA.exists(), reason="this machine has a GPU")
def test_where_a_run_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = machine.decode_device_finding()
    assert finding.state == "ok"
    assert finding.text.startswith("the CPU, because no GPU can decode here: ")
    driver = tmp_path / "version"  # a container with the driver, but without its decoder
    driver.touch()
    monkeypatch.setattr(machine, "NVIDIA", driver)
    finding = machine.decode_device_finding()
    assert finding.state == "warning"
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in finding.advice


def test_packs(yunet_pack: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCN_PACKS", str(yunet_pack.parent))
    findings = {f.subject: f for f in pack_findings(RunConfig(pack=str(yunet_pack)))}
    assert findings["pack in use"].text == "yunet-mobilefacenet loads"
    assert "commercial use allowed" in findings["pack yunet-mobilefacenet"].text
    assert "no commercial use" in findings["pack scrfd-mobilefacenet"].text
    broken = {f.subject: f for f in pack_findings(RunConfig(pack="no-such-pack"))}
    assert broken["pack in use"].state == "fault"
    assert "no pack is called" in broken["pack in use"].text


def test_a_check_that_breaks_is_a_fault_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, yunet_pack: Path
) -> None:
    def broken() -> list[object]:
        raise OSError("a\x1b[2J broken disk")

    (finding,) = checked("disk", broken)  # type: ignore[arg-type]  # it returns nothing
    assert finding.state == "fault"
    assert finding.text == "cannot be checked (OSError: a?[2J broken disk)"
    monkeypatch.setattr(machine, "gpu_findings", broken)
    subjects = [f.subject for f in machine_findings(RunConfig(pack=str(yunet_pack)))]
    assert {"python", "gpu", "pack in use", "token", "ports"} <= set(subjects)
