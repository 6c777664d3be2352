"""`vcn doctor` says what is there and what to do, for people and machines."""

from __future__ import annotations

from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.films import vcn


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_lines_for_people(yunet_pack: Path, tmp_path: Path) -> None:
    ran = vcn("doctor", "--output", tmp_path / "out", "--pack", yunet_pack)
    *lines, last = ran.out.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warning", "fault"}
    faults = sum(line.startswith("fault") for line in lines)
    assert last.startswith(f"{faults} fault")
    assert ran.code == (1 if faults else 0)
    assert any(line.startswith("ok       python: ") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_json_and_the_exit_code_of_a_fault(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    ran = vcn(
        "doctor", tmp_path / "none.mp4", "--output", tmp_path / "out", "--pack", "x", "--json"
    )
    assert ran.code == 1
    (line,) = ran.out.splitlines()
    record = ran.record
    rows = {row["subject"]: row for row in record["findings"]}
    assert set(rows["python"]) == {"subject", "state", "text", "advice", "node"}
    for subject in ("pack in use", f"output {tmp_path / 'out'}", f"input {tmp_path / 'none.mp4'}"):
        assert rows[subject]["state"] == "fault"
        assert rows[subject]["advice"]
    assert record["faults"] >= 3
    assert line.startswith("{")


def test_an_address_that_cannot_be_joined() -> None:
    ran = vcn("doctor", "--address", "http://127.0.0.1:8265")
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1


def test_from_python(yunet_pack: Path) -> None:
    findings = vcn_ray.doctor(pack=str(yunet_pack))
    assert {type(finding) for finding in findings} == {vcn_ray.Finding}
    assert findings[0].subject == "python"
