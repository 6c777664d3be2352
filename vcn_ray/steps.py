"""The whole method as one list of stages, and how a part of it is run; it knows no storage, no Ray.

A stage names what it needs and gives one value under its own name, so the list reads like the
paper's figure: from frames to faces, shots, tracks, an adapted encoder, and people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vcn_ray.config import RunConfig
from vcn_ray.rows.result_rows import build_result
from vcn_ray.rows.segment_rows import detect_faces
from vcn_ray.rows.title_rows import adapt_encoder, cluster_people, find_valid
from vcn_ray.rows.video_rows import cut_shots, join_segments, link_faces, write_rows


class Scope(Enum):
    """What a stage works on, and so where its work can be split."""

    SEGMENT = "segment"
    VIDEO = "video"
    ADAPT = "adapt"  # a title, on the machine that trains
    TITLE = "title"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the method."""

    name: str  # of what it gives
    scope: Scope
    needs: tuple[str, ...]
    run: Callable[..., Any]  # of what it needs, in that order


STAGES = (
    # METHOD 1.2, 1.3: frames to faces, kept or marked, and the signals that outlive the pixels
    Stage("faces", Scope.SEGMENT, ("source", "segment", "pack", "config"), detect_faces),
    Stage("joined", Scope.VIDEO, ("segments", "displayed_width"), join_segments),
    Stage("shots", Scope.VIDEO, ("joined", "config"), cut_shots),  # METHOD 1.1
    Stage("links", Scope.VIDEO, ("joined", "shots", "config"), link_faces),  # METHOD 1.4, 1.5
    Stage("rows", Scope.VIDEO, ("video_id", "joined", "shots", "links"), write_rows),
    # METHOD 2, 3.1: the title's own tracks adapt the encoder
    Stage("adapted", Scope.ADAPT, ("title", "encoder", "hooks", "config"), adapt_encoder),
    Stage("valid", Scope.TITLE, ("outputs", "config"), find_valid),  # METHOD 3.2
    Stage(
        "clusters", Scope.TITLE, ("outputs", "valid", "title", "config"), cluster_people
    ),  # METHOD 4
    Stage("tables", Scope.TITLE, ("title", "outputs", "clusters", "videos"), build_result),
)


def run_stages(scope: Scope, values: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Run all stages of a scope in order.

    Args:
        scope: Which stages.
        values: What they need from outside, by name.
        config: Settings of the run.

    Returns:
        `values` and what every stage gave, by name.
    """
    known = {**values, "config": config}
    for stage in STAGES:
        if stage.scope is scope:
            known[stage.name] = stage.run(*(known[name] for name in stage.needs))
    return known
