"""The command `vcn`: reads the command line, runs the command, and returns its exit code.

Exit codes: 0 all done; 1 done, but some videos or titles failed; 2 wrong usage, nothing was
started; 130 interrupted; 143 stopped by SIGTERM, which `ray job stop` sends. Every error is one
line: what was wanted, what came, what to do.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from vcn_ray.cli.edit_options import add_edit_actions
from vcn_ray.cli.export_options import add_export_options
from vcn_ray.cli.registry_options import add_registry_actions, add_search_options
from vcn_ray.errors import DamagedError, StorageError, UsageError, VcnError
from vcn_ray.redact import RedactingFormatter, clean, one_line

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 143
MAX_SHOWN = 500  # characters of an unexpected error
RESUMES = "finished work is kept, and the same command resumes from there"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after `vcn`; those of the process if None.

    Returns:
        The exit code.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    if options.verbose:
        logging.getLogger("vcn_ray").setLevel(logging.DEBUG)
    try:
        with _ending_on_sigterm():
            return _run(options)
    except DamagedError as error:
        what = f"index it again, or use vcn verify {getattr(options, 'output', 'OUT')} --repair"
        _complain(f"vcn {options.command}: {error}; {what}")
        return EXIT_USAGE
    except (UsageError, StorageError) as error:
        _complain(f"vcn {options.command}: {error}")
        return EXIT_USAGE
    except VcnError as error:
        _complain(f"vcn {options.command}: {error}")
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone
        return EXIT_FAILED
    except Exception as error:  # a fault of ours; its text may hold anything
        _complain(
            f"vcn {options.command}: internal error: {type(error).__name__}: "
            f"{one_line(error, MAX_SHOWN)}: please report it, with what --verbose shows"
        )
        return EXIT_FAILED
    except KeyboardInterrupt:
        _complain(f"interrupted: {RESUMES}")
        return EXIT_INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    """Run the command that was asked for; returns its exit code."""
    # Torch and others take seconds to import, which --help and wrong usage need not wait for.
    from vcn_ray.cli import commands, registry_commands, upkeep_commands

    run = commands.RUN | upkeep_commands.RUN | registry_commands.RUN
    return run[options.command](options)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Answer SIGTERM with a last line and an orderly end; only the main thread can."""
    screen = os.dup(2)  # unbuffered, and kept while standard error is redirected

    def end(number: int, frame: FrameType | None) -> None:
        # Written at once: `ray job stop` kills after 3 s, and leaving a cluster takes 2 s.
        os.write(screen, f"stopped: {RESUMES}\n".encode())
        sys.exit(EXIT_STOPPED)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        os.close(screen)


def _complain(text: str) -> None:
    log.debug("the cause", exc_info=True)
    sys.stderr.write(clean(text) + "\n")


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat the words given, are clean."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and end."""
        super().error(clean(message))


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = Parser(
        prog="vcn",
        description="Find who appears where in films and series, without names or labels.",
        epilog=__doc__.split("\n\n")[1] if __doc__ else None,
    )
    parser.add_argument("--version", action="version", version=f"vcn {version('vcn-ray')}")
    common = Parser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="log more, tracebacks included")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (words, add_options) in COMMANDS.items():
        command = commands.add_parser(name, parents=[common], help=words)
        add_options(command)
    packs = commands.add_parser("packs", parents=[common], help="list, check and add face models")
    _add_pack_actions(packs.add_subparsers(dest="action", required=True, metavar="ACTION"), common)
    edits = commands.add_parser("edits", parents=[common], help="correct who is who")
    actions = edits.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_edit_actions(actions, common, _add_config)
    registry = commands.add_parser("registry", parents=[common], help="join people across titles")
    actions = registry.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_registry_actions(actions, common, _add_config)
    return parser


def _index(parser: argparse.ArgumentParser) -> None:
    _add_run_options(parser)
    parser.add_argument(
        "--retry-failed", action="store_true", help="retry permanent failures of earlier runs"
    )
    parser.add_argument(
        "--sample",
        type=_fraction,
        metavar="FRACTION",
        help="do only this fraction of the titles, at random, such as 0.01; vcn plan then "
        "estimates the rest from them",
    )
    parser.add_argument(
        "--max-failures",
        type=_natural,
        metavar="N",
        help="stop when more than N videos have failed (default: never)",
    )
    parser.add_argument(
        "--log-format",
        choices=["text", "json"],
        default="text",
        help="of progress and failures on standard error",
    )


def _config(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    parser.add_argument(
        "--all", action="store_true", help="constants of the method too, which need no tuning"
    )


def _sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder for sample.mp4 and labels.csv"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another film")


