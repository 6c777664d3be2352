"""Packs of faces as files and archives, made of the models beside the project."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

Change = Callable[[dict[str, Any]], object]


def pack_files(shared: Path) -> dict[str, Path]:
    models = shared / "models"
    return {
        "det_500m.onnx": models / "scrfd_500m/det_500m.onnx",
        "w600k_mbf.onnx": models / "mobilefacenet/mobilefacenet_arcface.onnx",
    }


def rewrite(folder: Path, change: Change) -> None:
    """Change the pack.toml of a folder."""
    path = folder / "pack.toml"
    content = tomllib.loads(path.read_text())
    change(content)
    path.write_text(tomli_w.dumps(content))


def with_checksum(folder: Path, table: str) -> None:
    """Make pack.toml agree with the present content of a file."""

    def update(content: dict[str, Any]) -> None:
        path = folder / content[table]["file"]
        content[table]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    rewrite(folder, update)


def write_archive(path: Path, files: dict[str, Path], inside: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in files.items():
            archive.write(file, f"{inside}{name}")


def with_manifest(folder: Path, shared: Path, **tasks: Any) -> Path:
    """A pack as InsightFace describes its later ones."""
    folder.mkdir(parents=True)
    given: dict[str, Any] = {}
    for task, (name, file) in zip(
        ("detection", "recognition"), pack_files(shared).items(), strict=True
    ):
        shutil.copy(file, folder / name)
        given[task] = {"file": name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    given["recognition"]["embedding_dimension"] = 128
    for task, change in tasks.items():
        given[task] = given.get(task, {}) | change
    (folder / "MODEL.LICENSE").write_text("for research")
    content = {"manifest_version": 2, "model_id": "cheetah_s", "license": "MODEL.LICENSE"}
    (folder / "manifest.json").write_text(json.dumps(content | {"tasks": given}))
    return folder


def with_folder(folder: Path, shared: Path) -> Path:
    """Such a pack whose detector lies in a folder of its own."""
    with_manifest(folder, shared)
    (folder / "models").mkdir()
    (folder / "det_500m.onnx").rename(folder / "models" / "det_500m.onnx")
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"det_500m', '"models/det_500m'))
    return folder
