"""Do corrections outlive another run: found again, in the conflict list, or silently wrong?

    python -m benchmarks.method.edits [VIDEO ...] [--mirrored] [--pack DIR] [--other DIR]

The videos are indexed as one title (by default, the sample film), and random edits of all kinds are
made on the result. With --mirrored, the title also has the mirror image of each video, as another
video: a title of twice as many tracks, with everybody seen again. Then the title is indexed again,
with other settings or another pack, and the edits are replayed on each new result.

What is right is decided by every face of every track, and by code that is not that of the anchors:
of the faces of an old track, those that a new track holds at the same time in the same place. A
track is still tracked where new tracks that are mostly this face hold a quarter of its faces.

How to read a row: "found" is the fraction of the tracks that edits name, and that are still
tracked, which were found again, and rightly; "lost" the rest of them. "wrong" counts tracks that
were taken for another face. "fit" and "misfit" are edits that count; "silent" are tracks and people
that a new result shows otherwise than the edits say, with no conflict of an edit about them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import vcn_ray
from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from benchmarks.system.reels import mirror_film
from vcn_ray.config import RunConfig, load_config, with_pack
from vcn_ray.edits.record import Anchor, active_edits
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.packs.find import resolve_pack
from vcn_ray.records import F32, F64
from vcn_ray.review.desk import Desk
from vcn_ray.run.reviewed import ReviewedTitle
from vcn_ray.run.stored import StoredTitle
from vcn_ray.sample.film import write_sample

BASE = {
    "adapt.encoder": "frozen",  # who is alike matters little here, and how long it takes does
    "adapt.rounds": "1",
    "adapt.epochs": "1",
    "adapt.augmented_views": "2",
    "adapt.quality_passes": "4",
}
AGAIN: dict[str, dict[str, str]] = {
    "another seed": {"seed": "1"},
    "no teaching": {"seed": "1", "review.teach": "false"},  # the raw result has the same people
    "half the frames": {"detect.analysis_fps": "4"},
    "more frames": {"detect.analysis_fps": "12"},
    "larger faces only": {"detect.min_face_pixels": "40"},
    "smaller pictures": {"detect.long_side_pixels": "480"},
}
OTHER = "another pack"
KINDS = {
    "name": 34,
    "move": 26,
    "merge": 6,
    "no_face": 8,
    "nobody": 6,
    "lock": 8,
    "unlock": 2,
    "undo": 7,
    "redo": 3,
}
"""How often each kind is drawn."""

COLUMNS = {
    "film": "",
    "run again with": "",
    "tracks": "d",
    "new": "d",
    "named by edits": "d",
    "tracked": "d",
    "found": ".1%",
    "lost": "d",
    "wrong": "d",
    "by embedding": "d",
    "fit": "d",
    "misfit": "d",
    "silent": "d",
}
NEAR_SECONDS = 0.13  # between faces of two runs that are compared
SAME_PLACE = 0.3  # intersection over union from which two boxes are one face
STILL = 0.25  # fraction of a track's faces that new tracks must hold


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Every face of every track of a result."""

    video: list[str]  # of each track
    ids: list[str]
    seconds: list[F64]  # by track
    boxes: list[F32]

    @classmethod
    def of(cls, title: StoredTitle) -> Sightings:
        """Those of a stored title."""
        ids = title.tracks.column("track_id").to_pylist()
        row = {name: number for number, name in enumerate(ids)}
        owner = np.array([row[name] for name in title.crops.column("track_id").to_pylist()])
        seconds = column_array(title.crops, "seconds").astype(np.float64)
        boxes = read_boxes(title.crops)
        mine = [np.flatnonzero(owner == number) for number in range(len(ids))]
        mine = [each[np.argsort(seconds[each], kind="stable")] for each in mine]
        return cls(
            title.tracks.column("video_id").to_pylist(),
            ids,
            [seconds[each] for each in mine],
            [boxes[each] for each in mine],
        )

    def shared(self, at: int, other: Sightings, with_: int) -> tuple[int, int]:
        """Faces of a track within another one's time, and how many of them are that one's."""
        times, theirs = self.seconds[at], other.seconds[with_]
        if not len(times) or not len(theirs):
            return 0, 0
        inside = np.flatnonzero(
            (times >= theirs[0] - NEAR_SECONDS) & (times <= theirs[-1] + NEAR_SECONDS)
        )
        near = np.abs(times[inside][:, None] - theirs[None]).argmin(axis=1)
        close = np.abs(times[inside] - theirs[near]) <= NEAR_SECONDS
        same = _overlaps(self.boxes[at][inside], other.boxes[with_][near]) >= SAME_PLACE
        return int(close.sum()), int((close & same).sum())


