"""What does each part reach on a GPU, how near are its floors, and what is a day of it worth?

    python -m benchmarks.system.gpu [--device cuda|cpu] [--pack P] [--only PART,...] [--quick]

It needs no network, installs nothing, makes its own films, and ends within nine minutes. Each part
runs in a process of its own with a limit of time, prints its rows as they are measured, and
where it fails, a row says why; the others run all the same.

"machine" measures the rates from which floors follow: products of matrices, and copies. "films"
makes what later parts read. "decode" is
frames a second of 1080 lines by one decoder: decoding alone, and with all that a run does in the
decoder process. "detector" and "encoder" have pictures a second by batch, and their two floors: the
arithmetic at the measured rate, and the bytes that must be moved. The detector's frames are those
that a run analyses; "network" leaves out what is done on the CPU before and behind it. "fine-tune"
is one title, its floor the encoder's passes alone. "rows" compares the device with the CPU: decoded
pictures, boxes, landmarks, embeddings. "people" compares whole runs. "sharing" runs several workers
at once on one device, each decoding and detecting, and says what a day of it would give.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK

ALL_SECONDS = 500.0
ROW = "ROW "  # begins each row that a part prints

SPEED = {"a second": ".1f", "arithmetic floor": ".0f", "bytes floor": ".0f", "of floor": ".3f"}
MEMORY = {"peak MiB": ".0f"}
NOTE = {"note": ""}


class Part(NamedTuple):
    """A part of the measurement."""

    seconds: float  # after which it is ended
    columns: dict[str, str]


PARTS = {
    "machine": Part(40, {"machine": "", "rate": ".4g", "unit": ""} | NOTE),
    "films": Part(75, {"film": "", "seconds to make": ".1f", "MiB": ".1f"} | NOTE),
    "decode": Part(
        70,
        {"film": "", "decoder": "", "fps alone": ".0f", "fps in a run": ".0f", "decoded on": ""}
        | {"CPU ms a frame": ".2f"}
        | NOTE,
    ),
    "detector": Part(
        70, {"detector": "", "batch": ""} | {"network": ".1f"} | SPEED | MEMORY | NOTE
    ),
    "encoder": Part(50, {"encoder": "", "precision": "", "batch": ""} | SPEED | MEMORY | NOTE),
    "fine-tune": Part(
        70,
        {"fine-tune": "", "tracks": "", "crops": "", "seconds": ".1f", "floor": ".1f"}
        | {"over floor": ".2f"}
        | MEMORY
        | NOTE,
    ),
    "rows": Part(60, {"rows": "", "compared": "", "largest difference": ".3g"} | NOTE),
    "people": Part(
        90, {"run": "", "seconds": ".1f", "tracks": "", "people": "", "same": ""} | NOTE
    ),
    "sharing": Part(
        90,
        {"workers": "", "video s a second": ".1f", "frames a second": ".1f"}
        | {"faces a GPU-day": ".3g", "video hours a GPU-day": ".0f", "GPU MiB used": ".0f"}
        | NOTE,
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", metavar="PART,...", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="for smoke tests: rows mean nothing")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # of a process of its own
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    add_pack(parser, required=False, about=f"built-in name or folder: {DEFAULT_PACK}")
    options = read_options(parser, argv)
    options.pack = options.pack or DEFAULT_PACK
    if options.part:
        run_part(options)
        return
    names = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}: known are {', '.join(PARTS)}")
    save(options, *measure(names, options))


def measure(names: Sequence[str], options: argparse.Namespace) -> Iterator[Report]:
    """The table of each part, its rows printed as they come."""
    end = time.monotonic() + ALL_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            report = Report(PARTS[name].columns)
            limit = min(PARTS[name].seconds, end - time.monotonic())
            for row in part_rows(name, part_words(name, Path(folder), options), limit):
                report.add(row)
                if name == "machine":
                    keep_rate(Path(folder), row)
            yield report


def part_words(name: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """The command of a part."""
    words = [sys.executable, "-m", "benchmarks.system.gpu", "--part", name]
    words += ["--folder", str(folder), "--device", options.device, "--pack", options.pack]
    return [*words, "--quick"] if options.quick else words


def part_rows(name: str, words: Sequence[str], limit: float) -> Iterator[dict[str, Cell]]:
    """The rows of a part that runs in a process of its own; the last one says what failed."""
    first = next(iter(PARTS[name].columns))
    if limit <= 0:
        yield {first: name, "note": "left out: no time is left"}
        return
    say(f"{name}: at most {limit:.0f} s")
    late = threading.Event()
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        ) as process,
    ):
        timer = threading.Timer(limit, end_late, (process, late))
        timer.start()
        try:
            for line in process.stdout or ():
                if line.startswith(ROW):
                    yield json.loads(line.removeprefix(ROW))
            code = process.wait()
        finally:
            timer.cancel()
            end_group(process)
        if late.is_set():
            yield {first: name, "note": f"ended after {limit:.0f} s"}
        elif code:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1][:200] if lines else "it said nothing"
            yield {first: name, "note": f"failed (exit code {code}): {reason}".replace("|", "/")}


def end_late(process: subprocess.Popen[str], late: threading.Event) -> None:
    """End a part whose time is over, and note that."""
    late.set()
    end_group(process)


def end_group(process: subprocess.Popen[str]) -> None:
    """End a part with the workers that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def keep_rate(folder: Path, row: dict[str, Cell]) -> None:
    """Keep a rate of the machine for the floors of later parts."""
    path = folder / "rates.json"
    rates = json.loads(path.read_text()) if path.exists() else {}
    if row.get("rate") is not None:
        path.write_text(json.dumps(rates | {str(row["machine"]): row["rate"]}))


def run_part(options: argparse.Namespace) -> None:
    """Measure one part in this process, and print its rows for the parent."""
    from benchmarks.system import gpu_compare, gpu_speed  # torch takes seconds to import
    from benchmarks.system.gpu_task import Task
    from vcn_ray.run.process import prepare_process

    prepare_process(1)  # a core for each worker, as in a run
    task = Task(options.device, options.pack, options.folder, options.quick)
    for row in (gpu_speed.MEASURES | gpu_compare.MEASURES)[options.part](task):
        sys.stdout.write(f"{ROW}{json.dumps(row)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
