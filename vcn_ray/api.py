"""What `vcn index` does, as functions: index a catalog, and run the method on a title in memory.

The command line and `import vcn_ray` both come through here. It prints nothing by itself; callers
choose what shows the progress.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from vcn_ray.config import RetentionConfig, RunConfig, given_config, with_pack, with_settings
from vcn_ray.console import ProgressDisplay
from vcn_ray.core.track import cannot_link_pairs
from vcn_ray.errors import ShapeError, StorageError, UsageError
from vcn_ray.exports.gather import Wanted
from vcn_ray.exports.timecode import parse_rate
from vcn_ray.exports.write import Exported, ExportRequest, export_output
from vcn_ray.health.finding import Finding
from vcn_ray.health.machine import machine_findings
from vcn_ray.health.places import input_findings, output_findings
from vcn_ray.io.catalog import Catalog, read_catalog
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.learn.hooks import Hooks
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import find_pack, open_pack, resolve_pack
from vcn_ray.records import I64, U8, TitleCrops
from vcn_ray.registry.build import build_registry
from vcn_ray.registry.check import check_registry, take_out_damage
from vcn_ray.report.pages import renew_pages, write_reports
from vcn_ray.results import Results
from vcn_ray.review.desk import Desk
from vcn_ray.run.devices import (
    check_decode_device,
    check_decode_reserved,
    open_detecting_pack,
)
from vcn_ray.run.events import Event, Observer, RunLog
from vcn_ray.run.failures import Failure
from vcn_ray.run.forget import FailureEraser
from vcn_ray.run.local import LocalExecutor
from vcn_ray.run.parallel import map_shared
from vcn_ray.run.plan import PackHashes
from vcn_ray.run.planning import (
    LookedUp,
    group_titles,
    look_up,
    plan_titles,
    sample_titles,
    skip_finished,
)
from vcn_ray.run.record import RunClock, make_record
from vcn_ray.run.repair import uncommit_damage
from vcn_ray.run.retention import SharedVideos
from vcn_ray.run.reviewed import commit_reviewed, read_reviewed
from vcn_ray.run.sources import PlanCache
from vcn_ray.run.status import TitleStatus
from vcn_ray.run.stored import read_title
from vcn_ray.run.tombstones import ErasedVideos, check_no_open_erasure
from vcn_ray.run.verify import Verified, verify_output
from vcn_ray.steps import People
from vcn_ray.steps import run_title as run_crops
from vcn_ray.upkeep.doors import (
    ErasedPersons,
    EraseRequest,
    PrunedOutput,
    erase_persons,
    prune_output,
)
from vcn_ray.upkeep.registry_copies import expire_after_run

if TYPE_CHECKING:
    from vcn_ray.review.serve import ServedReview

PathLike = str | os.PathLike[str]


class Display(Protocol):
    """Shows a run while it lasts."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def advance(self, step: str, done: float) -> None:
        """Show the progress of a step without a subject, from 0 to 1."""

    def note(self, text: str) -> None:
        """Show a remark."""


@dataclass(frozen=True, kw_only=True)
class IndexRequest:
    """What to index and how.

    Attributes:
        inputs: Videos, folders, S3 prefixes or manifests.
        output: A folder or S3 prefix.
        config: All settings.
        local: Without Ray, in this process.
        sample: Fraction of the titles to do, at random; None: all.
        retry_failed: Try permanent failures of earlier runs again.
        max_failures: Failed videos after which the run stops; None: it never does.
    """

    inputs: Sequence[str]
    output: str
    config: RunConfig
    local: bool = False
    sample: float | None = None
    retry_failed: bool = False
    max_failures: int | None = None


@dataclass(frozen=True)
class IndexedCatalog:
    """What a run did.

    Attributes:
        output: Where results are.
        titles: How each finished title went.
        failures: What is not in the results, and why.
        retried: Uris of videos whose permanent failures were tried again.
        record: The content of `run.json`.
        recorded: Whether the record could be written.
    """

    output: str
    titles: tuple[TitleStatus, ...]
    failures: tuple[Failure, ...]
    retried: tuple[str, ...]
    record: dict[str, Any]
    _storage: Storage
    recorded: bool = True

    def results(self) -> Results:
        """The results of all titles in the output, those of earlier runs too."""
        return Results(self._storage)

    def __repr__(self) -> str:
        return (
            f"IndexedCatalog({self.output!r}, titles={len(self.titles)}, "
            f"failures={len(self.failures)})"
        )


