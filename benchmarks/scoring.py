"""Tables that grow on standard output, and what stands in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vcn_ray.config import RunConfig
from vcn_ray.core.cluster import cluster_tracks
from vcn_ray.core.metrics import UNKNOWN, ClusterScores, evaluate_clustering
from vcn_ray.core.quality import low_outliers
from vcn_ray.records import I64, Clustering, Mask, TrackOutputs

Cell = float | int | str | None

SCORE_COLUMNS = {
    "WCP": ".3f",
    "PCR": ".2f",
    "NMI": ".3f",
    "B-cubed P": ".3f",
    "B-cubed R": ".3f",
    "B-cubed F": ".3f",
    "unknown": ".1%",
}


def score_cells(scores: ClusterScores) -> dict[str, Cell]:
    """The scores of METHOD 5 under SCORE_COLUMNS."""
    shown = (
        scores.wcp,
        scores.pcr,
        scores.nmi,
        scores.bcubed_precision,
        scores.bcubed_recall,
        scores.bcubed_f,
        scores.unknown_fraction,
    )
    return dict(zip(SCORE_COLUMNS, shown, strict=True))


class Report:
    """A markdown table whose rows appear as they are added.

    Args:
        columns: Name and number format of each; an empty format: as it is.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.rows: list[dict[str, Cell]] = []
        self._columns = dict(columns)
        _print(list(columns))
        _print(["---"] * len(columns))

    def add(self, row: Mapping[str, Cell]) -> None:
        """Print a row and keep it; a column may be missing in it."""
        kept = {name: row.get(name) for name in self._columns}
        unknown = set(row) - set(kept)
        if unknown:
            raise KeyError(f"no column for {sorted(unknown)}")
        self.rows.append(kept)
        _print([_written(value, self._columns[name]) for name, value in kept.items()])

    def add_means(self, over: str, by: Sequence[str]) -> None:
        """For each distinct value of the columns `by`, the mean of each number over `over`.

        Rows that were added by an earlier call do not count again.
        """
        groups: dict[tuple[Cell, ...], list[dict[str, Cell]]] = {}
        for row in self.rows:
            if row[over] != "mean":
                groups.setdefault(tuple(row[name] for name in by), []).append(row)
        for rows in groups.values():
            if len(rows) > 1:
                same = {over: "mean", **{name: rows[0][name] for name in by}}
                rest = [name for name in self._columns if name not in same]
                self.add(same | mean_cells(rows, rest))

    def save(self, path: Path | None) -> None:
        """Write the rows as a JSON list, if a file is asked for."""
        if path is not None:
            path.write_text(json.dumps(self.rows, indent=1))


def mean_cells(rows: Sequence[Mapping[str, Cell]], columns: Iterable[str]) -> dict[str, Cell]:
    """The mean of the numbers of each column, where there are any."""
    result: dict[str, Cell] = {}
    for name in columns:
        numbers = [value for row in rows if isinstance(value := row[name], int | float)]
        if numbers:
            result[name] = float(np.mean(numbers))
    return result


def _print(cells: Sequence[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def _written(value: Cell, form: str) -> str:
    if value is None:
        return "-"
    return format(value, form) if form else str(value)


class PairScores(NamedTuple):
    """How many of some pairs of tracks are of one person."""

    precision: float | None  # None: there are no pairs
    recall: float | None  # of all pairs of one person; None: there are none


def score_pairs(pairs: I64, truth: I64) -> PairScores:
    """Precision and recall of pairs (p, 2) of tracks, in either order, against identities (k,)."""
    unique = np.unique(np.sort(pairs, axis=1), axis=0)
    right = int((truth[unique[:, 0]] == truth[unique[:, 1]]).sum())
    people = np.bincount(np.unique(truth, return_inverse=True)[1])
    there = int((people * (people - 1) // 2).sum())
    return PairScores(
        right / len(unique) if len(unique) else None, right / there if there else None
    )


def wrongly_placed(truth: I64, label: I64) -> Mask:
    """(k,) true for a track in a cluster most of whose tracks are another's; of equals the first.

    A track outside every cluster is not placed wrongly.
    """
    wrong = np.zeros(len(truth), bool)
    for cluster in np.unique(label[label != UNKNOWN]):
        inside = label == cluster
        people, count = np.unique(truth[inside], return_counts=True)
        wrong[inside] = truth[inside] != people[count.argmax()]
    return wrong


def cluster_film(
    outputs: TrackOutputs, cannot_link: I64, config: RunConfig, drop: bool = True
) -> Clustering:
    """METHOD 3.2 and 4, as the product does it; without `drop` no track is left out."""
    valid = np.ones(len(outputs), bool)
    if drop:
        valid = ~low_outliers(outputs.quality, config.quality)
    return cluster_tracks(outputs, valid, cannot_link, config.cluster)


def scores_of(truth: I64, label: I64) -> dict[str, Cell]:
    """The cells of a clustering's scores."""
    return score_cells(evaluate_clustering(truth, label))
