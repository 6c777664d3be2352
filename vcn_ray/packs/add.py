"""Makes a pack of a folder with model files: it writes what `pack_files` reads, and tries it.

What the files do not say, such as a licence, is asked of nobody: the caller says it, or it stays
unknown. Nothing is written where the files cannot be used; a pack that loads but does badly on the
picture is written, so that its description can be corrected.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import tomli_w
from pydantic import ValidationError

from vcn_ray.errors import PackError
from vcn_ray.models.weight_files import (
    PICKLES,
    SAFE,
    WeightFile,
    as_safetensors,
    read_weights,
    same_weights,
)
from vcn_ray.packs.check import PackCheck, check_loaded
from vcn_ray.packs.describe import PACK_TOML, PackFile, first_fault
from vcn_ray.packs.inspect import describe_nets, encoder_table, find_nets
from vcn_ray.packs.load import load_described


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is said of a pack instead of what its files tell; None is not said."""

    name: str | None = None
    licence: str | None = None
    commercial_use: bool = False
    source: str | None = None
    min_score: float | None = None  # of the detector, 0..1
    input_pixels: int | None = None  # longest side that the detector sees


class Added(NamedTuple):
    """A pack that was written."""

    path: Path  # of its pack.toml
    spec: PackFile
    check: PackCheck
    chose_scale: bool  # whether pixels are scaled otherwise than is usual, for the check says so


def add_pack(folder: Path, wishes: Wishes, anew: bool = False) -> Added:
    """Write pack.toml for the model files of a folder, and try the pack on a picture.

    Args:
        folder: Where a detector and an encoder lie.
        wishes: What its user says of it.
        anew: Whether a pack.toml that is there is replaced.

    Raises:
        PackError: The files are no pack, or one that cannot be used, or cannot be written beside.
    """
    path = folder / PACK_TOML
    if not folder.is_dir():
        raise PackError(f"{folder} is no folder: give the one that holds the model files")
    if path.exists() and not anew:
        raise PackError(
            f"{path} is there already: try it by vcn packs check {folder}, or remove it, or have "
            "it written anew by --force"
        )
    if wishes.commercial_use and not wishes.licence:
        raise PackError("--commercial-use needs --licence: say which licence allows it")
    with written_whole(path) as stream:  # first of all, as the check takes long
        spec = describe_folder(folder, wishes)
        check = check_loaded(load_described(folder, spec))
        chosen = check.better_scale
        if chosen is not None:
            scale = {"mean": list(chosen.mean), "std": list(chosen.std)}
            spec = spec.model_copy(update={"encoder": spec.encoder.model_copy(update=scale)})
            check = check_loaded(load_described(folder, spec))
        stream.write(tomli_w.dumps(spec.model_dump(exclude_none=True)).encode())
    return Added(path, spec, check, chosen is not None)


def describe_folder(folder: Path, wishes: Wishes) -> PackFile:
    """The description of a folder's nets; writes safetensors where weights are a pickle.

    Raises:
        PackError: There is not one detector and one encoder, or a wish cannot be.
    """
    weights = weight_files(folder)
    if not weights and not any(folder.glob("*.onnx")):
        raise PackError(
            f"{folder} holds no model files: put a detector (.onnx) and a face-ID net (.onnx, "
            f"{SAFE} or {' or '.join(PICKLES)}) there"
        )
    name = folder.resolve().name
    detector, encoder = find_nets(folder, name, weights)
    if isinstance(encoder, WeightFile):
        encoder = without_pickle(encoder)
    spec = describe_nets(name, detector, encoder_table(encoder))
    content = with_wishes(spec.model_dump(exclude_none=True), wishes)
    try:
        return PackFile.model_validate(content)
    except ValidationError as error:
        raise PackError(f"{folder}: {first_fault(error)}") from None


def with_wishes(content: dict[str, Any], wishes: Wishes) -> dict[str, Any]:
    """The content of a pack.toml with what its user says of it."""
    said = {"name": wishes.name, "licence": wishes.licence, "source": wishes.source}
    seen = {"min_score": wishes.min_score, "input_pixels": wishes.input_pixels}
    return {
        **content,
        **{key: value for key, value in said.items() if value is not None},
        "commercial_use": wishes.commercial_use,
        "detector": {
            **content["detector"],
            **{key: value for key, value in seen.items() if value is not None},
        },
    }


def weight_files(folder: Path) -> list[WeightFile]:
    """Weights that torch saved; safetensors made of a pickle beside them do not count again.

    Raises:
        PackError: A file holds no weights of an encoder that is known.
    """
    pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    made = {path.with_suffix(SAFE) for path in pickles}
    others = [path for path in sorted(folder.glob(f"*{SAFE}")) if path not in made]
    return [read_weights(path) for path in (*pickles, *others)]


def without_pickle(file: WeightFile) -> WeightFile:
    """The same weights as safetensors with the net's own names; written beside a pickle.

    Raises:
        PackError: Another file is in the way, or the folder cannot be written.
    """
    path = file.path.with_suffix(SAFE)
    safe = replace(file, path=path, prefix="")
    if path == file.path:
        if file.prefix:
            raise PackError(
                f"{path} has {file.prefix!r} before all names: save it anew without that"
            )
    elif not path.exists():
        with written_whole(path) as stream:
            stream.write(as_safetensors(file.weights))
    elif not same_weights(read_weights(path).weights, file.weights):
        raise PackError(
            f"{path} holds other weights than {file.path.name}: leave one of them in the folder"
        )
    return safe


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when all is written, and is gone where something fails.

    Raises:
        PackError: It cannot be written there.
    """
    part = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        with part.open("xb") as stream:
            yield stream
        os.replace(part, path)
    except OSError as error:
        raise PackError(
            f"{path} cannot be written ({error.strerror}): have the model files in a folder that "
            "you may write into"
        ) from error
    finally:
        if part.exists():
            part.unlink()