def _overlaps(one: F32, other: F32) -> F64:
    """Intersection over union of boxes (n, 4), pair by pair."""
    both = np.prod(
        np.clip(
            np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2]), 0, None
        ),
        axis=1,
    )
    sizes = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (one, other)]
    overlaps: F64 = (both / np.maximum(sizes[0] + sizes[1] - both, 1e-9)).astype(np.float64)
    return overlaps


@dataclass(frozen=True, slots=True)
class Truth:
    """What an old track is in a new result."""

    tracks: frozenset[str]  # those that are mostly this face while both are seen
    tracked: bool  # whether they hold enough of it


def true_tracks(old: Sightings, new: Sightings) -> dict[str, Truth]:
    """What each track of a result is in another one."""
    found = {}
    for at, name in enumerate(old.ids):
        mine, held = set(), 0
        for with_, video in enumerate(new.video):
            if video != old.video[at] or not len(new.seconds[with_]):
                continue
            inside, same = old.shared(at, new, with_)
            if same > inside / 2:
                mine.add(new.ids[with_])
                held += same
        found[name] = Truth(frozenset(mine), held >= STILL * max(len(old.seconds[at]), 1))
    return found


def make_edits(desk: Desk, count: int, seed: int) -> None:
    """Make random edits of all kinds."""
    rng = random.Random(seed)
    made = 0
    while made < count:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        try:
            _make(kind, desk, rng, made)
        except UsageError:  # such as no person to unlock: draw again
            continue
        made += 1


def _make(kind: str, desk: Desk, rng: random.Random, number: int) -> None:
    state = desk.reviewed.state
    tracks = sorted(state.person)
    # By their first track, as the ids of people whom edits made change with the time of day.
    people = list(dict.fromkeys(who for who in map(state.person.get, tracks) if who))
    loose = [track for track in tracks if state.person[track] is None]
    some = rng.sample(tracks, min(len(tracks), rng.choice([1, 1, 2, 4])))
    anyone = rng.choice(people + loose if rng.random() < 0.5 or not people else people)
    match kind:
        case "name":
            desk.name(anyone, f"Person {number}")
        case "move":
            desk.move(some, rng.choice(people) if people and rng.random() < 0.6 else None)
        case "merge":
            desk.merge(*rng.sample(people, 2)) if len(people) > 4 else desk.unlock("")
        case "no_face":
            desk.no_face(some[:1])
        case "nobody":
            desk.nobody(anyone)
        case "lock":
            desk.lock(rng.choice(people))
        case "unlock":
            desk.unlock(rng.choice(people))
        case "undo":
            desk.undo()
        case _:
            desk.redo()


def judge(before: ReviewedTitle, after: ReviewedTitle) -> dict[str, Cell]:
    """How the edits of a result went on another one."""
    truth = true_tracks(Sightings.of(before.title), Sightings.of(after.title))
    counts = active_edits(before.edits)
    anchors: dict[str, Anchor] = {}
    for edit in counts:
        anchors |= {anchor.track_id: anchor for anchor in (*edit.subject, *edit.into)}
    elsewhere = after.index.videos_elsewhere(anchors.values())
    tracked = right = lost = wrong = guessed = 0
    for name, anchor in anchors.items():
        found = after.index.find(anchor, counts[0].encoder, elsewhere=anchor.video_id in elsewhere)
        guessed += found.how == "embedding"
        wrong += bool(set(found.tracks) - truth[name].tracks)
        if truth[name].tracked:
            tracked += 1
            right += bool(found.tracks) and set(found.tracks) <= truth[name].tracks
            lost += not found.tracks
    misfits = after.tables.conflicts.column("edit_id").to_pylist()
    return {
        "tracks": before.title.tracks.num_rows,
        "new": after.title.tracks.num_rows,
        "named by edits": len(anchors),
        "tracked": tracked,
        "found": right / max(tracked, 1),
        "lost": lost,
        "wrong": wrong,
        "by embedding": guessed,
        "fit": len(counts) - len(set(misfits)),
        "misfit": len(set(misfits)),
        "silent": len(silent_errors(before, after, truth, set(misfits))),
    }


