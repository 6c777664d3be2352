"""Reads weights that torch saved, and finds out by their names and shapes which net they belong to.

A pickle is read with `weights_only`, so no code in it runs, and only to write its weights again as
safetensors: loading a pack reads nothing else. Training scripts save more than the weights of an
encoder (an epoch, an optimiser, a classifier under another prefix); all of that is ignored.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from vcn_ray.errors import PackError
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.iresnet import IResNet
from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.redact import one_line

Kind = Literal["mobilefacenet", "iresnet"]
Weights = dict[str, Tensor]

SAFE = ".safetensors"
PICKLES = (".pt", ".pth")
WRAPPINGS = ("state_dict", "state_dict_backbone", "model_state_dict", "model", "backbone", "net")
"""Keys under which training scripts save the weights of a net."""
MAX_WRAPPINGS = 3  # a pickle may contain itself
SIGNATURES: dict[str, Kind] = {
    "gdconv.depthwise.weight": "mobilefacenet",
    "layer1.0.prelu.weight": "iresnet",
}
"""An entry name that only one kind of net has."""
COUNTERS = "num_batches_tracked"  # of batch norms; some scripts leave them out
HOW_TO_SAVE = "save them with torch.save(model.state_dict(), ...)"


@dataclass(frozen=True, eq=False)  # eq=False: arrays have no single truth value
class WeightFile:
    """A file that holds the weights of an encoder."""

    path: Path
    kind: Kind
    prefix: str  # before all names in the file, for instance from torch's DataParallel
    weights: Weights  # by the net's own names


def read_weights(path: Path) -> WeightFile:
    """Read a `.safetensors`, `.pt` or `.pth` file.

    Raises:
        PackError: The file holds no weights, or those of an unknown net or of two nets, or an entry
            is missing, unknown or of another shape.
    """
    if path.exists() and not path.is_file():  # a pipe would never end
        raise PackError(f"{path} is no regular file: replace or remove it")
    content = _load(path) if path.suffix == SAFE else _unpickle(path)
    for _ in range(MAX_WRAPPINGS):
        if isinstance(content, Mapping) and not _is_weights(content):
            content = next((content[key] for key in WRAPPINGS if key in content), None)
    if not isinstance(content, Mapping) or not _is_weights(content):
        raise PackError(f"{path} holds no weights by name: {HOW_TO_SAVE}")
    found = [(n, end) for n in content for end in SIGNATURES if f".{n}".endswith(f".{end}")]
    if not found:
        raise PackError(
            f"{path} holds the weights of an unknown encoder (its first entry is "
            f"{next(iter(content))}): known are mobilefacenet and iresnet; export others as ONNX"
        )
    if len(found) > 1:
        raise PackError(f"{path} holds two encoders ({found[0][0]}, {found[1][0]}): save one")
    ((name, end),) = found
    kind, prefix = SIGNATURES[end], name.removesuffix(end)
    weights = {n.removeprefix(prefix): v for n, v in content.items() if n.startswith(prefix)}
    fault = first_misfit(empty_net(kind, weights).state_dict(), weights)
    if fault:
        raise PackError(f"{path} looks like {kind}, but {fault}: give that net's own weights")
    return WeightFile(path, kind, prefix, weights)


def empty_net(kind: Kind, weights: Mapping[str, Tensor]) -> Backbone:
    """Build the net that weights should fit, without memory for weights of its own."""
    with torch.device("meta"):
        return MobileFaceNet() if kind == "mobilefacenet" else IResNet.like(weights)


def first_misfit(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Describe the first difference from the entries of a net; empty if all entries fit."""
    for name, values in wanted.items():
        if name not in weights:
            if not name.endswith(COUNTERS):
                return f"the entry {name} is missing"
        elif weights[name].shape != values.shape:
            found = tuple(weights[name].shape)
            return f"the entry {name} has the shape {found}, not {tuple(values.shape)}"
    unknown = next((name for name in weights if name not in wanted), None)
    return f"the entry {unknown} is unknown" if unknown else ""


def as_safetensors(weights: Weights) -> bytes:
    """Convert weights to the content of a safetensors file."""
    whole: bytes = save({n: v.detach().clone().contiguous() for n, v in weights.items()})
    return whole


def same_weights(first: Weights, second: Weights) -> bool:
    """True if two nets have the same entries with the same numbers."""
    return first.keys() == second.keys() and all(
        torch.equal(values, second[name]) for name, values in first.items()
    )


def _load(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise PackError(
            f"{path} cannot be read as safetensors ({one_line(error, 200)}): fetch it again, or "
            "remove it from the folder"
        ) from error


def _unpickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats; what matters is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises any class for damaged files and other contents
        # Torch's own message explains how to run the code after all, so it is left out.
        raise PackError(
            f"{path} cannot be read as weights alone, and code in a pickle is never run "
            f"({type(error).__name__}): {HOW_TO_SAVE}"
        ) from error


def _is_weights(content: Mapping[object, object]) -> bool:
    return len(content) > 0 and all(
        isinstance(name, str) and isinstance(values, Tensor) for name, values in content.items()
    )
