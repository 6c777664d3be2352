"""Identity, container and segments of a video, before any step works on it.

A local file is read whole for its identity. An object on S3 is identified by its size, ETag and
version, and what its container holds is cached in the output, so that a run over videos that were
planned before reads no byte of them.
"""

from __future__ import annotations

import logging
import posixpath
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from vcn_ray.config import RunConfig, part_of
from vcn_ray.errors import MediaError, S3Error, StorageError, UsageError
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.identity import digest, object_hash, stream_hash, video_id
from vcn_ray.io.isolation import plan_segments, probe
from vcn_ray.io.paths import file_name, local_path
from vcn_ray.io.s3 import S3Config, split_uri
from vcn_ray.io.s3_file import media_error, open_source
from vcn_ray.io.s3_objects import S3Objects, StoredObject
from vcn_ray.io.storage import Storage, is_remote, one_line
from vcn_ray.io.video import DecodeConfig, Source
from vcn_ray.records import Segment, VideoInfo
from vcn_ray.run.failures import PLAN_ATTEMPTS, retry
from vcn_ray.schema import SCHEMA_VERSION
from vcn_ray.steps import METHOD_VERSION

log = logging.getLogger(__name__)


class KnownVideo(NamedTuple):
    """A readable video."""

    video_id: str
    etag: str  # of the probed object; empty for a local file
    info: VideoInfo
    segments: tuple[Segment, ...]
    size: int | None = None  # bytes of the object; None for a local file


@dataclass(frozen=True, slots=True)
class PlanCache:
    """Keeps what the containers of videos hold.

    Attributes:
        storage: The output.
        keep: Write new entries; otherwise only those that are there are used.
    """

    storage: Storage
    keep: bool


def probe_video(video: CatalogVideo, config: RunConfig, cache: PlanCache | None) -> KnownVideo:
    """Probe a video.

    Args:
        video: An entry of the catalog.
        config: How it is cut into segments, and how S3 is reached.
        cache: Of earlier plans, if any.

    Raises:
        MediaError: It cannot be read, or is no video.
    """
    if not is_remote(video.uri):
        return _probe_file(video.uri, config)
    found = _find_object(video, config.s3)
    stem = posixpath.splitext(posixpath.basename(found.key))[0]
    name = video_id(stem, found.size, object_hash(found.etag, found.version))
    decode = part_of(config.detect, DecodeConfig)
    key = digest("plan", METHOD_VERSION, SCHEMA_VERSION, name, asdict(decode))
    path = f"videos/{name}/plan-{key}.json"
    noted = _recall(cache.storage, path) if cache else None
    if noted:
        return KnownVideo(name, found.etag, *noted, found.size)
    source = open_source(video.uri, found.etag, config.s3, found.size)
    known = KnownVideo(name, found.etag, *_read_container(source, config), found.size)
    if cache and cache.keep:
        content = {"info": asdict(known.info), "segments": [asdict(s) for s in known.segments]}
        try:
            cache.storage.write_json(path, content)
        except StorageError as error:  # the next run only has to read it again
            log.warning("the plan of a video is not cached: %s", error)
    return known


def _recall(storage: Storage, path: str) -> tuple[VideoInfo, tuple[Segment, ...]] | None:
    """The cached entry of a video, if there is one of this version."""
    try:
        noted = storage.find_json(path)
        segments = tuple(Segment(**segment) for segment in noted["segments"]) if noted else ()
        return (VideoInfo(**noted["info"]), segments) if noted else None
    except (StorageError, ValueError, KeyError, TypeError):  # damaged, or of another version
        return None


def _find_object(video: CatalogVideo, s3: S3Config) -> StoredObject:
    """Size, ETag and version of an object; requested only where the listing lacked them."""
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


def _read_container(source: Source, config: RunConfig) -> tuple[VideoInfo, tuple[Segment, ...]]:
    limits, decode = config.isolation, part_of(config.detect, DecodeConfig)
    info, segments = retry(
        lambda: (probe(source, limits), plan_segments(source, decode, limits)),
        PLAN_ATTEMPTS,
    )
    # A scan knows better than the container, which may have been joined of several recordings.
    return replace(info, duration_seconds=segments[-1].end_seconds), segments


def _probe_file(uri: str, config: RunConfig) -> KnownVideo:
    path = Path(local_path(uri))
    try:
        there, exists = path.is_file(), path.exists()
    except (OSError, ValueError) as error:  # a name that no file system takes
        raise MediaError("missing", f"{uri[:100]}: {one_line(error)}") from error
    if not there:
        if exists:
            raise MediaError("unreadable", f"{uri}: no regular file")
        raise MediaError("missing", f"{uri}: no such file")
    info, segments = _read_container(path, config)
    try:
        with path.open("rb") as stream:
            content = stream_hash(stream)
        name = video_id(Path(file_name(uri)).stem, path.stat().st_size, content)
    except OSError as error:
        raise MediaError("unreadable", f"{uri}: {one_line(error)}") from error
    return KnownVideo(name, "", info, segments)
