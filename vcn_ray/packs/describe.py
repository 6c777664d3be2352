"""Reads `pack.toml`, the description in every pack folder; it opens no network.

The file says what a pack is made of, and every key below is needed unless it says otherwise:

    name = "yunet-mobilefacenet"
    licence = "Apache-2.0"          # shown to people
    commercial_use = true           # whether that licence allows it
    source = "where the files came from"

    [detector]
    kind = "yunet"                  # yunet | scrfd: an ONNX graph with five landmarks
    file = "yunet.onnx"             # inside the folder
    sha256 = "104ee2..."            # of that file, 64 hex digits
    min_score = 0.5                 # 0..1, faces under it are not reported
    input_pixels = 960              # optional: longest side the network sees
    tiles = 3                       # optional: also search 3 x 3 overlapping parts of each frame

    [aligner]
    kind = "arcface"                # arcface: the five-point template of ArcFace

    [encoder]
    kind = "mobilefacenet"          # mobilefacenet | iresnet: weights as safetensors
    file = "mobilefacenet.safetensors"
    sha256 = "..."
    input_pixels = 112              # side of an aligned crop

or, for any face-ID net as an ONNX graph,

    kind = "onnx"
    file = "w600k_r50.onnx"
    sha256 = "..."
    input_pixels = 112              # as the graph says
    mean = [127.5, 127.5, 127.5]    # of grey levels 0 to 255, subtracted from each channel,
    std = [127.5, 127.5, 127.5]     # which is then divided by this
    channels = "rgb"                # or "bgr": the order in which the graph takes them

Weights have the names that the net's authors gave them: mobilefacenet those of foamliu's
MobileFaceNet, iresnet those of InsightFace's arcface_torch (R18, R34, R50, R100 and others, told by
the number of blocks), which takes RGB as (x - 127.5) / 127.5. `vcn packs add` writes this file, and
safetensors of what torch saved as `.pt` or `.pth`; a pickle is never read when a pack is loaded.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from vcn_ray.errors import PackError

PACK_TOML = "pack.toml"


class Table(BaseModel):
    """A table of pack.toml: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DetectorTable(Table):
    """The table [detector]."""

    kind: Literal["yunet", "scrfd"]
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    min_score: float = Field(ge=0, le=1)
    input_pixels: int | None = Field(default=None, ge=64)
    tiles: int | None = Field(default=None, ge=1, le=8)


class AlignerTable(Table):
    """The table [aligner]."""

    kind: Literal["arcface"]


class EncoderTable(Table):
    """The table [encoder]."""

    kind: Literal["mobilefacenet", "iresnet", "onnx"]
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    input_pixels: int = Field(ge=32, le=512)
    mean: list[float] | None = Field(default=None, min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] | None = Field(
        default=None, min_length=3, max_length=3
    )
    channels: Literal["rgb", "bgr"] | None = None

    @field_validator("input_pixels")
    @classmethod
    def _of_kind(cls, pixels: int, info: ValidationInfo) -> int:
        kind = info.data.get("kind", "onnx")
        if kind != "onnx" and pixels != 112:
            raise ValueError(f"{kind} takes 112")
        return pixels

    @field_validator("mean", "std", "channels")
    @classmethod
    def _of_onnx(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("kind", "onnx") != "onnx" and value is not None:
            raise ValueError("only a graph of kind onnx is told how to scale its input")
        return value


class PackFile(Table):
    """All of pack.toml."""

    name: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    commercial_use: bool
    source: str
    detector: DetectorTable
    aligner: AlignerTable
    encoder: EncoderTable

    def detector_hash(self) -> str:
        """Hex; changes with everything that boxes and aligned crops depend on."""
        side = self.encoder.input_pixels
        return settings_hash(self.detector, self.aligner, {"crop_pixels": side})

    def encoder_hash(self) -> str:
        """Hex; changes with everything that embeddings of given crops depend on."""
        return settings_hash(self.encoder)


def settings_hash(*tables: Table | dict[str, Any]) -> str:
    """Hex sha256 of tables' settings; file names do not count, checksums stand for files."""
    settings = [t if isinstance(t, dict) else _settings(t) for t in tables]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _settings(table: Table) -> dict[str, Any]:
    """What counts of a table; a key that came later and is absent changes no older hash."""
    later = {
        name for name in ("tiles", "mean", "std", "channels") if getattr(table, name, None) is None
    }
    return table.model_dump(exclude={"file"} | later)


def read_pack_file(folder: Path) -> PackFile:
    """Read and check a folder's pack.toml, not yet the files that it names.

    Raises:
        PackError: It is absent, is not TOML, or has a wrong, missing or unknown key.
    """
    path = folder / PACK_TOML
    try:
        return parse_pack_file(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise PackError(
            f"{folder} has no {PACK_TOML}: a pack folder needs one beside its model files; "
            "vcn packs add writes it"
        ) from None
    except OSError as error:
        raise PackError(f"{path} cannot be read ({error.strerror}): mend the file") from error


def parse_pack_file(content: bytes, where: str) -> PackFile:
    """Check what a pack.toml says.

    Args:
        content: The file.
        where: It lies, for messages.

    Raises:
        PackError: It is not TOML, or has a wrong, missing or unknown key.
    """
    try:
        return PackFile.model_validate(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PackError(f"{where} cannot be read as TOML ({error}): mend the file") from error
    except ValidationError as error:
        raise PackError(f"{where}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong, in one line that names the key."""
    fault = error.errors(include_url=False)[0]
    *table, key = (str(part) for part in fault["loc"])
    dotted = ".".join([*table, key])
    if fault["type"] == "missing":
        return f"the key {dotted} is missing: add it"
    if fault["type"] == "extra_forbidden":
        model = PackFile.model_fields[table[0]].annotation if table else PackFile
        known = list(getattr(model, "model_fields", {}))
        return f"unknown key {dotted}: {suggest(key, known)}"
    return f"{dotted} = {fault['input']!r} will not do: {fault['msg']}"


def suggest(word: str, known: list[str]) -> str:
    """What a mistyped word may have meant, or else all there is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def checked_file(folder: Path, table: DetectorTable | EncoderTable) -> Path:
    """Path of the file that a table names, its content verified.

    Raises:
        PackError: It lies outside the folder, is absent, or differs from its checksum.
    """
    path = (folder / table.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PackError(
            f"{folder / PACK_TOML} names {table.file!r}, which is outside the folder: "
            "put the file into the folder"
        )
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise PackError(
            f"{folder / PACK_TOML} names {table.file!r}, which cannot be read "
            f"({error.strerror}): put the file there"
        ) from error
    if found != table.sha256:
        raise PackError(
            f"{path} has sha256 {found}, but {PACK_TOML} says {table.sha256}: "
            "the file is damaged or another one; fetch it again or correct the checksum"
        )
    return path
