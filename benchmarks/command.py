"""The command line that all benchmarks share, and where their tables go.

Every benchmark runs as a module from the root of the clone, such as
`python -m benchmarks.method.film_tracks FILE.npz --pack DIR`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Report, say
from benchmarks.result_file import write_result

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks" / "results"


def make_parser(about: str | None, file: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has.

    Args:
        about: The docstring of the script.
        file: The file of the script.
    """
    module = Path(file).resolve().relative_to(PROJECT).with_suffix("")
    parser = argparse.ArgumentParser(
        prog=f"python -m {'.'.join(module.parts)}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows as JSON, too")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="folder of the result file: benchmarks/results"
    )
    parser.add_argument("--variant", metavar="NAME", help="result file is SCRIPT-NAME.md")
    return parser


def read_options(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse the command line, and decide where the result file goes.

    A run with --quick writes a result file only where --results names a folder, and never into the
    folder of the committed results.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    options = parser.parse_args(words)
    quick = getattr(options, "quick", False)
    if quick and options.results and options.results.resolve() == RESULTS:
        parser.error("rows of --quick mean nothing: name another folder with --results")
    if options.results is None and not quick:
        options.results = RESULTS
    options.command = " ".join([parser.prog, shlex.join(without_folders(words))]).strip()
    options.script = parser.prog.rpartition(".")[2]
    return options


def without_folders(words: Sequence[str]) -> list[str]:
    """The words of a command; of an absolute path, also after "=" or ",", the last part alone."""
    parts = [word.rpartition("=") for word in words]
    return [
        name
        + equals
        + ",".join(Path(v).name if Path(v).is_absolute() else v for v in value.split(","))
        for name, equals, value in parts
    ]


def add_pack(parser: argparse.ArgumentParser, required: bool = True, about: str = "") -> None:
    """Add --pack, a name or a folder; a folder becomes absolute, for processes elsewhere."""
    parser.add_argument(
        "--pack", required=required, type=_pack, help=about or "built-in name or folder"
    )


def _pack(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def save(options: argparse.Namespace, *reports: Report) -> None:
    """Write the result file, and the rows as JSON if asked for."""
    if options.json is not None:
        rows = [row for report in reports for row in report.rows]
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.results is not None:
        name = "-".join(part for part in (options.script, options.variant) if part)
        path = options.results / f"{name}.md"
        write_result(path, options.command, reports)
        say(f"written to {path}")
