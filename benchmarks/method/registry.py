"""How well are people of different titles joined, without a threshold?

    python -m benchmarks.method.registry --shared ../shared [--pack P] [--output OUT --labels DIR]

Film-like titles are made from photographs by `bench/make_tracks.py` of the shared folder: each of
the cast is in 1 to 8 of them, with three photographs of his at random in each, in the light of
each. Tracks are embedded by the pretrained encoder. "true" people are the labels of a title;
"found" people are what the method finds in it with the pretrained encoder alone, with its errors:
no title is fine-tuned.

Methods: "registry" is `vcn registry build` on an output with these titles. "one cut" is average
linkage of the cosine of the people at one distance for the whole catalog, chosen with the labels
for the best B-cubed F; "one cut, apart" never joins two of one title; "components" joins all that
are nearer than one distance, chosen likewise. "prior" is "one cut, apart" at the cut of the pack.

With --output, labelled clips that were indexed are taken as well: each clip is cut at the start of
its middle track into two titles, so that those who are in both halves are in two titles. "clips,
true" are the people of the labels, "clips, found" those of the result; tracks that nobody can
identify are left out of both.

How to read a row: pairs are of people of different titles; a found person is whose most tracks it
has. "count" is catalog people over true ones. NMI and B-cubed are over tracks that are in a person.
Second table: the registry of the same titles, which come in other orders, each with its own build;
"equal" counts orders whose tables are equal. Third table: strangers, where each of the cast is in
one title alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.made_titles import MadeTitle, person_name, write_made
from benchmarks.method.cache import digest, load, store
from benchmarks.method.films import Film, load_film, make_film, thin_crops
from benchmarks.report import Cell, Report, say
from vcn_ray.config import RunConfig
from vcn_ray.core.cut import CutConfig, cut_title
from vcn_ray.core.metrics import evaluate_clustering
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.evaluation.labels import is_person, read_truth
from vcn_ray.evaluation.output import match_title
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import load_outputs
from vcn_ray.packs.embedded import DEFAULT
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, F64, I64, TrackOutputs
from vcn_ray.registry.build import build_registry
from vcn_ray.registry.stored import TABLES, read_registry
from vcn_ray.run.parallel import map_shared
from vcn_ray.run.stored import find_titles, read_title

MAX_TITLES = 8  # of a person
PHOTOGRAPHS = 3  # of a person in a title
TRACKS = 100  # of a title, about
QUICK = {"titles": 3, "cast": 6, "orders": 2, "tracks": 20}
CROPS = 3  # of a track
CUTS = np.arange(0.1, 0.95, 0.01)
NO_VIEWS, NO_PAIRS = np.zeros(0), np.zeros((0, 2), np.int64)
FAR = 4.0  # distance of two people of one title

COLUMNS = {
    "people": "",
    "method": "",
    "cut": ".2f",
    "catalog people": "",
    "count": ".2f",
    "pairs": "",
    "right": "",
    "wrong": "",
    "NMI": ".4f",
    "B-cubed P": ".4f",
    "B-cubed R": ".4f",
    "B-cubed F": ".4f",
}
ORDERS = {"titles": "", "orders": "", "equal": ""}
STRANGERS = {"people": "", "joined": "", "suggested": ""}


class Used(NamedTuple):
    """A pack, and where it is."""

    pack: FacePack
    place: str


class Title(NamedTuple):
    """A title and what is known of its tracks."""

    name: str
    truth: I64  # (k,) identity in the catalog
    embedding: F32  # (k, d) unit
    views: F64 = NO_VIEWS  # (k,) mean cosine distance of the crops of a track
    cannot_link: I64 = NO_PAIRS  # (c, 2) tracks in one frame


class People(NamedTuple):
    """The people of all titles."""

    title: I64  # (n,)
    truth: I64  # (n,) whose most tracks it has
    embedding: F64  # (n, d) unit
    track: I64  # (k,) person of each track of all titles
    identity: I64  # (k,) true identity of each track


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--shared", type=Path, required=True, metavar="DIR")
    add_pack(parser, required=False, about=f"built-in name or folder: {DEFAULT}")
    parser.add_argument("--titles", type=int, default=20, metavar="N")
    parser.add_argument("--cast", type=int, default=60, metavar="N")
    parser.add_argument("--orders", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep titles and embeddings here")
    parser.add_argument("--output", metavar="OUT", help="an output of labelled clips")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="their labels")
    parser.add_argument("--quick", action="store_true", help="3 titles: rows mean nothing")
    parser.set_defaults(tracks=TRACKS)
    options = read_options(parser, argv)
    if options.quick:
        vars(options).update(QUICK)
    place = str(options.pack or DEFAULT)
    used = Used(load_pack(place, threads=1), place)
    with tempfile.TemporaryDirectory() as folder:
        titles = make_titles(options, used.pack, options.cache or Path(folder))
        report = Report(COLUMNS)
        for kind, label in (("true", true_people), ("found", lambda t: found_people(t, used.pack))):
            people = gather(titles, [label(title) for title in titles])
            for row in compare(titles, people, used, Path(folder) / kind):
                report.add({"people": kind, **row})
        if options.output:
            halves = halve_clips(Storage.open(options.output), options.labels)
            for kind in ("true", "found"):
                clips = [half.title for half in halves]
                people = gather(clips, [getattr(half, kind) for half in halves])
                for row in compare(clips, people, used, Path(folder) / f"clips-{kind}"):
                    report.add({"people": f"clips, {kind}", **row})
        orders, strangers = Report(ORDERS), Report(STRANGERS)
        orders.add(try_orders(titles, options, used, Path(folder)))
        strangers.add(join_strangers(titles, used, Path(folder) / "strangers"))
    save(options, report, orders, strangers)


def make_titles(options: argparse.Namespace, pack: FacePack, cache: Path) -> list[Title]:
    """Make the titles, or read them from the cache, and embed their tracks."""
    random = np.random.default_rng(options.seed)
    faces = options.shared.resolve() / "data" / "faces"
    names = sorted(path.name for path in faces.iterdir() if path.is_dir())
    cast = [names[i] for i in random.permutation(len(names))[: options.cast]]
    casts: list[list[str]] = [[] for _ in range(options.titles)]
    for name in cast:
        places = random.permutation(options.titles)[: random.integers(1, MAX_TITLES + 1)]
        for place in places:
            casts[place].append(name)
    titles = []
    for number, people in enumerate(casts):
        if len(people) < 2:
            continue
        pictures = {
            name: random.permutation(sorted(path.name for path in (faces / name).glob("*.jpg")))
            for name in people
        }
        chosen = {name: [str(p) for p in some[:PHOTOGRAPHS]] for name, some in pictures.items()}
        seed = 100 * options.seed + number
        film = film_of(options.shared.resolve(), chosen, seed, options.tracks, cache)
        order = np.random.default_rng(seed).permutation(len(people))  # as make_tracks.py does
        identity = np.array([cast.index(sorted(people)[i]) for i in order], np.int64)
        means, views = embed(film, pack, cache)
        name, pairs = f"title-{number:02d}", film.title.cannot_link
        titles.append(Title(name, identity[film.truth], means, views, pairs))
    return titles


def film_of(
    shared: Path, chosen: dict[str, list[str]], seed: int, tracks: int, cache: Path
) -> Film:
    """Make a film of some photographs: the script is given a folder with these alone."""
    out = cache / f"title-{digest(chosen, seed, tracks)}.npz"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("bench", "models"):
            os.symlink(shared / name, root / name)
        for person, pictures in chosen.items():
            home = root / "data" / "faces" / person
            home.mkdir(parents=True)
            for picture in pictures:
                os.symlink(shared / "data" / "faces" / person / picture, home / picture)
        make_film(root, out, seed=seed, cast=len(chosen), tracks=tracks, extras=0)
    return thin_crops(load_film(out), CROPS)


@torch.inference_mode()
def embed(film: Film, pack: FacePack, cache: Path) -> tuple[F32, F64]:
    """Embed a film's tracks by the pretrained encoder.

    Returns:
        (k, d) mean embeddings, unit rows; (k,) mean cosine distance of two crops of a track.
    """
    place = cache / f"embedded-crops-{digest(film.content, pack.encoder_hash)}.npz"
    if (found := load(place)) is None:
        say(f"embedding {film.title.tracks} tracks")
        encoder = pack.load_encoder()
        batches = torch.split(torch.from_numpy(film.title.crops), 32)
        rows = torch.cat([encoder.embed(b) + encoder.embed(b.flip(2)) for b in batches]).numpy()
        store(place, {"rows": unit_rows(rows).astype(np.float32)}, {})
        found = load(place)
    assert found is not None
    track, count = film.title.track, film.title.tracks
    sums, crops = group_sums(found[0]["rows"], track, count), np.bincount(track)
    cosine = (np.square(sums).sum(axis=1) - crops) / np.maximum(crops * (crops - 1), 1)
    return unit_rows(sums).astype(np.float32), np.where(crops > 1, 1 - cosine, 0.0)


def true_people(title: Title) -> I64:
    return np.unique(title.truth, return_inverse=True)[1].astype(np.int64)


def found_people(title: Title, pack: FacePack) -> I64:
    """The people that the method finds without fine-tuning; a track of nobody is alone."""
    k = len(title.truth)
    one, nothing = np.ones(k), np.zeros((k, 1), np.float32)
    outputs = TrackOutputs(
        crops=np.full(k, CROPS),
        teacher=nothing,
        student=nothing,
        within=one,
        within_views=one,
        output=title.embedding,
        embedding=title.embedding,
        pretrained=title.embedding,
        pretrained_views=title.views,
        quality=one.astype(np.float32),
        score=one.astype(np.float32),
        recognisability=one.astype(np.float32),
        centre=np.zeros(1, np.float32),
        teacher_temperature=0.04,
        student_temperature=0.1,
    )
    label = cut_title(outputs, title.cannot_link, CutConfig(), "title_cut", pack.prior)
    return label.partition.label


class Half(NamedTuple):
    """Half of a clip, as a title."""

    title: Title
    true: I64  # (k,) person of each track by its label
    found: I64  # (k,) by the result


def halve_clips(storage: Storage, labels: Path) -> list[Half]:
    """Cut labelled clips into two titles each."""
    truth, halves = read_truth([labels]), []
    names: dict[str, int] = {}
    for title_id in find_titles(storage):
        title = read_title(title_id, storage)
        (video,) = title.summary["videos"]
        name = Path(video["uri"]).stem
        if name not in truth.labels:
            continue
        matched = match_title(title, {video["video_id"]: truth.labels[name]}, {}, storage)
        adapted = CommittedFolder.open(storage, title.summary["keys"]["adapt"])
        outputs = load_outputs(adapted.read_bytes("outputs.safetensors"))
        start = title.tracks["start_seconds"].to_numpy()
        known = np.array([is_person(track.identity) for track in matched.tracks])
        for half, inside in enumerate((start < np.median(start), start >= np.median(start))):
            rows = np.flatnonzero(known & inside)
            some = [matched.tracks[row] for row in rows]
            identity = np.array(
                [names.setdefault(f"{name}/{each.identity}", len(names)) for each in some]
            )
            person = [each.person or each.track_id for each in some]
            halves.append(
                Half(
                    Title(f"{name}-{half}", identity, outputs.pretrained[rows]),
                    np.unique(identity, return_inverse=True)[1],
                    np.unique(person, return_inverse=True)[1],
                )
            )
    return halves


def gather(titles: Sequence[Title], labels: Sequence[I64]) -> People:
    """All people of all titles, by title and label."""
    start, parts = 0, []
    for number, (title, label) in enumerate(zip(titles, labels, strict=True)):
        count = int(label.max()) + 1
        means = unit_rows(group_sums(title.embedding, label, count))
        truth = np.array([np.bincount(title.truth[label == p]).argmax() for p in range(count)])
        parts.append((np.full(count, number), truth, means, label + start, title.truth))
        start += count
    return People(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def compare(
    titles: Sequence[Title], people: People, used: Used, folder: Path
) -> Iterator[dict[str, Cell]]:
    """A row for each method."""
    label, _ = registry_of(titles, people, used, folder, range(len(titles)))
    yield {"method": "registry", **score(people, label)}
    distance = 1 - people.embedding @ people.embedding.T
    np.fill_diagonal(distance, 0)
    apart = np.where(people.title[:, None] == people.title[None], FAR, distance)
    np.fill_diagonal(apart, 0)
    ways: dict[str, Callable[[float], I64]] = {
        "one cut, apart": lambda cut: average(apart, cut),
        "one cut": lambda cut: average(distance, cut),
        "components": lambda cut: near(distance, cut),
    }
    for name, way in ways.items():
        scored = [(score(people, way(cut)), cut) for cut in CUTS.tolist()]
        best, cut = max(scored, key=lambda row: float(row[0]["B-cubed F"] or 0))
        yield {"method": name, "cut": cut, **best}
    if used.pack.prior:
        cut = used.pack.prior.cut
        yield {"method": "prior", "cut": cut, **score(people, average(apart, cut))}


def average(distance: F64, cut: float) -> I64:
    tree = linkage(squareform(distance, checks=False), "average")
    label: I64 = fcluster(tree, cut, "distance").astype(np.int64)
    return label


def near(distance: F64, cut: float) -> I64:
    label: I64 = connected_components(csr_array(distance <= cut))[1].astype(np.int64)
    return label


def score(people: People, label: I64) -> dict[str, Cell]:
    """The cells of a row, from the catalog person (n,) of each person."""
    left, right = np.triu_indices(len(label), 1)
    two = people.title[left] != people.title[right]
    same = (people.truth[left] == people.truth[right])[two]
    joined = (label[left] == label[right])[two]
    scores = evaluate_clustering(people.identity, label[people.track])
    count = len(set(label.tolist()))
    return {
        "catalog people": count,
        "count": count / len(set(people.identity.tolist())),
        "pairs": int(same.sum()),
        "right": int((same & joined).sum()),
        "wrong": int((joined & ~same).sum()),
        "NMI": scores.nmi,
        "B-cubed P": scores.bcubed_precision,
        "B-cubed R": scores.bcubed_recall,
        "B-cubed F": scores.bcubed_f,
    }


def registry_of(
    titles: Sequence[Title],
    people: People,
    used: Used,
    folder: Path,
    order: Sequence[int] | range,
    each: bool = False,
) -> tuple[I64, Storage]:
    """The catalog person (n,) of each person, from an output to which titles come in an order.

    Args:
        titles: All titles.
        people: Their people.
        used: The pack of the embeddings.
        folder: For the output.
        order: Numbers of the titles as they come.
        each: Build the registry after each of them, and not only at the end.
    """
    storage = Storage.open(str(folder))
    first = np.concatenate([[0], np.cumsum(np.bincount(people.title))])
    sizes = np.cumsum([0, *(len(title.truth) for title in titles)])
    for number in order:
        title = titles[number]
        label = people.track[sizes[number] : sizes[number + 1]] - first[number]
        made = MadeTitle(title.name, label, title.embedding, used.pack.encoder_hash, used.place)
        write_made(storage, made)
        if each:
            build_registry(storage, RunConfig(), map_shared)
    build_registry(storage, RunConfig(), map_shared)
    members = read_registry(storage).members.to_pylist()
    catalog = {(row["title_id"], row["person_id"]): row["catalog_id"] for row in members}
    names = [
        catalog[titles[number].name, person_name(int(row - first[number]))]
        for row, number in enumerate(people.title.tolist())
    ]
    return np.unique(names, return_inverse=True)[1].astype(np.int64), storage


def try_orders(
    titles: Sequence[Title], options: argparse.Namespace, used: Used, folder: Path
) -> dict[str, Cell]:
    """Build the registry of titles that come in other orders, and compare the tables."""
    random = np.random.default_rng(options.seed)
    people = gather(titles, [true_people(title) for title in titles])
    _, usual = registry_of(titles, people, used, folder / "usual", range(len(titles)))
    first, equal = read_registry(usual), 0
    for number in range(options.orders):
        order = random.permutation(len(titles)).tolist()
        home = folder / f"order-{number}"
        _, other = registry_of(titles, people, used, home, order, each=number == 0)
        found = read_registry(other)
        names = [name.removeprefix("catalog_") for name in TABLES]
        equal += all(getattr(first, name).equals(getattr(found, name)) for name in names)
    return {"titles": len(titles), "orders": options.orders, "equal": equal}


def join_strangers(titles: Sequence[Title], used: Used, folder: Path) -> dict[str, Cell]:
    """Everybody in one title alone: nobody should be joined."""
    seen: set[int] = set()
    alone = []
    for title in titles:
        new = ~np.isin(title.truth, list(seen))
        seen |= set(title.truth.tolist())
        if new.any():
            alone.append(Title(title.name, title.truth[new], title.embedding[new]))
    people = gather(alone, [true_people(title) for title in alone])
    label, storage = registry_of(alone, people, used, folder, range(len(alone)))
    links = read_registry(storage).links["answer"].to_pylist()
    return {
        "people": len(label),
        "joined": len(label) - len(set(label.tolist())),
        "suggested": links.count("suggested"),
    }


if __name__ == "__main__":
    main()
