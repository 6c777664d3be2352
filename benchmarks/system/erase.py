"""Is an erased person gone from every file, and are all others as they were?

    python -m benchmarks.system.erase OUT [--title TITLE] [--pack DIR]

OUT is a folder with results. Each person of the title is erased in turn, in a copy of the output.
The search of this script is its own: it reads every file of the whole output, each table cell by
cell, and pages with their base64 decoded, for the person's pictures and the ids of their tracks.

How to read a row: `before` and `after` are the numbers of files in which something of the person is
found. `others changed` counts the rows of people, tracks, appearances and merges of others that
are not as before, and `damaged` what `vcn verify` reports.
"""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import vcn_ray
from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Report
from vcn_ray.io.storage import Storage
from vcn_ray.run.stored import StoredTitle, find_title_id, read_title

COLUMNS = {
    "person": "",
    "tracks": "",
    "pictures": "",
    "before": "",
    "after": "",
    "others changed": "",
    "damaged": "",
    "seconds": ".2f",
}
TABLES = ("people", "tracks", "appearances", "merges")
TRACK_NAMES = ("track_id", "left_track_id", "right_track_id", "cover_track_id")


def texts_of(path: Path) -> Iterator[bytes]:
    """What a file holds: its bytes, the cells of a table, the pictures of a page."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        for column in pq.ParquetFile(pa.BufferReader(data)).read().columns:
            if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
                for cell in column.to_pylist():
                    if cell is not None:
                        yield cell.encode() if isinstance(cell, str) else cell
    elif path.suffix == ".html":
        for text in re.findall(rb"[A-Za-z0-9+/]{100,}={0,2}", data):
            yield base64.b64decode(text)


def count_files(output: Path, needles: list[bytes]) -> int:
    """The number of files in which any of some bytes is found."""
    found = 0
    for path in output.rglob("*"):
        if path.is_file():
            whole = b"\0".join(texts_of(path))
            found += any(needle in whole for needle in needles)
    return found


def rows_without(title: StoredTitle, gone: set[str]) -> set[str]:
    """The rows of all tables but for those that name some tracks."""
    return {
        f"{name} {row!r}"
        for name in TABLES
        for row in getattr(title, name).to_pylist()
        if gone.isdisjoint(row.get(column) for column in TRACK_NAMES)
    }


def try_person(output: Path, title_id: str, person: str, pack: str | None) -> dict[str, Any]:
    """Erase a person from an output, and compare."""
    storage = Storage.open(str(output))
    title = read_title(title_id, storage)
    ids = title.tracks.filter(pc.equal(title.tracks["person_id"], person))["track_id"].to_pylist()
    crops = title.crops.filter(pc.is_in(title.crops["track_id"], pa.array(ids)))
    pictures = [data for name in ("image", "face") for data in crops[name].to_pylist() if data]
    needles = [name.encode() for name in ids] + pictures
    before, kept = count_files(output, needles), rows_without(title, set(ids))
    began = time.perf_counter()
    vcn_ray.erase(output, f"{title_id}:{person}", pack=pack)
    seconds = time.perf_counter() - began
    after = rows_without(read_title(title_id, storage), set())
    return {
        "person": person,
        "tracks": len(ids),
        "pictures": len(pictures),
        "before": before,
        "after": count_files(output, needles),
        "others changed": len(kept ^ after),
        "damaged": len(vcn_ray.verify(output).damage),
        "seconds": seconds,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--title", help="its name or id (default: the only one there is)")
    add_pack(parser, required=False, about="face models that it was indexed with")
    options = read_options(parser, argv)
    storage = Storage.open(str(options.output))
    title_id = find_title_id(storage, options.title)
    people = read_title(title_id, storage).people["person_id"].to_pylist()
    report = Report(COLUMNS)
    for person in people:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(options.output, Path(folder, "out")))
            report.add(try_person(copy, title_id, person, options.pack))
    save(options, report)


if __name__ == "__main__":
    main()
