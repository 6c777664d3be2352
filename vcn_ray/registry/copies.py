"""Whether a registry repeats pictures or embeddings that its titles do not keep any more.

A registry copies both from the titles, so what retention removes of a title has to leave the
registry too. It removes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

import pyarrow.compute as pc

from vcn_ray.errors import DamagedError, UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.cards import read_state
from vcn_ray.registry.stored import StoredRegistry, find_registry
from vcn_ray.run.parallel import THREADS, map_in_order

log = logging.getLogger(__name__)


def repeats_removed(storage: Storage, titles: Collection[str] | None = None) -> bool:
    """True where the newest registry holds something that a title does not keep any more.

    A registry that cannot be read counts as one, since it can be built again, and so does a title
    that cannot.

    Args:
        storage: The output.
        titles: Ids of the titles to look at; None: all.

    Raises:
        StorageError: Something cannot be read at the moment.
    """
    try:
        registry = find_registry(storage)
        if registry is None:
            return False
        coded, pictured = _copied(registry)
    except (DamagedError, UsageError, KeyError) as error:
        log.debug("the registry cannot be read: %s", error)
        return True
    asked = sorted((coded | pictured) if titles is None else (coded | pictured) & set(titles))
    judge = partial(_keeps_less, storage, coded, pictured)
    return any(map_in_order(judge, asked, THREADS))


def _copied(registry: StoredRegistry) -> tuple[set[str], set[str]]:
    """Ids of the titles of whom a registry holds embeddings, and pictures."""
    faces, people = registry.faces, registry.people
    coded = faces.filter(pc.is_valid(faces.column("codes"))).column("title_id")
    pictured = people.filter(pc.is_valid(people.column("face"))).column("cover_title_id")
    return set(coded.to_pylist()), set(pictured.to_pylist())


def _keeps_less(storage: Storage, coded: set[str], pictured: set[str], title_id: str) -> bool:
    try:
        state = read_state(title_id, storage)
    except (DamagedError, UsageError) as error:
        log.debug("%s cannot be read: %s", title_id, error)
        return True
    return (title_id in coded and not state.embeddings) or (
        title_id in pictured and not state.pictures
    )
