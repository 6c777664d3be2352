"""Where a pack's name leads, and the pack itself, on whatever machine it is wanted.

A name may lead to a folder of this machine, to a prefix on S3 or to a download. The driver follows
it once and hands on where it led; each machine then fetches what it lacks.
"""

from __future__ import annotations

from typing import Protocol

from vcn_ray.errors import PackError, StorageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage, is_remote
from vcn_ray.packs.cache import PIN, fetch_pack, is_usable, pin_pack, pull_pack
from vcn_ray.packs.describe import PACK_TOML, parse_pack_file
from vcn_ray.packs.download import DownloadConfig, Progress, silent
from vcn_ray.packs.embedded import NAME as DLIB
from vcn_ray.packs.face_pack import FacePack, PackInfo
from vcn_ray.packs.inspect import INSIGHTFACE_NAMES
from vcn_ray.packs.load import (
    PLACES,
    folder_info,
    insightface_home,
    load_pack,
    local_folder,
    local_places,
    pack_places,
    unusable_info,
)


class PackSettings(Protocol):
    """The settings that say which pack is meant and how it is reached."""

    @property
    def pack(self) -> str:
        """A name, a folder or an S3 prefix."""

    @property
    def threads(self) -> int:
        """CPU threads of its networks."""

    @property
    def s3(self) -> S3Config:
        """How S3 is reached."""

    @property
    def download(self) -> DownloadConfig:
        """Whether one of InsightFace's packs may be fetched."""


def resolve_pack(name: str, s3: S3Config) -> str:
    """Where a name leads: what all machines of a run understand alike.

    Args:
        name: A built-in name, a folder, an S3 prefix, or a name in the places of packs.
        s3: How S3 is reached.

    Returns:
        A folder in full, an S3 prefix with the content that is meant, or the name as it is: of a
        built-in pack, or one that each machine has, or fetches, where InsightFace keeps its packs.

    Raises:
        PackError: The prefix holds no pack.
        StorageError: A place on S3 cannot be listed.
    """
    if name == DLIB:
        return name
    if is_remote(name):
        return name if PIN in name else pin_pack(name, s3)
    given = local_folder(name)
    if given.is_dir():
        return str(given.absolute())  # workers have working directories of their own
    for place in pack_places()[:-1]:  # the last is InsightFace's, of every machine its own
        if is_remote(place):
            if _holds(place, name, s3):
                return pin_pack(f"{place.rstrip('/')}/{name}", s3)
        elif (found := local_folder(place) / name).is_dir():
            return str(found.absolute())
    return name


def list_remote_packs(s3: S3Config) -> list[PackInfo]:
    """What lies below the S3 prefixes among the places of packs; no model file is read."""
    found: list[PackInfo] = []
    for place in filter(is_remote, pack_places()):
        try:
            storage = Storage.open(place, s3)
            names = [name for name in storage.names("") if storage.names(name)]
            found += [_look_at(storage, name) for name in names]
        except StorageError as error:
            found.append(unusable_info(place, str(error)))
    return found


def _holds(place: str, name: str, s3: S3Config) -> bool:
    """Whether there is anything of a name at a place on S3."""
    try:
        return bool(Storage.open(place, s3).names(name))
    except StorageError as error:
        raise StorageError(f"a place of {PLACES}: {error}") from error


def _look_at(storage: Storage, name: str) -> PackInfo:
    """What can be told of a pack on S3 before it is fetched."""
    place = storage.locate(name)
    if not storage.exists(f"{name}/{PACK_TOML}"):
        return unusable_info(place, f"no {PACK_TOML} there: vcn packs show reads its graphs")
    try:
        content = storage.read_bytes(f"{name}/{PACK_TOML}")
        return folder_info(place, parse_pack_file(content, f"{place}/{PACK_TOML}"))
    except (PackError, StorageError) as error:
        return unusable_info(place, str(error))


def open_pack(config: PackSettings, device: str = "cpu", progress: Progress = silent) -> FacePack:
    """Load the pack that the settings name, fetched first where it is not on this machine.

    Args:
        config: With `pack` as `resolve_pack` gave it.
        device: Where its detector runs.
        progress: Told the share of it that is fetched, where it has to be.

    Raises:
        PackError: As `load_pack`; or it cannot be fetched.
        StorageError: It is on S3, and that cannot be read.
    """
    return load_pack(pack_on_this_machine(config, progress), config.threads, device)


def pack_on_this_machine(config: PackSettings, progress: Progress = silent) -> str:
    """A name or folder that `load_pack` knows; what is missing is fetched where that is allowed."""
    name = config.pack
    if is_remote(name):
        return str(fetch_pack(name, config.s3, progress))
    if config.download.allowed and name in INSIGHTFACE_NAMES:
        folders = [place / name for place in local_places()]
        if not any(is_usable(folder) for folder in folders if folder.is_dir()):
            return str(pull_pack(name, insightface_home(), config.download.url, progress))
    return name


def check_planned(pack: FacePack, as_planned: bool) -> None:
    """Refuse work planned with another pack of that name: its rows would lie under the wrong key.

    Raises:
        PackError: It is another one than where the run was planned.
    """
    if not as_planned:
        raise PackError(
            f"pack {pack.name} is another one on this machine than where the run was planned: have "
            "the same files on all machines, or name a pack on S3"
        )
