"""What each command does once its words are understood; how it looks is `console`'s business."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from vcn_ray.cli.console import (
    JsonLog,
    ProgressDisplay,
    count,
    minutes,
    say,
    say_json,
    show_table,
)
from vcn_ray.cli.options import given_settings, run_settings
from vcn_ray.cli.outlook import Outlook, look_at_title, show_outlook
from vcn_ray.cli.pack_commands import packs as packs
from vcn_ray.config import RunConfig, dump_config, with_pack
from vcn_ray.errors import PackError, UsageError
from vcn_ray.evaluation import evaluate_output
from vcn_ray.io.catalog import CatalogVideo, read_catalog
from vcn_ray.io.storage import Storage
from vcn_ray.models.onnx_export import describe_input
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack, resolve_pack
from vcn_ray.report.write import write_reports
from vcn_ray.run.devices import device_for
from vcn_ray.run.estimate import estimate
from vcn_ray.run.events import Failed, RunLog
from vcn_ray.run.export import adapted_encoder, find_title
from vcn_ray.run.forget import FailureEraser
from vcn_ray.run.local import LocalRun
from vcn_ray.run.parallel import map_in_order
from vcn_ray.run.plan import PackHashes
from vcn_ray.run.planning import (
    THREADS,
    LookedUp,
    group_titles,
    look_up,
    plan_titles,
    sample_titles,
    skip_finished,
)
from vcn_ray.run.record import RunClock, write_run
from vcn_ray.run.sources import Memory
from vcn_ray.sample.film import write_sample


def index(options: argparse.Namespace) -> int:
    """Find the people of a catalog."""
    config, catalog, storage = _prepare(options)
    groups = group_titles(catalog)
    if options.share is not None:
        groups = sample_titles(groups, options.share, config.seed)
        catalog = [video for group in groups for video in group.videos]
    new = not storage.names("runs")
    if new:
        storage.check_writable()  # before anything is read
    device = device_for(config.resources.segment_gpus) if options.local else "cpu"
    clock = RunClock.start(options.local, options.share)
    display = JsonLog(clock.run_id) if options.log_format == "json" else ProgressDisplay()
    told = RunLog(display, inputs=len(catalog), max_failures=options.max_failures)
    erase = FailureEraser(storage)
    with display:
        pack = open_pack(config, device, partial(display.share, "download"))
        if not pack.commercial_use:
            display.note(f"note: pack {pack.name}: {pack.licence}")
        hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
        titles = plan_titles(groups, config, hashes, Memory(storage, keep=True))
        if options.retry_failed:
            titles = erase.pass_on(titles)
        # A cluster is not started for nothing.
        rest = skip_finished(look_up(titles, storage), told)
        if rest is not None:
            if not new:
                storage.check_writable()
            run = partial(_run_here, pack) if options.local else partial(_run_on_ray, clock.run_id)
            run(config, storage, told, rest)
    outcome = told.outcome()
    record = write_run(clock, catalog, outcome, config, storage)
    if options.retry_failed:
        say(f"tried again what had failed in {count(len(erase.again), 'video')}")
    _say_record(record, options.max_failures, storage, display.note)
    return 1 if outcome.failures else 0


def _run_here(
    pack: FacePack, config: RunConfig, storage: Storage, told: RunLog, rest: Iterator[LookedUp]
) -> None:
    LocalRun(pack, config, storage, told).run(rest)


def _run_on_ray(
    run_id: str, config: RunConfig, storage: Storage, told: RunLog, rest: Iterator[LookedUp]
) -> None:
    from vcn_ray.distributed.driver import run_catalog  # Ray takes seconds to import

    run_catalog(rest, config, storage, run_id, told)


def _say_record(
    record: dict[str, Any], max_failures: int | None, storage: Storage, note: Callable[[str], None]
) -> None:
    """How a run ended, for people and machines."""
    titles = record["titles"]
    if titles and all(title["reused"] for title in titles):
        say("nothing to do: every result was there already")
    if record["gave_up"]:
        note(
            f"gave up: more than {count(max_failures or 0, 'video')} failed, and --max-failures "
            "allows no more; what is finished is kept: go on with a larger number, or without"
        )
    parts = [count(len(titles), "title")]
    parts += [count(record["failures"], "failure")] if record["failures"] else []
    say(f"{', '.join(parts)}, {minutes(record['seconds'])}, in {storage.uri}")
    if titles:
        say(f"next: vcn report {storage.uri}")
    say_json({name: value for name, value in record.items() if name != "config"})


def plan(options: argparse.Namespace) -> int:
    """Say what index would do."""
    config, catalog, storage = _prepare(options)
    outlook = Outlook()
    with ProgressDisplay() as display:
        pack = open_pack(config, progress=partial(display.share, "download"))
        hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
        memory = Memory(storage, keep=False)
        titles = plan_titles(group_titles(catalog), config, hashes, memory)
        for look in map_in_order(partial(look_at_title, storage), titles, THREADS):
            for failure in look.failures:
                display(Failed(failure))
            outlook.add(look)
            display.share("plan", outlook.inputs / len(catalog))
    rest = estimate(outlook.left.seconds(), config, storage, options.local)
    show_outlook(outlook, rest, config.prices)
    say_json(outlook.summary(rest))
    return 1 if outlook.failures else 0


def sample(options: argparse.Namespace) -> int:
    """Draw the sample film."""
    began = time.monotonic()
    with ProgressDisplay() as display:
        film = write_sample(
            options.folder, options.seed, lambda done, total: display.share("sample", done / total)
        )
    say(f"{film.video} and {film.labels}, in {minutes(time.monotonic() - began)}")
    say(f"next: vcn index {film.video} --output OUT")
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the pages."""
    storage = Storage.open(options.output, given_settings(options).s3)
    pages = write_reports(storage)
    for page in pages.titles:
        say(storage.locate(page))
    say(f"open {storage.locate(pages.index)}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Compare results with labels."""
    storage = Storage.open(options.output, given_settings(options).s3)
    results = evaluate_output(storage, options.labels)
    columns = [
        "title",
        "WCP",
        "PCR",
        "NMI",
        "B-cubed P/R/F",
        "unknown",
        "detection recall",
        "tracks",
    ]
    show_table("Against the labels", columns, [result.row() for result in results])
    say_json({"titles": [result.as_dict() for result in results]})
    return 0


def export(options: argparse.Namespace) -> int:
    """Write the adapted encoder of a title as ONNX."""
    settings = given_settings(options)
    storage = Storage.open(options.output, settings.s3)
    title = find_title(storage, options.title)
    name = options.pack or title.summary["pack"]["name"]
    try:
        pack = open_pack(with_pack(settings, resolve_pack(name, settings.s3)))
    except PackError as error:
        raise PackError(f"{error}; name the pack that it was indexed with by --pack") from error
    encoder = adapted_encoder(title, pack, storage)
    try:
        pack.write_onnx(encoder, options.file)
    except OSError as error:
        raise UsageError(f"{options.file} cannot be written: {error.strerror}") from error
    say(f"{options.file}: {pack.encoder} of pack {pack.name} ({pack.licence})")
    say(f"adapted to {title.summary['title']}; it takes {describe_input(encoder)}")
    return 0


def config(options: argparse.Namespace) -> int:
    """Print the settings, as a file that --config takes."""
    say(dump_config(run_settings(options)).rstrip())
    return 0


def _prepare(options: argparse.Namespace) -> tuple[RunConfig, list[CatalogVideo], Storage]:
    settings = run_settings(options)
    settings = with_pack(settings, resolve_pack(settings.pack, settings.s3))
    storage = Storage.open(options.output, settings.s3)
    return settings, read_catalog(options.inputs, settings.s3), storage