def index(
    inputs: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    pack: str | None = None,
    local: bool = False,
    config: RunConfig | PathLike | None = None,
    progress: bool | Observer = False,
) -> IndexedCatalog:
    """Find the people in videos; what is there already is reused.

    Args:
        inputs: Video files, folders, `s3://` prefixes or manifests (.csv, .jsonl, .parquet).
        output: A folder or `s3://bucket/prefix`.
        pack: Face models: a name, a folder or an S3 prefix; None: what `config` says.
        local: Run in this process, without Ray.
        config: All settings, or a TOML file with some of them.
        progress: True shows progress bars on standard error, and a line per finished title on
            standard output; a function is called with every event of `vcn_ray.run.events`.

    Returns:
        How each title went, and what failed; a bad video never stops the others.

    Raises:
        UsageError: An input, a setting or the pack cannot be used.
        StorageError: The output cannot be read or written.
    """
    config = given_config(config)
    request = IndexRequest(
        inputs=_as_texts(inputs),
        output=os.fspath(output),
        config=with_pack(config, pack) if pack else config,
        local=local,
    )
    display = ProgressDisplay() if progress is True else _Forward(progress or None)
    return run_index(request, display, RunClock.start(local, sample=None))


def run_index(request: IndexRequest, display: Display, clock: RunClock) -> IndexedCatalog:
    """Index a catalog.

    Args:
        request: What to index and how.
        display: Shows the run while it lasts.
        clock: Names the run; started with the request's `local` and `sample`.

    Raises:
        UsageError: An input, a setting or the pack cannot be used.
        StorageError: The output cannot be read or written.
    """
    config, catalog, storage = prepare(request)
    return _run_catalog(replace(request, config=config), catalog, storage, display, clock)


def _run_catalog(
    request: IndexRequest,
    catalog: Catalog,
    storage: Storage,
    display: Display,
    clock: RunClock,
) -> IndexedCatalog:
    """Index a catalog that was read, with a pack that was resolved."""
    config = request.config
    _check_decoder(request)
    groups = group_titles(catalog)
    if request.sample is not None:
        groups = sample_titles(groups, request.sample, config.seed)
        catalog[:] = [video for group in groups for video in group.videos]
    check_no_open_erasure(storage)
    new = not storage.names("runs")
    if new:
        storage.check_writable()  # before anything is read
    log = RunLog(display, inputs=len(catalog), max_failures=request.max_failures)
    eraser, shared = FailureEraser(storage), SharedVideos(config.retention, storage)
    with display:
        pack = find_pack(config, partial(display.advance, "download"))
        if not pack.commercial_use:
            display.note(f"note: pack {pack.name}: {pack.licence}")
        hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
        cache, erased = PlanCache(storage, keep=True), ErasedVideos.read(storage)
        titles = plan_titles(groups, config, hashes, cache, erased)
        if request.retry_failed:
            titles = eraser.pass_on(titles)
        titles = shared.pass_on(titles)
        rest = skip_finished(look_up(titles, storage, config.retention), log)
        if rest is not None:  # neither networks nor a cluster are started for nothing
            if not new:
                storage.check_writable()
            # On Ray too: a pack that does not load must fail here, and not in every worker.
            loaded = (
                open_detecting_pack(config, display.note) if request.local else open_pack(config)
            )
            loaded.check_encoder()
            if request.local:
                LocalExecutor(loaded, config, storage, log).run(rest)
            else:
                _run_on_ray(rest, config, storage, clock.run_id, log)
    outcome = log.outcome()
    shared.expire(title.title_id for title in outcome.titles)
    _expire_registry([title.title_id for title in outcome.titles], config, storage, display)
    record = make_record(clock, catalog, outcome, config, storage.uri)
    recorded = True
    try:
        record.write(storage)
    except StorageError as error:  # what was finished is kept, and still reported
        recorded = False
        display.note(f"the record of the run is not written: {error}")
    if config.retention != RetentionConfig():
        _renew_pages(storage, display)
    return IndexedCatalog(
        storage.uri,
        outcome.titles,
        outcome.failures,
        tuple(eraser.again),
        record.content,
        storage,
        recorded,
    )


