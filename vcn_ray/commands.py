"""What each command does once its words are understood; how it looks is `console`'s business."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from vcn_ray.config import RunConfig, dump_config, load_config, with_pack
from vcn_ray.console import (
    JsonLog,
    ProgressDisplay,
    count,
    failure_line,
    minutes,
    say,
    say_json,
    show_table,
)
from vcn_ray.errors import UsageError
from vcn_ray.evaluation import evaluate_output
from vcn_ray.io.catalog import CatalogVideo, read_catalog
from vcn_ray.io.storage import Storage
from vcn_ray.models.pack_check import check_pack
from vcn_ray.models.packs import describe_pack, list_packs, load_pack
from vcn_ray.report.write import write_reports
from vcn_ray.run.devices import device_for
from vcn_ray.run.local import LocalRun
from vcn_ray.run.plan import PackHashes, Plan, plan_catalog
from vcn_ray.run.record import RunClock, write_run
from vcn_ray.run.retry import forget_failures
from vcn_ray.run.sources import Memory
from vcn_ray.run.state import estimate_seconds, look_at
from vcn_ray.sample.film import write_sample


def index(options: argparse.Namespace) -> int:
    """Find the people of a catalog."""
    config, catalog, storage = _prepare(options)
    new = not storage.names("runs")
    if new:
        storage.check_writable()  # before hours are spent on reading videos
    device = device_for(config.resources.segment_gpus) if options.local else "cpu"
    pack = load_pack(config.pack, config.threads, device)
    clock = RunClock.start()
    hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
    display = JsonLog(clock.run_id) if options.log_format == "json" else ProgressDisplay()
    if not pack.commercial_use:
        display.note(f"note: pack {pack.name}: {pack.licence}")
    with display:
        planned = plan_catalog(catalog, config, hashes, display.share, Memory(storage, keep=True))
        if options.retry_failed:
            again = forget_failures(planned, storage)
            say(f"trying again what failed in {count(len(again), 'video')}")
        finished = all(storage.is_committed(title.result) for title in planned.titles)
        if not new and not finished:
            storage.check_writable()
        if options.local or finished:  # a cluster is not started for nothing
            most = options.max_failures
            outcome = LocalRun(planned, pack, config, storage, display, most).run()
        else:
            from vcn_ray.distributed.catalog import run_catalog  # Ray takes seconds to import

            outcome = run_catalog(
                planned, config, storage, display, clock.run_id, options.max_failures
            )
    record = write_run(clock, catalog, planned, outcome, config, storage)
    if outcome.titles and all(title.reused for title in outcome.titles):
        say("nothing to do: every result was there already")
    if outcome.gave_up:
        display.note(
            f"gave up: more than {count(options.max_failures, 'video')} failed, and --max-failures "
            "allows no more; what is finished is kept: go on with a larger number, or without"
        )
    parts = [count(len(outcome.titles), "title")]
    parts += [count(record["failures"], "failure")] if record["failures"] else []
    say(f"{', '.join(parts)}, {minutes(record['seconds'])}, in {storage.uri}")
    if outcome.titles:
        say(f"next: vcn report {storage.uri}")
    say_json({name: value for name, value in record.items() if name != "config"})
    return 1 if outcome.failures else 0


def plan(options: argparse.Namespace) -> int:
    """Say what index would do."""
    config, catalog, storage = _prepare(options)
    info = load_pack(config.pack)
    with ProgressDisplay() as display:
        hashes = PackHashes(info.detector_hash, info.encoder_hash)
        planned = plan_catalog(catalog, config, hashes, display.share, Memory(storage, keep=False))
    states = look_at(planned, storage)
    rows = [
        [
            state.title.title,
            str(len(state.title.videos)),
            minutes(sum(video.info.duration_seconds for video in state.title.videos)),
            f"{state.segments_done}/{state.segments}",
            state.action,
        ]
        for state in states
    ]
    show_table(
        "Titles", ["title", "videos", "length", "segments there", "what index would do"], rows
    )
    for failure in planned.failures:
        say(failure_line(failure))
    seconds = estimate_seconds(states, storage)
    if seconds is None:
        say("time: not known yet; an earlier run into this output would tell")
    else:
        say(f"time: about {minutes(seconds)}, by the pace of earlier runs into this output")
    say_json(
        _plan_summary(planned, states_finished=sum(s.finished for s in states), seconds=seconds)
    )
    return 1 if planned.failures else 0


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
    storage = Storage.open(options.output, _given(options).s3)
    pages = write_reports(storage)
    for page in pages.titles:
        say(storage.locate(page))
    say(f"open {storage.locate(pages.index)}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Compare results with labels."""
    storage = Storage.open(options.output, _given(options).s3)
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


def packs(options: argparse.Namespace) -> int:
    """List, show or check packs."""
    if options.action == "list":
        rows = [
            [
                info.name,
                f"{info.detector} + {info.encoder}",
                info.licence,
                "yes" if info.commercial_use else "no",
                info.problem or info.place,
            ]
            for info in list_packs()
        ]
        show_table("Packs", ["name", "nets", "licence", "commercial use", "where"], rows)
        return 0
    if not options.pack:
        raise UsageError(f"packs {options.action} needs the name or folder of a pack")
    if options.action == "show":
        _say_fields(asdict(describe_pack(options.pack)))
        return 0
    result = check_pack(options.pack)
    _say_fields(asdict(result))
    return 1 if result.problems else 0


def _say_fields(fields: dict[str, object]) -> None:
    for name, value in fields.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        say(f"{name.replace('_', ' ')}: {shown if shown not in ('', [], None) else '-'}")


def config(options: argparse.Namespace) -> int:
    """Print the settings, as a file that --config takes."""
    say(dump_config(_settings(options)).rstrip())
    return 0


def _settings(options: argparse.Namespace) -> RunConfig:
    profile = {"profile": options.profile} if options.profile else {}
    settings = _given(options, profile)
    pack = options.pack or settings.pack
    # Workers have working directories of their own: a folder is named in full.
    return with_pack(settings, str(Path(pack).absolute()) if Path(pack).is_dir() else pack)


def _given(options: argparse.Namespace, first: dict[str, str] | None = None) -> RunConfig:
    """The settings of --config and --set."""
    overrides = dict(first or {})
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write it as section.key=value")
        overrides[name.strip()] = value.strip()
    return load_config(options.config, overrides)


def _prepare(options: argparse.Namespace) -> tuple[RunConfig, list[CatalogVideo], Storage]:
    settings = _settings(options)
    storage = Storage.open(options.output, settings.s3)
    return settings, read_catalog(options.inputs, settings.s3), storage


def _plan_summary(plan: Plan, states_finished: int, seconds: float | None) -> dict[str, object]:
    return {
        "titles": len(plan.titles),
        "titles_finished": states_finished,
        "videos": len(plan.videos),
        "segments": sum(len(video.segments) for video in plan.videos),
        "unreadable": len(plan.failures),
        "estimated_seconds": None if seconds is None else round(seconds, 1),
    }
