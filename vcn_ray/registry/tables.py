"""The registry's tables, from who is one person; it decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import special

from vcn_ray.core.linking import JOINED
from vcn_ray.io.identity import digest
from vcn_ray.io.tables import make_table
from vcn_ray.records import I64
from vcn_ray.registry.known import Decided
from vcn_ray.registry.link import Linked
from vcn_ray.registry.pairs import shown_name
from vcn_ray.schema import CATALOG_LINKS, CATALOG_MEMBERS, CATALOG_PEOPLE, CATALOG_SECONDS


@dataclass(frozen=True, slots=True, eq=False)
class RegistryTables:
    """The people of a catalog."""

    people: pa.Table
    members: pa.Table
    seconds: pa.Table
    links: pa.Table


def registry_tables(faces: pa.Table, linked: Linked, decided: Decided) -> RegistryTables:
    """Write down who is one person.

    Args:
        faces: (n rows) CATALOG_FACES, sorted by title and person.
        linked: Who is one person.
        decided: What people decided.
    """
    rows = faces.drop_columns(["codes"]).to_pylist()
    people, members, seconds = [], [], []
    for mine in _members(linked.joined.label):
        lead = min(mine, key=lambda row: (-rows[row]["screen_seconds"], row))
        catalog_id = f"c-{digest(rows[lead]['title_id'], rows[lead]['person_id'])}"
        people.append(_person(catalog_id, [rows[row] for row in mine], rows[lead]))
        for row in mine:
            members.append(_member(catalog_id, rows[row], row, linked, mine, decided))
            seconds += list(_seconds(catalog_id, rows[row]))
    people.sort(key=lambda row: (-round(row["screen_seconds"], 6), row["catalog_id"]))
    members.sort(key=lambda row: (row["catalog_id"], row["title_id"], row["person_id"]))
    seconds.sort(key=lambda row: (row["catalog_id"], row["title_id"], row["episode"]))
    links = [*_joined(rows, linked, decided), *_not_joined(rows, linked)]
    links.sort(key=lambda row: tuple(row[name] for name in CATALOG_LINKS.names[:4]))
    return RegistryTables(
        make_table(people, CATALOG_PEOPLE),
        make_table(members, CATALOG_MEMBERS),
        make_table(seconds, CATALOG_SECONDS),
        make_table(links, CATALOG_LINKS),
    )


def _members(label: I64) -> Iterator[list[int]]:
    order = np.argsort(label, kind="stable")
    ends = [0, *(np.flatnonzero(np.diff(label[order])) + 1).tolist(), len(order)]
    for start, stop in pairwise(ends):
        if stop > start:
            yield order[start:stop].tolist()


def _person(
    catalog_id: str, rows: Sequence[dict[str, Any]], lead: dict[str, Any]
) -> dict[str, Any]:
    return {
        "catalog_id": catalog_id,
        "name": shown_name(rows),
        "titles": len({row["title_id"] for row in rows}),
        "episodes": sum(len(row["video_ids"]) for row in rows),
        "screen_seconds": sum(row["screen_seconds"] for row in rows),
        "cover_title_id": lead["title_id"],
        "cover_person_id": lead["person_id"],
        "face": None,
    }


def _member(
    catalog_id: str,
    row: dict[str, Any],
    number: int,
    linked: Linked,
    mine: Sequence[int],
    decided: Decided,
) -> dict[str, Any]:
    link, sure = "alone", 1.0
    if len(mine) > 1:
        link = _why_grouped(number, mine, linked, decided) or "joined"
        if link == "joined":
            sure = float(special.expit(linked.joined.log_odds[number]))
    kept = {name: row[name] for name in CATALOG_MEMBERS.names if name in row}
    return kept | {"catalog_id": catalog_id, "link": link, "confidence": sure}


def _why_grouped(row: int, mine: Sequence[int], linked: Linked, decided: Decided) -> str:
    """How somebody is known to be one with others, without faces; empty: he is not."""
    group = linked.known.group
    if group[row] < 0 or not any(group[other] == group[row] for other in mine if other != row):
        return ""
    return "decided" if any(row in pair for pair in decided.one) else "named"


def _seconds(catalog_id: str, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for video, episode, length in zip(
        row["video_ids"], row["episodes"], row["video_seconds"], strict=True
    ):
        yield {
            "catalog_id": catalog_id,
            "title_id": row["title_id"],
            "video_id": video,
            "episode": episode,
            "screen_seconds": length,
        }


def _joined(
    rows: Sequence[dict[str, Any]], linked: Linked, decided: Decided
) -> Iterator[dict[str, Any]]:
    """The strongest pairs that hold each catalog person together."""
    one, group = set(decided.one), linked.known.group
    for left, right, cosine, odds in zip(*linked.joined.tree, strict=True):
        why = "face"
        if (int(left), int(right)) in one:
            why = "decision"
        elif group[left] >= 0 and group[left] == group[right]:
            why = "name"
        seen = linked.compared[left] and linked.compared[right]
        sure = float(special.expit(odds)) if seen else 1.0
        yield _link(rows, left, right, float(cosine) if seen else None, sure) | {
            "answer": "joined",
            "why": why,
        }


def _link(
    rows: Sequence[dict[str, Any]], left: int, right: int, cosine: float | None, sure: float
) -> dict[str, Any]:
    return {
        "left_title_id": rows[left]["title_id"],
        "left_person_id": rows[left]["person_id"],
        "right_title_id": rows[right]["title_id"],
        "right_person_id": rows[right]["person_id"],
        "cosine": cosine,
        "probability": sure,
    }


def _not_joined(rows: Sequence[dict[str, Any]], linked: Linked) -> Iterator[dict[str, Any]]:
    """The strongest pair of each two catalog people who look alike, and why they are two."""
    label = linked.joined.label
    clusters = _Clusters(rows, linked)
    best: dict[tuple[int, int], int] = {}
    pairs = linked.pairs
    different = np.flatnonzero(label[pairs.left] != label[pairs.right])
    for place in different[np.argsort(-pairs.log_odds[different], kind="stable")].tolist():
        one, other = sorted((int(label[pairs.left[place]]), int(label[pairs.right[place]])))
        best.setdefault((one, other), place)
    for (one, other), place in best.items():
        why = clusters.why_apart(one, other)
        odds = float(pairs.log_odds[place])
        if why and odds <= JOINED:
            continue  # nobody would take them for one person
        left, right = int(pairs.left[place]), int(pairs.right[place])
        sure = float(special.expit(odds))
        yield _link(rows, left, right, float(pairs.cosine[place]), sure) | {
            "answer": "apart" if why else "suggested",
            "why": why or "face",
        }


class _Clusters:
    """What is known of catalog people, to say why two of them are not one."""

    def __init__(self, rows: Sequence[dict[str, Any]], linked: Linked) -> None:
        label, known = linked.joined.label, linked.known
        self._titles: dict[int, set[str]] = {}
        self._names: dict[int, set[int]] = {}
        for row, cluster in enumerate(label.tolist()):
            self._titles.setdefault(cluster, set()).add(rows[row]["title_id"])
            if known.name[row] >= 0:
                self._names.setdefault(cluster, set()).add(int(known.name[row]))
        self._cannot = {
            (min(pair), max(pair)) for pair in label[known.cannot].reshape(-1, 2).tolist()
        }

    def why_apart(self, one: int, other: int) -> str:
        """Why two must not be one; empty: nothing forbids it."""
        if (min(one, other), max(one, other)) in self._cannot:
            return "decision"
        mine, theirs = self._names.get(one, set()), self._names.get(other, set())
        if mine and theirs and mine.isdisjoint(theirs):
            return "names"
        return "rival" if self._titles[one] & self._titles[other] else ""
