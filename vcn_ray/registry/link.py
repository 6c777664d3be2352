"""Joins the people of a catalog: from faces and what is known beforehand to who is one person.

Whatever runs many calls at once, on this machine or on a cluster, is given as a function. It reads
no storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.core.linking import Joined, Known, Pairs, find_pairs, join_people
from vcn_ray.core.mixture import Mixture, count_scores, learn_mixture
from vcn_ray.core.rejoining import rejoin_people
from vcn_ray.core.strangers import COHORT, Faces, Levels, stranger_levels, take, thin_cohort
from vcn_ray.records import I64, Mask

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")

ROWS = 8192
"""People of one call: about a second of work in a catalog of a million."""


class Mapper(Protocol):
    """Calls a function for many items, several at once, and yields the answers in order."""

    def __call__(self, work: Callable[[S, T], U], shared: S, items: Sequence[T]) -> Iterator[U]:
        """Call `work(shared, item)` for each item."""


class Linked(NamedTuple):
    """Who is one person in a catalog."""

    joined: Joined
    pairs: Pairs  # all that are perhaps one person
    known: Known
    mixture: Mixture
    levels: Levels  # of strangers, for each
    compared: Mask  # (n,) people whose faces were compared


class _Compared(NamedTuple):
    faces: Faces
    levels: Levels
    mixture: Mixture


def most_used_encoder(faces: pa.Table) -> str:
    """The encoder of most people who have a face; of two, the first by name; "": nobody has."""
    kept = faces.filter(pc.is_valid(faces.column("codes")))
    count: dict[str, int] = {}
    for encoder in kept.column("encoder").to_pylist():
        count[encoder] = count.get(encoder, 0) + 1
    return min(count, key=lambda name: (-count[name], name), default="")


def catalog_faces(faces: pa.Table, encoder: str) -> tuple[Faces, Mask]:
    """The faces of one encoder; those of others are zero, and say nothing.

    Returns:
        The faces, and (n,) true where there is one.
    """
    mine = np.array([each == encoder for each in faces.column("encoder").to_pylist()], np.bool_)
    codes = faces.column("codes").to_pylist()
    there = mine & np.array([code is not None for code in codes], np.bool_)
    rows = np.flatnonzero(there)
    length = len(codes[rows[0]]) if len(rows) else 1
    packed = np.zeros((len(codes), length), np.int8)
    for row in rows:
        packed[row] = np.frombuffer(codes[row], np.int8)
    there &= packed.any(axis=1)  # zeros say nothing
    title = np.unique(faces.column("title_id").to_pylist(), return_inverse=True)[1]
    return Faces(packed, title.astype(np.int64)), there


def choose_cohort(faces: pa.Table, there: Mask) -> I64:
    """Rows of people to whom everybody is compared: chosen by a hash, so by no order of titles."""
    rows = np.flatnonzero(there)
    ids = zip(
        faces.column("title_id").to_pylist(), faces.column("person_id").to_pylist(), strict=True
    )
    names = [hashlib.sha256("\0".join(each).encode()).digest() for each in ids]
    return np.array(sorted(rows.tolist(), key=lambda row: names[row])[:COHORT], np.int64)


def link_people(
    table: pa.Table, known: Known, prior: tuple[float, float] | None, mapper: Mapper
) -> Linked:
    """Join the people of a catalog.

    Args:
        table: (n rows) CATALOG_FACES, sorted.
        known: Constraints.
        prior: Mean and standard deviation of the cosine of strangers, beforehand.
        mapper: Runs many calls at once.
    """
    faces, there = catalog_faces(table, most_used_encoder(table))
    rows, cohort = np.flatnonzero(there), choose_cohort(table, there)
    seen = take(faces, rows)
    sample = thin_cohort(seen, np.searchsorted(rows, cohort), prior)
    levels = stranger_levels(seen, sample, prior)
    mixture = learn(seen, levels, sample)
    shared = _Compared(seen, levels, mixture)
    slices = [slice(start, min(start + ROWS, len(rows))) for start in range(0, len(rows), ROWS)]
    found = Pairs.join(list(mapper(_find, shared, slices)))
    pairs = found._replace(left=rows[found.left], right=rows[found.right])
    spread = Levels(np.zeros(len(there)), np.ones(len(there)))
    spread.mean[rows], spread.sd[rows] = levels
    joined = join_people(faces, spread, mixture, pairs, known)
    joined = rejoin_people(joined, faces, spread, mixture, pairs, known)
    return Linked(joined, pairs, known, mixture, spread, there)


def _find(shared: _Compared, rows: slice) -> Pairs:
    return find_pairs(shared.faces, shared.levels, shared.mixture, rows)


def learn(faces: Faces, levels: Levels, cohort: I64) -> Mixture:
    """Learn what scores mean: from all pairs of one title, and the cohort with everybody."""
    within, across = count_scores(faces, levels, cohort)
    n, size = len(faces.title), np.bincount(faces.title, minlength=1).astype(np.float64)
    pairs = n * (n - 1) / 2 - float((size * (size - 1) / 2).sum())
    return learn_mixture(within, across, pairs, n)


def with_levels(table: pa.Table, linked: Linked) -> pa.Table:
    """CATALOG_FACES with how alike strangers are to each."""
    unknown = ~linked.compared
    for name, values in zip(("stranger_mean", "stranger_sd"), linked.levels, strict=True):
        column = pa.array(values, pa.float64(), mask=unknown)
        table = table.set_column(
            table.schema.get_field_index(name), table.schema.field(name), column
        )
    return table
