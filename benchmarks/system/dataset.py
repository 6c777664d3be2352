"""How long does the dataset of a catalog take to write and to query, and how much memory?

    python -m benchmarks.system.dataset [--titles 1000,10000] [--tracks 300] [--people 20]

A made-up catalog is written into a temporary folder: titles of two videos each, with tracks, shots
and people as given; nothing is decoded. Its dataset is written in a process of its own, whose peak
memory is measured: from scratch, again with nothing changed, and again after one title got a new
result. DuckDB then runs the queries of docs/lakes.md.

How to read a row: `written`, `unchanged` and `one changed` are seconds of the three exports, `peak`
is resident memory of the first one, and `time`, `scenes` and `first` are seconds of the queries for
screen time, shared scenes and first appearances.

Needs duckdb: `pip install -e '.[test]'`.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.command import PROJECT, make_parser, read_options, save
from benchmarks.made_titles import commit_result, commit_tables
from benchmarks.report import Report, say
from vcn_ray.exports.dataset import Dataset, write_dataset
from vcn_ray.io.storage import Storage
from vcn_ray.schema import (
    APPEARANCES,
    PEOPLE,
    RESULT_TRACKS,
    SHOTS,
)

COLUMNS = {
    "titles": ",d",
    "tracks": ",d",
    "written": ".1f",
    "unchanged": ".2f",
    "one changed": ".1f",
    "peak MiB": ",.0f",
    "files": ",d",
    "MiB": ",.1f",
    "time": ".3f",
    "scenes": ".3f",
    "first": ".3f",
}
VIDEOS = 2  # of each title
SHOT_SECONDS = 5.0


class Size(NamedTuple):
    """Of each title."""

    people: int
    tracks: int


class Export(NamedTuple):
    """A dataset as written."""

    dataset: Dataset
    seconds: float
    peak_mib: float


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--titles", default="1000,10000", metavar="N,...")
    parser.add_argument("--tracks", type=int, default=300, metavar="N")
    parser.add_argument("--people", type=int, default=20, metavar="N")
    parser.add_argument("--quick", action="store_true", help="20 titles")
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    counts = [20] if options.quick else [int(count) for count in options.titles.split(",")]
    for count in counts:
        with TemporaryDirectory() as folder:
            report.add(measure(Path(folder), count, Size(options.people, options.tracks)))
    save(options, report)


def measure(folder: Path, count: int, size: Size) -> dict[str, float | int]:
    """One row: a catalog is made, exported three times and queried."""
    output, lake = str(folder / "out"), str(folder / "lake")
    storage = Storage.open(output)
    say(f"writing {count} titles")
    for number in range(count):
        write_title(storage, number, size, "cluster-000000000001")
    first = export_apart(output, lake)
    same = export_apart(output, lake)
    write_title(storage, 0, size, "cluster-000000000002")
    changed = export_apart(output, lake)
    return {
        "titles": count,
        "tracks": first.dataset.rows["tracks"],
        "written": first.seconds,
        "unchanged": same.seconds,
        "one changed": changed.seconds,
        "peak MiB": first.peak_mib,
        "files": first.dataset.files,
        "MiB": first.dataset.bytes / 2**20,
    } | query(folder)


def export_apart(output: str, lake: str) -> Export:
    """Write the dataset in a fresh process, whose peak memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(export, output, lake).result()


