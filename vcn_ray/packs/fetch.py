"""Fetches pack folders from elsewhere, once per machine: from S3, or from InsightFace's releases.

A pack from S3 goes into a cache, under a hash of its content; one from InsightFace's releases goes
where InsightFace's own tools keep it. A folder appears whole or not at all, however many processes
want it and wherever one of them is killed. This module fetches only what the caller names, and
loads no network.
"""

from __future__ import annotations

import errno
import http.client
import os
import posixpath
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT
from vcn_ray.errors import PackError, VcnError
from vcn_ray.io.atomic import fill_once
from vcn_ray.io.identity import digest
from vcn_ray.io.s3 import SCHEME, S3Config, split_uri
from vcn_ray.io.s3_objects import S3Objects, StoredObject
from vcn_ray.packs.face_pack import Progress, no_progress
from vcn_ray.packs.inspect import INSIGHTFACE_FILES, INSIGHTFACE_NAMES, MANIFEST, read_pack
from vcn_ray.packs.load import describe_folder
from vcn_ray.redact import one_line

MODEL_ZOO = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
PIN = "#"  # between an S3 prefix and the hash of its content
PACK_ENDINGS = (".toml", ".onnx", ".safetensors", ".json", ".license")
DESCRIPTIONS = (".toml", ".json")
MAX_BYTES = 4 << 30  # of an archive, and of a pack; the largest known one has 0.4
OBJECT_BYTES = 16 << 20  # read from S3 in one request
ANSWER_BYTES = 1 << 20  # read from a web server in one piece
ANSWER_SECONDS = 30.0  # without data, after which a web server is given up
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OF_DISK = (*NO_ROOM, errno.EACCES, errno.EIO, errno.EPERM, errno.EROFS)


def _check_url(url: str) -> str:
    if set(url) & set("@?# "):
        raise ValueError("must hold no credentials, signature or blank")
    try:
        address = urlsplit(url)
        fits = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:  # about the port
        fits = False
    if not fits:
        raise ValueError("must be like https://host/folder")
    return url


# An address may hold a password: no validation error may print it.
@dataclass(frozen=True, kw_only=True, config=STRICT)
class DownloadConfig:
    """Downloads of InsightFace's packs; results do not depend on them."""

    allowed: bool = False  # --allow-download sets it
    url: Annotated[str, AfterValidator(_check_url)] = MODEL_ZOO  # of the folder with NAME.zip


def cache_folder() -> Path:
    """The folder of this machine that keeps packs from S3."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = named if named.is_absolute() else Path.home() / ".cache"
    return home / "vcn-ray" / "packs"


def pin_pack(uri: str, s3: S3Config) -> str:
    """Add a hash of the present content to the S3 prefix of a pack.

    Args:
        uri: `s3://bucket/prefix` with the pack's files directly below it.
        s3: Access to S3.

    Returns:
        An address for which `fetch_pack` gives this content, or an error.

    Raises:
        PackError: The prefix holds no pack.
        StorageError: S3 cannot be read.
    """
    plain = uri.rstrip("/")
    return f"{plain}{PIN}{_content_hash(plain, s3, _list(plain, s3))}"


def fetch_pack(uri: str, s3: S3Config, progress: Progress = no_progress) -> Path:
    """Fetch a pack from S3, unless this machine has it.

    Args:
        uri: An address from `pin_pack`, or an S3 prefix, which means its present content.
        s3: Access to S3; not used if the address is pinned and this machine has the content.
        progress: Called with the fetched fraction, if there is anything to fetch.

    Returns:
        A folder with the last name of the prefix; without a pack.toml that is the pack's name.

    Raises:
        PackError: The prefix holds no pack, or other content than the pinned one, or the disk is
            full or not writable.
        StorageError: S3 cannot be read.
    """
    plain, _, pinned = uri.partition(PIN)
    plain = plain.rstrip("/")
    name = posixpath.basename(plain)
    if pinned and (cache_folder() / pinned / name).is_dir():
        return cache_folder() / pinned / name
    files = _list(plain, s3)
    content = _content_hash(plain, s3, files)
    if pinned not in ("", content):
        raise PackError(
            f"{plain} holds another pack than when the run was planned: run the same command again"
        )
    bucket = split_uri(plain).bucket

    def is_whole(folder: Path) -> bool:
        return all(_size(folder / path) == entry.size for path, entry in files.items())

    def fill(part: Path) -> None:
        done, total = 0, sum(entry.size for entry in files.values())
        for path, entry in files.items():
            _fetch_object(S3Objects(bucket, s3), entry, part / path)
            done += entry.size
            progress(done / max(1, total))

    return _fill_once(cache_folder() / content / name, is_whole, fill)


def pull_pack(
    name: str, home: Path, url: str = MODEL_ZOO, progress: Progress = no_progress
) -> Path:
    """Download a pack of InsightFace's, unless it is there and whole.

    Args:
        name: One of INSIGHTFACE_NAMES.
        home: The folder in which the pack's folder goes.
        url: The address of the folder with NAME.zip.
        progress: Called with the downloaded fraction.

    Returns:
        The pack's folder.

    Raises:
        PackError: The name is unknown, the archive cannot be fetched or is no such pack, or the
            disk is full or not writable.
    """
    if name not in INSIGHTFACE_NAMES:
        raise PackError(
            f"no pack to download is called {name!r}: known are {', '.join(INSIGHTFACE_NAMES)}"
        )
    wanted = INSIGHTFACE_FILES.get(name, (MANIFEST,))
    source = f"{url.rstrip('/')}/{name}.zip"

    def fill(part: Path) -> None:
        archive = part / "archive.zip"
        try:
            _download(source, archive, progress)
            _unpack(archive, part, wanted[0], source)
            archive.unlink()
            describe_folder(part, read_pack(part))  # a bad pack must replace nothing
        except PackError as error:
            reason = str(error).replace(str(part), source)
            raise PackError(
                f"{reason}: give another address as download.url, or fetch the pack by other means "
                f"and unpack it into {home / name}"
            ) from error

    return _fill_once(home / name, is_usable, fill)


def is_usable(folder: Path) -> bool:
    """True if a folder holds a whole pack, by the checksums and headers of its files."""
    try:
        describe_folder(folder, read_pack(folder))
    except PackError:
        return False
    return True


def _fill_once(
    folder: Path, is_whole: Callable[[Path], bool], fill: Callable[[Path], None]
) -> Path:
    """Fill a folder once on this machine; raise PackError if the disk refuses it."""
    try:
        fill_once(folder, is_whole, fill, last=DESCRIPTIONS)
    except OSError as error:
        if isinstance(error, VcnError):  # from S3
            raise
        todo = "make room" if error.errno in NO_ROOM else "set HOME to a writable folder"
        raise PackError(f"{folder} cannot be written ({error.strerror}): {todo}") from error
    return folder


def _list(uri: str, s3: S3Config) -> dict[str, StoredObject]:
    """List the objects of a pack, by path below its prefix.

    Raises:
        PackError: There is no pack, or more than a pack.
    """
    if not uri.startswith(SCHEME):
        raise PackError(f"{uri} is no address of a pack: give a folder or s3://bucket/prefix")
    bucket, key = split_uri(uri)
    prefix = f"{key}/" if key else ""
    found = {entry.key[len(prefix) :]: entry for entry in S3Objects(bucket, s3).list(prefix)}
    files = {path: entry for path, entry in found.items() if _belongs(path)}
    if all("/" in path for path in files):
        raise PackError(f"{uri} holds no pack: put pack.toml and its model files directly below it")
    if sum(entry.size for entry in files.values()) > MAX_BYTES:
        raise PackError(f"{uri} holds over {MAX_BYTES >> 30} GiB: put a pack alone below it")
    return files


def _belongs(path: str) -> bool:
    """True if a path below a pack's folder is one of the pack's files, and stays below it."""
    parts = path.split("/")
    return path.lower().endswith(PACK_ENDINGS) and not {"", ".", ".."} & set(parts)


def _content_hash(uri: str, s3: S3Config, files: dict[str, StoredObject]) -> str:
    """Hex that changes with the content below a prefix."""
    return digest(s3.endpoint, uri, sorted(files.values()))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _fetch_object(objects: S3Objects, entry: StoredObject, path: Path) -> None:
    """Write an object into a file; all parts are of one version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while file.tell() < entry.size:
            data = objects.read_part(entry.key, file.tell(), OBJECT_BYTES, entry.etag).data
            if not data:
                raise PackError(
                    f"{SCHEME}{objects.bucket}/{entry.key} was replaced while it was fetched: run "
                    "the same command again"
                )
            file.write(data)


