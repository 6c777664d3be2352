"""The command `vcn`: reads what the user wants, starts it, and says how it went.

Exit codes: 0 all done; 1 done, but some videos or titles failed; 2 it could not be started as
asked; 130 interrupted; 143 stopped by SIGTERM, which `ray job stop` sends. Every error is one line:
what was wanted, what came, what to do.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from vcn_ray.errors import StorageError, UsageError, VcnError
from vcn_ray.redact import RedactingFormatter, redact

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 143
GOES_ON = "what was finished is kept, the same command goes on from there"


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
        # Torch and the rest take seconds to import, which help and wrong words need not wait for.
        with _ending_on_sigterm():
            commands = importlib.import_module("vcn_ray.cli.commands")
            return int(getattr(commands, options.command)(options))
    except (UsageError, StorageError) as error:
        _complain(f"vcn {options.command}: {error}")
        return EXIT_USAGE
    except VcnError as error:
        _complain(f"vcn {options.command}: {error}")
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output went away; nobody is left to be told
        return EXIT_FAILED
    except KeyboardInterrupt:
        _complain(f"interrupted: {GOES_ON}")
        return EXIT_INTERRUPTED


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Answer SIGTERM by a last line and an orderly end; threads other than the main one cannot."""
    screen = os.dup(2)  # standard error may be turned away for a moment, and must not be buffered

    def end(number: int, frame: FrameType | None) -> None:
        # Said at once: `ray job stop` kills after three seconds, and to leave a cluster takes two.
        os.write(screen, f"stopped: {GOES_ON}\n".encode())
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
    log.debug("because of", exc_info=True)
    sys.stderr.write(redact(text) + "\n")


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(
        prog="vcn",
        description="Tells who appears where in films and series, without names or labels.",
        epilog=__doc__.split("\n\n")[1] if __doc__ else None,
    )
    parser.add_argument("--version", action="version", version=f"vcn {version('vcn-ray')}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="say more, tracebacks included")
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    index = sub.add_parser("index", parents=[common], help="find the people of a catalog of videos")
    _add_run_options(index)
    index.add_argument(
        "--retry-failed", action="store_true", help="try again what failed in earlier runs"
    )
    index.add_argument(
        "--share",
        type=_share,
        metavar="PART",
        help="do only this part of the titles, drawn by lot, such as 0.01; vcn plan then knows "
        "from them how long the others take",
    )
    index.add_argument(
        "--max-failures",
        type=_natural,
        metavar="N",
        help="end the run when more than N videos have failed (default: never)",
    )
    index.add_argument(
        "--log-format",
        choices=["text", "json"],
        default="text",
        help="of what is told on the way, on standard error",
    )

    plan = sub.add_parser(
        "plan", parents=[common], help="say what index would do and what is reused; change nothing"
    )
    _add_run_options(plan)

    config = sub.add_parser("config", parents=[common], help="print all settings as TOML")
    _add_settings(config)

    sample = sub.add_parser(
        "sample", parents=[common], help="draw a short labelled film to try things on"
    )
    sample.add_argument(
        "folder", type=Path, metavar="DIR", help="where sample.mp4 and labels.csv go"
    )
    sample.add_argument("--seed", type=int, default=0, help="another seed gives another film")

    report = sub.add_parser(
        "report", parents=[common], help="write a page for each title, and an index"
    )
    report.add_argument("output", metavar="OUT", help="what index was given as --output")
    _add_config(report)

    evaluate = sub.add_parser("evaluate", parents=[common], help="compare results with labels")
    evaluate.add_argument("output", metavar="OUT", help="what index was given as --output")
    _add_config(evaluate)
    evaluate.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="F.csv",
        help="columns video, frame or seconds, x0, y0, x1, y1, identity",
    )

    export = sub.add_parser(
        "export", parents=[common], help="write the encoder as adapted to a title as ONNX"
    )
    export.add_argument("output", metavar="OUT", help="what index was given as --output")
    export.add_argument("file", type=Path, metavar="FILE.onnx", help="where the graph goes")
    export.add_argument("--title", help="its name or id (default: the only one there is)")
    export.add_argument(
        "--pack", help="face models that it was indexed with (default: what the result names)"
    )
    _add_config(export)

    packs = sub.add_parser("packs", parents=[common], help="which face models there are")
    _add_pack_actions(packs.add_subparsers(dest="action", required=True, metavar="ACTION"), common)
    return parser


def _add_pack_actions(actions: Any, common: argparse.ArgumentParser) -> None:
    """The words after `vcn packs`."""
    listed = actions.add_parser("list", parents=[common], help="all that are found, usable or not")
    listed.add_argument(
        "--speed", action="store_true", help="time each on a picture, on one thread of this machine"
    )
    show = actions.add_parser("show", parents=[common], help="what a pack is made of")
    check = actions.add_parser("check", parents=[common], help="try a pack on a picture")
    pull = actions.add_parser(
        "pull", parents=[common], help="fetch one of InsightFace's packs: for research only"
    )
    for action in (show, check):
        action.add_argument("pack", metavar="PACK", help="a name, a folder or an S3 prefix")
    pull.add_argument("pack", metavar="NAME", help="such as buffalo_l")
    for action in (listed, show, check, pull):
        _add_config(action)
    add = actions.add_parser(
        "add", parents=[common], help="make a pack of the model files in a folder, and try it"
    )
    add.add_argument("folder", type=Path, metavar="DIR", help="holds a detector and a face-ID net")
    add.add_argument("--name", help="of the pack (default: the folder's)")
    add.add_argument("--licence", metavar="TEXT", help="of the files, shown with every result")
    add.add_argument("--commercial-use", action="store_true", help="that licence allows it")
    add.add_argument("--source", metavar="TEXT", help="where the files are from")
    add.add_argument(
        "--min-score", type=float, metavar="X", help="faces under it are not reported (0.5)"
    )
    add.add_argument(
        "--input-pixels", type=int, metavar="N", help="longest side of frames for the detector"
    )
    add.add_argument(
        "--force", action="store_true", help="replace a pack.toml that is there, and all it says"
    )
    check.add_argument(
        "--faces",
        type=Path,
        metavar="DIR",
        help="measure it on labelled pictures too: a sub-folder for each person",
    )


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {value}")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be over 0 and at most 1, got {text}")
    return value


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pack", help="face models: a name, a folder or an S3 prefix (default: dlib)"
    )
    parser.add_argument(
        "--allow-download",
        action="store_true",
        help="fetch one of InsightFace's packs where it is missing; research only",
    )
    parser.add_argument(
        "--profile",
        choices=["default", "paper"],
        help="all settings at once: the best measured, or the paper to the letter",
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
        help="change one setting; may be given again",
    )


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


if __name__ == "__main__":
    sys.exit(main())
