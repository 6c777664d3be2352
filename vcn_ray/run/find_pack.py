"""Where a pack's name leads, and the pack itself, on whatever machine it is wanted.

A name may lead to a folder of this machine, to a prefix on S3 or to a download. The driver follows
it once and hands on where it led; each machine then fetches what it lacks.
"""

from __future__ import annotations

from pathlib import Path

from vcn_ray.config import RunConfig
from vcn_ray.errors import PackError, StorageError
from vcn_ray.io.pack_cache import fetch_pack, pull_pack
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage, is_remote
from vcn_ray.models.pack_files import PACK_TOML, parse_pack_file
from vcn_ray.models.pack_inspect import INSIGHTFACE_NAMES
from vcn_ray.models.packs import (
    DLIB,
    FacePack,
    PackInfo,
    folder_info,
    insightface_home,
    load_pack,
    local_places,
    pack_places,
    unusable_info,
)


def resolve_pack(name: str, s3: S3Config) -> str:
    """Where a name leads: what all machines of a run understand alike.

    Args:
        name: A built-in name, a folder, an S3 prefix, or a name in the places of packs.
        s3: How S3 is reached.

    Returns:
        A folder in full, an S3 prefix, or the name as it is.

    Raises:
        StorageError: A place on S3 cannot be listed.
    """
    if name == DLIB or is_remote(name):
        return name
    if Path(name).expanduser().is_dir():
        # Workers have working directories of their own.
        return str(Path(name).expanduser().absolute())
    for place in pack_places():
        if not is_remote(place):
            if (Path(place).expanduser() / name).is_dir():
                return name
        elif Storage.open(place, s3).names(name):
            return f"{place.rstrip('/')}/{name}"
    return name


def list_remote_packs(s3: S3Config) -> list[PackInfo]:
    """What lies below the S3 prefixes among the places of packs; no model file is read.

    Raises:
        StorageError: One of them cannot be listed.
    """
    places = [Storage.open(place, s3) for place in pack_places() if is_remote(place)]
    return [_look_at(storage, name) for storage in places for name in storage.names("")]


def _look_at(storage: Storage, name: str) -> PackInfo:
    """What can be told of a pack on S3 before it is fetched."""
    place = storage.locate(name)
    try:
        content = storage.read_bytes(f"{name}/{PACK_TOML}")
    except StorageError:
        return unusable_info(place, f"no {PACK_TOML} there: vcn packs show reads its graphs")
    try:
        return folder_info(place, parse_pack_file(content, f"{place}/{PACK_TOML}"))
    except PackError as error:
        return unusable_info(place, str(error))


def open_pack(config: RunConfig, device: str = "cpu") -> FacePack:
    """Load the pack that the settings name, fetched first where it is not on this machine.

    Args:
        config: With `pack` as `resolve_pack` gave it.
        device: Where its detector runs.

    Raises:
        PackError: As `load_pack`; or it cannot be fetched.
        StorageError: It is on S3, and that cannot be read.
    """
    return load_pack(pack_on_this_machine(config), config.threads, device)


def pack_on_this_machine(config: RunConfig) -> str:
    """A name or folder that `load_pack` knows; what is missing is fetched where that is allowed."""
    name = config.pack
    if is_remote(name):
        return str(fetch_pack(name, config.s3))
    missing = name in INSIGHTFACE_NAMES and not any((p / name).is_dir() for p in local_places())
    if missing and config.download.allowed:
        return str(pull_pack(name, insightface_home(), config.download.url))
    return name


def check_planned(pack: FacePack, as_planned: bool) -> None:
    """Refuse work planned with another pack of that name: its rows would lie under the wrong key.

    Raises:
        PackError: It is another one than where the run was planned.
    """
    if not as_planned:
        raise PackError(
            f"pack {pack.name} is another one on this machine than where the run was planned: have "
            "the same files on all machines, or keep them on S3"
        )