def _expire_registry(
    titles: list[str], config: RunConfig, storage: Storage, display: Display
) -> None:
    """Remove the registry where it repeats what this run has not kept of titles."""
    try:
        for line in expire_after_run(storage, config.retention, titles):
            display.note(line)
    except StorageError as error:
        display.note(f"the registry repeats what was removed: {error}; run vcn prune")


def _renew_pages(storage: Storage, display: Display) -> None:
    """Write pages again that show pictures which this run has removed."""
    try:
        renew_pages(storage)
    except StorageError as error:
        where = storage.uri
        display.note(f"pages show pictures that were removed: {error}; run vcn report {where}")


def _check_decoder(request: IndexRequest) -> None:
    """Check that workers can decode where they are asked to, as far as this machine can tell.

    Raises:
        UsageError: They cannot.
    """
    if not request.local:
        check_decode_reserved(request.config.resources)
    if request.local or "RAY_ADDRESS" not in os.environ:  # workers run on this machine
        check_decode_device(request.config)


@dataclass(frozen=True)
class VerifiedOutput:
    """What verifying an output found.

    Attributes:
        output: Where the results are.
        files: Number of files that were compared with what was written.
        damage: A line for each file that was missing, cut, altered or swapped.
        left: A line for each that is so still: all of them, unless they were repaired.
        failures: Why something could not be made again.
    """

    output: str
    files: int
    damage: tuple[str, ...]
    left: tuple[str, ...]
    failures: tuple[Failure, ...] = ()


def verify(
    output: PathLike,
    *,
    repair: bool = False,
    local: bool = False,
    config: RunConfig | PathLike | None = None,
    progress: bool | Observer = False,
) -> VerifiedOutput:
    """Compare every file of an output with what was written, and make again what is damaged.

    Args:
        output: What `index` was given as output.
        repair: Make again what is damaged, from what is sound, or else from the videos.
        local: Repair in this process, without Ray.
        config: How S3 and machines are used, or a TOML file; each result keeps its own settings.
        progress: As of `index`.

    Raises:
        UsageError: The output holds nothing, or the pack of a result cannot be used.
        StorageError: The output cannot be read or written.
    """
    config = given_config(config)
    display = ProgressDisplay() if progress is True else _Forward(progress or None)
    return verify_with(os.fspath(output), config, display, repair=repair, local=local)


def verify_with(
    output: str, config: RunConfig, display: Display, *, repair: bool, local: bool
) -> VerifiedOutput:
    """Verify an output, as `verify`; each damaged file is shown once it is known.

    Args:
        output: A folder or S3 prefix.
        config: How S3 and machines are used.
        display: Shows it while it lasts.
        repair: Make again what is damaged.
        local: Repair without Ray.
    """
    storage = Storage.open(output, config.s3)
    with display:
        found = _look_at_all(storage, display)
    damage = tuple(map(str, found.damage.values()))
    if repair:
        check_no_open_erasure(storage)
    if not (repair and damage):
        return VerifiedOutput(storage.uri, found.files, damage, damage)
    build = take_out_damage(found.damage, storage)
    todo = uncommit_damage(found, storage)
    failures: list[Failure] = []
    for results in todo.rounds:
        for settings in dict.fromkeys(origin.settings for origin in results):
            request = IndexRequest(
                inputs=[],
                output=storage.uri,
                config=with_settings(config, settings, "the settings of a result"),
                local=local,
            )
            videos = [origin.catalog() for origin in results if origin.settings == settings]
            catalog = Catalog()
            catalog.extend(dict.fromkeys(video for each in videos for video in each))
            clock = RunClock.start(local, None)
            done = _run_catalog(request, catalog, storage, display, clock)
            failures += done.failures
    for title_id in sorted(todo.corrected):
        commit_reviewed(read_reviewed(read_title(title_id, storage), storage), storage)
    if build:
        built = build_registry(storage, config, map_shared)
        display.note(f"the registry is built again: {built.people} people, {built.titles} titles")
    if todo.pages:
        write_reports(storage)
    with display:
        left = _look_at_all(storage, display, quiet=True)
    return VerifiedOutput(
        storage.uri, found.files, damage, tuple(map(str, left.damage.values())), tuple(failures)
    )


