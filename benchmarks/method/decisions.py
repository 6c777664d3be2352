"""How many decisions of a reviewer mend a title, asked by the queue or in random order?

    python -m benchmarks.method.decisions [CLIPS_DIR --labels DIR --faces DIR] [--films F.npz ...]

A reviewer who knows the labels answers one question after the other: of the queue of `vcn review`,
names left out, or about errors that are there, in random order, which spares the reviewer all
questions whose answer is no. Titles are labelled real clips, as in benchmarks/method/real.py, hard
titles, as in benchmarks/method/hard_films.py, and the first tracks of films, as in
benchmarks/method/film_tracks.py. With --change, faces of every second scene of the films wear a
mask or dark glasses, or are seen by little light: many errors of one kind, as few titles have them.
With --untrained, the encoder is not fine-tuned to the title.

"teach" clusters again after every tenth decision, with the decisions so far as constraints, and
then replays all edits on that result, as a later run does; the encoder is not fine-tuned again.

How to read a row: B-cubed F is over all tracks of people who can be identified, and a track of
nobody counts as a person of its own. "to .995" are the decisions until it is reached, empty where
the questions end before. "asked" are all decisions, at most --limit. "mended" are tracks that were
in the wrong place and are not after ten decisions.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.method.changed_films import CHANGES, change_looks
from benchmarks.method.films import keep_tracks, load_film, thin_crops
from benchmarks.method.labelled_titles import (
    LabelledTitle,
    add_sources,
    clip_titles,
    hard_titles,
    whole_tracks,
)
from benchmarks.report import Cell, Report, say, total_cells
from vcn_ray.config import RunConfig
from vcn_ray.core.metrics import evaluate_clustering
from vcn_ray.core.vectors import renumber, unit_rows
from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.edits.constraints import MAX_APART, learn_constraints
from vcn_ray.edits.record import Edit, Kind
from vcn_ray.edits.replay import replay
from vcn_ray.edits.state import Reviewed
from vcn_ray.evaluation.labels import NO_FACE, is_person
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.packs.embedded import DEFAULT
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, F64, I64, TrackOutputs
from vcn_ray.review.queue import Cast, Suggestion, rank_suggestions
from vcn_ray.steps import adapt_title, cluster_title

GOAL = 0.995
EVERY = 10  # decisions between two clusterings
LIMIT = 300
SECONDS_A_CROP = 0.5
UNTRAINED = 10**9  # tracks that a title needs to be trained on

COLUMNS = {
    "title": "",
    "order": "",
    "teach": "",
    "tracks": "",
    "people": "",
    "F": ".3f",
    "F at 10": ".3f",
    "F at 20": ".3f",
    "mended": "",
    "to .995": "",
    "asked": "",
    "F at last": ".3f",
}
SUMMED = ("tracks", "people", "mended", "asked")


class Title(NamedTuple):
    """A title of k tracks, adapted to."""

    name: str
    outputs: TrackOutputs
    cannot_link: I64
    identity: tuple[str, ...]
    tracks: TrackIndex
    video: I64


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, nargs="?", metavar="CLIPS_DIR")
    add_sources(parser, titles=3, required=False)
    add_pack(parser, required=False)
    parser.add_argument("--films", type=Path, nargs="*", default=[], metavar="F.npz")
    parser.add_argument("--film-tracks", type=int, default=300, metavar="N", help="of a film: 300")
    parser.add_argument("--film-crops", type=int, metavar="N", help="of a track of a film: all")
    parser.add_argument("--change", nargs="*", default=[], choices=CHANGES, help="of films")
    parser.add_argument("--untrained", action="store_true", help="no fine-tuning")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help="decisions a title")
    options = read_options(parser, argv)
    if bool(options.clips) != bool(options.labels and options.faces):
        parser.error("clips need --labels and --faces, and these need clips")
    torch.set_num_threads(1)
    pack, config = load_pack(options.pack or DEFAULT), whole_tracks()
    if options.untrained:
        config = replace(config, adapt=replace(config.adapt, min_tracks=UNTRAINED))
    report = Report(COLUMNS)
    for title in read_titles(options, pack, config):
        for order, choose in (("queue", ask_queue), ("random", ask_errors)):
            for teach in (False, True):
                reviewer = Reviewer(title, pack, config, teach)
                report.add({"title": title.name, "order": order, **reviewer.run(choose, options)})
    for kind in ("clip", "hard", "film", *CHANGES):
        for row in summaries(report.rows, kind):
            report.add(row)
    save(options, report)


def summaries(rows: Sequence[dict[str, Cell]], kind: str) -> Iterator[dict[str, Cell]]:
    """The sums of counts and the means of scores, over the titles of a kind."""
    groups: dict[tuple[Cell, Cell], list[dict[str, Cell]]] = {}
    for row in rows:
        if str(row["title"]).startswith(f"{kind} "):
            groups.setdefault((row["order"], row["teach"]), []).append(row)
    for (order, teach), group in groups.items():
        total = total_cells(group, COLUMNS, SUMMED)
        yield total | {"title": f"all of {kind}", "order": order, "teach": teach, "to .995": None}


def read_titles(options: argparse.Namespace, pack: FacePack, config: RunConfig) -> Iterator[Title]:
    """All titles, adapted to."""
    encoder = pack.load_encoder()
    kinds: list[tuple[str, Iterator[LabelledTitle]]] = []
    if options.clips:
        kinds += [("clip", clip_titles(options)), ("hard", hard_titles(options, pack))]
    for change in options.change or [""]:
        films = map(partial(read_film, options, change), options.films)
        kinds.append((change or "film", films))
    for kind, titles in kinds:
        for number, labelled in enumerate(titles):
            name = f"{kind} {number}"
            say(name)
            adapted = adapt_title(labelled.crops, encoder, pack.prior, config)
            yield lay_out(name, labelled, adapted.outputs)


def read_film(options: argparse.Namespace, change: str, path: Path) -> LabelledTitle:
    """The first tracks of a film; nothing in it is no face."""
    film = load_film(path)
    film = keep_tracks(film, np.arange(min(options.film_tracks, film.title.tracks)), film.name)
    if options.film_crops:
        film = thin_crops(film, options.film_crops)
    if change:
        film = change_looks(film, change)
    crops = np.bincount(film.title.track, minlength=len(film.truth))
    rows = [
        MatchedTrack(str(row), f"person {who}", None, float(count) * SECONDS_A_CROP, True)
        for row, (who, count) in enumerate(zip(film.truth.tolist(), crops, strict=True))
    ]
    return LabelledTitle(film.title, rows)


def lay_out(name: str, labelled: LabelledTitle, outputs: TrackOutputs) -> Title:
    """Give each track a time and a place of its own; tracks that cannot link share their time."""
    seconds = [track.seconds for track in labelled.tracks]
    starts, clock = [0.0] * len(seconds), 0.0
    with_earlier = {int(b): int(a) for a, b in np.sort(labelled.crops.cannot_link, axis=1)[::-1]}
    for row, length in enumerate(seconds):
        starts[row] = starts[with_earlier[row]] if row in with_earlier else clock
        clock = max(clock, starts[row] + length + 1)
    ids = [f"t{row:05d}" for row in range(len(seconds))]
    tracks = pa.table(
        {
            "track_id": ids,
            "video_id": ["v"] * len(ids),
            "start_seconds": starts,
            "end_seconds": [start + length for start, length in zip(starts, seconds, strict=True)],
        }
    )
    faces = [
        {
            "track_id": ids[row],
            "seconds": starts[row] + at * seconds[row],
            "x0_pixels": 100.0 * row,
            "y0_pixels": 0.0,
            "x1_pixels": 100.0 * row + 60,
            "y1_pixels": 80.0,
        }
        for row in range(len(ids))
        for at in (0.2, 0.5, 0.8)
    ]
    laid_out = TrackIndex(tracks, pa.Table.from_pylist(faces))
    identity = tuple(track.identity for track in labelled.tracks)
    video = np.zeros(len(ids), np.int64)
    return Title(name, outputs, labelled.crops.cannot_link, identity, laid_out, video)


class Reviewer:
    """Answers questions about a title by its labels, and keeps the edits.

    Args:
        title: The title.
        pack: That it was indexed with.
        config: Settings of the run.
        teach: Cluster again after every tenth decision.
    """

    def __init__(self, title: Title, pack: FacePack, config: RunConfig, teach: bool) -> None:
        self.title, self.prior, self._config, self._teach = title, pack.prior, config, teach
        self.edits: list[Edit] = []
        self.random = np.random.default_rng(0)
        self.answered: set[tuple[object, ...]] = set()
        self._result, self._runs = "r0", 0
        self.raw = self._cluster()
        self.state = self._replay()

    def run(
        self, choose: Callable[[Reviewer], Edit | None], options: argparse.Namespace
    ) -> dict[str, Cell]:
        """Answer until the questions end; returns the cells."""
        history, before = [self.score()], self.wrong()
        mended = 0
        while len(self.edits) < options.limit and history[-1] < 1:
            edit = choose(self)
            if edit is None:
                break
            self.edits.append(replace(edit, sequence=len(self.edits) + 1, result=self._result))
            if self._teach and len(self.edits) % EVERY == 0:
                self._runs += 1
                self._result = f"r{self._runs}"
                self.raw = self._cluster()
            self.state = self._replay()
            history.append(self.score())
            if len(self.edits) == EVERY:
                mended = before - self.wrong()
        reached = next((n for n, score in enumerate(history) if score >= GOAL), None)
        people = {name for name in self.title.identity if is_person(name)}
        return {
            "teach": "yes" if self._teach else "no",
            "tracks": len(self.title.identity),
            "people": len(people),
            "F": history[0],
            "F at 10": history[min(10, len(history) - 1)],
            "F at 20": history[min(20, len(history) - 1)],
            "mended": mended if len(self.edits) >= EVERY else before - self.wrong(),
            "to .995": reached,
            "asked": len(self.edits),
            "F at last": history[-1],
        }

    def _cluster(self) -> dict[str, str | None]:
        title = self.title
        known = learn_constraints(self.edits, title.tracks)
        found = cluster_title(
            title.outputs, title.cannot_link, self.prior, self._config, constraints=known
        )
        names = [f"p{label:03d}" if label >= 0 else None for label in found.label.tolist()]
        self.confidence = found.confidence
        return dict(zip(title.tracks.ids, names, strict=True))

    def _replay(self) -> Reviewed:
        return replay(self.raw, self.title.tracks, self.edits, self._result)

    def score(self) -> float:
        """B-cubed F over the tracks of people who can be identified."""
        truth, found = self._labels()
        return float(evaluate_clustering(truth, found).bcubed_f)

    def _labels(self) -> tuple[I64, I64]:
        known = [row for row, name in enumerate(self.title.identity) if is_person(name)]
        who = [self.state.person[self.title.tracks.ids[row]] or f"alone {row}" for row in known]
        truth = np.unique([self.title.identity[row] for row in known], return_inverse=True)[1]
        return renumber(truth), renumber(np.unique(who, return_inverse=True)[1])

    def wrong(self) -> int:
        """Tracks outside the one cluster of each person that holds most of its tracks."""
        truth, found = self._labels()
        taken: set[int] = set()
        right = 0
        cells = Counter(zip(truth.tolist(), found.tolist(), strict=True))
        done: set[int] = set()
        for (who, cluster), count in cells.most_common():
            if who not in done and cluster not in taken:
                done.add(who)
                taken.add(cluster)
                right += count
        return len(truth) - right

    def owner(self, person: str) -> str:
        """The identity that most of a person's time shows; NO_FACE where it shows nobody."""
        seconds: dict[str, float] = {}
        for track in self.state.tracks_of(person):
            row = self.title.tracks.row[track]
            if is_person(self.title.identity[row]):
                who = self.title.identity[row]
                seconds[who] = seconds.get(who, 0.0) + self.seconds(row)
        return max(sorted(seconds), key=seconds.__getitem__, default=NO_FACE)

    def person_of(self, identity: str, but: str = "") -> str | None:
        """The person with the most tracks whose owner is an identity; None: there is none."""
        mine = [who for who in self.people() if who != but and self.owner(who) == identity]
        return max(mine, key=lambda who: len(self.state.tracks_of(who)), default=None)

    def people(self) -> list[str]:
        """Ids of all people."""
        return sorted({who for who in self.state.person.values() if who is not None})

    def seconds(self, row: int) -> float:
        """Length of a track."""
        return float(self.title.tracks.end[row] - self.title.tracks.start[row])

    def edit(
        self,
        kind: Kind,
        tracks: Sequence[str],
        person: str = "",
        into: str | None = None,
        away: Sequence[str] = (),
    ) -> Edit:
        """An edit about tracks or a person."""
        target = self.state.tracks_of(into) if into else []
        anchors = self.title.tracks.anchors
        return Edit(
            kind,
            "reviewer",
            "",
            subject=anchors(tracks),
            person=person,
            into=anchors(target),
            into_person=into or "",
            away=anchors(away),
        )

    def move(self, tracks: Sequence[str], into: str | None) -> Edit:
        """A move, with tracks that stay behind, as the desk writes it."""
        sources = {self.state.person[track] for track in tracks} - {None, into}
        away = []
        for source in sorted(who for who in sources if who):
            rest = [track for track in self.state.tracks_of(source) if track not in tracks]
            row = self.title.tracks.row
            away += sorted(rest, key=lambda track: -self.seconds(row[track]))[:MAX_APART]
        return self.edit("move", tracks, into=into, away=away)


