"""How do time and memory of clustering grow with the number of tracks?

    python -m benchmarks.system.scale [--tracks 100000] [--people 2000] [--outputs 1024]
        [--rule adaptive|paper] [--threads 2] [--only linkage|closure]

A synthetic title is generated block by block: its cast has a long tail (the person of rank r has
tracks in proportion to 1 / r). `cluster_tracks` clusters it.

How to read the row: "people" are those in the title, "found" the clusters. Memory is the peak of
resident memory, of the input alone and of all. "product s" are the seconds of one matrix product of
all tracks with all tracks, as wide as a track's vectors and of the same type, which any method over
all pairs needs; "ratio" is clustering over product. "CPU s" counts all threads, so other load
changes it less than the seconds of the clock.

`--only linkage` runs one `agglomerate` on encoder and head with equal weights, cut half way between
people and strangers; `--only closure` runs METHOD 4 as published.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.command import make_parser, read_options, save
from benchmarks.machine import peak_resident
from benchmarks.report import Cell, Report, say
from vcn_ray.core.closure import close
from vcn_ray.core.cluster import ClusterConfig, cluster_tracks
from vcn_ray.core.distance import (
    Space,
    cosine_space,
    mean_within_groups,
    mixed_space,
    soft_assign,
)
from vcn_ray.core.linkage import CannotLink, agglomerate
from vcn_ray.core.metrics import evaluate_clustering
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.records import F32, F64, I64, Tiers, TrackOutputs

COLUMNS = {
    "clustering": "",
    "tracks": "",
    "people": "",
    "found": "",
    "WCP": ".4f",
    "NMI": ".4f",
    "seconds": ".1f",
    "CPU s": ".1f",
    "input GiB": ".2f",
    "peak GiB": ".2f",
    "width": "",
    "product s": ".1f",
    "product CPU s": ".1f",
    "ratio": ".2f",
    "CPU ratio": ".2f",
}
DIM, BOTTLENECK, CROPS, BLOCK = 128, 256, 3, 500
TAU_T, TAU_S = 0.07, 0.10

ENCODER_NOISE, ADAPTED_NOISE, HEAD_NOISE = 0.8, 0.6, 0.4
"""Distance of tracks from their person, over the distance of people from the centre."""

PROTOTYPES = 3
"""Outputs of the head that each person activates."""


class Title(NamedTuple):
    """A synthetic title."""

    outputs: TrackOutputs
    people: I64  # (k,)
    cannot_link: I64  # (c, 2)


class Cast(NamedTuple):
    """The position of each person, and the head's last layer."""

    encoder: F64  # (p, DIM)
    head: F64  # (p, BOTTLENECK)
    last: F64  # (BOTTLENECK, o)


class Seconds(NamedTuple):
    """Wall-clock and CPU seconds: on a busy machine only the second are comparable."""

    clock: float
    cpu: float  # of all threads


def made_people(tracks: int, people: int, rng: np.random.Generator) -> I64:
    """(k,) person of each track: everybody at least once, the person of rank r about 1 / r."""
    weight = 1 / np.arange(1, people + 1)
    rest = rng.choice(people, tracks - people, p=weight / weight.sum())
    return rng.permutation(np.concatenate([np.arange(people), rest]))


def made_cast(people: int, outputs: int, rng: np.random.Generator) -> Cast:
    """People in random directions; each activates a few outputs of the head."""
    last = unit_rows(rng.normal(size=(outputs, BOTTLENECK)))
    raised = rng.integers(0, outputs, (people, PROTOTYPES))
    return Cast(unit_rows(rng.normal(size=(people, DIM))), unit_rows(last[raised].sum(1)), last.T)


def made_block(cast: Cast, people: I64, rng: np.random.Generator) -> dict[str, Any]:
    """The fields of TrackOutputs that have a row for each track, for some tracks."""
    k = len(people)
    track = np.repeat(np.arange(k), CROPS)

    def near(rows: F64, noise: float) -> F64:
        return rows + rng.normal(0, noise / np.sqrt(rows.shape[1]), rows.shape)

    def mean(rows: Any) -> F32:
        return (group_sums(rows, track, k) / CROPS).astype(np.float32)

    encoder = near(cast.encoder[people], ENCODER_NOISE)[track]
    views = [unit_rows(near(encoder, 1.3 * ENCODER_NOISE)) for _ in range(2)]
    hidden = near(cast.head[people], HEAD_NOISE)[track]
    z = unit_rows(near(hidden, HEAD_NOISE)) @ cast.last
    soft = soft_assign(z, np.zeros(z.shape[1]), TAU_T, TAU_S)
    within = mean_within_groups(*soft, track, k)
    return {
        "crops": np.full(k, CROPS),
        "teacher": mean(soft.teacher),
        "student": mean(soft.student),
        "within": within,
        "within_views": within,
        "output": mean(z),
        "embedding": unit_rows(near(cast.encoder[people], ADAPTED_NOISE)).astype(np.float32),
        "pretrained": unit_rows(mean(views[0])).astype(np.float32),
        "pretrained_views": 1 + mean_within_groups(views[0], views[1], track, k),
        "quality": np.full(k, 0.5, np.float32),
        "score": np.full(k, np.nan, np.float32),
        "recognisability": np.ones(k, np.float32),
    }