def prune(
    output: PathLike, *, dry_run: bool = False, config: RunConfig | PathLike | None = None
) -> PrunedOutput:
    """Remove what no newest result of any title needs; never while a run is in progress.

    Args:
        output: What `index` was given as output.
        dry_run: Only say what would be removed.
        config: How S3 is reached, and what is kept for how long; or a TOML file.

    Raises:
        UsageError: There are no results, or an erasure is not finished.
        StorageError: The output cannot be read or written.
    """
    config = given_config(config)
    storage = Storage.open(os.fspath(output), config.s3)
    return prune_output(storage, dry_run, config.retention)


def erase(  # noqa: PLR0913 - a request in words
    output: PathLike,
    person: str | Sequence[str] = (),
    *,
    by: str = "",
    reason: str = "",
    name: str | Sequence[str] = (),
    resume: bool = False,
    dry_run: bool = False,
    pack: str | None = None,
    config: RunConfig | PathLike | None = None,
) -> ErasedPersons:
    """Remove persons from everything in an output, and leave tombstones so that none comes back.

    Args:
        output: What `index` was given as output.
        person: `TITLE:p003`, or several; the title by its name or id. `c-...` is a person of the
            registry, with all members in all titles.
        by: Who asks for it; the receipt repeats it.
        reason: Why; the receipt repeats it.
        name: Texts to search for at the end, as the person's name; they are not stored.
        resume: Finish erasures that were interrupted, instead of naming a person.
        dry_run: Only say what would be rewritten and removed.
        pack: Face models that the titles were indexed with, which find short appearances; None:
            what the results name.
        config: How S3 is reached; or a TOML file.

    Raises:
        UsageError: There is no such person, or another erasure is not finished.
        StorageError: The output cannot be read or written; call it again.
    """
    persons = [person] if isinstance(person, str) else list(person)
    names = [name] if isinstance(name, str) else list(name)
    config = given_config(config)
    request = EraseRequest(
        persons=persons,
        by=by,
        reason=reason,
        names=names,
        resume=resume,
        pack=pack,
        config=config,
    )
    return erase_persons(Storage.open(os.fspath(output), config.s3), request, dry_run)


def export(  # noqa: PLR0913 - a request in words
    output: PathLike,
    format: str,
    *,
    title: str | None = None,
    person: str | Sequence[str] = (),
    others: bool = False,
    to: PathLike | None = None,
    join: float | None = None,
    start: str | None = None,
    rate: str | Fraction | float | None = None,
    drop_frame: bool | None = None,
    separator: str | None = None,
    config: RunConfig | PathLike | None = None,
) -> Exported:
    """Write who is seen where as files for other tools.

    Args:
        output: What `index` was given as output.
        format: One of csv, resolve-edl, avid-markers, edl, otio, fcpxml, webvtt, boxes, mot, coco,
            or dataset, which takes nothing but `to`.
        title: Its name or id; None: all titles.
        person: A name, or an id of one title, or several; none: everybody.
        others: Everybody but these; with boxes, faces of nobody too.
        to: A folder or S3 prefix, or one file; None: the present folder, and for a dataset
            `vcn-dataset` in it.
        join: Ranges of a person with at most so many seconds between them are joined; None: a range
            for each track.
        start: Timecode of the first frame; None: what the file states.
        rate: Frames per second of the timeline; None: the video's own.
        drop_frame: How 30000/1001 and 60000/1001 are counted; None: as the start is written.
        separator: Between the cells of csv and boxes: `,` `;` or `tab`; None: a comma.
        config: How S3 and videos are reached; or a TOML file.

    Raises:
        UsageError: There is no such format, title or person, or nothing to export; or no timecode
            can name the frames of a video.
        StorageError: The output cannot be read, or the files cannot be written.
    """
    config = given_config(config)
    if join is not None and not 0 <= join < math.inf:
        raise UsageError(f"--join {join}: write seconds, 0 or more")
    wanted = Wanted(
        persons=(person,) if isinstance(person, str) else tuple(person),
        others=others,
        start=start or "",
        rate=None if rate is None else parse_rate(str(rate)),
        drop=drop_frame,
        join_seconds=join,
    )
    request = ExportRequest(format, wanted, title, None if to is None else os.fspath(to), separator)
    return export_output(Storage.open(os.fspath(output), config.s3), request, config)


