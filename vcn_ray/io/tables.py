"""Rows to Parquet tables with the columns of `schema`, sorted as it says; it computes nothing."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from vcn_ray.records import F32, U8
from vcn_ray.schema import BOX_COLUMNS

JPEG_QUALITY = (
    95  # crops feed the encoder: at 95 the embedding moves by far less than between frames
)


def make_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows to a table with exactly the columns of a schema, in the order given.

    Raises:
        KeyError: A row lacks a column.
    """
    listed = list(rows)
    columns = {name: [row[name] for row in listed] for name in schema.names}
    return pa.table(columns, schema=schema)


def empty_table(schema: pa.Schema) -> pa.Table:
    """A table with no rows."""
    return schema.empty_table()


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


def encode_png(image: U8) -> bytes:
    """An (h, w, 3) RGB or (h, w) grey uint8 picture as PNG."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=3)
    return out.getvalue()


def decode_image(data: bytes) -> U8:
    """A JPEG or PNG as (h, w, 3) or (h, w) uint8."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).copy()
