"""Which crops a page shows, each once; it knows nothing of people, time axes or HTML.

Crops are chosen by their size and sharpness and spread over time. The album takes them in order of
importance until the page's budget is spent, and counts what it had to leave out.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

IMAGE_BUDGET_BYTES = 9_000_000
"""Of base64 text on one page, so that pages stay under about 15 MB and open at once everywhere."""

Key = tuple[str, int]
"""A crop: its track and its frame in the video."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop that has a picture."""

    key: Key
    seconds: float
    value: float  # how much there is to see; larger is better
    row: int  # in the table given


def read_crops(crops: pa.Table) -> dict[str, list[Crop]]:
    """Return the crops that have a picture, by track, in order of time.

    Args:
        crops: Schema CROPS; rows without `image` are passed over.
    """
    rows = np.flatnonzero(pc.is_valid(crops["image"]).to_numpy(zero_copy_only=False))
    columns = {
        name: crops[name].to_numpy(zero_copy_only=False)[rows]
        for name in ("frame", "seconds", "sharpness", *_BOX)
    }
    area = (columns["x1_pixels"] - columns["x0_pixels"]) * (
        columns["y1_pixels"] - columns["y0_pixels"]
    )
    value = np.log1p(np.maximum(columns["sharpness"], 0)) + np.log(np.maximum(area, 1)) / 2
    track_ids = crops["track_id"].take(pa.array(rows, pa.int64())).to_pylist()
    found: dict[str, list[Crop]] = {}
    for i in np.argsort(columns["frame"], kind="stable"):
        key = (track_ids[i], int(columns["frame"][i]))
        crop = Crop(key, float(columns["seconds"][i]), float(value[i]), int(rows[i]))
        found.setdefault(key[0], []).append(crop)
    return found


_BOX = ("x0_pixels", "y0_pixels", "x1_pixels", "y1_pixels")


def best(crops: Sequence[Crop]) -> Crop | None:
    """Return the crop with most to see; the earliest of equals."""
    return max(crops, key=lambda crop: crop.value, default=None)


def parts(items: Sequence[T], wanted: int) -> list[Sequence[T]]:
    """Cut a sequence into at most `wanted` runs of about the same length, none empty."""
    runs = min(wanted, len(items))
    edges = [len(items) * i // runs for i in range(runs + 1)] if runs else []
    return [items[start:end] for start, end in itertools.pairwise(edges)]


def strip(crops: Sequence[Crop], wanted: int) -> list[Crop]:
    """Return up to `wanted` crops of a track, evenly over its time."""
    return [run[len(run) // 2] for run in parts(crops, wanted)]


@dataclass
class Album:
    """The pictures of one page, each embedded once.

    Args:
        crops: Schema CROPS.
        by_track: What `read_crops` made of it.
        budget_bytes: Of base64 text.
    """

    crops: pa.Table
    by_track: dict[str, list[Crop]]
    budget_bytes: int = IMAGE_BUDGET_BYTES
    left_out: int = 0
    images: list[str] = field(default_factory=list)  # base64 JPEG, by number
    _numbers: dict[Key, int] = field(default_factory=dict)
    _refused: set[Key] = field(default_factory=set)
    _bytes: int = 0

    def add(self, crops: Iterable[Crop]) -> None:
        """Take crops, most important first, as far as the budget goes."""
        for crop in crops:
            if crop.key in self._numbers or crop.key in self._refused:
                continue
            image = base64.b64encode(self.crops["image"][crop.row].as_py()).decode("ascii")
            if self._bytes + len(image) > self.budget_bytes:
                self._refused.add(crop.key)
                self.left_out += 1
                continue
            self._bytes += len(image)
            self._numbers[crop.key] = len(self.images)
            self.images.append(image)

    def add_one_of_each(self, track_ids: Iterable[str]) -> None:
        """Take the best crop of every track that has none yet, as far as the budget goes."""
        for track_id in track_ids:
            found = best(self.by_track.get(track_id, []))
            if found and self.any_of(track_id) is None:
                self.add([found])

    def number(self, crop: Crop | None) -> int | None:
        """Return the number of a crop's picture; None where it was left out."""
        return None if crop is None else self._numbers.get(crop.key)

    def any_of(self, track_id: str) -> int | None:
        """Return the number of some picture of a track that the page has, the best first."""
        ranked = sorted(self.by_track.get(track_id, []), key=lambda crop: -crop.value)
        return next((self._numbers[crop.key] for crop in ranked if crop.key in self._numbers), None)
