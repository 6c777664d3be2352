"""How clustering grows: time and memory for a made title of many tracks.

    python benchmarks/scale.py [--tracks 100000] [--people 2000] [--outputs 1024]
        [--rule adaptive|paper] [--threads 2] [--only linkage|closure]

A cast with a long tail (the person of rank r has tracks in proportion to 1 / r) is made in blocks,
and `cluster_tracks` run on it. Printed: tracks, people there and found, WCP, NMI, seconds, peak
resident memory with the input in it, and the seconds of one matrix product of all tracks with all,
as wide as a track's vectors and of the same type, that no way over all pairs can do without.

`--only linkage` runs one `agglomerate` of encoder and head, mixed and cut half way between people
and strangers; `--only closure` runs METHOD 4 to the letter.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from vcn_ray.core.closure import close
from vcn_ray.core.cluster import ClusterConfig, cluster_tracks
from vcn_ray.core.distance import (
    Space,
    cosine_space,
    mean_within_groups,
    mixed_space,
    soft_assign,
)
from vcn_ray.core.linkage import agglomerate
from vcn_ray.core.metrics import evaluate_clustering
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.records import F32, F64, I64, TrackOutputs

DIM, BOTTLENECK, CROPS, BLOCK = 128, 256, 3, 500
TAU_T, TAU_S = 0.07, 0.10

ENCODER_NOISE, ADAPTED_NOISE, HEAD_NOISE = 0.8, 0.6, 0.4
"""How far tracks lie from their person, over how far people lie from the middle."""

PROTOTYPES = 3
"""Outputs that each person raises."""


class Title(NamedTuple):
    """A made title."""

    outputs: TrackOutputs
    people: I64  # (k,)
    cannot_link: I64  # (c, 2)


class Cast(NamedTuple):
    """Where people lie, and the head's last layer."""

    encoder: F64  # (p, DIM)
    head: F64  # (p, BOTTLENECK)
    last: F64  # (BOTTLENECK, o)


class Seconds(NamedTuple):
    """By the clock, and of processors: on a busy machine only the second can be compared."""

    clock: float
    threads: float


def made_people(tracks: int, people: int, rng: np.random.Generator) -> I64:
    """(k,) person of each track, everybody at least once, the person of rank r about 1 / r."""
    share = 1 / np.arange(1, people + 1)
    rest = rng.choice(people, tracks - people, p=share / share.sum())
    return rng.permutation(np.concatenate([np.arange(people), rest]))


def made_cast(people: int, outputs: int, rng: np.random.Generator) -> Cast:
    """People in random directions; each raises a few outputs of the head."""
    last = unit_rows(rng.normal(size=(outputs, BOTTLENECK)))
    raised = rng.integers(0, outputs, (people, PROTOTYPES))
    return Cast(unit_rows(rng.normal(size=(people, DIM))), unit_rows(last[raised].sum(1)), last.T)


def made_block(cast: Cast, people: I64, rng: np.random.Generator) -> dict[str, Any]:
    """The fields of TrackOutputs, by track, for some tracks."""
    k = len(people)
    track = np.repeat(np.arange(k), CROPS)

    def near(rows: F64, noise: float) -> F64:
        return rows + rng.normal(0, noise / np.sqrt(rows.shape[1]), rows.shape)

    def mean(rows: Any) -> F32:
        return (group_sums(rows, track, k) / CROPS).astype(np.float32)

    encoder = near(cast.encoder[people], ENCODER_NOISE)[track]
    views = [unit_rows(near(encoder, 1.5 * ENCODER_NOISE)) for _ in range(2)]
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
        "pretrained_views": 1 + mean_within_groups(*views, track, k),
        "quality": np.full(k, 0.5, np.float32),
    }


def made_title(tracks: int, people: int, outputs: int, seed: int) -> Title:
    """A title whose tracks, in pairs of different people, share a frame."""
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
    """Half way between the mean distances of one person's tracks and of strangers'."""
    table = space.offset - space.rows[:sample] @ space.rows[:sample].T
    same = np.equal.outer(people[:sample], people[:sample])
    one = same & ~np.eye(len(same), dtype=bool)
    return float(table[one].mean() + table[~same].mean()) / 2


def mixed(title: Title) -> Space:
    """Encoder and head in equal parts, cut at 1."""
    spaces = [cosine_space(rows) for rows in (title.outputs.pretrained, title.outputs.output)]
    first, second = (0.5 / gap(space, title.people) for space in spaces)
    return mixed_space(spaces[0], spaces[1], (first, second))


def linkage_of(title: Title) -> Callable[[], I64]:
    space = mixed(title)
    return lambda: agglomerate(space, 1.0, title.cannot_link, "cut").label


def closure_of(title: Title) -> Callable[[], I64]:
    return lambda: close(title.outputs, "closure").label


def whole_of(title: Title, rule: Any) -> Callable[[], I64]:
    valid, config = np.ones(len(title.people), bool), ClusterConfig(rule=rule)
    return lambda: cluster_tracks(title.outputs, valid, title.cannot_link, config).label


def product_seconds(tracks: int, width: int) -> Seconds:
    """Of one (k, width) by (width, k) product in float64, from some of its blocks."""
    rows = np.random.default_rng(0).normal(size=(min(tracks, 8192), width))
    blocks = list(some_blocks(len(rows)))
    rows[blocks[0]] @ rows.T
    start = now()
    for block in blocks:
        rows[block] @ rows.T
    share = (tracks / len(rows)) ** 2
    return Seconds(*(share * (end - begin) for begin, end in zip(start, now(), strict=True)))


def some_blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--outputs", type=int, default=1_024)
    parser.add_argument("--rule", choices=["adaptive", "paper"], default="adaptive")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["linkage", "closure"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with threadpool_limits(options.threads):
        run(options)


def run(options: argparse.Namespace) -> None:
    title = made_title(options.tracks, options.people, options.outputs, options.seed)
    print(f"made; {peak_memory():.2f} GiB at most so far", flush=True)
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
    memory = peak_memory()
    scores = evaluate_clustering(title.people, label)
    product = product_seconds(options.tracks, width)
    print(f"tracks {options.tracks}  people {options.people}  found {scores.clusters}")
    print(f"WCP {scores.wcp:.4f}  NMI {scores.nmi:.4f}")
    print(f"{took.clock:.1f} s ({took.threads:.1f} s of threads), {memory:.2f} GiB at most")
    print(
        f"one product k x k x {width}: {product.clock:.1f} s ({product.threads:.1f} s of threads), "
        f"ratio {took.clock / product.clock:.2f} ({took.threads / product.threads:.2f})"
    )


def now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


def peak_memory() -> float:
    """GiB resident at most since the start."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