def ask_queue(reviewer: Reviewer) -> Edit | None:
    """The answer to the best question of the queue that was not asked before."""
    people = reviewer.people()
    for question in rank_suggestions(cast_of(reviewer, people), limit=100_000):
        if question.ask == "name":
            continue
        edit = _answer(reviewer, question, people)
        if edit is not None:
            return edit
    return None


def cast_of(reviewer: Reviewer, people: list[str]) -> Cast:
    """What the queue sees of a title."""
    title, state = reviewer.title, reviewer.state
    index = title.tracks
    row = {who: number for number, who in enumerate(people)}
    person = np.array([row.get(state.person[track] or "", -1) for track in index.ids], np.int64)
    span: F64 = np.stack([index.start, index.end], axis=1)
    moved = np.array([track in state.moved_by for track in index.ids])
    confidence: F32 = np.where(moved, 1.0, reviewer.confidence).astype(np.float32)
    length = span[:, 1] - span[:, 0]
    open_tracks = np.array(
        [
            who < 0 and track not in state.no_face | state.settled and not done
            for who, track, done in zip(person, index.ids, moved, strict=True)
        ],
        np.bool_,
    )
    inside = person >= 0
    screen = np.bincount(person[inside], length[inside], len(people))
    prior = reviewer.prior
    return Cast(
        person=person,
        span=span,
        video=title.video,
        confidence=confidence,
        open=open_tracks,
        screen=screen.astype(np.float64),
        name=("",) * len(people),
        locked=np.zeros(len(people), np.bool_),
        nobody=np.zeros(len(people), np.bool_),
        apart=frozenset(
            (min(row[a.one], row[a.other]), max(row[a.one], row[a.other]))
            for a in state.apart
            if a.one in row and a.other in row
        ),
        embedding=unit_rows(title.outputs.pretrained).astype(np.float32),
        cut=prior.cut if prior else None,
        strangers=1 - prior.stranger_cosine if prior else None,
    )


