"""Makes a pack of a folder with model files: it writes `pack.toml`, and checks the pack.

It asks nobody for what the files do not say, such as a licence: the caller gives it, or it stays
unknown. If the files cannot be used, nothing is written. A pack that loads but fails the check on
the picture is written, so that the user can correct its description. Then it has
no prior, which a correction would change; `add_prior` measures that of any description.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import PackError, UsageError
from vcn_ray.io.atomic import atomic_file
from vcn_ray.packs.calibrate import measure_prior
from vcn_ray.packs.check import PackCheck, check_loaded
from vcn_ray.packs.describe import PACK_TOML, PackFile, validate_pack_file
from vcn_ray.packs.face_pack import FacePack, Progress, no_progress
from vcn_ray.packs.inspect import describe_nets, find_nets, read_pack
from vcn_ray.packs.load import load_described
from vcn_ray.packs.prior_pictures import LabelledPictures, labelled_pictures, shipped_pictures
from vcn_ray.packs.weight_files import (
    PICKLES,
    SAFE,
    WeightFile,
    as_safetensors,
    read_weights,
    same_weights,
)
from vcn_ray.records import U8


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """What the user says of a pack; None: take it from the files, or the default."""

    name: str | None = None
    licence: str | None = None
    commercial_use: bool = False
    source: str | None = None
    min_score: float | None = None  # of the detector, 0 to 1
    input_pixels: int | None = None  # longest side of the detector's input


class MeasuredPrior(NamedTuple):
    """What was measured of a pack, or why nothing was."""

    prior: FacePrior | None
    pictures: str  # from which it was measured, in words
    problem: str  # empty if there is a prior


class AddedPack(NamedTuple):
    """A pack that was written."""

    path: Path  # of its pack.toml
    spec: PackFile
    check: PackCheck
    scale_chosen: bool  # whether the check chose another input scale than the usual one
    measured: MeasuredPrior


def add_pack(
    folder: Path,
    options: PackOptions,
    overwrite: bool = False,
    faces: Path | None = None,
    progress: Progress = no_progress,
) -> AddedPack:
    """Write the pack.toml of a folder with model files, check the pack, and measure its prior.

    Args:
        folder: Holds a detector and an encoder.
        options: What the user says of the pack.
        overwrite: Whether to replace an existing pack.toml.
        faces: Labelled pictures for the prior; None: those that come with the dependencies.
        progress: Called with the finished fraction of the prior.

    Raises:
        PackError: The files are no pack, or cannot be used, or the folder is not writable.
        UsageError: `faces` is no folder of labelled pictures.
    """
    path = _target(folder)
    if path.exists() and not overwrite:
        raise PackError(
            f"{path} exists already: check it with vcn packs check {folder}, or measure its prior "
            "with --keep, or replace it with --force"
        )
    if options.commercial_use and not options.licence:
        raise PackError("--commercial-use needs --licence: say which licence allows it")
    pictures = _pictures(faces)
    with _pack_file(path) as part:  # the check takes long, so a read-only folder must fail first
        spec = _describe(folder, options)
        check = check_loaded(load_described(folder, spec))
        scale = check.better_scale
        if scale is not None:
            change = {"mean": list(scale.mean), "std": list(scale.std)}
            spec = spec.model_copy(update={"encoder": spec.encoder.model_copy(update=change)})
            check = check_loaded(load_described(folder, spec))
        measured = MeasuredPrior(None, "", "the check found problems")
        if not check.problems:
            measured = _measure(load_described(folder, spec), pictures, progress)
        spec = spec.with_prior(measured.prior)
        _write(spec, part)
    return AddedPack(path, spec, check, scale is not None, measured)


def add_prior(
    folder: Path, faces: Path | None = None, progress: Progress = no_progress
) -> AddedPack:
    """Keep the description of a pack's folder, but measure its prior, and write both.

    Args:
        folder: Of the pack; its description may be a pack.toml, or its files alone.
        faces: As in `add_pack`.
        progress: As in `add_pack`.

    Raises:
        PackError: The folder is no pack, or is not writable.
        UsageError: As `add_pack`; or no prior can be measured, and the folder stays as it is.
    """
    path = _target(folder)
    pictures = _pictures(faces)
    with _pack_file(path) as part:
        spec = read_pack(folder).with_prior(None)
        pack = load_described(folder, spec)
        check = check_loaded(pack)
        measured = _measure(pack, pictures, progress)
        if measured.prior is None:
            raise UsageError(f"no prior of {folder} was measured: {measured.problem}")
        spec = spec.with_prior(measured.prior)
        _write(spec, part)
    return AddedPack(path, spec, check, False, measured)


def _target(folder: Path) -> Path:
    """The pack.toml to write; raise PackError if there is no such folder."""
    if not folder.is_dir():
        raise PackError(f"{folder} is no folder: give the one that holds the model files")
    return folder / PACK_TOML


def _write(spec: PackFile, path: Path) -> None:
    path.write_text(tomli_w.dumps(spec.model_dump(exclude_none=True)), encoding="utf-8")


def _pictures(faces: Path | None) -> LabelledPictures | None:
    return None if faces is None else labelled_pictures(faces)


def _measure(
    pack: FacePack, labelled: LabelledPictures | None, progress: Progress
) -> MeasuredPrior:
    """Measure the prior of a pack from labelled pictures, or from those that ship."""
    pictures: Sequence[U8] = shipped_pictures() if labelled is None else labelled
    words = f"{len(pictures)} pictures that come with the dependencies"
    person = None
    if labelled is not None:
        words, person = f"{len(pictures)} pictures of {labelled.people} people", labelled.person
    try:
        prior = measure_prior(pack, pictures, person, progress)
    except UsageError as error:
        return MeasuredPrior(None, words, f"in {words}, {error}")
    return MeasuredPrior(prior, words, "")


def _describe(folder: Path, options: PackOptions) -> PackFile:
    """Describe the nets of a folder; weights in a pickle are written again as safetensors.

    Raises:
        PackError: The folder does not hold exactly one detector and one encoder, or an option is
            out of bounds.
    """
    weights = find_weights(folder)
    if not weights and not any(folder.glob("*.onnx")):
        raise PackError(
            f"{folder} holds no model files: put a detector (.onnx) and a face-ID net (.onnx, "
            f"{SAFE} or {' or '.join(PICKLES)}) there"
        )
    name = folder.resolve().name
    detector, encoder = find_nets(folder, name, weights)
    if isinstance(encoder, WeightFile):
        encoder = _without_pickle(encoder)
    spec = describe_nets(name, detector, encoder)
    return validate_pack_file(_apply(options, spec.model_dump(exclude_none=True)), str(folder))


def _apply(options: PackOptions, content: dict[str, Any]) -> dict[str, Any]:
    """Replace the keys of a pack.toml that the user gives."""
    given = {"name": options.name, "licence": options.licence, "source": options.source}
    detector = {"min_score": options.min_score, "input_pixels": options.input_pixels}
    return {
        **content,
        **{key: value for key, value in given.items() if value is not None},
        "commercial_use": options.commercial_use,
        "detector": {
            **content["detector"],
            **{key: value for key, value in detector.items() if value is not None},
        },
    }


def find_weights(folder: Path) -> list[WeightFile]:
    """Read the weights that torch saved in a folder; safetensors beside a pickle do not count.

    Raises:
        PackError: A file does not hold the weights of a known encoder.
    """
    pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    converted = {path.with_suffix(SAFE) for path in pickles}
    others = [path for path in sorted(folder.glob(f"*{SAFE}")) if path not in converted]
    return [read_weights(path) for path in (*pickles, *others)]


def _without_pickle(file: WeightFile) -> WeightFile:
    """Give the same weights as safetensors with the net's own names, written beside a pickle.

    Raises:
        PackError: Another file has that name, or the folder is not writable.
    """
    path = file.path.with_suffix(SAFE)
    safe = replace(file, path=path, prefix="")
    if path == file.path:
        if file.prefix:
            raise PackError(
                f"{path} has {file.prefix!r} before all names: save it again without that"
            )
    elif not path.exists():
        with _pack_file(path) as part:
            part.write_bytes(as_safetensors(file.weights))
    elif not same_weights(read_weights(path).weights, file.weights):
        raise PackError(
            f"{path} holds other weights than {file.path.name}: leave one of them in the folder"
        )
    return safe


@contextmanager
def _pack_file(path: Path) -> Iterator[Path]:
    """Write a file of a pack atomically; raise PackError if its folder is not writable."""
    try:
        with atomic_file(path) as part:
            yield part
    except OSError as error:
        raise PackError(
            f"{path} cannot be written ({error.strerror}): put the model files into a folder that "
            "you may write into"
        ) from error
