"""Reads `pack.toml`, the description in a pack folder; it loads no network.

The file has the keys below; all are required except those marked optional:

    name = "yunet-mobilefacenet"
    licence = "Apache-2.0"          # shown to people
    commercial_use = true           # whether the licence allows it
    source = "where the files came from"

    [detector]
    kind = "yunet"                  # yunet | scrfd | centerface: an ONNX graph with five landmarks
    file = "yunet.onnx"             # inside the folder
    sha256 = "104ee2..."            # of that file, 64 hex digits
    min_score = 0.5                 # 0 to 1; faces with a lower score are not reported
    input_pixels = 960              # optional: longest side of the network's input; larger frames
                                    # are shrunk to it, and centerface enlarges smaller ones too
    tiles = 3                       # optional: also search 3 x 3 overlapping parts of each frame

    [aligner]
    kind = "arcface"                # the five-point template of ArcFace

    [encoder]
    kind = "mobilefacenet"          # mobilefacenet | iresnet: weights as safetensors
    file = "mobilefacenet.safetensors"
    sha256 = "..."
    input_pixels = 112              # side of an aligned crop

A face-ID net as an ONNX graph has

    kind = "onnx"
    file = "w600k_r50.onnx"
    sha256 = "..."
    input_pixels = 112              # the graph's own size
    mean = [127.5, 127.5, 127.5]    # optional: grey levels 0 to 255, subtracted from each channel,
    std = [127.5, 127.5, 127.5]     # optional: which is then divided by this
    channels = "rgb"                # optional: the graph's order of channels, or "bgr"

What `vcn packs add` measured with detector and encoder (see `core.prior`) is optional, too:

    [prior]
    stranger_cosine = 0.0948        # mean cosine of two people's faces
    stranger_sd = 0.0882            # standard deviation of the same
    min_score = 0.6286              # of the detector; a face that can be recognised scores more
    intercept = -30.7142            # how much of a face's identity its embedding holds: a logistic
    per_score = 1.678               # function of the detector's score, of the embedding's length
    per_length = 0.3073             # and of its stability
    per_stability = 30.1914

Weights have the names of the net's authors: mobilefacenet those of foamliu's MobileFaceNet, iresnet
those of InsightFace's arcface_torch (R18, R34, R50, R100 and others; the number of blocks shows
which), which takes RGB as (x - 127.5) / 127.5. `vcn packs add` writes this file. It also writes
safetensors for weights that torch saved as `.pt` or `.pth`; loading a pack never reads a pickle.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from vcn_ray.bounds import Fraction, NonNegative, Positive
from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import PackError, VcnError
from vcn_ray.redact import one_line
from vcn_ray.toml import MAX_BYTES, TomlError, parse_toml

T = TypeVar("T")

PACK_TOML = "pack.toml"
MAX_WORD = 200  # characters of a key that are shown, and compared with the known ones
WEIGHTS_PIXELS = 112  # side of the crops that both nets with weights of their own take

MAX_DETECTOR_PIXELS = 8192  # of the longest side of a detector's input

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]
PositiveChannels = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


class Table(BaseModel):
    """A table of pack.toml: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DetectorTable(Table):
    """The table [detector]."""

    kind: Literal["yunet", "scrfd", "centerface"]
    file: str
    sha256: Sha256
    min_score: float = Field(ge=0, le=1)
    input_pixels: int | None = Field(default=None, ge=64, le=MAX_DETECTOR_PIXELS)
    tiles: int | None = Field(default=None, ge=1, le=8)


class AlignerTable(Table):
    """The table [aligner]."""

    kind: Literal["arcface"]


class EncoderTable(Table):
    """The table [encoder]."""

    kind: Literal["mobilefacenet", "iresnet", "onnx"]
    file: str
    sha256: Sha256
    input_pixels: int = Field(ge=32, le=512)
    mean: Channels | None = None
    std: PositiveChannels | None = None
    channels: Literal["rgb", "bgr"] | None = None

    @field_validator("input_pixels")
    @classmethod
    def _fits_kind(cls, pixels: int, info: ValidationInfo) -> int:
        kind = info.data.get("kind", "onnx")
        if kind != "onnx" and pixels != WEIGHTS_PIXELS:
            raise ValueError(f"{kind} takes {WEIGHTS_PIXELS}")
        return pixels

    @field_validator("mean", "std", "channels")
    @classmethod
    def _only_for_onnx(cls, value: T, info: ValidationInfo) -> T:
        if info.data.get("kind", "onnx") != "onnx" and value is not None:
            raise ValueError("only an encoder of kind onnx has this key")
        return value


class PriorTable(Table):
    """The table [prior]: the fields of `FacePrior`."""

    model_config = ConfigDict(allow_inf_nan=False)

    stranger_cosine: float = Field(ge=-1, lt=1)
    stranger_sd: Positive
    min_score: Fraction
    intercept: float
    per_score: NonNegative
    per_length: NonNegative
    per_stability: NonNegative