def made_title(tracks: int, people: int, outputs: int, seed: int) -> Title:
    """A title whose tracks share frames in pairs of different people."""
    rng = np.random.default_rng(seed)
    cast, who = made_cast(people, outputs, rng), made_people(tracks, people, rng)
    fields: dict[str, Any] = {}
    for start in range(0, tracks, BLOCK):
        rows = slice(start, min(start + BLOCK, tracks))
        for name, values in made_block(cast, who[rows], rng).items():
            if name not in fields:
                fields[name] = np.empty((tracks, *values.shape[1:]), values.dtype)
            fields[name][rows] = values
    pairs = np.arange(tracks - tracks % 2).reshape(-1, 2)
    made = TrackOutputs(
        **fields,
        centre=np.zeros(outputs, np.float32),
        teacher_temperature=TAU_T,
        student_temperature=TAU_S,
    )
    return Title(made, who, pairs[who[pairs[:, 0]] != who[pairs[:, 1]]])


def gap(space: Space, people: I64, sample: int = 1000) -> float:
    """The middle between the mean distances of one person's tracks and of strangers'."""
    table = space.offset - space.rows[:sample] @ space.rows[:sample].T
    same = np.equal.outer(people[:sample], people[:sample])
    one = same & ~np.eye(len(same), dtype=bool)
    return float(table[one].mean() + table[~same].mean()) / 2


def mixed(title: Title) -> Space:
    """Encoder and head with equal weights, cut at 1."""
    spaces = [cosine_space(rows) for rows in (title.outputs.pretrained, title.outputs.output)]
    first, second = (0.5 / gap(space, title.people) for space in spaces)
    return mixed_space(spaces[0], spaces[1], (first, second))


def linkage_of(title: Title) -> Callable[[], I64]:
    space = mixed(title)
    veto = CannotLink.uniform(title.cannot_link, np.inf)
    return lambda: agglomerate(space, 1.0, veto, "cut").label


def closure_of(title: Title) -> Callable[[], I64]:
    return lambda: close(title.outputs, "closure").label


def whole_of(title: Title, rule: Any) -> Callable[[], I64]:
    valid, config = np.ones(len(title.people), bool), ClusterConfig(rule=rule)
    tiers = Tiers(core=valid, junk=~valid, readable=valid)
    return lambda: cluster_tracks(title.outputs, tiers, title.cannot_link, config).label


def product_seconds(tracks: int, width: int) -> Seconds:
    """Seconds of a (k, width) by (width, k) product in float64, from some of its blocks."""
    rows = np.random.default_rng(0).normal(size=(min(tracks, 8192), width))
    blocks = list(some_blocks(len(rows)))
    rows[blocks[0]] @ rows.T
    start = now()
    for block in blocks:
        rows[block] @ rows.T
    times = (tracks / len(rows)) ** 2
    return Seconds(*(times * (end - begin) for begin, end in zip(start, now(), strict=True)))


def some_blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--outputs", type=int, default=1_024)
    parser.add_argument("--rule", choices=["adaptive", "paper"], default="adaptive")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["linkage", "closure"])
    parser.add_argument("--seed", type=int, default=0)
    options = read_options(parser, argv)
    with threadpool_limits(options.threads):
        report = Report(COLUMNS)
        report.add(run(options))
    save(options, report)


def run(options: argparse.Namespace) -> dict[str, Cell]:
    """Cluster a synthetic title, and time the matrix product."""
    title = made_title(options.tracks, options.people, options.outputs, options.seed)
    input_gib = peak_resident() / 2**10
    say(f"made the title; peak memory so far {input_gib:.2f} GiB")
    if options.only == "linkage":
        width, work = DIM + BOTTLENECK, linkage_of(title)
    elif options.only == "closure":
        width, work = 2 * BOTTLENECK + 2, closure_of(title)
    else:
        width = 2 * DIM + BOTTLENECK if options.rule == "adaptive" else 2 * BOTTLENECK + 2
        work = whole_of(title, options.rule)
    start = now()
    label = work()
    took = Seconds(*(end - begin for begin, end in zip(start, now(), strict=True)))
    memory = peak_resident() / 2**10
    scores = evaluate_clustering(title.people, label)
    product = product_seconds(options.tracks, width)
    return {
        "clustering": options.only or options.rule,
        "tracks": options.tracks,
        "people": options.people,
        "found": scores.clusters,
        "WCP": scores.wcp,
        "NMI": scores.nmi,
        "seconds": took.clock,
        "CPU s": took.cpu,
        "input GiB": input_gib,
        "peak GiB": memory,
        "width": width,
        "product s": product.clock,
        "product CPU s": product.cpu,
        "ratio": took.clock / product.clock,
        "CPU ratio": took.cpu / product.cpu,
    }


def now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


if __name__ == "__main__":
    main()