def _report(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_config(parser)


def _verify(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    parser.add_argument(
        "--repair", action="store_true", help="make again what is missing, cut, altered or swapped"
    )
    parser.add_argument("--local", action="store_true", help="repair in this process, without Ray")
    _add_config(parser)


def _prune(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_dry_run(parser)
    _add_config(parser)


def _erase(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    parser.add_argument(
        "--person",
        action="append",
        default=[],
        metavar="TITLE:p003",
        help="whom to erase, with the title's name or id; may be repeated",
    )
    parser.add_argument("--by", default="", metavar="WHO", help="who asks for it, for the receipt")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the receipt")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="TEXT",
        help="search for this text at the end, as the person's name; may be repeated",
    )
    parser.add_argument(
        "--resume", action="store_true", help="finish an erasure that was interrupted"
    )
    parser.add_argument(
        "--pack", help="face models that it was indexed with (default: what the result names)"
    )
    _add_dry_run(parser)
    _add_config(parser)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_config(parser)
    parser.add_argument(
        "--labels",
        type=Path,
        action="append",
        required=True,
        metavar="F.csv",
        help="columns video, frame or seconds, x0, y0, x1, y1, identity (?: not identifiable, "
        "-: no face); or a folder of NAME.labels.csv; may be repeated",
    )
    parser.add_argument(
        "--cuts",
        type=Path,
        action="append",
        default=[],
        metavar="F.csv",
        help="first frame of each new shot, columns video, seconds; or a folder of NAME.cuts.csv "
        "(default: NAME.cuts.csv beside the labels)",
    )


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="videos that a run would read; tried by reading"
    )
    parser.add_argument(
        "--output", metavar="OUT", help="where a run would write; tried, and nothing is left there"
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        default=os.environ.get("RAY_ADDRESS"),
        help="check every node of this Ray cluster: auto or host:6379 (default: RAY_ADDRESS)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    _add_settings(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    add_export_options(parser)
    _add_config(parser)


def _search(parser: argparse.ArgumentParser) -> None:
    add_search_options(parser)
    _add_config(parser)


def _review(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    parser.add_argument(
        "--title", help="name or id of the title to begin with (default: the first)"
    )
    parser.add_argument(
        "--who", metavar="NAME", help="whose decisions they are (default: the user's name)"
    )
    parser.add_argument(
        "--port", type=_natural, default=0, metavar="N", help="to listen on (default: a free one)"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, but open no browser"
    )
    _add_config(parser)


def _add_pack_actions(actions: Any, common: Parser) -> None:
    """Add the actions of `vcn packs`."""
    listed = actions.add_parser("list", parents=[common], help="list all packs, usable or not")
    listed.add_argument(
        "--speed", action="store_true", help="time each pack on one thread of this machine"
    )
    show = actions.add_parser("show", parents=[common], help="describe a pack")
    check = actions.add_parser("check", parents=[common], help="check a pack on a picture")
    check.add_argument(
        "--faces",
        type=Path,
        metavar="DIR",
        help="measure it on labelled pictures too: one sub-folder for each person",
    )
    for action in (show, check):
        action.add_argument("pack", metavar="PACK", help="a name, a folder or an S3 prefix")
    pull = actions.add_parser(
        "pull", parents=[common], help="download one of InsightFace's packs, for research only"
    )
    pull.add_argument("pack", metavar="NAME", help="such as buffalo_l")
    export = actions.add_parser(
        "export", parents=[common], help="write the encoder as adapted to a title as ONNX"
    )
    _add_output(export)
    export.add_argument("file", type=Path, metavar="FILE.onnx", help="file to write")
    export.add_argument("--title", help="its name or id (default: the only one there is)")
    export.add_argument(
        "--pack", help="face models that it was indexed with (default: what the result names)"
    )
    for action in (listed, show, check, pull, export):
        _add_config(action)
    _pack_add(
        actions.add_parser(
            "add", parents=[common], help="make a pack of the model files in a folder"
        )
    )


def _pack_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a detector and a face-ID net")
    parser.add_argument("--name", help="name of the pack (default: the folder's)")
    parser.add_argument("--licence", metavar="TEXT", help="shown with every result")
    parser.add_argument(
        "--commercial-use", action="store_true", help="the licence allows commercial use"
    )
    parser.add_argument("--source", metavar="TEXT", help="where the files come from")
    parser.add_argument(
        "--min-score", type=float, metavar="X", help="minimum score of reported faces (0.5)"
    )
    parser.add_argument(
        "--input-pixels", type=int, metavar="N", help="longest side of the detector's input"
    )
    parser.add_argument(
        "--faces",
        type=Path,
        metavar="FOLDER",
        help="measure the prior on these pictures: one sub-folder for each person",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace an existing pack.toml")
    existing.add_argument(
        "--keep",
        action="store_true",
        help="keep how the folder is described, and only measure its prior",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUT", help="the --output of vcn index")


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="list it, and change nothing")


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {value}")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be over 0 and at most 1, got {text}")
    return value


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pack", help="face models: a name, a folder or an S3 prefix (default: centerface-sface)"
    )
    parser.add_argument(
        "--allow-download",
        action="store_true",
        help="fetch a missing InsightFace pack; research only",
    )
    parser.add_argument(
        "--profile",
        choices=["default", "paper"],
        help="settings to start from: the best measured, or the paper to the letter",
    )
    _add_config(parser)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="F.toml", help="settings; vcn config prints them"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change one setting; may be repeated",
    )


def _plan(parser: argparse.ArgumentParser) -> None:
    _add_run_options(parser)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="video files, folders, s3:// prefixes, or manifests (.csv, .jsonl, .parquet: uri, "
        "optionally title)",
    )
    parser.add_argument(
        "--output", required=True, metavar="OUT", help="a folder or s3://bucket/prefix"
    )
    _add_settings(parser)
    parser.add_argument("--local", action="store_true", help="run in this process, without Ray")


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "index": ("find the people in a catalog of videos", _index),
    "plan": ("show what index would do, what it would reuse, and how long; change nothing", _plan),
    "config": ("print the settings as TOML", _config),
    "sample": ("render a short labelled film to try things on", _sample),
    "report": ("write a page for each title, and an index page", _report),
    "verify": ("compare every file of an output with what was written, and repair", _verify),
    "prune": ("remove what no newest result needs, and what is kept too long", _prune),
    "erase": ("remove a person from everything in an output", _erase),
    "evaluate": ("compare results with labels", _evaluate),
    "doctor": ("check this machine or a cluster, and the places of a run", _doctor),
    "search": ("find who looks like a photograph, in all titles", _search),
    "review": ("name people and correct them in the browser", _review),
    "export": ("write who is seen where, for editing tools, players and labelling", _export),
}
"""What each command does, for its help, and what adds its options."""


if __name__ == "__main__":
    sys.exit(main())