def _answer(reviewer: Reviewer, question: Suggestion, people: list[str]) -> Edit | None:
    """What a reviewer answers who knows the labels; None where it was answered before."""
    index, identity = reviewer.title.tracks, reviewer.title.identity
    if question.ask == "merge":
        one, other = people[question.person], people[question.other]
        same = reviewer.owner(one) == reviewer.owner(other) != NO_FACE
        tracks = reviewer.state.tracks_of(one)
        return reviewer.edit("merge" if same else "apart", tracks, person=one, into=other)
    key = (question.ask, question.tracks)
    if key in reviewer.answered:
        return None
    reviewer.answered.add(key)
    if question.ask == "split":
        person = people[question.person]
        wrong = [
            row
            for row in question.tracks
            if is_person(identity[row]) and identity[row] != reviewer.owner(person)
        ]
        if not wrong:
            return reviewer.move([index.ids[row] for row in question.tracks], person)
        who = identity[wrong[0]]
        rows = [row for row in wrong if identity[row] == who]
        return reviewer.move([index.ids[row] for row in rows], reviewer.person_of(who, person))
    (row,) = question.tracks
    if is_person(identity[row]):
        return reviewer.move([index.ids[row]], reviewer.person_of(identity[row]))
    kind: Kind = "no_face" if identity[row] == NO_FACE else "nobody"
    return reviewer.edit(kind, [index.ids[row]])


