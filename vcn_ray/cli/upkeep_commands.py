"""The commands that remove: `vcn prune` and `vcn erase`; `console` prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from vcn_ray import api
from vcn_ray.cli.options import given_settings
from vcn_ray.console import complain, count, say, say_json, show_table
from vcn_ray.upkeep.prune import KINDS


def prune(options: argparse.Namespace) -> int:
    """Remove what no newest result needs."""
    done = api.prune(options.output, dry_run=options.dry_run, config=given_settings(options))
    rows = [
        [KINDS.get(kind, kind), f"{sums['files']:,}", f"{sums['bytes']:,}"]
        for kind, sums in done.removed.items()
    ]
    if rows:
        verb = "Would be removed" if done.dry_run else "Removed"
        show_table(verb, ["what", "files", "bytes"], rows)
    for line in done.remarks:
        say(line)
    verb = "would be removed" if done.dry_run else "removed"
    say(f"{count(done.files, 'file')}, {done.bytes:,} bytes {verb} in {done.output}")
    say_json(
        {"removed": done.removed, "files": done.files, "bytes": done.bytes}
        | {"expired": done.expired, "remarks": list(done.remarks), "dry_run": done.dry_run}
    )
    return 0


def erase(options: argparse.Namespace) -> int:
    """Remove a person from everything."""
    done = api.erase(
        options.output,
        options.person,
        by=options.by,
        reason=options.reason,
        name=options.name,
        resume=options.resume,
        dry_run=options.dry_run,
        pack=options.pack,
        config=given_settings(options),
    )
    if done.dry_run:
        for person in done.persons:
            say(f"would erase {person}")
        for verb, paths in (("rewrite", done.rewritten), ("remove", done.removed)):
            for path in paths:
                say(f"would {verb} {path}")
    for line in done.remarks:
        say(line)
    verb = "would be " if done.dry_run else ""
    say(f"{count(len(done.rewritten), 'file')} {verb}rewritten, {len(done.removed)} {verb}removed")
    for path in done.receipts:
        say(f"receipt: {path}")
    for line in done.found:
        complain(f"still found: {line}")
    for line in done.versions_left:
        complain(f"hidden version not deleted: {line}")
    say_json(
        {"receipts": list(done.receipts), "rewritten": list(done.rewritten)}
        | {"removed": list(done.removed), "found": list(done.found)}
        | {"versions_left": list(done.versions_left), "remarks": list(done.remarks)}
        | {"dry_run": done.dry_run, "persons": list(done.persons)}
    )
    return 1 if done.found or done.versions_left else 0


RUN: dict[str, Callable[[argparse.Namespace], int]] = {"prune": prune, "erase": erase}
"""What runs each command."""