def _download(url: str, path: Path, progress: Progress) -> None:
    """Write the content of a web address into a file.

    Raises:
        PackError: It cannot be fetched.
        OSError: The file cannot be written.
    """
    try:
        answer = urllib.request.urlopen(url, timeout=ANSWER_SECONDS)
    except (OSError, http.client.HTTPException, ValueError) as error:  # or where it leads
        raise PackError(f"{url} cannot be fetched ({one_line(error)})") from error
    with answer, path.open("wb") as file:
        size = _stated_bytes(answer.headers.get("Content-Length"))
        while piece := _next_piece(answer, url):
            file.write(piece)
            if file.tell() > MAX_BYTES:
                raise PackError(f"{url} has over {MAX_BYTES >> 30} GiB: no pack does")
            if size:
                progress(file.tell() / size)
        if file.tell() < size:
            raise PackError(f"{url} broke off: try again")


def _stated_bytes(length: str | None) -> int:
    """The size that a server states; 0: none that can be understood."""
    return int(length) if length and length.isascii() and length.isdigit() else 0


def _next_piece(answer: IO[bytes], url: str) -> bytes:
    try:
        return answer.read(ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise PackError(f"{url} broke off ({one_line(error)}): try again") from error


def _unpack(archive: Path, folder: Path, first: str, source: str) -> None:
    """Extract the files of a pack: those beside a certain file of the archive, and below.

    Args:
        archive: A zip file.
        folder: The folder to write into.
        first: Name of that file; it may be in any folder of the archive.
        source: The archive's address, for errors.

    Raises:
        PackError: The archive is damaged, or holds no such pack.
        OSError: The folder is not writable.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            for name, member in _members(content, first, source).items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(member) as packed, path.open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except Exception as error:  # those about damaged and unusual members share no base class
        if isinstance(error, PackError) or getattr(error, "errno", None) in OF_DISK:
            raise
        raise PackError(f"{source} is no archive of a pack ({one_line(error)})") from error


def _members(content: zipfile.ZipFile, first: str, source: str) -> dict[str, zipfile.ZipInfo]:
    """The files to extract, by their path below the place of the first one."""
    files = {member.filename: member for member in content.infolist() if not member.is_dir()}
    place = next((PurePosixPath(n).parent for n in files if PurePosixPath(n).name == first), None)
    if place is None:
        raise PackError(f"{source} does not hold {first}")
    inside = "" if place == PurePosixPath(".") else f"{place}/"
    below = {n.removeprefix(inside): m for n, m in files.items() if n.startswith(inside)}
    chosen = {name: member for name, member in below.items() if _belongs(name)}
    if sum(member.file_size for member in chosen.values()) > MAX_BYTES:
        raise PackError(f"{source} unpacks to over {MAX_BYTES >> 30} GiB: no pack does")
    return chosen
