"""Helpers to run the product on real clips and to read what it made."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vcn_ray.cli.main import main
from vcn_ray.io.storage import Storage
from vcn_ray.run.stored import StoredTitle, stored_titles

SMALL = ["--set", "detect.segment_seconds=2", "--set", "detect.analysis_fps=5"]
"""Settings under which a film of seconds has several segments and is done soon."""

_QUICK = {
    "detect.analysis_fps": 4,
    "detect.segment_seconds": 1,
    "adapt.encoder": "frozen",
    "adapt.rounds": 1,
    "adapt.epochs": 1,
    "adapt.augmented_views": 2,
    "adapt.quality_passes": 4,
    "track.sample_seconds": 0.2,
}
QUICK = [word for name, value in _QUICK.items() for word in ("--set", f"{name}={value}")]
"""Settings under which a whole run over several short videos is done soon."""
_IDS = {"video_id", "track_id", "shot_id", "cover_track_id", "track_a", "track_b"}


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        """The machine-readable last line."""
        content: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return content


def vcn(*words: str | Path) -> Ran:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:  # argparse ends the process for --help and wrong words
            code = int(end.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def results(output: Path) -> dict[str, StoredTitle]:
    """The finished titles of an output, by their names."""
    return titles_of(Storage.open(str(output)))


def titles_of(storage: Storage) -> dict[str, StoredTitle]:
    """The finished titles of a storage, by their names."""
    return {title.summary["title"]: title for title in stored_titles(storage)}


def without_ids(table: pa.Table) -> list[dict[str, Any]]:
    """A table's rows but for what names the video: on S3 that is another than in a folder."""
    rows = [{n: v for n, v in row.items() if n not in _IDS} for row in table.to_pylist()]
    return sorted(rows, key=repr)
