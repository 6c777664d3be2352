"""Pack folders from elsewhere, made once on each machine: from S3, or from a published archive.

A folder from S3 appears whole or not at all, however many processes want it at once and wherever
one of them is killed. Nothing here loads a network, and nothing is fetched that was not asked for.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from vcn_ray.errors import PackError, VcnError
from vcn_ray.io.identity import digest
from vcn_ray.io.s3 import SCHEME, S3Config, split_uri
from vcn_ray.io.s3_objects import S3Objects, StoredObject
from vcn_ray.packs.download import (
    MODEL_ZOO,
    MOST_BYTES,
    Progress,
    belongs,
    download,
    silent,
    sync,
    unpack,
)
from vcn_ray.packs.inspect import INSIGHTFACE_FILES, INSIGHTFACE_NAMES
from vcn_ray.packs.load import describe_pack
from vcn_ray.packs.manifest import MANIFEST

PIN = "#"  # between an address and the content that is meant
PIECE_BYTES = 16 << 20  # of an object, read at a time
STALE_SECONDS = 24 * 3600  # after which a half made folder is that of a process that was killed
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_folder() -> Path:
    """Where packs of S3 are kept on this machine."""
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = told if told.is_absolute() else Path.home() / ".cache"
    return home / "vcn-ray" / "packs"


def pin_pack(uri: str, s3: S3Config) -> str:
    """The address of what lies below a prefix now, which `fetch_pack` gives and nothing else.

    Args:
        uri: `s3://bucket/prefix` with the pack's files directly below it.
        s3: How it is reached.

    Raises:
        PackError: There is no pack.
        StorageError: S3 cannot be read.
    """
    plain = uri.rstrip("/")
    return f"{plain}{PIN}{_content(plain, s3, _list(plain, s3))}"


def fetch_pack(uri: str, s3: S3Config, progress: Progress = silent) -> Path:
    """A pack's folder on this machine, fetched where it is not there yet.

    Args:
        uri: As `pin_pack` gives it, or without what is meant: then what lies there now.
        s3: How it is reached; not at all where what is meant is here already.
        progress: Told the share that is fetched.

    Returns:
        A folder of the prefix's last name, which is the pack's where no pack.toml says another.

    Raises:
        PackError: There is no pack, another one than is meant, or no room for it.
        StorageError: S3 cannot be read.
    """
    plain, _, meant = uri.partition(PIN)
    plain = plain.rstrip("/")
    name = posixpath.basename(plain)
    if meant and (cache_folder() / meant / name).is_dir():
        return cache_folder() / meant / name
    files = _list(plain, s3)
    content = _content(plain, s3, files)
    if meant not in ("", content):
        raise PackError(
            f"{plain} holds another pack than when the run was planned: run the same command again"
        )
    bucket = split_uri(plain).bucket

    def is_whole(folder: Path) -> bool:
        return all(_size(folder / path) == entry.size for path, entry in files.items())

    def fill(part: Path) -> None:
        done, total = 0, sum(entry.size for entry in files.values())
        for path, entry in files.items():
            _fetch(S3Objects(bucket, s3), entry, part / path)
            done += entry.size
            progress(done / max(1, total))

    return _make_once(cache_folder() / content / name, is_whole, fill)


def pull_pack(name: str, home: Path, url: str = MODEL_ZOO, progress: Progress = silent) -> Path:
    """Fetch a pack of InsightFace's, unless it is there and whole.

    Args:
        name: One of INSIGHTFACE_NAMES.
        home: Where the folder of that name goes.
        url: Below which NAME.zip is found.
        progress: Told the share that is fetched.

    Raises:
        PackError: There is no such pack, it cannot be fetched, or its archive is another one.
    """
    if name not in INSIGHTFACE_NAMES:
        raise PackError(
            f"no pack to be fetched is called {name!r}: known are {', '.join(INSIGHTFACE_NAMES)}"
        )
    wanted = INSIGHTFACE_FILES.get(name, (MANIFEST,))
    source = f"{url.rstrip('/')}/{name}.zip"

    def fill(part: Path) -> None:
        archive = part / "archive.zip"
        try:
            download(source, archive, progress)
            unpack(archive, part, wanted[0], source)
            archive.unlink()
            describe_pack(str(part))  # before anything of it takes the place of what is there
        except PackError as error:
            told = str(error).replace(str(part), source)
            raise PackError(
                f"{told}: name another address by download.url, or fetch the pack elsewhere and "
                f"unpack it into {home / name}"
            ) from error

    return _make_once(home / name, is_usable, fill)


def is_usable(folder: Path) -> bool:
    """Whether a pack lies there whole, as far as checksums and the graphs' heads tell."""
    try:
        describe_pack(str(folder))
    except PackError:
        return False
    return True


def _list(uri: str, s3: S3Config) -> dict[str, StoredObject]:
    """The objects of a pack, by path below its prefix.

    Raises:
        PackError: There is no pack, or more than a pack.
    """
    if not uri.startswith(SCHEME):
        raise PackError(f"{uri} is no address of a pack: name a folder or s3://bucket/prefix")
    bucket, key = split_uri(uri)
    prefix = f"{key}/" if key else ""
    found = {entry.key[len(prefix) :]: entry for entry in S3Objects(bucket, s3).list(prefix)}
    files = {path: entry for path, entry in found.items() if belongs(path)}
    if all("/" in path for path in files):
        raise PackError(f"{uri} holds no pack: put pack.toml and its model files directly below it")
    if sum(entry.size for entry in files.values()) > MOST_BYTES:
        raise PackError(f"{uri} holds over {MOST_BYTES >> 30} GiB: put a pack alone below it")
    return files


def _content(uri: str, s3: S3Config, files: dict[str, StoredObject]) -> str:
    """Hex that changes with what lies below a prefix."""
    return digest(s3.endpoint, uri, sorted(files.values()))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _make_once(
    folder: Path, is_whole: Callable[[Path], bool], fill: Callable[[Path], None]
) -> Path:
    """Have a folder filled by whoever comes first, and let the others wait.

    The lock only saves work: where a file system has none, each fills a folder of its own.

    Raises:
        PackError: The disk does not take it.
    """
    if is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not is_whole(folder):
                _make(folder, fill)
    except OSError as error:
        if isinstance(error, VcnError):  # S3's
            raise
        todo = "make room" if error.errno in NO_ROOM else "set HOME to a folder that can be written"
        raise PackError(f"{folder} cannot be written ({error.strerror}): {todo}") from error
    return folder


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    for left in folder.parent.glob(f".{folder.name}.*.part"):
        with suppress(FileNotFoundError):  # another process removes it, too
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    outside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    part = outside / folder.name  # a pack without a description has its folder's name
    part.mkdir(parents=True)
    try:
        fill(part)
        if folder.exists():
            _mend(folder, part)
        else:
            part.rename(folder)
    finally:
        shutil.rmtree(outside, ignore_errors=True)


def _mend(folder: Path, part: Path) -> None:
    """Put files in place of those that a folder lacks or has damaged; what describes them last."""
    files = [path.relative_to(part) for path in part.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: path.suffix in (".toml", ".json")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (part / file).replace(folder / file)


def _fetch(objects: S3Objects, entry: StoredObject, path: Path) -> None:
    """One object into a file, all of it of the same version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        while stream.tell() < entry.size:
            data = objects.read_part(entry.key, stream.tell(), PIECE_BYTES, entry.etag).data
            if not data:
                raise PackError(
                    f"{SCHEME}{objects.bucket}/{entry.key} was replaced while it was fetched: run "
                    "the same command again"
                )
            stream.write(data)
        sync(stream)
