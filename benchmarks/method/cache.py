"""Arrays cached on disk between runs, each file named by a hash of its inputs."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import vcn_ray
from vcn_ray.records import F32

PACKAGE = Path(vcn_ray.__file__).parent
FACTS = "facts"

Arrays = Mapping[str, np.ndarray[Any, Any]]


def digest(*parts: object) -> str:
    """Hash of the printed form of some values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def sources(*modules: str) -> list[Path]:
    """The files of modules of the package, and of everything that they import from it."""
    left, seen = list(modules), set[Path]()
    while left:
        path = PACKAGE.parent.joinpath(*left.pop().split(".")).with_suffix(".py")
        if path.exists() and path not in seen:
            seen.add(path)
            nodes = ast.walk(ast.parse(path.read_bytes()))
            found = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
            left += [name for name in found if name.startswith(PACKAGE.name)]
    return sorted(seen)


@cache
def code_digest(*modules: str) -> str:
    """Hash of the modules' sources: another version of the code may write other arrays."""
    return digest(*(path.read_bytes() for path in sources(*modules)))


def store(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> None:
    """Write a file atomically: other programs may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    with temporary.open("wb") as file:
        np.savez(file, **{FACTS: np.array(json.dumps(facts))}, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def load(path: Path) -> tuple[dict[str, F32], dict[str, Any]] | None:
    """Arrays and facts of a file; None where the file does not exist."""
    if not path.exists():
        return None
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files if name != FACTS}
        return arrays, json.loads(str(data[FACTS]))
