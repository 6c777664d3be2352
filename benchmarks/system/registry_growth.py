"""What do the registry and a search cost, as a catalog grows?

    python -m benchmarks.system.registry_growth [--titles 100000] [--people 5] [--faces 1000000]
    python -m benchmarks.system.registry_growth --shared

People are made up: embeddings of 128 numbers, one direction for each of the cast and noise of its
own in each title, in which a third of the people are also in other titles. First table: an output
of 2,000 titles of 20 people on disk: the first build, one with nothing changed, and one after a
title was added; each in a process of its own, whose peak memory is measured. Second table: linking
of many titles in memory, without reading them; "wrong" counts pairs of two people in one catalog
person, "missed" those of one person in several. Third table: a search among many people, by the
product with all of them (the registry's way), by float32 products alone, and by two indexes that
look at a part of them, if faiss and usearch are installed. "recall" is how often an index finds the
person whom the product finds.

With --shared, only this table: catalogs whose titles share presenters or a cast. "noise" is that of
an embedding in a title, over its person's direction: a higher one is a weaker encoder. "catalog
people" should be as many as are "true".
"""

from __future__ import annotations

import importlib.util
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.command import make_parser, read_options, save
from benchmarks.made_titles import MadeTitle, write_made
from benchmarks.report import Cell, Report, say
from vcn_ray.config import RunConfig
from vcn_ray.core.linking import Known, find_nearest
from vcn_ray.core.mixture import Mixture
from vcn_ray.core.strangers import Faces, Levels, exact_codes
from vcn_ray.core.vectors import unit_rows
from vcn_ray.io.storage import Storage
from vcn_ray.records import F32, I64
from vcn_ray.registry.build import build_registry
from vcn_ray.registry.link import link_people
from vcn_ray.run.parallel import map_shared

DIM = 128
NOISE = 0.75  # of an embedding in a title, over its person's direction
KNOWN = (0.0, DIM**-0.5)
RETURNING = 1 / 3  # of the people of a title, who are also in others
STORED, STORED_PEOPLE = 2000, 20
QUERIES = 100
GRAPH_LINKS, GRAPH_LOOK = 32, 128  # of the indexes

BUILDS = {
    "titles": ",d",
    "people": ",d",
    "build": "",
    "read": ",d",
    "seconds": ".1f",
    "MiB": ",.0f",
}
LINKS = {
    "titles": ",d",
    "people": ",d",
    "catalog people": ",d",
    "true": ",d",
    "wrong": ",d",
    "missed": ",d",
    "of pairs": ",d",
    "seconds": ",.0f",
    "CPU s": ",.0f",
    "MiB": ",.0f",
}
SHARED = {
    "titles": ",d",
    "regulars": ",d",
    "a title": ",d",
    "seen once": ",d",
    "noise": ".2f",
    **{name: form for name, form in LINKS.items() if name != "titles"},
}
SEARCHES = {
    "people": ",d",
    "way": "",
    "prepare s": ".1f",
    "ms": ".1f",
    "recall": ".3f",
    "MiB": ",.0f",
}


class Show(NamedTuple):
    """Titles that share some people."""

    titles: int
    regulars: int  # people who return
    a_title: int  # of them, at random
    once: int  # people who are seen in one title, evenly over titles
    noise: float = NOISE


SHOWS = (
    Show(3000, 1, 1, 57_000),
    Show(3000, 1, 1, 7500),
    Show(3000, 1, 1, 2000),
    Show(1000, 15, 5, 3000),
    Show(1000, 15, 5, 3000, 1.1),
    Show(300, 10, 3, 900, 1.1),
    Show(1000, 60, 8, 1000, 1.1),
    Show(1000, 1, 1, 3000, 1.4),
)


