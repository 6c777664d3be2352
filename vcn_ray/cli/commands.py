"""The commands, a function each; `console` prints."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from vcn_ray.api import IndexedCatalog, IndexRequest, prepare, run_index, verify_with
from vcn_ray.api import doctor as check_health
from vcn_ray.cli.edit_commands import edits
from vcn_ray.cli.export_command import export
from vcn_ray.cli.options import given_settings, run_settings
from vcn_ray.cli.outlook import Outlook, read_planned, show_outlook, speed_lines
from vcn_ray.cli.pack_commands import packs
from vcn_ray.cli.review_command import review
from vcn_ray.config import USER_SETTINGS, dump_config
from vcn_ray.console import (
    JsonLog,
    ProgressDisplay,
    complain,
    count,
    finding_line,
    minutes,
    misfit_words,
    say,
    say_json,
    show_table,
)
from vcn_ray.evaluation.labels import read_truth
from vcn_ray.evaluation.output import evaluate_output
from vcn_ray.evaluation.scores import HEIGHT_COLUMNS, PEOPLE_COLUMNS, TITLE_COLUMNS
from vcn_ray.health.finding import count_faults
from vcn_ray.io.storage import Storage
from vcn_ray.packs.find import find_pack
from vcn_ray.report.pages import write_reports
from vcn_ray.run.estimate import estimate, last_speed
from vcn_ray.run.events import Failed
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.plan import PackHashes
from vcn_ray.run.planning import group_titles, plan_titles
from vcn_ray.run.record import RunClock
from vcn_ray.run.sources import PlanCache
from vcn_ray.run.tombstones import ErasedVideos
from vcn_ray.sample.film import write_sample

MAX_MISFITS = 10  # titles whose corrections do not fit that a line names


def index(options: argparse.Namespace) -> int:
    """Find the people of a catalog."""
    request = _request(
        options,
        sample=options.sample,
        retry_failed=options.retry_failed,
        max_failures=options.max_failures,
    )
    clock = RunClock.start(request.local, request.sample)
    display = JsonLog(clock.run_id) if options.log_format == "json" else ProgressDisplay()
    done = run_index(request, display, clock)
    if options.retry_failed:
        say(f"retried {count(len(done.retried), 'failed video')}")
    _say_record(done, options.max_failures, display.note)
    return 1 if done.failures or not done.recorded else 0


def _say_record(
    done: IndexedCatalog, max_failures: int | None, note: Callable[[str], None]
) -> None:
    """Say how a run ended, for people and machines."""
    record, titles = done.record, done.titles
    if titles and all(title.reused for title in titles):
        which = "every title that can be finished" if done.failures else "every title"
        say(f"nothing to do: {which} had its result before")
    if record["gave_up"]:
        note(
            f"gave up: more than {count(max_failures or 0, 'video')} failed, and --max-failures "
            "allows no more; finished work is kept: continue with a larger number, or without"
        )
    parts = [count(len(titles), "title")]
    parts += [count(record["failures"], "failure")] if record["failures"] else []
    skipped = sum(record["skipped"].values())
    parts += [f"{count(skipped, 'entry', 'entries')} left out"] if skipped else []
    say(f"{', '.join(parts)}, {minutes(record['seconds'])}, in {done.output}")
    for line in speed_lines(record["speed"]):
        say(line)
    for line in _misfit_lines(done):
        say(line)
    if titles:
        say(f"next: vcn report {done.output}")
    say_json({name: value for name, value in record.items() if name != "config"})


def _misfit_lines(done: IndexedCatalog) -> Iterator[str]:
    """A line for each title with corrections that do not fit, and what to do about them."""
    titles = [title for title in done.titles if title.misfits]
    for title in titles[:MAX_MISFITS]:
        words = misfit_words(title.misfits)
        yield f"{title.title}: {words}: vcn edits list {done.output} --title {title.title_id}"
    rest = titles[MAX_MISFITS:]
    if rest:
        yield f"and {misfit_words(sum(title.misfits for title in rest))}, of {len(rest)} titles"


def plan(options: argparse.Namespace) -> int:
    """Show what index would do."""
    config, catalog, storage = prepare(_request(options))
    outlook = Outlook()
    with ProgressDisplay() as display:
        pack = find_pack(config, partial(display.advance, "download"))
        hashes = PackHashes(pack.detector_hash, pack.encoder_hash)
        cache = PlanCache(storage, keep=False)
        erased = ErasedVideos.read(storage)
        titles = plan_titles(group_titles(catalog), config, hashes, cache, erased)
        for planned in map_in_order(partial(read_planned, storage), titles, THREADS):
            for failure in planned.failures:
                display(Failed(failure))
            outlook.add(planned)
            display.advance("plan", outlook.inputs / len(catalog))
    rest = estimate(outlook.left.seconds(), config, storage, options.local)
    speed = last_speed(config, storage)
    show_outlook(outlook, rest, speed, config.prices)
    say_json({**outlook.summary(rest), "speed": speed})
    return 1 if outlook.failures else 0


def sample(options: argparse.Namespace) -> int:
    """Render the sample film."""
    began = time.monotonic()
    with ProgressDisplay() as display:
        film = write_sample(
            options.folder,
            options.seed,
            lambda done, total: display.advance("sample", done / total),
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
    if pages.skipped:
        say(f"skipped {count(len(pages.skipped), 'damaged title')}: {', '.join(pages.skipped)}")
    return 1 if pages.skipped else 0


def verify(options: argparse.Namespace) -> int:
    """Compare every file of an output with what was written."""
    done = verify_with(
        options.output,
        given_settings(options),
        ProgressDisplay(),
        repair=options.repair,
        local=options.local,
    )
    say(f"{count(done.files, 'file')} compared, {count(len(done.damage), 'file')} damaged")
    if options.repair and done.damage:
        say(f"{len(done.damage) - len(done.left)} repaired")
    elif done.damage:
        say(f"next: vcn verify {done.output} --repair")
    for line in done.left if options.repair else ():
        complain(f"not repaired: {line}")
    say_json(
        {"files": done.files, "damaged": list(done.damage), "left": list(done.left)}
        | {"repaired": options.repair, "failures": len(done.failures)}
    )
    return 1 if done.left or done.failures else 0


def evaluate(options: argparse.Namespace) -> int:
    """Compare results with labels."""
    storage = Storage.open(options.output, given_settings(options).s3)
    results = evaluate_output(storage, read_truth(options.labels, options.cuts))
    show_table("Against the labels", list(TITLE_COLUMNS), [result.row() for result in results])
    people = [result.people_row() for result in results]
    show_table("People and shots", list(PEOPLE_COLUMNS), people)
    heights = [row for result in results for row in result.height_rows()]
    show_table("Recall of labelled faces", list(HEIGHT_COLUMNS), heights)
    say_json({"titles": [result.as_dict() for result in results]})
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Check this machine or a cluster, and the places of a run."""
    findings = check_health(
        options.inputs, options.output, config=run_settings(options), address=options.address
    )
    faults = count_faults(findings)
    warnings = sum(finding.state == "warning" for finding in findings)
    if options.json:
        rows = [asdict(finding) for finding in findings]
        say_json({"findings": rows, "faults": faults, "warnings": warnings})
    else:
        for finding in findings:
            say(finding_line(finding))
        say(f"{count(faults, 'fault')}, {count(warnings, 'warning')}")
    return 1 if faults else 0


def config(options: argparse.Namespace) -> int:
    """Print the settings as TOML that --config takes."""
    shown = () if options.all else USER_SETTINGS
    say(dump_config(run_settings(options), shown).rstrip())
    return 0


def _request(options: argparse.Namespace, **more: Any) -> IndexRequest:
    return IndexRequest(
        inputs=options.inputs,
        output=options.output,
        config=run_settings(options),
        local=options.local,
        **more,
    )


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "index": index,
    "plan": plan,
    "config": config,
    "sample": sample,
    "report": report,
    "verify": verify,
    "evaluate": evaluate,
    "export": export,
    "doctor": doctor,
    "packs": packs,
    "edits": edits,
    "review": review,
}
