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
        index,
        open_desk,
        prune,
        run_title,
        serve_review,
        verify,
    )
    from vcn_ray.health.finding import Finding
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
}

__all__ = [
    "Appearance",
    "Desk",
    "ErasedPersons",
    "Finding",
    "IndexedCatalog",
    "Misfit",
    "People",
    "Person",
    "PrunedOutput",
    "Results",
    "Reviewed",
    "ReviewedAppearance",
    "ReviewedPerson",
    "ReviewedTrack",
    "ServedReview",
    "Title",
    "Track",
    "VerifiedOutput",
    "doctor",
    "erase",
    "index",
    "open_desk",
    "open_results",
    "prune",
    "run_title",
    "serve_review",
    "verify",
]


def __getattr__(name: str) -> object:
    # Torch and the rest take seconds to import, and no module below needs them for its own import.
    if name not in _HOMES:
        raise AttributeError(f"module 'vcn_ray' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