class Made(NamedTuple):
    """Made-up people of many titles."""

    title: I64  # (n,)
    truth: I64  # (n,)
    embedding: F32  # (n, d) unit


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--titles", type=int, default=100_000, metavar="N")
    parser.add_argument("--people", type=int, default=5, metavar="N", help="of each title")
    parser.add_argument("--faces", type=int, default=1_000_000, metavar="N", help="to search")
    parser.add_argument("--stored", type=int, default=STORED, metavar="N", help="titles on disk")
    parser.add_argument("--shared", action="store_true", help="titles that share many people")
    parser.add_argument("--quick", action="store_true", help="small: rows mean nothing")
    options = read_options(parser, argv)
    if options.quick:
        options.titles, options.faces, options.stored = 200, 2000, 5
    builds, links, searches = Report(BUILDS), Report(LINKS), Report(SEARCHES)
    if options.shared:
        shared = Report(SHARED)
        for show in SHOWS[-3:-2] if options.quick else SHOWS:
            shared.add(apart(measure_shared, show))
        save(options, shared)
        return
    with tempfile.TemporaryDirectory() as folder:
        for row in measure_builds(Path(folder), options.stored):
            builds.add(row)
    links.add(apart(measure_links, options.titles, options.people))
    for way in ("registry", "float32", "faiss HNSW", "usearch HNSW"):
        module = way.split()[0]
        if " " in way and importlib.util.find_spec(module) is None:
            say(f"{module} is not installed: its row is left out")
            continue
        searches.add(apart(measure_search, options.faces, way))
    save(options, builds, links, searches)


