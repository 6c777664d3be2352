"""Labels of who is where, and of where shots begin, read from CSV files; it knows no results.

Labels give one face a row: `video, frame or seconds, x0, y0, x1, y1, identity`. Identity `?` marks
a face that nobody can identify, and `-` a place that shows no real face. Cuts give the first frame
of each new shot: `video, seconds`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from vcn_ray.errors import UsageError, listed
from vcn_ray.io.storage import one_line
from vcn_ray.io.tables import column_array
from vcn_ray.records import F32, F64, I64

T = TypeVar("T")

UNIDENTIFIED = "?"
"""Identity of a face that nobody can identify: it is left out of every score."""

NO_FACE = "-"
"""Identity of a place without a real face: nobody should be made of it."""

BOX_COLUMNS = ("x0", "y0", "x1", "y1")
USED_COLUMNS = ("video", "frame", "seconds", "identity", *BOX_COLUMNS)
MAX_FRAME = 1 << 53  # beyond, neighbouring numbers cannot be told apart
LABELS_ENDING = ".labels.csv"
CUTS_ENDING = ".cuts.csv"


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """True faces of one video, one row each."""

    frame: I64 | None  # (n,) frame number, or None if the labels give seconds
    seconds: F64 | None  # (n,)
    boxes: F32  # (n, 4) pixels of the displayed frame
    identity: list[str]  # n names, UNIDENTIFIED or NO_FACE


@dataclass(frozen=True, slots=True)
class Truth:
    """All that was labelled, by the name that a file gives each video."""

    labels: Mapping[str, Labels]
    cuts: Mapping[str, F64]  # seconds of the first frame of each shot but the first


def is_person(identity: str) -> bool:
    """True for the name of somebody, false for UNIDENTIFIED and NO_FACE."""
    return identity not in (UNIDENTIFIED, NO_FACE)


def read_truth(labels: Sequence[Path], cuts: Sequence[Path] = ()) -> Truth:
    """Read labels, and the cuts given or found beside them.

    Args:
        labels: CSV files, or folders with files NAME.labels.csv.
        cuts: CSV files, or folders with files NAME.cuts.csv. Beside NAME.labels.csv or NAME.csv, a
            file NAME.cuts.csv is read without being named.

    Raises:
        UsageError: A file is missing, malformed, or labels a video that another one labels.
    """
    faces: dict[str, Labels] = {}
    starts: dict[str, F64] = {}
    for path in _files_of(labels, LABELS_ENDING):
        found = read_labels(path)
        _add(faces, found, path)
        beside = path.with_name(_stem(path) + CUTS_ENDING)
        if beside.exists():
            # A file without a row says that its videos have no cut.
            _add(starts, read_cuts(beside) or {name: np.zeros(0) for name in found}, beside)
    for path in _files_of(cuts, CUTS_ENDING):
        starts.update(read_cuts(path))
    return Truth(faces, starts)


def read_labels(path: Path) -> dict[str, Labels]:
    """Read labels, keyed by the name that the file gives each video.

    Raises:
        UsageError: A column is missing, repeated or incomplete, or holds wrong values.
    """
    table = _read_table(path)
    _check_columns(table, path, ("video", "identity", *BOX_COLUMNS))
    if not {"frame", "seconds"} & set(table.column_names):
        found = listed(table.column_names, 20)
        raise UsageError(f"{path} lacks frame or seconds; it has {found}")
    return _labels_by_video(table, path)


def read_cuts(path: Path) -> dict[str, F64]:
    """Read the seconds at which new shots begin, in rising order, keyed as in `read_labels`.

    Raises:
        UsageError: A column is missing, repeated or incomplete, or a time is not a finite number.
    """
    table = _read_table(path)
    _check_columns(table, path, ("video", "seconds"))
    seconds = _numbers(table, ("seconds",), path)[:, 0]
    videos = rows_by_name(table.column("video").to_pylist())
    return {video: np.sort(seconds[rows]) for video, rows in videos.items()}


def rows_by_name(names: Sequence[str]) -> dict[str, I64]:
    """The rows of each name, in the order of the names' first rows.

    It takes time in proportion to the rows, however many names there are.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return {name: np.array(each, np.int64) for name, each in rows.items()}


def _stem(path: Path) -> str:
    """The name of a file without its ending, NAME of NAME.labels.csv and of NAME.csv."""
    return path.name.removesuffix(LABELS_ENDING).removesuffix(".csv")


def _files_of(paths: Sequence[Path], ending: str) -> list[Path]:
    files = []
    for path in paths:
        inside = sorted(path.glob(f"*{ending}")) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path} holds no file NAME{ending}")
        files += inside
    return files


def _add(found: dict[str, T], new: Mapping[str, T], path: Path) -> None:
    twice = sorted(found.keys() & new.keys())
    if twice:
        raise UsageError(f"{path} labels {', '.join(twice)}, as another file does: give one")
    found.update(new)


def _read_table(path: Path) -> pa.Table:
    # Names may look like numbers: 007 is not 7.
    names = {"video": pa.string(), "identity": pa.string()}
    convert = pacsv.ConvertOptions(column_types=names, null_values=[""], strings_can_be_null=True)
    try:
        table = pacsv.read_csv(path, convert_options=convert)
        _ = table.column_names  # raises where a name is no UTF-8
        return table
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except Exception as error:  # the reader's errors share no base class
        raise UsageError(f"{path} cannot be read as CSV: {one_line(error, 200)}") from error


def _check_columns(table: pa.Table, path: Path, needed: Sequence[str]) -> None:
    names = table.column_names
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise UsageError(f"{path} has more than once: {', '.join(repeated)}")
    empty = [name for name in names if name in USED_COLUMNS and table.column(name).null_count]
    if empty:
        raise UsageError(f"{path} has empty cells in {', '.join(empty)}")
    missing = [name for name in needed if name not in names]
    if missing:
        raise UsageError(f"{path} lacks {', '.join(missing)}; it has {', '.join(names[:20])}")


def _numbers(rows: pa.Table, columns: Sequence[str], path: Path) -> F64:
    """The values (n, c) of columns that hold finite numbers."""
    try:
        values = np.stack([column_array(rows, name).astype(np.float64) for name in columns], axis=1)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"{path}: a frame, time or box is not a number: {one_line(error)}"
        raise UsageError(message) from error
    if not np.isfinite(values).all():
        raise UsageError(f"{path}: a time or box is not finite")
    return values


def _labels_by_video(table: pa.Table, path: Path) -> dict[str, Labels]:
    boxes = _numbers(table, BOX_COLUMNS, path).astype(np.float32)
    by_frame = "frame" in table.column_names
    when = _numbers(table, ("frame" if by_frame else "seconds",), path)[:, 0]
    if by_frame and not ((when >= 0) & (when < MAX_FRAME)).all():
        raise UsageError(f"{path}: a frame is not a number from 0 on, as far as videos reach")
    frames = when.astype(np.int64) if by_frame else None
    identity = table.column("identity").to_pylist()
    return {
        video: Labels(
            frame=None if frames is None else frames[rows],
            seconds=None if by_frame else when[rows],
            boxes=boxes[rows],
            identity=[identity[row] for row in rows],
        )
        for video, rows in rows_by_name(table.column("video").to_pylist()).items()
    }
