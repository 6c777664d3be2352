"""Lists the videos that the user names on the command line; it opens none of them.

An input is a video file, a folder (searched with its subfolders) or a manifest:
`.csv`, `.jsonl` or `.parquet` with a column `uri` and, if several videos form one title, a column
`title`. Each may be on this machine or on S3, and one manifest may name videos of both.
"""

from __future__ import annotations

import codecs
import difflib
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from vcn_ray.errors import S3Error, UsageError
from vcn_ray.io.folders import VIDEO_ENDINGS, is_video_name, search_folder, skip_reason
from vcn_ray.io.paths import file_uri, local_path
from vcn_ray.io.s3 import SCHEME, S3Config, split_uri
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.io.storage import is_remote
from vcn_ray.redact import one_line, redact

MANIFEST_ENDINGS = frozenset([".csv", ".jsonl", ".parquet"])
MANIFEST_COLUMNS = ("uri", "title")
MAX_WORD = 200  # characters of a column's name that are shown, and compared with the known ones


@dataclass(frozen=True, slots=True, order=True)
class CatalogVideo:
    """A video to process."""

    uri: str
    title: str | None = None  # None: the video is a title of its own
    # An S3 listing contains the next two, which saves one HEAD request per video.
    etag: str = field(default="", compare=False)
    size: int = field(default=0, compare=False)  # bytes; valid if there is an etag
    problem: str = field(default="", compare=False)  # why it cannot be read, if that is known