def _look_at_all(storage: Storage, display: Display, quiet: bool = False) -> Verified:
    """Verify an output once, and show what is found."""
    parts = sum(len(storage.names(top)) for top in ("titles", "videos", "runs"))
    if not parts:
        raise UsageError(f"{storage.uri} holds no results: name the --output of vcn index")
    found, shown = Verified(), 0
    for done, found in enumerate(verify_output(storage), start=1):
        for line in [str(error) for error in found.damage.values()][shown:]:
            if not quiet:
                display.note(line)
        shown = len(found.damage)
        display.advance("verify", min(done / parts, 1.0))
    found.add(check_registry(storage))
    for line in [str(error) for error in found.damage.values()][shown:]:
        if not quiet:
            display.note(line)
    return found


def _as_texts(inputs: PathLike | Sequence[PathLike]) -> list[str]:
    """One input or several, as texts."""
    listed = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    return [os.fspath(each) for each in listed]


def prepare(request: IndexRequest) -> tuple[RunConfig, Catalog, Storage]:
    """Resolve the pack, open the output and read the catalog of a request."""
    config = request.config
    config = with_pack(config, resolve_pack(config.pack, config.s3))
    storage = Storage.open(request.output, config.s3)
    return config, read_catalog(list(request.inputs), config.s3), storage


def doctor(
    inputs: PathLike | Sequence[PathLike] = (),
    output: PathLike | None = None,
    *,
    pack: str | None = None,
    config: RunConfig | PathLike | None = None,
    address: str | None = None,
) -> list[Finding]:
    """Check this machine, or every node of a cluster, and the places of a run; change nothing.

    Args:
        inputs: As for `index`; they are listed, and a part of the first video is read.
        output: As for `index`; each right that a run needs is tried, and nothing is left behind.
        pack: Face models to load; None: what `config` says.
        config: All settings, or a TOML file with some of them.
        address: `auto` or `host:6379` of a cluster; None: this machine alone.

    Returns:
        One finding for each thing that was checked: ok, a warning or a fault, and what to do.

    Raises:
        UsageError: A setting cannot be used, or the cluster cannot be joined.
    """
    config = given_config(config)
    config = with_pack(config, pack) if pack else config
    places = _as_texts(inputs)
    target = None if output is None else os.fspath(output)
    if address:
        from vcn_ray.distributed.nodes import cluster_findings  # Ray takes seconds to import

        return list(cluster_findings(config, places, target, address))
    findings = list(machine_findings(config))
    for place in places:
        findings += input_findings(place, config.s3)
    if target is not None:
        findings += output_findings(target, config.s3)
    return findings


def open_desk(
    output: PathLike,
    title: str | None = None,
    who: str | None = None,
    *,
    s3: S3Config | None = None,
) -> Desk:
    """Open a title for corrections: `name`, `merge`, `move`, ..., then `commit`.

    Args:
        output: What `index` was given as output.
        title: Its name or id; None: the only one there is.
        who: Of whom the corrections are; None: the user of this process.
        s3: How S3 is reached.

    Raises:
        UsageError: There is no such title.
        StorageError: The place cannot be read.
    """
    return Desk(Storage.open(os.fspath(output), s3), title, who)


