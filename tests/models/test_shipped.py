"""Weights inside installed packages: found without importing them, and checked by content."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from vcn_ray.errors import PackError
from vcn_ray.models import shipped
from vcn_ray.models.shipped import ShippedFile, find_shipped
from vcn_ray.packs.embedded import CENTERFACE, LANDMARKS, MMOD, RESNET, SFACE

CONTENT = b"weights"
FILE = ShippedFile("shipping_package", "models/net.bin", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file of a package lies whose code must not run."""
    package = tmp_path / FILE.package
    path = package / FILE.path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return path


def refusal(file: ShippedFile) -> str:
    with pytest.raises(PackError) as caught:
        find_shipped(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file", [CENTERFACE, SFACE, MMOD, LANDMARKS, RESNET], ids=lambda f: f.path)
def test_the_files_of_the_built_in_packs_are_there(file: ShippedFile) -> None:
    assert hashlib.sha256(find_shipped(file).read_bytes()).hexdigest() == file.sha256


def test_a_file_is_found_without_importing_its_package(place: Path) -> None:
    assert find_shipped(FILE) == place
    assert FILE.package not in sys.modules


def test_a_missing_package_says_how_to_install_it() -> None:
    assert refusal(FILE) == (
        "models/net.bin comes with shipping_package, which is missing: pip install shipping_package"
    )


def test_a_module_that_is_no_package_holds_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shipping_package.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert "which is missing: pip install shipping_package" in refusal(FILE)


def test_a_missing_file_is_told(place: Path) -> None:
    place.unlink()
    assert refusal(FILE) == (
        "shipping_package has no models/net.bin: pip install --force-reinstall shipping_package"
    )


def test_a_changed_file_is_refused(place: Path) -> None:
    find_shipped(FILE)
    place.write_bytes(b"others!")
    os.utime(place, ns=(1, 1))  # a change within the clock's last tick would have the same time
    found = hashlib.sha256(b"others!").hexdigest()
    assert refusal(FILE) == (
        f"{place} has sha256 {found}, but {FILE.sha256} is needed: "
        "pip install --force-reinstall shipping_package"
    )


def test_a_file_is_hashed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped._sha256.cache_clear()
    for _ in range(3):
        find_shipped(FILE)
    assert shipped._sha256.cache_info().misses == 1
