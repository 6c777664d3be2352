"""Lock files and SBOM are in step with pyproject.toml, and name nothing of one place."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "requirements"
LOCKS = ("lock.txt", "lock-torch.txt", "lock-torch-cpu.txt", "lock-build.txt")
CONTENT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
ENTRY = re.compile(
    r"^(?P<wanted>[^\s#][^\\\n]*?) \\\n(?P<hashes>(?:    --hash=\S+(?: \\)?\n)+)", re.M
)


def entries(name: str) -> dict[str, list[Requirement]]:
    """What a file locks, by name; a package may have a version for each range of Pythons."""
    found: dict[str, list[Requirement]] = {}
    for match in ENTRY.finditer((FOLDER / name).read_text(encoding="utf-8")):
        wanted = Requirement(match["wanted"])
        found.setdefault(canonicalize_name(wanted.name), []).append(wanted)
    return found


def version(wanted: Requirement) -> str:
    (pin,) = wanted.specifier
    assert pin.operator == "==", wanted
    return pin.version


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_of_the_present_pyproject(name: str) -> None:
    """Each change of a dependency changes the digest, so that it cannot be forgotten."""
    digest = runpy.run_path(str(PROJECT / "scripts" / "lock"))["digest_of_inputs"]()
    head = (FOLDER / name).read_text(encoding="utf-8").splitlines()[:3]
    assert head[2] == f"# inputs: {digest}", "run scripts/lock"


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_pin_with_hashes(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    rest = ENTRY.sub("", "".join(line for line in text.splitlines(True) if line[0] != "#"))
    assert rest == ""
    for match in ENTRY.finditer(text):
        version(Requirement(match["wanted"]))
        for line in match["hashes"].replace("\\", "").split():
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line)


def test_every_dependency_is_locked_in_a_version_that_is_asked_for() -> None:
    locked = entries("lock.txt") | entries("lock-torch.txt")
    wanted = [*CONTENT["project"]["dependencies"], *CONTENT["build-system"]["requires"]]
    for each in map(Requirement, wanted):
        versions = [version(pin) for pin in locked[canonicalize_name(each.name)]]
        assert versions
        assert all(each.specifier.contains(found) for found in versions), each
    assert set(entries("lock-build.txt")) == {
        canonicalize_name(Requirement(text).name) for text in CONTENT["build-system"]["requires"]
    }


def test_clusters_pin_what_is_locked() -> None:
    locked = entries("lock.txt") | entries("lock-torch.txt")
    lines = (PROJECT / "cluster_configs" / "constraints.txt").read_text(encoding="utf-8")
    for line in lines.splitlines():
        if line and line[0] != "#":
            name, _, pinned = line.partition("==")
            assert {version(pin) for pin in locked[canonicalize_name(name)]} == {pinned}, name


def test_what_torch_needs_of_cuda_is_for_linux_alone_and_apart() -> None:
    usual = entries("lock-torch.txt")
    (torch,) = usual.pop("torch")
    assert {"triton", "nvidia-cudnn-cu13"} <= set(usual)
    for pin in (pin for pins in usual.values() for pin in pins):
        assert isinstance(pin.marker, Marker)
        here = {"python_version": "3.11", "python_full_version": "3.11.7"}
        machine = {"platform_machine": "arm64", "sys_platform": "darwin"}
        assert not pin.marker.evaluate(here | machine), pin
    assert not {"torch", *usual} & set(entries("lock.txt"))
    ((cpu,),) = entries("lock-torch-cpu.txt").values()
    assert version(cpu) == f"{version(torch)}+cpu"


def test_the_sbom_is_of_what_is_locked() -> None:
    bom = json.loads((FOLDER / "sbom.cdx.json").read_text(encoding="utf-8"))
    found = {(canonicalize_name(c["name"]), c["version"]) for c in bom["components"]}
    locked = entries("lock.txt") | entries("lock-torch.txt")
    assert found == {(n, version(pin)) for n, pins in locked.items() for pin in pins}
    assert all(component["hashes"] for component in bom["components"])
    licences = {c["name"]: c.get("licenses") for c in bom["components"]}
    for name in ("ray", "torch", "av", "numpy", "onnxruntime"):
        assert licences[name], f"run scripts/lock where {name} is installed"
    (root,) = [
        d for d in bom["dependencies"] if d["ref"] == bom["metadata"]["component"]["bom-ref"]
    ]
    assert len(root["dependsOn"]) >= len(CONTENT["project"]["dependencies"])


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_registry_and_no_path_of_one_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(
        r"pypi\.org|pythonhosted|index-url|find-links|file:|(?<!\w)/\w+/\w+", text
    )


def test_the_image_and_the_demo_install_what_is_locked() -> None:
    for name in ("Makefile", "cluster_configs/Dockerfile"):
        assert "scripts/install_locked" in (PROJECT / name).read_text(encoding="utf-8")
    script = (PROJECT / "scripts" / "install_locked").read_text(encoding="utf-8")
    assert "--require-hashes" in script
    assert set(re.findall(r"requirements/([\w-]+\.txt)", script)) == set(LOCKS)
