"""Pack folders from elsewhere, made once on each machine: from S3, or from a published archive.

A folder appears whole or not at all, however many processes want it at once and wherever one of
them is killed. Nothing here loads a network, and nothing is fetched that was not asked for.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock

from vcn_ray.errors import PackError, VcnError
from vcn_ray.io.identity import digest
from vcn_ray.io.redact import one_line, redact
from vcn_ray.io.s3 import S3Config, split_uri
from vcn_ray.io.s3_objects import S3Objects, StoredObject
from vcn_ray.models.pack_inspect import INSIGHTFACE_FILES, INSIGHTFACE_NAMES, checksum
from vcn_ray.models.pack_manifest import MANIFEST

MODEL_ZOO = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
PACK_ENDINGS = (".toml", ".onnx", ".safetensors", ".json", ".license")
PIECE_BYTES = 16 << 20  # read at a time
MOST_BYTES = 4 << 30  # of an archive, and of what is in it; the largest there is has 0.4
ANSWER_SECONDS = 30.0  # of silence, after which a server is given up

Progress = Callable[[float], None]
"""Told the share of a download that is there."""


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """Whether and from where InsightFace's packs may be fetched; results do not depend on it."""

    allowed: bool = False  # --allow-download sets it
    url: str = MODEL_ZOO  # below which NAME.zip is; a mirror, for instance


def cache_folder() -> Path:
    """Where packs of S3 are kept on this machine."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "vcn-ray" / "packs"


def fetch_pack(uri: str, s3: S3Config) -> Path:
    """A pack's folder on this machine, fetched where it is not there yet.

    Args:
        uri: `s3://bucket/prefix` with the pack's files directly below it.
        s3: How it is reached.

    Returns:
        A folder of the prefix's last name, which is the pack's where no pack.toml says another.

    Raises:
        PackError: There is no pack, or no room for it.
        StorageError: S3 cannot be read.
    """
    bucket, key = split_uri(uri)
    prefix = key.strip("/") + "/"
    objects = S3Objects(bucket, s3)
    files = [entry for entry in objects.list(prefix) if _belongs(entry.key[len(prefix) :])]
    if not files:
        raise PackError(
            f"{redact(uri)} holds no pack: put pack.toml and its model files directly below it"
        )
    # Other content is another folder: a run that began with the old one keeps it.
    folder = (
        cache_folder() / digest(s3.endpoint, bucket, files) / posixpath.basename(key.strip("/"))
    )

    def fill(part: Path) -> None:
        for entry in files:
            _fetch(objects, entry, part / entry.key[len(prefix) :])

    return _make_once(folder, Path.is_dir, fill)


def pull_pack(
    name: str, home: Path, url: str = MODEL_ZOO, progress: Progress = lambda share: None
) -> Path:
    """Fetch a pack of InsightFace's, unless it is there.

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

    def is_there(folder: Path) -> bool:
        return all((folder / file).is_file() for file in wanted)

    def fill(part: Path) -> None:
        archive = part / "archive.zip"
        source = f"{url.rstrip('/')}/{name}.zip"
        _download(source, archive, progress)
        _unpack(archive, part, wanted[0], redact(source))
        archive.unlink()
        for file in wanted:
            checksum(part / file)

    return _make_once(home / name, is_there, fill)


def _belongs(name: str) -> bool:
    return "/" not in name and name.lower().endswith(PACK_ENDINGS)


def _make_once(
    folder: Path, is_there: Callable[[Path], bool], fill: Callable[[Path], None]
) -> Path:
    """Have a folder filled by whoever comes first, and let the others wait.

    Raises:
        PackError: The disk does not take it.
    """
    if is_there(folder):
        return folder
    part = folder.with_name(f".{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if is_there(folder):
                return folder
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            part.mkdir()
            try:
                fill(part)
                _move(part, folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if isinstance(error, VcnError):  # S3's
            raise
        raise PackError(f"{folder} cannot be written ({error.strerror}): make room") from error
    return folder


def _move(part: Path, folder: Path) -> None:
    """Make a filled folder appear; into one that lacks files go those that it lacks."""
    if not folder.exists():
        part.rename(folder)
        return
    for file in part.iterdir():
        if not (folder / file.name).exists():
            file.rename(folder / file.name)


def _fetch(objects: S3Objects, entry: StoredObject, path: Path) -> None:
    """One object into a file, all of it of the same version."""
    with path.open("wb") as stream:
        while stream.tell() < entry.size:
            part = objects.read_part(entry.key, stream.tell(), PIECE_BYTES, entry.etag)
            stream.write(part.data)


def _download(url: str, path: Path, progress: Progress) -> None:
    """What a web server has under an address into a file."""
    if not url.startswith(("https://", "http://")):
        raise PackError(f"{redact(url)} is no web address: name https://HOST/FOLDER")
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer, path.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0)
            _copy(answer, file, lambda done: progress(done / size) if size else None)
            if size and file.tell() < size:
                raise PackError(f"{redact(url)} broke off: try again")
    except (urllib.error.URLError, ValueError, ConnectionError, TimeoutError) as error:
        raise PackError(
            f"{redact(url)} cannot be fetched ({one_line(error)}): fetch it elsewhere, and unpack "
            f"it into {path.parent.parent / path.parent.name.removesuffix('.part').lstrip('.')}"
        ) from error


def _copy(source: IO[bytes], target: IO[bytes], tell: Callable[[int], None]) -> None:
    while piece := source.read(1 << 20):
        target.write(piece)
        tell(target.tell())
        if target.tell() > MOST_BYTES:
            raise PackError(f"no pack has over {MOST_BYTES >> 30} GiB: name another address")


def _unpack(archive: Path, folder: Path, first: str, source: str) -> None:
    """Take the files out of an archive that lie beside a certain one, wherever in it that is.

    Only names directly beside it are taken, so nothing is written outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = [member for member in content.infolist() if not member.is_dir()]
            places = {PurePosixPath(m.filename).name: PurePosixPath(m.filename) for m in members}
            if first not in places:
                raise PackError(f"{source} does not hold {first}: name another address")
            beside = {
                PurePosixPath(member.filename).name: member
                for member in members
                if PurePosixPath(member.filename).parent == places[first].parent
            }
            taken = {name: member for name, member in beside.items() if _belongs(name)}
            if sum(member.file_size for member in taken.values()) > MOST_BYTES:
                raise PackError(f"{source} unpacks to over {MOST_BYTES >> 30} GiB: no pack does")
            for name, member in taken.items():
                with content.open(member) as packed, (folder / name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except zipfile.BadZipFile as error:
        raise PackError(f"{source} is no archive ({error}): name another address") from error