class PackFile(Table):
    """All of pack.toml."""

    name: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    commercial_use: bool
    source: str
    detector: DetectorTable
    aligner: AlignerTable
    encoder: EncoderTable
    prior: PriorTable | None = None

    @property
    def face_prior(self) -> FacePrior | None:
        """What was measured with this pack; None: nothing."""
        return FacePrior(**self.prior.model_dump()) if self.prior else None

    def with_prior(self, prior: FacePrior | None) -> PackFile:
        """Give the same description with another prior, or without one."""
        return self.model_copy(update={"prior": prior and PriorTable(**asdict(prior))})

    def detector_hash(self) -> str:
        """Hex that changes with everything that boxes and aligned crops depend on."""
        side = {"crop_pixels": self.encoder.input_pixels}
        return settings_hash([_settings(self.detector), _settings(self.aligner), side])

    def encoder_hash(self) -> str:
        """Hex that changes with everything that the people found in given crops depend on."""
        tables = (self.encoder, self.prior) if self.prior else (self.encoder,)
        return settings_hash([_settings(table) for table in tables])


def settings_hash(settings: list[dict[str, Any]] | dict[str, Any]) -> str:
    """Hash settings as JSON, in hex sha256; the checksums among them stand for files."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _settings(table: Table) -> dict[str, Any]:
    """The settings of a table without its file name, which no result depends on.

    A key that was added later, and is absent, must not change older hashes.
    """
    added_later = ("tiles", "mean", "std", "channels")
    absent = {name for name in added_later if getattr(table, name, None) is None}
    return table.model_dump(exclude={"file"} | absent)


def read_pack_file(folder: Path) -> PackFile:
    """Read and check the pack.toml of a folder, but not the files that it names.

    Raises:
        PackError: The file is absent, is not TOML, or has a wrong, missing or unknown key.
    """
    path = folder / PACK_TOML
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise PackError(f"{path} is no regular file: replace it")
        with path.open("rb") as file:
            return parse_pack_file(file.read(MAX_BYTES + 1), str(path))
    except FileNotFoundError:
        raise PackError(
            f"{folder} has no {PACK_TOML}: a pack folder needs one beside its model files; "
            "vcn packs add writes it"
        ) from None
    except OSError as error:
        raise PackError(f"{path} cannot be read ({error.strerror}): repair the file") from error


def parse_pack_file(content: bytes, where: str) -> PackFile:
    """Check the content of a pack.toml.

    Args:
        content: The bytes of the file.
        where: Its path or address, for errors.

    Raises:
        PackError: The content is not TOML, or has a wrong, missing or unknown key.
    """
    try:
        return validate_pack_file(parse_toml(content), where)
    except TomlError as error:
        raise PackError(f"{where} cannot be read as TOML ({error}): repair the file") from error


def validate_pack_file(content: dict[str, Any], where: str) -> PackFile:
    """Check the tables of a pack.toml.

    Args:
        content: The parsed tables.
        where: Their file or folder, for errors.

    Raises:
        PackError: A key is wrong, missing or unknown.
    """
    try:
        return PackFile.model_validate(content)
    except ValidationError as error:
        raise PackError(f"{where}: {_first_fault(error)}") from None


def _first_fault(error: ValidationError) -> str:
    """The first fault, in one line that names the key."""
    fault = error.errors(include_url=False)[0]
    *table, key = (str(part) for part in fault["loc"])
    dotted = ".".join([*table, key])
    if fault["type"] == "missing":
        return f"the key {dotted} is missing: add it"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {dotted[:MAX_WORD]}: {suggest(key, _known_keys(table))}"
    reason = fault["msg"].removeprefix("Value error, ")
    given = reprlib.repr(fault["input"])
    return f"{dotted} = {given} is not valid: {reason[0].lower()}{reason[1:]}"


def _known_keys(table: list[str]) -> list[str]:
    """The keys of a table, or of the file itself."""
    model: Any = PackFile.model_fields[table[0]].annotation if table else PackFile
    return list(next(iter(get_args(model)), model).model_fields)  # of an optional table, its type


def suggest(word: str, known: list[str]) -> str:
    """Suggest the known word that a mistyped one resembles, or list all known words."""
    close = difflib.get_close_matches(word[:MAX_WORD], known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def checked_file(folder: Path, table: DetectorTable | EncoderTable) -> Path:
    """Find the file that a table names, and verify its checksum.

    Raises:
        PackError: The file is outside the folder, is missing, or has another checksum.
    """
    if "\0" in table.file:
        raise PackError(f"{folder / PACK_TOML} names {table.file!r}: a name holds no zero byte")
    path = (folder / table.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PackError(
            f"{folder / PACK_TOML} names {table.file!r}, which is outside the folder: "
            "put the file into the folder"
        )
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError(errno.EINVAL, "no regular file")  # a pipe or device would never end
        found = file_sha256(path)
    except OSError as error:
        raise PackError(
            f"{folder / PACK_TOML} names {table.file!r}, which cannot be read "
            f"({error.strerror}): put the file there"
        ) from error
    if found != table.sha256:
        raise PackError(
            f"{path} has sha256 {found}, but {PACK_TOML} says {table.sha256}: the file is damaged "
            "or another one; fetch it again or correct the checksum"
        )
    return path


@contextmanager
def refusing(what: str, advice: str) -> Iterator[None]:
    """Turn any error about a file of unknown origin into a PackError of one line.

    The libraries that read such files raise classes that share no base class.

    Args:
        what: What is wrong, such as "PATH cannot be opened".
        advice: What to do.

    Raises:
        PackError: Instead of what the block raises, unless that is an error of this package.
    """
    try:
        yield
    except VcnError:
        raise
    except Exception as error:
        raise PackError(f"{what} ({one_line(error, 200)}): {advice}") from error


def file_sha256(path: Path) -> str:
    """Compute the hex sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
