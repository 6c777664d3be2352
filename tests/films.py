"""Helpers to run the product on real clips and to read what it made."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcn_ray.cli import main
from vcn_ray.io.storage import Storage
from vcn_ray.run.results import StoredTitle, stored_titles

SMALL = ["--set", "decode.segment_seconds=2", "--set", "decode.analysis_fps=5"]
"""Settings under which a film of seconds has several segments and is done soon."""


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
    return {t.summary["title"]: t for t in stored_titles(Storage.open(str(output)))}
