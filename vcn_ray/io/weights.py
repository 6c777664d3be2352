"""Arrays and weights as safetensors, which holds numbers and no code; it trains nothing."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vcn_ray.errors import StorageError
from vcn_ray.records import TrackOutputs


def save_arrays(arrays: dict[str, Any]) -> bytes:
    """Arrays or torch CPU tensors by name as safetensors bytes."""
    return bytes(save({name: np.asarray(value, order="C") for name, value in arrays.items()}))


def load_arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of `save_arrays`.

    Raises:
        StorageError: The bytes are no safetensors.
    """
    try:
        return dict(load(data))
    except SafetensorError as error:
        raise StorageError(f"stored arrays cannot be read: {error}") from error


def save_outputs(outputs: TrackOutputs) -> bytes:
    """What the student says of each track, as bytes."""
    return save_arrays(outputs_as_arrays(outputs))


def load_outputs(data: bytes) -> TrackOutputs:
    """The record of `save_outputs`, equal to the bit."""
    return outputs_of_arrays(load_arrays(data))


def outputs_as_arrays(outputs: TrackOutputs) -> dict[str, np.ndarray[Any, Any]]:
    """The fields of the record by name; numbers are arrays of no dimension."""
    return {f.name: np.asarray(getattr(outputs, f.name)) for f in fields(outputs)}


def outputs_of_arrays(arrays: dict[str, np.ndarray[Any, Any]]) -> TrackOutputs:
    """The record of `outputs_as_arrays`."""
    values = {f.name: arrays[f.name] for f in fields(TrackOutputs)}
    fitting: dict[str, Any] = {n: v if v.ndim else float(v) for n, v in values.items()}
    return TrackOutputs(**fitting)