def ask_errors(reviewer: Reviewer) -> Edit | None:
    """The correction of an error, at random; None where there is none left."""
    found = list(find_errors(reviewer))
    if not found:
        return None
    return found[int(reviewer.random.integers(len(found)))]()


def find_errors(reviewer: Reviewer) -> Iterator[Callable[[], Edit]]:
    """What corrects each error that is there: one decision each."""
    index, identity, state = reviewer.title.tracks, reviewer.title.identity, reviewer.state
    owners = {who: reviewer.owner(who) for who in reviewer.people()}
    for who, owner in owners.items():
        main_one = reviewer.person_of(owner) if owner != NO_FACE else None
        if main_one is not None and main_one != who:
            tracks = state.tracks_of(who)
            yield partial(reviewer.edit, "merge", tracks, person=who, into=main_one)
        strangers: dict[str, list[str]] = {}
        for track in state.tracks_of(who):
            name = identity[index.row[track]]
            if is_person(name) and name != owner:
                strangers.setdefault(name, []).append(track)
        for name, tracks in strangers.items():
            yield partial(_move_to, reviewer, tracks, name, who)
    for track, person in state.person.items():
        name = identity[index.row[track]]
        if person is None and is_person(name):
            yield partial(_move_to, reviewer, [track], name, "")


def _move_to(reviewer: Reviewer, tracks: Sequence[str], identity: str, but: str) -> Edit:
    """Move tracks to the person who shows an identity, other than one; or to a new person."""
    return reviewer.move(tracks, reviewer.person_of(identity, but))


if __name__ == "__main__":
    main()
