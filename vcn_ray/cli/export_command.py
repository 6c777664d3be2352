"""The command `vcn export`: who is seen where, as files for other tools."""

from __future__ import annotations

import argparse
from pathlib import PurePath

from vcn_ray.api import export as write_export
from vcn_ray.cli.options import given_settings
from vcn_ray.console import complain, count, say
from vcn_ray.exports.formats import FORMATS
from vcn_ray.exports.words import DATASET

MAX_LISTED = 10  # files


def export(options: argparse.Namespace) -> int:
    """Write the files of an export; the last line says where they are."""
    done = write_export(
        options.output,
        options.format,
        title=options.title,
        person=options.person,
        others=options.others,
        to=options.to,
        join=options.join,
        start=options.start,
        rate=options.rate,
        drop_frame=options.drop_frame,
        separator=options.separator,
        config=given_settings(options),
    )
    for line in done.refused:
        complain(f"left out: {line}")
    for title in done.skipped:
        complain(f"skipped: {title} is damaged: vcn verify {options.output} --repair")
    for note in done.notes:
        say(f"note: {note}")
    rows = count(done.rows, *_unit(options.format))
    if len(done.files) == 1:
        say(f"{rows} in {done.files[0]}")
    else:
        for file in done.files[:MAX_LISTED]:
            say(PurePath(file).name)
        if len(done.files) > MAX_LISTED:
            say(f"and {len(done.files) - MAX_LISTED} more")
        say(f"{rows} in {len(done.files)} files in {done.files[0].rpartition('/')[0]}")
    return 1 if done.refused or done.skipped else 0


def _unit(name: str) -> tuple[str, str]:
    """What the rows of a format are, one and several."""
    if name == DATASET:
        return "row", "rows"
    return ("box", "boxes") if FORMATS[name].boxes else ("range", "ranges")