def apart(work: Callable[..., dict[str, Cell]], *words: object) -> dict[str, Cell]:
    """Call a function in a fresh process, and add its peak memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_measured, work, *words).result()


def _measured(work: Callable[..., dict[str, Cell]], *words: object) -> dict[str, Cell]:
    row = work(*words)
    return row | {"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def make_people(titles: int, people: int, seed: int = 0) -> Made:
    """Make people, so that nobody is twice in one title."""
    random = np.random.default_rng(seed)
    n = titles * people
    truth = np.arange(n)
    back = random.random(n) < RETURNING
    truth[back] = truth[random.integers(0, n, int(back.sum()))]
    title = np.repeat(np.arange(titles), people)
    twice = np.ones(n, bool)
    twice[np.unique(title * np.int64(n) + truth, return_index=True)[1]] = False
    truth[twice] = n + np.flatnonzero(twice)
    truth = np.unique(truth, return_inverse=True)[1]
    embedding = np.empty((n, DIM), np.float32)
    who = random.normal(size=(int(truth.max()) + 1, DIM)).astype(np.float32)
    who /= np.linalg.norm(who, axis=1, keepdims=True)
    for start in range(0, n, 100_000):
        rows = slice(start, min(start + 100_000, n))
        own = random.normal(size=(rows.stop - start, DIM)) * NOISE / np.sqrt(DIM)
        embedding[rows] = unit_rows(who[truth[rows]] + own)
    return Made(title, truth.astype(np.int64), embedding)


def measure_builds(folder: Path, titles: int) -> list[dict[str, Cell]]:
    """An output that is built, built again, and built after a title was added."""
    made = make_people(titles + 1, STORED_PEOPLE)
    storage = Storage.open(str(folder / "out"))
    say(f"writing {titles} titles")
    for number in range(titles):
        write_made(storage, made_title(made, number))
    rows = [apart(build, storage.uri, "first"), apart(build, storage.uri, "nothing new")]
    write_made(storage, made_title(made, titles))
    return [*rows, apart(build, storage.uri, "one title more")]


def made_title(made: Made, number: int) -> MadeTitle:
    rows = np.flatnonzero(made.title == number)
    return MadeTitle(f"title-{number:06d}", np.arange(len(rows)), made.embedding[rows])


def build(output: str, what: str) -> dict[str, Cell]:
    began = time.perf_counter()
    built = build_registry(Storage.open(output), RunConfig(), map_shared)
    return {
        "titles": built.titles,
        "people": built.titles * STORED_PEOPLE,
        "build": what,
        "read": built.read,
        "seconds": time.perf_counter() - began,
    }


def make_shared(show: Show, seed: int = 0) -> Made:
    """Make the people of titles that share some."""
    random = np.random.default_rng(seed)
    regular = [random.permutation(show.regulars)[: show.a_title] for _ in range(show.titles)]
    truth = np.concatenate([*regular, show.regulars + np.arange(show.once)]).astype(np.int64)
    title = np.concatenate(
        [np.repeat(np.arange(show.titles), show.a_title), np.arange(show.once) % show.titles]
    )
    who = unit_rows(random.normal(size=(show.regulars + show.once, DIM)))
    own = random.normal(size=(len(truth), DIM)) * show.noise / np.sqrt(DIM)
    order = np.argsort(title, kind="stable")
    embedding = unit_rows(who[truth] + own).astype(np.float32)
    return Made(title[order], truth[order], embedding[order])


def measure_links(titles: int, people: int) -> dict[str, Cell]:
    """Join the people of many titles in memory."""
    return join_made(make_people(titles, people), titles)


def measure_shared(show: Show) -> dict[str, Cell]:
    """Join the people of titles that share some."""
    about = {"regulars": show.regulars, "a title": show.a_title, "seen once": show.once}
    return {**about, "noise": show.noise, **join_made(make_shared(show), show.titles)}


def join_made(made: Made, titles: int) -> dict[str, Cell]:
    """Join made-up people in memory."""
    n = len(made.title)
    codes = exact_codes(made.embedding)
    names = np.char.add("t", np.char.zfill(made.title.astype(str), 8))
    table = pa.table(
        {
            "title_id": pa.array(names),
            "person_id": pa.array([f"p{row:08d}" for row in range(n)]),
            "encoder": pa.array(["made"] * n),
            "codes": pa.array([row.tobytes() for row in codes], pa.binary()),
        }
    )
    say(f"joining {n:,} people")
    began, used = time.perf_counter(), time.process_time()
    linked = link_people(table, Known.nothing(n), KNOWN, map_shared)
    seconds, spent = time.perf_counter() - began, time.process_time() - used
    label = linked.joined.label
    both = count_pairs(label * np.int64(n) + made.truth)
    return {
        "titles": titles,
        "people": n,
        "catalog people": int(label.max()) + 1,
        "true": int(made.truth.max()) + 1,
        "wrong": count_pairs(label) - both,
        "missed": count_pairs(made.truth) - both,
        "of pairs": count_pairs(made.truth),
        "seconds": seconds,
        "CPU s": spent,
    }


def count_pairs(label: I64) -> int:
    """Pairs of rows with one label."""
    size = np.unique(label, return_counts=True)[1].astype(np.int64)
    return int((size * (size - 1) // 2).sum())


def measure_search(people: int, way: str) -> dict[str, Cell]:
    """Search for some of many people, whose face is another picture of theirs."""
    made = make_people(people // 10, 10)
    n = len(made.title)
    random = np.random.default_rng(1)
    wanted = random.integers(0, n, QUERIES)
    noise = random.normal(size=(QUERIES, DIM)) * 0.4 / np.sqrt(DIM)
    queries = unit_rows(made.embedding[wanted] + noise).astype(np.float32)
    best = np.array([int((made.embedding @ query).argmax()) for query in queries])
    began = time.perf_counter()
    search = SEARCH[way](made.embedding)
    ready = time.perf_counter()
    found = [search(query) for query in queries]
    done = time.perf_counter()
    return {
        "people": n,
        "way": way,
        "prepare s": ready - began,
        "ms": 1000 * (done - ready) / QUERIES,
        "recall": float((np.array(found) == best).mean()),
    }


Search = Callable[[F32], int]


def by_registry(embedding: F32) -> Search:
    rows = np.arange(len(embedding))
    faces = Faces(exact_codes(embedding), rows)
    levels = Levels(np.full(len(embedding), KNOWN[0]), np.full(len(embedding), KNOWN[1]))
    mixture = Mixture(0.0, 1.0, 7.0, 1.5, 1e-6)
    return lambda query: int(
        find_nearest(exact_codes(query[None])[0], faces, levels, mixture, rows, 40).row[0]
    )


def by_product(embedding: F32) -> Search:
    return lambda query: int((embedding @ query).argmax())


def by_faiss(embedding: F32) -> Search:
    faiss: Any = importlib.import_module("faiss")
    index = faiss.IndexHNSWFlat(DIM, GRAPH_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.add(embedding)
    index.hnsw.efSearch = GRAPH_LOOK
    return lambda query: int(index.search(query[None], 1)[1][0, 0])


def by_usearch(embedding: F32) -> Search:
    usearch: Any = importlib.import_module("usearch.index")
    index = usearch.Index(
        ndim=DIM, metric="ip", connectivity=GRAPH_LINKS, expansion_search=GRAPH_LOOK
    )
    index.add(np.arange(len(embedding)), embedding, threads=os.cpu_count() or 1)
    return lambda query: int(index.search(query, 1).keys[0])


SEARCH: dict[str, Callable[[F32], Search]] = {
    "registry": by_registry,
    "float32": by_product,
    "faiss HNSW": by_faiss,
    "usearch HNSW": by_usearch,
}


if __name__ == "__main__":
    main()