def serve_review(
    output: PathLike,
    title: str | None = None,
    *,
    who: str | None = None,
    port: int = 0,
    browser: bool = False,
    config: RunConfig | PathLike | None = None,
) -> ServedReview:
    """Serve the page of `vcn review` on this machine, until it is closed.

    Args:
        output: What `index` was given as output.
        title: Name or id of the title to begin with; None: the first.
        who: Of whom the corrections are; None: the user of this process.
        port: To listen on; 0: any free one.
        browser: Open the page in the browser of this machine.
        config: How S3 and packs are reached; or a TOML file.

    Returns:
        The page that is being served: its `address`, `wait` and `close`. It is a context manager.

    Raises:
        UsageError: There are no results or no such title, or the port is taken.
        StorageError: The output cannot be read.
    """
    from vcn_ray.review.serve import (  # a server takes a moment to import
        ServedReview,
        open_browser,
        prepare_page,
    )

    config = given_config(config)
    storage = Storage.open(os.fspath(output), config.s3)
    served = ServedReview(prepare_page(storage, config, title=title, who=who, port=port))
    if browser:
        open_browser(served.address)
    return served


def run_title(  # noqa: PLR0913 - arrays that belong together, and what is known of them
    crops: U8,
    track: npt.ArrayLike,
    frame: npt.ArrayLike | None = None,
    *,
    score: npt.ArrayLike | None = None,
    pack: str | FacePack = DEFAULT_PACK,
    config: RunConfig | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> People:
    """Tell the people in face tracks apart, in memory: the method without storage or Ray.

    Args:
        crops: (m, p, p, 3) uint8 RGB, aligned by the pack's aligner; p is its `input_pixels`. Those
            of one track are in order of time.
        track: (m,) track number of each crop, any integers.
        frame: (m,) frame number of each crop; two tracks with crops in one frame are two people.
            None: unknown.
        score: (m,) score of each face by the pack's detector; None: unknown.
        pack: Face models, loaded or by name.
        config: All settings; None: the defaults.
        progress: Called with a part's name and its progress from 0 to 1.

    Returns:
        The people; `person` has a row for each track, in rising order of track numbers, or several
        where its face changes to another person's. `person[row]` says who is seen in each crop.

    Raises:
        ShapeError: Arrays do not belong together.
        UsageError: The pack cannot be used.
    """
    config = config or RunConfig()
    crops, numbers = np.asarray(crops), np.asarray(track)
    frames = None if frame is None else np.asarray(frame)
    for name, values in (("track", numbers), ("frame", frames)):
        if values is not None and not _is_index(values, len(crops)):
            raise ShapeError(
                f"{name} needs {len(crops)} integers, one for each crop, got {values.shape} "
                f"{values.dtype}"
            )
    if isinstance(pack, str):
        config = with_pack(config, resolve_pack(pack, config.s3))
        pack = open_pack(config)
    numbers, owner = np.unique(numbers, return_inverse=True)
    owner = owner.astype(np.int64)
    pairs: I64 = np.zeros((0, 2), np.int64)
    if frames is not None:
        pairs = cannot_link_pairs(frames.astype(np.int64), owner)
    scores = None if score is None else np.asarray(score, np.float32)
    seen = None if frames is None else frames.astype(np.int64)
    title = TitleCrops(crops, owner, pairs, scores, seen)
    people = run_crops(title, pack.load_encoder(), pack.prior, config, Hooks(progress))
    return replace(people, track=numbers[people.track])


def _is_index(values: npt.NDArray[Any], count: int) -> bool:
    integers = np.issubdtype(values.dtype, np.integer) or not values.size
    return values.shape == (count,) and bool(integers)


def _run_on_ray(
    titles: Iterator[LookedUp], config: RunConfig, storage: Storage, run_id: str, log: RunLog
) -> None:
    from vcn_ray.distributed.driver import run_catalog  # Ray takes seconds to import

    run_catalog(titles, config, storage, run_id, log)


class _Forward(AbstractContextManager["_Forward"]):
    """A display that passes events on to a function, if there is one."""

    def __init__(self, watch: Observer | None) -> None:
        self._watch = watch

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: Event) -> None:
        if self._watch:
            self._watch(event)

    def advance(self, step: str, done: float) -> None:
        """Nothing: it belongs to no event."""

    def note(self, text: str) -> None:
        """Nothing: it belongs to no event."""
