"""Who appears where in films and series: VideoClusterNet as a batch processor on Ray.

    import vcn_ray

    vcn_ray.index("films/", "out", local=True, progress=True)
    for title in vcn_ray.open_results("out"):
        print(title.name, len(title.people), "people")
        for seen in title.appearances:
            print(seen.person_id, seen.start_seconds, seen.end_seconds)

`run_title` runs the method on face tracks in memory, without storage or Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcn_ray.api import (
        IndexedCatalog,
        VerifiedOutput,
        doctor,
        erase,
        export,
        index,
        open_desk,
        prune,
        run_title,
        serve_review,
        verify,
    )
    from vcn_ray.catalog_people import (
        CatalogLink,
        CatalogMember,
        CatalogPerson,
        CatalogSeconds,
        Registry,
        build_registry,
        decide,
        list_decisions,
        open_registry,
        undo_decision,
    )
    from vcn_ray.catalog_search import search
    from vcn_ray.exports.write import Exported
    from vcn_ray.health.finding import Finding
    from vcn_ray.registry.build import BuiltRegistry
    from vcn_ray.registry.decisions import Decision
    from vcn_ray.registry.search import FoundPerson, FoundTitle
    from vcn_ray.results import (
        Appearance,
        Misfit,
        Person,
        Results,
        Reviewed,
        ReviewedAppearance,
        ReviewedPerson,
        ReviewedTrack,
        Title,
        Track,
        open_results,
    )
    from vcn_ray.review.desk import Desk
    from vcn_ray.review.serve import ServedReview
    from vcn_ray.steps import People
    from vcn_ray.upkeep.doors import ErasedPersons, PrunedOutput

_HOMES = {
    "index": "vcn_ray.api",
    "doctor": "vcn_ray.api",
    "run_title": "vcn_ray.api",
    "open_desk": "vcn_ray.api",
    "serve_review": "vcn_ray.api",
    "verify": "vcn_ray.api",
    "prune": "vcn_ray.api",
    "erase": "vcn_ray.api",
    "export": "vcn_ray.api",
    "Exported": "vcn_ray.exports.write",
    "PrunedOutput": "vcn_ray.upkeep.doors",
    "ErasedPersons": "vcn_ray.upkeep.doors",
    "VerifiedOutput": "vcn_ray.api",
    "IndexedCatalog": "vcn_ray.api",
    "open_results": "vcn_ray.results",
    "Results": "vcn_ray.results",
    "Title": "vcn_ray.results",
    "Person": "vcn_ray.results",
    "Appearance": "vcn_ray.results",
    "Track": "vcn_ray.results",
    "Reviewed": "vcn_ray.results",
    "ReviewedPerson": "vcn_ray.results",
    "ReviewedAppearance": "vcn_ray.results",
    "ReviewedTrack": "vcn_ray.results",
    "Misfit": "vcn_ray.results",
    "Desk": "vcn_ray.review.desk",
    "ServedReview": "vcn_ray.review.serve",
    "People": "vcn_ray.steps",
    "Finding": "vcn_ray.health.finding",
    "CatalogLink": "vcn_ray.catalog_people",
    "CatalogMember": "vcn_ray.catalog_people",
    "CatalogPerson": "vcn_ray.catalog_people",
    "CatalogSeconds": "vcn_ray.catalog_people",
    "FoundPerson": "vcn_ray.registry.search",
    "FoundTitle": "vcn_ray.registry.search",
    "Registry": "vcn_ray.catalog_people",
    "build_registry": "vcn_ray.catalog_people",
    "decide": "vcn_ray.catalog_people",
    "list_decisions": "vcn_ray.catalog_people",
    "open_registry": "vcn_ray.catalog_people",
    "search": "vcn_ray.catalog_search",
    "undo_decision": "vcn_ray.catalog_people",
    "BuiltRegistry": "vcn_ray.registry.build",
    "Decision": "vcn_ray.registry.decisions",
}

__all__ = [
    "Appearance",
    "BuiltRegistry",
    "CatalogLink",
    "CatalogMember",
    "CatalogPerson",
    "CatalogSeconds",
    "Decision",
    "Desk",
    "ErasedPersons",
    "Exported",
    "Finding",
    "FoundPerson",
    "FoundTitle",
    "IndexedCatalog",
    "Misfit",
    "People",
    "Person",
    "PrunedOutput",
    "Registry",
    "Results",
    "Reviewed",
    "ReviewedAppearance",
    "ReviewedPerson",
    "ReviewedTrack",
    "ServedReview",
    "Title",
    "Track",
    "VerifiedOutput",
    "build_registry",
    "decide",
    "doctor",
    "erase",
    "export",
    "index",
    "list_decisions",
    "open_desk",
    "open_registry",
    "open_results",
    "prune",
    "run_title",
    "search",
    "serve_review",
    "undo_decision",
    "verify",
]


def __getattr__(name: str) -> object:
    # Torch and the rest take seconds to import, and no module below needs them for its own import.
    if name not in _HOMES:
        raise AttributeError(f"module 'vcn_ray' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
