"""The registry's copies of faces: what removes pictures or persons from titles removes them too.

The registry is made of the titles, so all of it is removed and not rewritten: `vcn registry build`
makes it again. Decisions stay, but for those about an erased person.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from vcn_ray.config import RetentionConfig
from vcn_ray.io.committed import FILES
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.registry.copies import repeats_removed
from vcn_ray.registry.decisions import DECISIONS, SUFFIX, Decision, read_decisions, write_decision
from vcn_ray.registry.scrub import scrub_decisions
from vcn_ray.registry.stored import FOLDER, POINTER, REGISTRY
from vcn_ray.run.listed_pages import CATALOG_PAGE, PAGES, mark_stale
from vcn_ray.run.retention import due
from vcn_ray.upkeep.files import StoredFile, files_below, files_in, remove_files, remove_folder

Anchor = dict[str, Any]


def registry_files(storage: Storage) -> Iterator[StoredFile]:
    """Every file of the registry but decisions."""
    yield from files_in(REGISTRY, storage)
    for name in storage.names(REGISTRY):
        if name.startswith(FOLDER):
            yield from files_below(f"{REGISTRY}/{name}", storage)


def is_top_page(path: str) -> bool:
    """True for a page directly in the output: the index, that of the catalog, or of a search."""
    return "/" not in path and path.endswith(".html")


def top_pages(storage: Storage) -> list[str]:
    """The pages directly in the output."""
    return [file.path for file in files_in("", storage) if is_top_page(file.path)]


def remove_registry(storage: Storage) -> bool:
    """Remove the registry and the page that is made of it; True where there was one."""
    files = [file.path for file in registry_files(storage)]
    storage.delete(POINTER)
    for folder in sorted({path.rpartition("/")[0] for path in files} - {REGISTRY}):
        remove_folder(folder, storage)
    remove_files([path for path in files if path.count("/") == 1], storage)
    storage.tidy(REGISTRY)
    if storage.exists(CATALOG_PAGE):
        mark_stale(storage)  # the index links to it
        storage.delete(CATALOG_PAGE)
    _unlist(CATALOG_PAGE, storage)
    return bool(files)


def _unlist(page: str, storage: Storage) -> None:
    """Take a page from the list of pages."""
    listed = storage.find_sound_json(PAGES)
    if listed is not None and page in listed[FILES]:
        kept = {path: record for path, record in listed[FILES].items() if path != page}
        storage.write_json(PAGES, listed | {FILES: kept})


def built_again(storage: Storage) -> str:
    """What to do after the registry was removed."""
    return f"vcn registry build {storage.uri} builds it again"


def expire_registry(
    storage: Storage,
    retention: RetentionConfig,
    expired: Collection[str] = (),
    dry_run: bool = False,
) -> list[str]:
    """Remove the registry where it repeats what retention has removed; also after a kill.

    Args:
        storage: The output.
        retention: For how long pictures and embeddings are kept.
        expired: What would be removed of titles, for a dry run.
        dry_run: Change nothing.

    Returns:
        A line for people, where it is removed.
    """
    if retention == RetentionConfig() or not storage.exists(POINTER):
        return []
    if not ((dry_run and expired) or repeats_removed(storage)):
        return []
    if not dry_run:
        remove_registry(storage)
    verb = "would be" if dry_run else "is"
    return [f"the registry of people {verb} removed, as it repeats them; {built_again(storage)}"]


def expire_after_run(
    storage: Storage, retention: RetentionConfig, titles: Iterable[str]
) -> list[str]:
    """The same after a run that has removed pictures or embeddings of titles at once."""
    if not due(retention, 0.0) or not storage.exists(POINTER):
        return []
    if not repeats_removed(storage, list(titles)):
        return []
    remove_registry(storage)
    return [f"the registry of people is removed, as it repeats them; {built_again(storage)}"]


def erased_decisions(
    storage: Storage,
    is_erased: Callable[[Anchor], bool],
    persons: Collection[tuple[str, str]],
) -> dict[str, Decision | None]:
    """Decisions that name erased tracks, by path: what is left of each; None: nothing.

    A damaged one goes too, since nobody can tell whom it is about.
    """
    decisions, damaged = read_decisions(storage)
    found: dict[str, Decision | None] = dict.fromkeys(damaged)
    found |= scrub_decisions(
        decisions,
        lambda anchor: is_erased(
            {
                "track_id": anchor.track_id,
                "video_id": anchor.video_id,
                "boxes": anchor.boxes,
            }
        ),
        persons,
    )
    return {f"{DECISIONS}/{name}{SUFFIX}": new for name, new in found.items()}


def replace_decisions(changes: dict[str, Decision | None], storage: Storage) -> None:
    """Write what is left of decisions, then remove the old ones."""
    for decision in changes.values():
        if decision is not None:
            write_decision(storage, decision)
    for path in changes:
        storage.delete(path)


def known_records(storage: Storage) -> dict[str, dict[str, Any]]:
    """Size and hash of the files of all registries, as their manifests list them."""
    found: dict[str, dict[str, Any]] = {}
    for name in storage.names(REGISTRY):
        if name.startswith(FOLDER):
            manifest = storage.find_sound_json(f"{REGISTRY}/{name}/{MANIFEST}")
            files = manifest[FILES] if manifest else {}
            found |= {f"{REGISTRY}/{name}/{file}": record for file, record in files.items()}
    return found