def silent_errors(
    before: ReviewedTitle, after: ReviewedTitle, truth: dict[str, Truth], misfits: set[str]
) -> list[str]:
    """What a new result shows otherwise than the edits say, though no conflict says so.

    Of each track that an edit of tracks put where it is: whether it is without a face or of a
    person of that name. Of each name: whether most of what is left of its person has it.
    """
    told = {c.anchor.track_id for c in after.state.conflicts if c.anchor is not None}
    names = {c.edit.name for c in after.state.conflicts if c.edit.name}
    told |= {a.track_id for c in after.state.conflicts if not c.anchor for a in c.edit.subject}
    wrong = []
    for track, edit in before.state.moved_by.items():
        if edit in misfits or track in told or not truth[track].tracked:
            continue
        new = [t for t in truth[track].tracks if t in after.state.moved_by]
        want = _place(before, track)
        if (
            new
            and want not in ("?", *names)
            and all(_place(after, each) not in (want, "?") for each in new)
        ):
            wrong.append(f"{track} is {[_place(after, each) for each in new]} and not {want}")
    for who in sorted({who for who in before.state.person.values() if who}):
        name = before.state.about(who).name
        mine = [track for track in before.state.tracks_of(who) if truth[track].tracked]
        if not name or name in names or set(mine) & told:
            continue
        shown: Counter[str] = Counter()
        for track in mine:
            for each in truth[track].tracks:
                shown[_place(after, each)] += 1
        if shown and name not in shown:
            wrong.append(f"{who} is {dict(shown)} and not {name}")
    return wrong


def _place(reviewed: ReviewedTitle, track: str) -> str:
    """Where a track is after all edits; `?` where no edit says so."""
    if track in reviewed.state.no_face:
        return "no face"
    who = reviewed.state.person[track]
    return (reviewed.state.about(who).name if who else "") or "?"


def run_again(videos: Sequence[Path], name: str, output: Path, config: RunConfig) -> None:
    """Index the videos as one title."""
    manifest = output.with_suffix(".csv")
    manifest.write_text("uri,title\n" + "".join(f'"{v.absolute()}",{name}\n' for v in videos))
    done = vcn_ray.index(manifest, output, local=True, config=config)
    if done.failures:
        raise SystemExit(f"{name}: {done.failures[0].message}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    parser.add_argument("--mirrored", action="store_true", help="also the mirror images")
    parser.add_argument("--name", default="", help="of the film in the table")
    parser.add_argument("--pack", default="centerface-sface", help="of the first run")
    parser.add_argument("--other", default="centerface-dlib", help="pack of another run")
    parser.add_argument("--fps", default="8", help="frames a second of the first run")
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="of the runs again")
    parser.add_argument("--quick", action="store_true", help="20 edits, one run again")
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    with TemporaryDirectory() as place:
        folder = Path(place)
        videos = options.videos or [write_sample(folder / "sample").video]
        if options.mirrored:
            videos = [*videos, *(mirror_film(v, folder / f"{v.stem}-mirrored.mp4") for v in videos)]
        name = options.name or ("sample" if not options.videos else "film")
        first = {"detect.analysis_fps": options.fps, **BASE}

        def config(changes: dict[str, str], pack: str = options.pack) -> RunConfig:
            return with_pack(load_config(None, first | changes), resolve_pack(pack, RunConfig().s3))

        output = folder / "out"
        run_again(videos, name, output, config({}))
        storage = Storage.open(str(output))
        desk = Desk(storage, who="reviewer")
        make_edits(desk, 20 if options.quick else options.edits, options.seed)
        before = desk.reviewed
        say(f"edits: {dict(Counter(edit.kind for edit in before.edits))}")
        runs = [(words, config(changes)) for words, changes in AGAIN.items()]
        runs.append((OTHER, config({}, options.other)))
        wanted = [r for r in runs if not options.only or r[0] in options.only]
        for words, settings in wanted[:1] if options.quick else wanted:
            run_again(videos, name, output, settings)
            after = Desk(storage, who="reviewer").reviewed
            report.add({"film": name, "run again with": words} | judge(before, after))
            truth = true_tracks(Sightings.of(before.title), Sightings.of(after.title))
            conflicts = set(after.tables.conflicts.column("edit_id").to_pylist())
            for line in silent_errors(before, after, truth, conflicts):
                say(f"silent: {line}")
    save(options, report)


if __name__ == "__main__":
    main()
