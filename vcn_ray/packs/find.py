"""Finds the pack that a name means, and fetches it to the machine that needs it.

A name may mean a folder of this machine, an S3 prefix or a download. The driver resolves it once,
so that all machines mean the same pack; each machine then fetches what it lacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from vcn_ray.errors import PackError, StorageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage, is_remote
from vcn_ray.packs.describe import PACK_TOML, parse_pack_file
from vcn_ray.packs.embedded import BUILT_IN_NAMES
from vcn_ray.packs.face_pack import FacePack, PackInfo, Progress, no_progress
from vcn_ray.packs.fetch import PIN, DownloadConfig, fetch_pack, is_usable, pin_pack, pull_pack
from vcn_ray.packs.inspect import INSIGHTFACE_NAMES
from vcn_ray.packs.load import (
    PLACES,
    describe_pack,
    insightface_home,
    load_pack,
    local_folder,
    local_places,
    pack_info,
    pack_places,
)


class PackSettings(Protocol):
    """The settings that name a pack and say how to reach it."""

    @property
    def pack(self) -> str:
        """A name, a folder or an S3 prefix."""

    @property
    def threads(self) -> int:
        """CPU threads of its networks."""

    @property
    def s3(self) -> S3Config:
        """Access to S3."""

    @property
    def download(self) -> DownloadConfig:
        """Whether InsightFace's packs may be downloaded, and from where."""


def resolve_pack(name: str, s3: S3Config) -> str:
    """Resolve a name to what all machines of a run understand alike.

    Args:
        name: A built-in name, a folder, an S3 prefix, or a name in the places of packs.
        s3: Access to S3.

    Returns:
        The full path of a folder; or an S3 prefix with a hash of its content; or the name itself,
        if the pack is built in, or if each machine has it, or downloads it, where InsightFace keeps
        its packs.

    Raises:
        PackError: The prefix holds no pack.
        StorageError: A place on S3 cannot be listed.
    """
    if name in BUILT_IN_NAMES:
        return name
    if is_remote(name):
        return name if PIN in name else pin_pack(name, s3)
    given = local_folder(name)
    if given.is_dir():
        return str(given.absolute())  # workers have other working directories
    for place in pack_places()[:-1]:  # the last one is InsightFace's, on every machine its own
        if is_remote(place):
            if _holds(place, name, s3):
                return pin_pack(f"{place.rstrip('/')}/{name}", s3)
        elif (found := local_folder(place) / name).is_dir():
            return str(found.absolute())
    return name


def find_pack(config: PackSettings, progress: Progress = no_progress) -> PackInfo:
    """Describe the pack that the settings name; fetch it first, but load no network.

    Args:
        config: Settings whose `pack` is a result of `resolve_pack`.
        progress: Called with the fetched fraction, if there is anything to fetch.

    Returns:
        The description, with the hashes that the loaded pack will have.

    Raises:
        PackError: The pack is unknown or incomplete, or cannot be fetched.
        StorageError: The pack is on S3, and S3 cannot be read.
    """
    return describe_pack(pack_on_this_machine(config, progress))


def open_pack(
    config: PackSettings, device: str = "cpu", progress: Progress = no_progress
) -> FacePack:
    """Load the pack that the settings name; fetch it first.

    Args:
        config: Settings whose `pack` is a result of `resolve_pack`.
        device: Where the detector runs, `cpu` or `cuda`.
        progress: Called with the fetched fraction, if there is anything to fetch.

    Raises:
        PackError: As `load_pack`; or the pack cannot be fetched.
        StorageError: The pack is on S3, and S3 cannot be read.
    """
    return load_pack(pack_on_this_machine(config, progress), config.threads, device)


def pack_on_this_machine(config: PackSettings, progress: Progress = no_progress) -> str:
    """Give a name or folder that `load_pack` knows; fetch what is missing, if that is allowed."""
    name = config.pack
    if is_remote(name):
        return str(fetch_pack(name, config.s3, progress))
    if config.download.allowed and name in INSIGHTFACE_NAMES:
        folders = [place / name for place in local_places()]
        if not any(is_usable(folder) for folder in folders if folder.is_dir()):
            return str(pull_pack(name, insightface_home(), config.download.url, progress))
    return name


def check_planned(pack: FacePack, as_planned: bool) -> None:
    """Refuse work that another pack planned: its rows would get the wrong key.

    Raises:
        PackError: This machine has another pack of that name than the machine that planned.
    """
    if not as_planned:
        raise PackError(
            f"pack {pack.name} differs between this machine and the one that planned the run: put "
            "the same files on all machines, or name a pack on S3"
        )


def list_packs(s3: S3Config) -> list[PackInfo]:
    """Describe the built-in packs and all packs in the places of packs, usable or not.

    Packs on S3 come last, and none of their model files is read.
    """
    folders = [path for place in local_places() for path in sorted(place.glob("[!.]*"))]
    found = []
    for name in (*BUILT_IN_NAMES, *(str(path) for path in folders if path.is_dir())):
        try:
            found.append(describe_pack(name))
        except PackError as error:
            found.append(_unusable(name, str(error)))
    for place in filter(is_remote, pack_places()):
        try:
            storage = Storage.open(place, s3)
            names = [name for name in storage.names("") if storage.names(name)]
            found += [_describe_remote(storage, name) for name in names]
        except StorageError as error:
            found.append(_unusable(place, str(error)))
    return found


def _holds(place: str, name: str, s3: S3Config) -> bool:
    """True if a place on S3 holds anything of that name."""
    try:
        return bool(Storage.open(place, s3).names(name))
    except StorageError as error:
        raise StorageError(f"a place of {PLACES}: {error}") from error


def _describe_remote(storage: Storage, name: str) -> PackInfo:
    """Describe a pack on S3 by its pack.toml alone."""
    place = storage.locate(name)
    if not storage.exists(f"{name}/{PACK_TOML}"):
        return _unusable(place, f"no {PACK_TOML} there: vcn packs show reads its graphs")
    try:
        content = storage.read_bytes(f"{name}/{PACK_TOML}")
        return pack_info(place, parse_pack_file(content, f"{place}/{PACK_TOML}"))
    except (PackError, StorageError) as error:
        return _unusable(place, str(error))


def _unusable(place: str, problem: str) -> PackInfo:
    """Describe a folder or prefix that is no usable pack."""
    return PackInfo(
        name=Path(place).name,
        licence="unknown; InsightFace's own models are for non-commercial research only",
        commercial_use=False,
        source="unknown",
        detector="unknown",
        encoder="unknown",
        place=place,
        problem=problem,
    )
