"""Reads weights that torch saved and tells by their names and shapes which net they are of.

A pickle is read with `weights_only`, so nothing in it is run, and only to be written anew as
safetensors: those alone are read when a pack is loaded. What training scripts save around the
weights of an encoder (an epoch, an optimiser, a classifier under another prefix) is left behind.
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
MOST_WRAPPINGS = 3  # a pickle may hold itself
TELLTALES: dict[str, Kind] = {
    "gdconv.depthwise.weight": "mobilefacenet",
    "layer1.0.prelu.weight": "iresnet",
}
"""A name that only one kind of net has."""
COUNTERS = "num_batches_tracked"  # of batch norms; some scripts leave them out
SAVE_SO = "save them by torch.save(model.state_dict(), ...)"


@dataclass(frozen=True, eq=False)  # eq=False: arrays have no single truth value
class WeightFile:
    """A file that holds the weights of an encoder."""

    path: Path
    kind: Kind
    prefix: str  # before all names in the file, as of torch's DataParallel
    weights: Weights  # under the names that the net gives them


def read_weights(path: Path) -> WeightFile:
    """Read a `.safetensors`, `.pt` or `.pth` file.

    Raises:
        PackError: It holds anything but weights, or those of no encoder that is known, or an entry
            is missing, unknown or of another shape.
    """
    content = _load(path) if path.suffix == SAFE else _unpickle(path)
    for _ in range(MOST_WRAPPINGS):
        if isinstance(content, Mapping) and not _is_weights(content):
            content = next((content[key] for key in WRAPPINGS if key in content), None)
    if not isinstance(content, Mapping) or not _is_weights(content):
        raise PackError(f"{path} holds no weights by name: {SAVE_SO}")
    told = [(n, end) for n in content for end in TELLTALES if f".{n}".endswith(f".{end}")]
    if not told:
        raise PackError(
            f"{path} holds the weights of no encoder that is known here (its first entry is "
            f"{next(iter(content))}): mobilefacenet and iresnet are; export any other as ONNX"
        )
    if len(told) > 1:
        raise PackError(f"{path} holds two encoders ({told[0][0]}, {told[1][0]}): save one")
    ((name, end),) = told
    kind, prefix = TELLTALES[end], name.removesuffix(end)
    weights = {n.removeprefix(prefix): v for n, v in content.items() if n.startswith(prefix)}
    fault = first_misfit(untrained(kind, weights).state_dict(), weights)
    if fault:
        raise PackError(f"{path} looks like {kind}, but {fault}: give that net's own weights")
    return WeightFile(path, kind, prefix, weights)


def untrained(kind: Kind, weights: Mapping[str, Tensor]) -> Backbone:
    """The net that weights should fit, without memory for weights of its own."""
    with torch.device("meta"):
        return MobileFaceNet() if kind == "mobilefacenet" else IResNet.like(weights)


def first_misfit(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """What first differs from the entries of a net, in its order; empty where all fit."""
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
    """The content of a file with weights that needs no pickle."""
    whole: bytes = save({n: v.detach().clone().contiguous() for n, v in weights.items()})
    return whole


def same_weights(first: Weights, second: Weights) -> bool:
    """Whether two nets have the same entries with the same numbers."""
    return first.keys() == second.keys() and all(
        torch.equal(values, second[name]) for name, values in first.items()
    )


def _load(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise PackError(
            f"{path} cannot be read as safetensors ({one_line(error, 200)}): fetch it again, or "
            "take it out of the folder"
        ) from error


def _unpickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats and scripts; errors tell what counts
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's errors on what is damaged, or no weights, are of any class
        # Torch's own words, which tell how to run the code after all, stay out.
        raise PackError(
            f"{path} cannot be read as weights alone, and code in a pickle is never run "
            f"({type(error).__name__}): {SAVE_SO}"
        ) from error


def _is_weights(content: Mapping[object, object]) -> bool:
    return len(content) > 0 and all(
        isinstance(name, str) and isinstance(values, Tensor) for name, values in content.items()
    )
