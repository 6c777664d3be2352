"""Markdown tables that grow on standard output while a benchmark runs.

It knows nothing of what is measured, nor of files.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

Cell = float | int | str | None


class Report:
    """A markdown table whose rows appear as they are added.

    Args:
        columns: Name and number format of each column; an empty format prints the value as it is.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.rows: list[dict[str, Cell]] = []
        self.lines: list[str] = []
        self._columns = dict(columns)
        self._print(list(columns))
        self._print(["---"] * len(columns))

    def add(self, row: Mapping[str, Cell]) -> None:
        """Print a row and keep it; the row may lack some of the columns."""
        kept = {name: row.get(name) for name in self._columns}
        unknown = set(row) - set(kept)
        if unknown:
            raise KeyError(f"no column for {sorted(unknown)}")
        self.rows.append(kept)
        self._print([_written(value, self._columns[name]) for name, value in kept.items()])

    def add_means(self, over: str, by: Sequence[str]) -> None:
        """Add the mean of each number over column `over`, one row for each value of columns `by`.

        Rows that an earlier call added do not count again.
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

    def _print(self, cells: Sequence[str]) -> None:
        line = f"| {' | '.join(cells)} |"
        self.lines.append(line)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def mean_cells(rows: Sequence[Mapping[str, Cell]], columns: Iterable[str]) -> dict[str, Cell]:
    """The mean of the numbers of each column that has any."""
    return total_cells(rows, columns, summed=())


def total_cells(
    rows: Sequence[Mapping[str, Cell]], columns: Iterable[str], summed: Collection[str]
) -> dict[str, Cell]:
    """The sum of the numbers of columns in `summed`, and the mean in others that have any."""
    result: dict[str, Cell] = {}
    for name in columns:
        numbers = [value for row in rows if isinstance(value := row[name], int | float)]
        if numbers:
            result[name] = sum(numbers) if name in summed else float(np.mean(numbers))
    return result


def say(text: str) -> None:
    """Print a progress line on standard error; standard output is for the table alone."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _written(value: Cell, form: str) -> str:
    if value is None:
        return "-"
    return format(value, form) if form else str(value)
