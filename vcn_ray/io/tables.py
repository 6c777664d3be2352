"""Rows as Arrow tables, pictures as JPEG or PNG, arrays as safetensors; it opens no file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
from PIL import Image
from safetensors import SafetensorError

from vcn_ray.errors import StorageError
from vcn_ray.records import F32, U8, TrackOutputs
from vcn_ray.schema import BOX_COLUMNS

JPEG_QUALITY = 95  # crops feed the encoder; at 95, embeddings move far less than between frames
PICTURE_QUALITY = 85  # pictures for people

Arrays = dict[str, np.ndarray[Any, Any]]


def make_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table with exactly the columns of a schema, in the given order.

    Raises:
        KeyError: A row lacks a column.
    """
    listed = list(rows)
    columns = {name: [row[name] for row in listed] for name in schema.names}
    return pa.table(columns, schema=schema)


def box_fields(box: Sequence[float] | F32) -> dict[str, float]:
    """A box as the four box columns."""
    return {name: float(value) for name, value in zip(BOX_COLUMNS, box, strict=True)}


def read_boxes(table: pa.Table) -> F32:
    """The four box columns as (n, 4) float32."""
    columns = [column_array(table, name) for name in BOX_COLUMNS]
    return (
        np.stack(columns, axis=1).astype(np.float32)
        if table.num_rows
        else np.zeros((0, 4), np.float32)
    )


def column_array(table: pa.Table, name: str) -> Any:
    """A column without nulls as a numpy array."""
    return table.column(name).to_numpy(zero_copy_only=False)


def encode_jpeg(image: U8) -> bytes:
    """An (h, w, 3) uint8 RGB picture as JPEG."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return out.getvalue()


def encode_picture(image: U8) -> bytes:
    """An (h, w, 3) uint8 RGB picture for people as a smaller JPEG."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=PICTURE_QUALITY, optimize=True)
    return out.getvalue()


def encode_png(image: U8) -> bytes:
    """An (h, w, 3) RGB or (h, w) grey uint8 picture as PNG."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=3)
    return out.getvalue()


def decode_image(data: bytes) -> U8:
    """A JPEG or PNG as (h, w, 3) or (h, w) uint8."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).copy()


def save_arrays(arrays: Mapping[str, Any]) -> bytes:
    """Arrays or torch CPU tensors by name as safetensors, which contain numbers and no code."""
    contiguous = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    return bytes(safetensors.numpy.save(contiguous))


def load_arrays(data: bytes) -> Arrays:
    """The arrays of `save_arrays`.

    Raises:
        StorageError: The bytes are not safetensors.
    """
    try:
        return dict(safetensors.numpy.load(data))
    except SafetensorError as error:
        raise StorageError(f"stored arrays cannot be read: {error}") from error


def save_outputs(outputs: TrackOutputs) -> bytes:
    """The student's outputs for each track, as bytes."""
    return save_arrays(outputs_as_arrays(outputs))


def load_outputs(data: bytes) -> TrackOutputs:
    """The record of `save_outputs`, equal to the bit."""
    return outputs_of_arrays(load_arrays(data))


def outputs_as_arrays(outputs: TrackOutputs) -> Arrays:
    """The fields of the record by name; numbers are arrays of no dimension."""
    return {f.name: np.asarray(getattr(outputs, f.name)) for f in fields(outputs)}


def outputs_of_arrays(arrays: Arrays) -> TrackOutputs:
    """The record of `outputs_as_arrays`."""
    stored = {f.name: arrays[f.name] for f in fields(TrackOutputs)}
    values: dict[str, Any] = {name: a if a.ndim else float(a) for name, a in stored.items()}
    return TrackOutputs(**values)
