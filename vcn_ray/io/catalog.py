"""What the user names on the command line, as a list of videos; it opens no video.

An input is a video file, a folder (searched below, by file ending) or a manifest: `.csv`, `.jsonl`
or `.parquet` with a column `uri` and, where several videos are one title, a column `title`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from vcn_ray.errors import UsageError
from vcn_ray.io.storage import is_remote, one_line

VIDEO_ENDINGS = frozenset(
    [
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    ]
)
MANIFEST_ENDINGS = frozenset([".csv", ".jsonl", ".parquet"])
MANIFEST_COLUMNS = ("uri", "title")


@dataclass(frozen=True, slots=True, order=True)
class CatalogVideo:
    """A video to be done."""

    uri: str
    title: str | None = None  # None: the video is a title of its own


def read_catalog(inputs: list[str]) -> list[CatalogVideo]:
    """All videos of the inputs, in the order given, each uri once.

    A file that does not exist is listed too: that it is missing is a failure of that video alone.

    Raises:
        UsageError: An input cannot be read as a list of videos.
    """
    videos: dict[str, CatalogVideo] = {}
    for item in inputs:
        for video in _expand(item):
            earlier = videos.setdefault(video.uri, video)
            if earlier.title != video.title:
                raise UsageError(
                    f"{video.uri} is listed twice, with the titles {earlier.title!r} and "
                    f"{video.title!r}: give it one"
                )
    if not videos:
        raise UsageError(f"no videos in {', '.join(inputs)}: name files, folders or a manifest")
    return list(videos.values())


def _expand(item: str) -> Iterator[CatalogVideo]:
    if is_remote(item):
        raise UsageError(f"{item}: only local files, folders and manifests can be read as input")
    path = _local_path(item)
    if path.suffix.lower() in MANIFEST_ENDINGS:
        yield from _read_manifest(path)
    elif path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in VIDEO_ENDINGS]
        if not found:
            raise UsageError(
                f"no videos below the folder {item}: their names must end in .mp4, .mkv, ..."
            )
        yield from (CatalogVideo(str(_local_path(str(p.absolute())))) for p in found if p.is_file())
    else:
        yield CatalogVideo(str(path.absolute()))


def _local_path(name: str) -> Path:
    # A name that is not UTF-8 fits in no table: it is spelled out, and then fails as missing.
    plain = name.encode("utf-8", "backslashreplace").decode()
    try:
        return Path(plain.removeprefix("file://")).expanduser()
    except RuntimeError as error:  # "~somebody" who is not there
        raise UsageError(f"{plain}: {one_line(error)}") from error


def _read_manifest(path: Path) -> Iterator[CatalogVideo]:
    table = _load_table(path)
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise UsageError(f"{path}: has the column {name!r} more than once")
        if name not in MANIFEST_COLUMNS:
            near = difflib.get_close_matches(name, MANIFEST_COLUMNS, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"{path}: unknown column {name!r}{hint} (columns: uri, and optionally title)"
            )
    if "uri" not in table.column_names:
        raise UsageError(
            f"{path}: needs a column 'uri', has {', '.join(table.column_names) or 'none'}"
        )
    titles = table.column("title").to_pylist() if "title" in table.column_names else None
    for row, uri in enumerate(table.column("uri").to_pylist()):
        if not isinstance(uri, str) or not uri.strip():
            raise UsageError(f"{path}: row {row + 1} has no uri")
        title = titles[row] if titles else None
        if is_remote(uri):
            raise UsageError(f"{path}: row {row + 1}: {uri}: only local files can be read as input")
        video = _local_path(uri.strip())
        # A relative uri is meant from where the manifest lies, so that both can be moved together.
        yield CatalogVideo(
            str((path.parent / video).absolute()), str(title).strip() if title else None
        )


def _load_table(path: Path) -> pa.Table:
    if not path.is_file():
        raise UsageError(f"{path}: no such manifest")
    try:
        if path.suffix.lower() == ".csv":
            texts = {name: pa.string() for name in MANIFEST_COLUMNS}
            return pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=texts))
        if path.suffix.lower() == ".jsonl":
            return pajson.read_json(path)
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as a manifest: {one_line(error)}") from error