class Catalog(list[CatalogVideo]):
    """The videos of all inputs.

    Attributes:
        skipped: How many entries of folders were left out, by reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skipped: Counter[str] = Counter()


def read_catalog(inputs: list[str], s3: S3Config | None = None) -> Catalog:
    """List all videos of the inputs in their order, each uri once.

    A file that does not exist is listed too: it becomes a failure of that video alone.

    Args:
        inputs: Files, folders and manifests, as paths or `s3://` addresses.
        s3: How S3 is reached.

    Raises:
        UsageError: An input cannot be read as a list of videos.
    """
    catalog = Catalog()
    videos: dict[str, CatalogVideo] = {}
    for item in inputs:
        for video in _expand(item, s3 or S3Config(), catalog.skipped):
            earlier = videos.setdefault(video.uri, video)
            if earlier.title != video.title:
                raise UsageError(
                    f"{video.uri} is listed twice, with the titles {earlier.title!r} and "
                    f"{video.title!r}: give it one"
                )
    if not videos:
        raise UsageError(f"no videos in {', '.join(inputs)}: name files, folders or a manifest")
    catalog += videos.values()
    return catalog


def _expand(item: str, s3: S3Config, skipped: Counter[str]) -> Iterator[CatalogVideo]:
    if is_remote(item):
        yield from _expand_remote(item, s3, skipped)
        return
    path = _local_path(item)
    if path.suffix.lower() in MANIFEST_ENDINGS:
        if not path.is_file():
            raise UsageError(f"{path}: no such manifest")
        yield from _read_manifest(str(path), path.read_bytes)
    elif path.is_dir():
        found = search_folder(path.absolute())
        skipped.update(found.skipped)
        if not found.entries:
            raise UsageError(
                f"no videos below the folder {item}: {_list_skipped(found.skipped)}; their names "
                "end in .mp4, .mkv, ..., or they begin as such files do"
            )
        for entry in found.entries:
            yield CatalogVideo(file_uri(entry.path), problem=entry.problem)
    elif not path.exists() and (not path.suffix or item.endswith(os.sep)):
        raise UsageError(f"{item}: no such file or folder")
    else:
        yield CatalogVideo(file_uri(str(path.absolute())))


def _list_skipped(skipped: Counter[str]) -> str:
    kinds = [f"{number} x {reason}" for reason, number in sorted(skipped.items())]
    return ", ".join(kinds) or "it is empty"


def _expand_remote(item: str, s3: S3Config, skipped: Counter[str]) -> Iterator[CatalogVideo]:
    uri = _remote_uri(item)
    bucket, key = split_uri(uri)
    objects = S3Objects(bucket, s3)
    ending = posixpath.splitext(key)[1].lower()
    try:
        if ending in MANIFEST_ENDINGS:
            yield from _read_manifest(uri, lambda: objects.read_whole(key))
        elif ending in VIDEO_ENDINGS:
            yield CatalogVideo(uri)
        else:
            found = _list_videos(objects, f"{key.rstrip('/')}/" if key else "", skipped)
            if found:
                yield from found
            elif key and objects.exists(key):
                yield CatalogVideo(uri)
            else:
                raise UsageError(
                    f"no videos below {uri}: their names must end in .mp4, .mkv, ..., and a "
                    "prefix must be a whole folder name"
                )
    except S3Error as error:
        raise UsageError(f"{uri} cannot be listed or read: {error}") from error


def _remote_uri(uri: str) -> str:
    if not uri.startswith(SCHEME):
        raise UsageError(f"{redact(uri)}: name a path of this machine or s3://bucket/key")
    split_uri(uri)
    return uri


def _list_videos(objects: S3Objects, prefix: str, skipped: Counter[str]) -> list[CatalogVideo]:
    found = []
    for entry in objects.list(prefix):
        name = posixpath.basename(entry.key)
        if is_video_name(name):
            found.append(entry)
        elif name:  # a key that ends in a slash stands for a folder
            skipped[skip_reason(name)] += 1
    found.sort(key=lambda entry: entry.key.split("/"))  # same order as for a local folder
    return [
        CatalogVideo(f"{SCHEME}{objects.bucket}/{entry.key}", None, entry.etag, entry.size)
        for entry in found
    ]


def _local_path(name: str) -> Path:
    try:
        return Path(local_path(name)).expanduser()
    except RuntimeError as error:  # "~somebody" is no user of this machine
        raise UsageError(f"{name}: {one_line(error)}") from error


def _read_manifest(place: str, read: Callable[[], bytes]) -> Iterator[CatalogVideo]:
    columns = _load_columns(place, read)
    names = [name for name, _ in columns]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{place}: has the column {name[:MAX_WORD]!r} more than once")
        if name not in MANIFEST_COLUMNS:
            near = difflib.get_close_matches(name[:MAX_WORD], MANIFEST_COLUMNS, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"{place}: unknown column {name[:MAX_WORD]!r}{hint} (columns: uri, and optionally "
                "title)"
            )
    values = dict(columns)
    if "uri" not in values:
        raise UsageError(f"{place}: needs a column 'uri', has {', '.join(names[:20]) or 'none'}")
    titles = values.get("title")
    for row, uri in enumerate(values["uri"]):
        if not isinstance(uri, str) or not uri.strip():
            raise UsageError(f"{place}: row {row + 1} has no uri")
        if "\0" in uri:
            raise UsageError(f"{place}: row {row + 1}: a uri holds no zero byte")
        title = titles[row] if titles else None
        try:
            found = _beside(place, uri.strip())
        except UsageError as error:
            raise UsageError(f"{place}: row {row + 1}: {error}") from error
        yield CatalogVideo(found, str(title).strip() if title else None)


def _beside(place: str, uri: str) -> str:
    """A manifest's uri in full.

    A relative one starts at the manifest's folder, so that both can be moved together.
    """
    if is_remote(uri):
        return _remote_uri(uri)
    path = _local_path(uri)
    if path.is_absolute() or not is_remote(place):
        return file_uri(str((Path(place).parent / path).absolute()))
    bucket, key = split_uri(place)
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(key), uri))
    if joined.startswith(".."):
        raise UsageError(f"{uri} leads out of the bucket {bucket}")
    return f"{SCHEME}{bucket}/{joined}"


def _load_columns(place: str, read: Callable[[], bytes]) -> list[tuple[str, list[Any]]]:
    """Read the columns of a manifest, in their order; a name may stand twice."""
    content = b""
    try:
        content = read()
        table = _read_table(os.path.splitext(place)[1].lower(), content)
        table.validate(full=True)  # text may be no UTF-8
        return [
            (name, column.to_pylist())
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
    except S3Error:
        raise
    except Exception as error:  # the readers' errors share no base class
        reason = one_line(error, 200)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            reason = "it is in UTF-16: save it as UTF-8"
        raise UsageError(f"{place} cannot be read as a manifest: {reason}") from error


def _read_table(ending: str, content: bytes) -> pa.Table:
    stream = pa.BufferReader(content)
    if ending == ".csv":
        texts = {name: pa.string() for name in MANIFEST_COLUMNS}
        return pacsv.read_csv(stream, convert_options=pacsv.ConvertOptions(column_types=texts))
    if ending == ".jsonl":
        return pajson.read_json(stream)
    return pq.read_table(stream)
