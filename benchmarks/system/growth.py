"""How do CPU time and memory grow with minutes, faces, tracks and titles?

    python -m benchmarks.system.growth --variant system [--pack P] [--axes minutes ...]
        [--largest WORK=SIZE ...] [--keep FILE] [--plot FILE.svg]

Each row of the second table is one measurement in a process of its own, on one thread, after a
warm-up on little material. "CPU s" are those of all processes while the work lasted, and "start-up
s" those before it (imports, networks, making the material, warm-up), which count nowhere. "peak
MiB" is the memory of the process at its peak, with the peaks of its decoders.

The works: *minutes*: detect and track half a minute of the sample film at 160 x 90, repeated
without encoding. *faces*: the same for 20 s of pictures of 960 x 540 with so many faces each.
*tracks*: `track_video` on made-up tables of detections, ten faces at a time; the adaptation of made
crops, two a track, with a linear map as the encoder, which takes as long for each crop of a real
title; and the clustering of the made titles of `system.scale`. *titles*: a catalog of one-frame
videos with a face and the same tiny encoder, indexed, indexed again when it is finished, and
reported, in memory (/dev/shm) where there is such a folder.

An exponent is the slope of log cost against log size by least squares, over the sizes from "from"
on, where what every run pays, such as the start of decoders, hardly counts; a fit with an offset
would need far less noise to tell the two apart. Faces are the exception, since the search of a
picture without a face costs more than 20 faces do: their exponent is that of the whole cost.

"±" is the standard error of the slope, "last step" the slope between the two largest sizes. "limit"
is the largest exponent allowed: 1.1, or 2.1 where METHOD 4 compares all pairs of tracks.

The third table has the first and the last segment of the longest film, of equal frames, each
detected several times, by turns; the seconds are medians.

The works that --largest names are minutes_of_video, faces_a_frame, tables_of_tracks, adaptation,
clustering and titles_of_a_catalog. --keep holds measurements in a file, so that an interrupted run
continues; --plot draws the curves.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import linregress

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.machine import cpu_seconds
from benchmarks.report import Cell, Report, say
from benchmarks.system import growth_works
from benchmarks.system.growth_plot import Curve, draw
from benchmarks.system.growth_works import Setup
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK

LINEAR, SQUARE = 1.1, 2.1


class Axis(NamedTuple):
    """Something that costs grow with."""

    words: str
    works: tuple[growth_works.Work, ...]
    sizes: tuple[int, ...]
    fit_from: int  # smallest size that counts for the exponent
    quick: tuple[int, ...]


AXES = {
    "minutes": Axis(
        words="minutes of video",
        works=(growth_works.minutes_of_video,),
        sizes=(1, 2, 4, 8, 16, 40, 120),
        fit_from=4,
        quick=(1,),
    ),
    "faces": Axis(
        words="faces a frame",
        works=(growth_works.faces_a_frame,),
        sizes=(1, 2, 4, 8, 12, 16, 20),
        fit_from=4,
        quick=(1, 2),
    ),
    "tracks": Axis(
        words="tracks",
        works=(growth_works.tables_of_tracks, growth_works.adaptation, growth_works.clustering),
        sizes=(100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
        fit_from=3_000,
        quick=(100, 200),
    ),
    "titles": Axis(
        words="titles",
        works=(growth_works.titles_of_a_catalog,),
        sizes=(1, 10, 100, 300, 1_000, 10_000),
        fit_from=100,
        quick=(1, 3),
    ),
}
LIMITS = {"cluster": SQUARE}
MIN_SIZES = 3  # of a slope with a standard error
REPEATS = 9  # of the first and the last segment

FITS = {
    "grows with": "",
    "work": "",
    "from": "",
    "to": "",
    "exponent": ".2f",
    "±": ".2f",
    "last step": ".2f",
    "limit": ".1f",
    "within": "",
}
POINTS = {
    "grows with": "",
    "size": "",
    "work": "",
    "CPU s": ".2f",
    "peak MiB": ".0f",
    "start-up s": ".1f",
    "found": "",
}
SEGMENTS = {"minutes": "", "first segment CPU s": ".3f", "last": ".3f", "last / first": ".3f"}

Row = dict[str, Cell]


class Growth(NamedTuple):
    """A line through costs and sizes, both on logarithmic axes."""

    exponent: float
    error: float  # standard error


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    add_pack(parser, required=False, about=f"built-in name or folder: {DEFAULT_PACK}")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument(
        "--largest",
        nargs="+",
        default=[],
        metavar="WORK=SIZE",
        help="leave larger sizes of a work out, such as adaptation=10000",
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="measurements, as JSON lines")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the curves")
    parser.add_argument("--quick", action="store_true", help="for a test: little, in one process")
    options = read_options(parser, argv)
    pack = options.pack or DEFAULT_PACK
    with start_pool(reuse=options.quick) as pool:
        rows, segments = measure(options, Kept(options.keep, Path(pack).name, pool), pack)
    reports = [Report(FITS), Report(POINTS), Report(SEGMENTS)]
    curves = curves_of(rows)
    tables = [[fit_row(curve) for curve in curves], rows, segments]
    for report, table in zip(reports, tables, strict=True):
        for row in table:
            report.add(row)
    save(options, *reports)
    if options.plot:
        options.plot.write_text(draw(curves, legend_of(reports[0].rows)), encoding="utf-8")


def start_pool(reuse: bool) -> ProcessPoolExecutor:
    """A process for each measurement: its memory at its peak is that of one; or one for all."""
    tasks = None if reuse else 1
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=tasks)


def measure(options: Namespace, kept: Kept, pack: str) -> tuple[list[Row], list[Row]]:
    """The rows of all works, and those of the first and the last segment."""
    setup = Setup.quick(pack) if options.quick else Setup(pack)
    largest = {name: int(size) for name, _, size in (e.partition("=") for e in options.largest)}
    rows: list[Row] = []
    for axis in (AXES[name] for name in options.axes):
        sizes = axis.quick if options.quick else axis.sizes
        for work in axis.works:
            name = work.__name__
            for size in (size for size in sizes if size <= largest.get(name, size)):
                say(f"{size} {axis.words}: {name}")
                rows += kept.get(name, size, _measure, axis.words, work, size, setup)
    if "minutes" not in options.axes:
        return rows, []
    minutes = (AXES["minutes"].quick if options.quick else AXES["minutes"].sizes)[-1]
    repeats = 1 if options.quick else REPEATS
    return rows, kept.get("segments", minutes, _compare_segments, minutes, setup, repeats)


class Kept:
    """Rows that were measured, in a file if there is one.

    Args:
        path: The file, with a JSON line for each measurement; None: nothing is kept.
        pack: Name of the pack that is measured.
        pool: Measures.
    """

    def __init__(self, path: Path | None, pack: str, pool: Executor) -> None:
        self._path, self._pack, self._pool = path, pack, pool
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        self._rows = {tuple(key): rows for key, rows in map(json.loads, lines)}

    def get(self, work: str, size: int, measure: Any, *args: Any) -> list[Row]:
        """The rows of a work at a size, which are measured if need be."""
        key = (work, size, self._pack)
        if key not in self._rows:
            self._rows[key] = self._pool.submit(measure, *args).result()
            if self._path:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, self._rows[key]]) + "\n")
        rows: list[Row] = self._rows[key]
        return rows


def _measure(words: str, work: growth_works.Work, size: int, setup: Setup) -> list[Row]:
    costs = work(size, setup)
    start_up = cpu_seconds() - sum(cost.cpu_seconds for cost in costs)
    return [
        {
            "grows with": words,
            "size": size,
            "work": cost.part,
            "CPU s": cost.cpu_seconds,
            "peak MiB": cost.peak_mib,
            "start-up s": start_up,
            "found": cost.found,
        }
        for cost in costs
    ]


def _compare_segments(minutes: int, setup: Setup, repeats: int) -> list[Row]:
    first, last = growth_works.first_and_last(minutes, setup, repeats)
    return [
        {
            "minutes": minutes,
            "first segment CPU s": first,
            "last": last,
            "last / first": last / first,
        }
    ]


def curves_of(rows: Sequence[Row]) -> list[Curve]:
    """The measurements of each work, by size."""
    curves: dict[tuple[str, str], Curve] = {}
    for row in rows:
        key = (str(row["grows with"]), str(row["work"]))
        curve = curves.setdefault(key, Curve(*key, [], [], []))
        curve.sizes.append(float(row["size"] or 0))
        curve.seconds.append(float(row["CPU s"] or 0))
        curve.mib.append(float(row["peak MiB"] or 0))
    return list(curves.values())


def fit_row(curve: Curve) -> Row:
    """The growth of a work as a row."""
    limit = LIMITS.get(curve.work, LINEAR)
    row: Row = {
        "grows with": curve.axis,
        "work": curve.work,
        "limit": limit,
    }
    if len(curve.sizes) > 1:
        row["last step"] = fit_growth(curve.sizes[-2:], curve.seconds[-2:]).exponent
    (fit_from,) = [axis.fit_from for axis in AXES.values() if axis.words == curve.axis]
    sizes = [size for size in curve.sizes if size >= fit_from]
    if len(sizes) < MIN_SIZES:
        return row
    growth = fit_growth(sizes, curve.seconds[-len(sizes) :])
    return row | {
        "from": int(sizes[0]),
        "to": int(sizes[-1]),
        "exponent": growth.exponent,
        "±": growth.error,
        "within": "yes" if growth.exponent <= limit else "no",
    }


def legend_of(fits: Sequence[Row]) -> list[str]:
    """The words for each curve: its work, and its exponent where it has one."""
    return [
        f"{row['work']}: {row['exponent']:.2f}" if row["exponent"] else str(row["work"])
        for row in fits
    ]


def fit_growth(sizes: Sequence[float], seconds: Sequence[float]) -> Growth:
    """The slope of the logarithm of costs against that of sizes.

    Args:
        sizes: Rising.
        seconds: CPU seconds at each.
    """
    line = linregress(np.log(sizes), np.log(seconds))
    return Growth(float(line.slope), float(line.stderr))


if __name__ == "__main__":
    main()
