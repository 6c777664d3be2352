"""Compares the registry of an output with what was written, and takes out what is damaged.

All of it but the decisions can be built again. A decision of a person is in no other place, so a
damaged one is only named.
"""

from __future__ import annotations

import posixpath

from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.registry.decisions import DECISIONS, SUFFIX, read_decisions
from vcn_ray.registry.stored import FOLDER, NAMES_NONE, POINTER, REGISTRY
from vcn_ray.run.damage import Inspector
from vcn_ray.run.verify import Checked


def check_registry(storage: Storage) -> Checked:
    """Compare the pointer, every file of all registries, and the decisions.

    Raises:
        StorageError: Something cannot be read at the moment.
    """
    inspector = Inspector(storage, mend=False, deep=True)
    names = storage.names(REGISTRY)
    if not names and storage.exists(REGISTRY):
        inspector.note(storage.damaged(REGISTRY, "it is a file where a folder belongs"))
    folders = [name for name in names if name.startswith(FOLDER)]
    committed = [name for name in folders if inspector.manifest(f"{REGISTRY}/{name}")]
    pointer = _pointed(inspector, storage)
    if pointer is None and committed:
        inspector.note(storage.damaged(POINTER, "it is missing"))
    if pointer is not None and not storage.is_committed(f"{REGISTRY}/{pointer}"):
        path = f"{REGISTRY}/{pointer}/{MANIFEST}"
        inspector.note(storage.damaged(path, "it is missing"))
    _check_decisions(inspector, storage)
    return Checked(inspector.files, tuple(inspector.damage.values()))


def _pointed(inspector: Inspector, storage: Storage) -> str | None:
    """Name of the newest registry's folder; None where there is no pointer, or a damaged one."""
    try:
        pointer = storage.find_json(POINTER)
    except DamagedError as error:
        inspector.files += 1
        inspector.note(error)
        return None
    if pointer is None:
        return None
    inspector.files += 1
    if not {"registry", "schema_version"} <= pointer.keys():
        inspector.note(storage.damaged(POINTER, NAMES_NONE))
        return None
    return str(pointer["registry"])


def _check_decisions(inspector: Inspector, storage: Storage) -> None:
    decisions, damaged = read_decisions(storage)
    inspector.files += len(decisions) + len(damaged)
    advice = "it cannot be made again: restore it from a backup, or remove it"
    for name, why in damaged.items():
        inspector.note(DamagedError(f"{DECISIONS}/{name}{SUFFIX}", f"{why}; {advice}"))


def take_out_damage(damage: dict[str, DamagedError], storage: Storage) -> bool:
    """Uncommit what is damaged of the registry, so that it is built again.

    Args:
        damage: What was found, by path; what is the registry's is taken out of it.
        storage: The output.

    Returns:
        True where a registry has to be built.
    """
    mine = [path for path in damage if path.partition("/")[0] == REGISTRY]
    build = False
    for path in mine:
        del damage[path]
        if path.startswith(f"{DECISIONS}/"):
            continue
        build = True
        if path == POINTER:
            storage.delete(path)
        elif path != REGISTRY:  # a file in its place is renamed by what writes there
            storage.delete(f"{posixpath.dirname(path)}/{MANIFEST}")
    return build
