"""Searches an output for what an erasure must have removed: pictures, ids of tracks, names."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa

from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")  # pictures in pages


def sha256(data: bytes) -> str:
    """SHA-256 of some bytes, as hex digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """What must not be found.

    Attributes:
        pictures: SHA-256 of pictures.
        tracks: Ids of tracks.
        names: Texts.
    """

    pictures: Collection[str]
    tracks: Collection[str]
    names: Collection[str] = ()

    def find(self, path: str, storage: Storage) -> Iterator[str]:
        """Say what of it is in a file; a table is read cell by cell, since it is compressed."""
        data = storage.find_bytes(path)
        if data is None:
            return
        if path.endswith(".parquet"):
            try:
                yield from self._in_table(path, storage.parse_table(path, data))
            except DamagedError as error:
                yield f"{path}: cannot be searched: {error}"
        else:
            yield from self._in_bytes(path, data)

    def _in_table(self, path: str, table: pa.Table) -> Iterator[str]:
        for column in table.columns:
            if pa.types.is_binary(column.type):
                found = {sha256(cell) for cell in column.to_pylist() if cell is not None}
                if not found.isdisjoint(self.pictures):
                    yield f"{path}: a picture"
            elif pa.types.is_string(column.type):
                texts = {text for text in column.to_pylist() if text is not None}
                if not texts.isdisjoint(self.tracks):
                    yield f"{path}: a track"
                if any(name in text for name in self.names for text in texts):
                    yield f"{path}: a name"

    def _in_bytes(self, path: str, data: bytes) -> Iterator[str]:
        for text in set(_BASE64.findall(data)):
            if sha256(_decoded(text)) in self.pictures:
                yield f"{path}: a picture"
        for track in self.tracks:
            # Not a longer number, and not a part of a split track.
            if re.search(re.escape(track.encode()) + rb"(?![0-9]|-[0-9])", data):
                yield f"{path}: a track"
        if any(name.encode() in data for name in self.names):
            yield f"{path}: a name"


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""