def export(output: str, lake: str) -> Export:
    began = time.perf_counter()
    dataset = write_dataset(Storage.open(output), Storage.open(lake))
    seconds = time.perf_counter() - began
    return Export(dataset, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def query(folder: Path) -> dict[str, float]:
    """Seconds of the first three queries of docs/lakes.md."""
    page = (PROJECT / "docs" / "lakes.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    home = Path.cwd()
    os.chdir(folder)  # the page names the dataset by a relative path
    try:
        with duckdb.connect() as database:
            database.execute(blocks[0])
            seconds = []
            for block in blocks[1:4]:
                began = time.perf_counter()
                database.execute(block).fetchall()
                seconds.append(time.perf_counter() - began)
    finally:
        os.chdir(home)
    return dict(zip(("time", "scenes", "first"), seconds, strict=True))


def write_title(storage: Storage, number: int, size: Size, result: str) -> None:
    """Commit what an export reads of a title, and point to it."""
    title_id = f"title-{number:012x}"
    videos = [f"video-{VIDEOS * number + each:012x}" for each in range(VIDEOS)]
    folders = [f"videos/{video}/track-000000000001" for video in videos]
    people, tracks, appearances = made_tables(videos, size, seed=number)
    last = float(tracks.column("end_seconds").to_numpy().max())
    for video, folder in zip(videos, folders, strict=True):
        commit_tables(storage, folder, {"shots": made_shots(video, last)})
    tables = {"people": people, "tracks": tracks, "appearances": appearances}
    summary = {
        "title": f"Title {number}",
        "videos": [{"video_id": video, "uri": f"s3://films/{video}.mp4"} for video in videos],
        "keys": {"track": folders},
        "warnings": [],
    }
    commit_result(storage, f"titles/{title_id}", result, tables, summary)


def made_tables(videos: Sequence[str], size: Size, seed: int) -> tuple[pa.Table, ...]:
    """PEOPLE, RESULT_TRACKS and APPEARANCES; a fifth of the tracks is of nobody."""
    rng = np.random.default_rng(seed)
    count = size.tracks
    video = np.sort(np.arange(count) % len(videos))
    start = rng.uniform(0, 10 * count, count).round(2)
    end = start + rng.uniform(1, 5, count).round(2)
    who = rng.integers(0, size.people, count)
    known = (rng.random(count) > 0.2) | (np.arange(count) < size.people)
    who[: size.people] = np.arange(size.people)
    named = np.array([f"p{number + 1:03d}" for number in range(size.people)])
    columns = {
        "track_id": [f"{videos[v]}-t{row:04d}" for row, v in enumerate(video)],
        "video_id": [videos[v] for v in video],
        "shot_id": [f"s{int(at // SHOT_SECONDS):04d}" for at in start],
        "start_seconds": start,
        "end_seconds": end,
        "start_frame": (start * 25).astype(int),
        "end_frame": (end * 25).astype(int),
        "crops": np.full(count, 5),
        "quality": rng.random(count),
        "status": np.where(known, "clustered", "unknown").tolist(),
        "reason": [None if each else "ambiguous" for each in known],
        "person_id": [named[w] if k else None for w, k in zip(who, known, strict=True)],
        "confidence": rng.random(count),
    }
    tracks = pa.table(
        {
            name: pa.array(columns[name]).cast(RESULT_TRACKS.field(name).type)
            for name in RESULT_TRACKS.names
        },
        schema=RESULT_TRACKS,
    )
    seen = tracks.filter(pa.array(known)).select(APPEARANCES.names)
    seconds = [float((end - start)[known & (who == n)].sum()) for n in range(size.people)]
    people = {
        "person_id": named.tolist(),
        "tracks": [int((known & (who == n)).sum()) for n in range(size.people)],
        "screen_seconds": seconds,
        "first_seconds": start[: size.people],
        "confidence": [0.5] * size.people,
        "cover_track_id": columns["track_id"][: size.people],
        "cover_crop": [0] * size.people,
    }
    return pa.table(people, schema=PEOPLE), tracks, seen.cast(APPEARANCES)


def made_shots(video: str, seconds: float) -> pa.Table:
    """SHOTS of a video of some length."""
    count = int(seconds // SHOT_SECONDS) + 1
    start = np.arange(count) * SHOT_SECONDS
    columns = {
        "video_id": [video] * count,
        "shot_id": [f"s{number:04d}" for number in range(count)],
        "start_frame": (start * 25).astype(int),
        "end_frame": ((start + SHOT_SECONDS) * 25).astype(int),
        "start_seconds": start,
        "end_seconds": start + SHOT_SECONDS,
    }
    return pa.table(columns, schema=SHOTS)


if __name__ == "__main__":
    main()
