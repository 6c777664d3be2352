"""Fetches archives of InsightFace's packs from a web server; it does not know where they belong."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from vcn_ray.errors import ConfigError, PackError
from vcn_ray.redact import one_line

MODEL_ZOO = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
PACK_ENDINGS = (".toml", ".onnx", ".safetensors", ".json", ".license")
MOST_BYTES = 4 << 30  # of an archive, and of a pack; the largest there is has 0.4
PIECE_BYTES = 1 << 20  # read at a time
ANSWER_SECONDS = 30.0  # of silence, after which a server is given up

Progress = Callable[[float], None]
"""Told the share of a download that is there."""


def silent(share: float) -> None:
    """Tells nobody."""


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """Whether and from where InsightFace's packs may be fetched; results do not depend on it."""

    allowed: bool = False  # --allow-download sets it
    url: str = MODEL_ZOO  # below which NAME.zip is; a mirror, for instance

    def __post_init__(self) -> None:
        if set(self.url) & set("@?# "):
            raise ConfigError("download.url must hold no credentials, signature or blank")
        try:
            address = urlsplit(self.url)
            fits = address.scheme in ("http", "https") and address.hostname and address.port != 0
        except ValueError:  # of the port
            fits = False
        if not fits:
            raise ConfigError("download.url must be like https://host/folder")


def download(url: str, path: Path, progress: Progress) -> None:
    """What a web server has under an address into a file.

    Raises:
        PackError: It cannot be fetched.
        OSError: The file cannot be written.
    """
    try:
        answer = urllib.request.urlopen(url, timeout=ANSWER_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        raise PackError(f"{url} cannot be fetched ({one_line(error)})") from error
    with answer, path.open("wb") as file:
        size = int(answer.headers.get("Content-Length") or 0)
        while piece := _next_piece(answer, url):
            file.write(piece)
            if file.tell() > MOST_BYTES:
                raise PackError(f"{url} has over {MOST_BYTES >> 30} GiB: no pack does")
            if size:
                progress(file.tell() / size)
        if file.tell() < size:
            raise PackError(f"{url} broke off: try again")


def _next_piece(answer: IO[bytes], url: str) -> bytes:
    try:
        return answer.read(PIECE_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise PackError(f"{url} broke off ({one_line(error)}): try again") from error


def belongs(name: str) -> bool:
    """Whether a path below a pack's folder is that of a file of the pack, and stays below it."""
    parts = name.split("/")
    return name.lower().endswith(PACK_ENDINGS) and not {"", ".", ".."} & set(parts)


def unpack(archive: Path, folder: Path, first: str, source: str) -> None:
    """Take the files of a pack out of an archive: what lies beside a certain one, and below that.

    Args:
        archive: A zip.
        folder: Where they go.
        first: Name of that file, wherever in the archive it is.
        source: Where the archive is from, for messages.

    Raises:
        PackError: It is no such archive.
        OSError: The folder cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            for name, member in _members(content, first, source).items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(member) as packed, path.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                    sync(file)
    # What Python's reader says of damaged, encrypted and oddly packed members.
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise PackError(f"{source} is no archive of a pack ({one_line(error)})") from error


def sync(file: IO[bytes]) -> None:
    """Have what was written on the disk, before a new name says that it is."""
    file.flush()
    os.fsync(file.fileno())


def _members(content: zipfile.ZipFile, first: str, source: str) -> dict[str, zipfile.ZipInfo]:
    """The files to take, by their path below the place of the first."""
    files = {member.filename: member for member in content.infolist() if not member.is_dir()}
    place = next((PurePosixPath(n).parent for n in files if PurePosixPath(n).name == first), None)
    if place is None:
        raise PackError(f"{source} does not hold {first}")
    inside = "" if place == PurePosixPath(".") else f"{place}/"
    below = {n.removeprefix(inside): m for n, m in files.items() if n.startswith(inside)}
    taken = {name: member for name, member in below.items() if belongs(name)}
    if sum(member.file_size for member in taken.values()) > MOST_BYTES:
        raise PackError(f"{source} unpacks to over {MOST_BYTES >> 30} GiB: no pack does")
    return taken
