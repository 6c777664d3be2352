"""What a video is, before anything is found in it: identity, container and segments.

A file of this machine is read whole for its identity. An object on S3 is told apart by what S3 says
of it, and what its container holds is remembered in the output, so that a run over videos that were
planned before reads not a byte of them.
"""

from __future__ import annotations

import logging
import posixpath
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from vcn_ray.config import RunConfig
from vcn_ray.errors import MediaError, S3Error, StorageError, UsageError
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.identity import digest, object_hash, stream_hash, video_id
from vcn_ray.io.isolation import plan_segments, probe
from vcn_ray.io.s3 import S3Config, split_uri
from vcn_ray.io.s3_file import media_error
from vcn_ray.io.s3_objects import S3Objects, StoredObject
from vcn_ray.io.source import open_source
from vcn_ray.io.storage import Storage, is_remote, one_line
from vcn_ray.io.video import Source
from vcn_ray.records import Segment, VideoInfo
from vcn_ray.run.attempts import PLAN_ATTEMPTS, try_again

log = logging.getLogger(__name__)


class KnownVideo(NamedTuple):
    """A readable video."""

    video_id: str
    etag: str  # of the object that was looked at; empty for a local file
    info: VideoInfo
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """Where it is remembered what videos hold.

    Attributes:
        storage: The output.
        keep: Write down what is new; without, only what is there is used.
    """

    storage: Storage
    keep: bool


def look_at_video(
    video: CatalogVideo, config: RunConfig, version: tuple[object, ...], memory: Memory | None
) -> KnownVideo:
    """Say what a video is.

    Args:
        video: What the catalog names.
        config: How it is cut, and how S3 is reached.
        version: What else the cutting depends on.
        memory: What was found earlier, if there is such a place.

    Raises:
        MediaError: It cannot be read, or is no video.
    """
    if not is_remote(video.uri):
        return _look_at_file(video.uri, config)
    found = _look_up(video, config.s3)
    stem = posixpath.splitext(posixpath.basename(found.key))[0]
    name = video_id(stem, found.size, object_hash(found.etag, found.version))
    key = digest("plan", version, name, asdict(config.decode))
    path = f"videos/{name}/plan-{key}.json"
    noted = _recall(memory.storage, path) if memory else None
    if noted:
        return KnownVideo(name, found.etag, *noted)
    source = open_source(video.uri, found.etag, config.s3)
    known = KnownVideo(name, found.etag, *_look_inside(source, config))
    if memory and memory.keep:
        content = {"info": asdict(known.info), "segments": [asdict(s) for s in known.segments]}
        try:
            memory.storage.write_json(path, content)
        except StorageError as error:  # it is only read once more by the next run
            log.warning("what a video holds is not written down: %s", error)
    return known


def _recall(storage: Storage, path: str) -> tuple[VideoInfo, tuple[Segment, ...]] | None:
    """What was written down of a video, if it was, in the words of this version."""
    try:
        noted = storage.find_json(path)
        segments = tuple(Segment(**segment) for segment in noted["segments"]) if noted else ()
        return (VideoInfo(**noted["info"]), segments) if noted else None
    except (StorageError, ValueError, KeyError, TypeError):  # damaged, or of another version
        return None


def _look_up(video: CatalogVideo, s3: S3Config) -> StoredObject:
    """What S3 says of an object; asked only where the listing did not tell it all."""
    try:
        bucket, key = split_uri(video.uri)
        objects = S3Objects(bucket, s3)
        if video.etag and not objects.has_versions():
            return StoredObject(key, video.size, video.etag)
        return objects.head(key)
    except S3Error as error:
        raise media_error(video.uri, error) from error
    except UsageError as error:
        raise MediaError("missing", one_line(error)) from error


def _look_inside(source: Source, config: RunConfig) -> tuple[VideoInfo, tuple[Segment, ...]]:
    limits = config.isolation
    return try_again(
        lambda: (probe(source, limits), plan_segments(source, config.decode, limits)),
        PLAN_ATTEMPTS,
    )


def _look_at_file(uri: str, config: RunConfig) -> KnownVideo:
    path = Path(uri)
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # a name that no file system takes
        raise MediaError("missing", f"{uri[:100]}: {one_line(error)}") from error
    if not there:
        raise MediaError("missing", f"{uri}: no such file")
    info, segments = _look_inside(uri, config)
    try:
        with path.open("rb") as stream:
            content = stream_hash(stream)
        name = video_id(path.stem, path.stat().st_size, content)
    except OSError as error:
        raise MediaError("unreadable", f"{uri}: {one_line(error)}") from error
    return KnownVideo(name, "", info, segments)
