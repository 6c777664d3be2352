"""Is every hostile input refused in one line, or can one crash, hang or trace back?

    python -m benchmarks.system.input_fuzz [--inputs 10000] [--seed 0] [--seconds 20]

Each input is made from a sound one by a seed: settings, overrides, manifests, labels, descriptions
of packs, archives from a web server with odd headers, and graphs of encoders and detectors. A
child process reads one after the other through the functions that the commands call. Its address
space is limited to 12 GiB, so that a graph that wants more fails as it would on a small machine.

A row is one kind of input: how many were accepted, and how many refused by an error of this package
on one line, printable and of at most 2,000 characters. The other columns are faults, and should be
0: an error of another shape, a traceback, no answer within `--seconds`, and the end of the child.
Each fault is printed with the number that makes it again: `--only KIND --start NUMBER --inputs 1`.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Report
from benchmarks.system import hostile
from vcn_ray.config import load_config
from vcn_ray.errors import VcnError
from vcn_ray.evaluation.labels import read_truth
from vcn_ray.io.catalog import read_catalog
from vcn_ray.packs.describe import DetectorTable, EncoderTable
from vcn_ray.packs.fetch import pull_pack
from vcn_ray.packs.load import describe_pack, open_detector, open_encoder

MEMORY_BYTES = 12 << 30
MAX_LINE = 2000  # characters of an error
START_SECONDS = 120.0  # for the imports of a new child
FAULTS = ("odd error", "traceback", "hang", "crash")
COLUMNS = {
    "input": "",
    "number": "",
    "accepted": "",
    "refused": "",
    **dict.fromkeys(FAULTS, ""),
    "slowest s": ".1f",
}
LENGTHS = ("abc", "-5", "9" * 30, "", "0", "١٢")


class Answer(NamedTuple):
    """How one input ended."""

    outcome: str  # accepted, refused, or one of FAULTS
    text: str  # of the error


def read_settings(random: hostile.Random, folder: Path) -> None:
    path = folder / "settings.toml"
    path.write_bytes(hostile.hostile_text(random, hostile.SETTINGS, "="))
    load_config(path)


def read_override(random: hostile.Random, folder: Path) -> None:
    load_config(None, dict([hostile.hostile_override(random)]))


def read_manifest(random: hostile.Random, folder: Path) -> None:
    ending, content = hostile.hostile_manifest(random)
    path = folder / f"catalog{ending}"
    path.write_bytes(content)
    read_catalog([str(path)])


def read_label_file(random: hostile.Random, folder: Path) -> None:
    path = folder / "film.labels.csv"
    path.write_bytes(hostile.hostile_text(random, hostile.LABELS, ","))
    read_truth([path])


def read_pack_folder(random: hostile.Random, folder: Path) -> None:
    """A folder that a file describes, or that only its graphs do."""
    match int(random.integers(3)):
        case 0:
            (folder / "pack.toml").write_bytes(hostile.hostile_text(random, hostile.PACK, "="))
        case 1:
            (folder / "manifest.json").write_bytes(hostile.hostile_insightface(random))
    graphs = {"detection": hostile.detector_graph(), "recognition": hostile.encoder_graph()}
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(hostile.hostile_graph(random, graph))
    describe_pack(str(folder))


def read_archive(random: hostile.Random, folder: Path) -> None:
    """An archive from a server whose stated length may be anything."""
    graphs = {
        "buffalo_l/det_10g.onnx": hostile.detector_graph().SerializeToString(),
        "buffalo_l/w600k_r50.onnx": hostile.encoder_graph().SerializeToString(),
    }
    content = hostile.hostile_archive(random, graphs)
    length = str(len(content))
    if random.random() < 0.3:
        length = LENGTHS[random.integers(len(LENGTHS))]
    with closing(_Served(content, length)) as served:
        pull_pack("buffalo_l", folder / "home", served.url)


def read_encoder(random: hostile.Random, folder: Path) -> None:
    path = folder / "encoder.onnx"
    path.write_bytes(hostile.hostile_graph(random, hostile.encoder_graph()))
    table = EncoderTable(kind="onnx", file=path.name, sha256=_sha256(path), input_pixels=112)
    open_encoder(path, table)


def read_detector(random: hostile.Random, folder: Path) -> None:
    path = folder / "detector.onnx"
    path.write_bytes(hostile.hostile_graph(random, hostile.detector_graph()))
    table = DetectorTable(kind="scrfd", file=path.name, sha256=_sha256(path), min_score=0.5)
    open_detector(folder, table)


KINDS: dict[str, tuple[int, Callable[[hostile.Random, Path], None]]] = {
    "settings": (20, read_settings),
    "overrides": (15, read_override),
    "manifests": (20, read_manifest),
    "labels": (10, read_label_file),
    "pack folders": (15, read_pack_folder),
    "archives": (4, read_archive),
    "encoder graphs": (8, read_encoder),
    "detector graphs": (8, read_detector),
}
"""What reads a kind of input, and its share of all inputs in per cent."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="for one input")
    parser.add_argument("--only", choices=list(KINDS), help="one kind of input")
    parser.add_argument("--start", type=int, default=0, help="number of the first input of a kind")
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    with tempfile.TemporaryDirectory() as folder, closing(Reader(Path(folder))) as reader:
        for kind, (share, _) in KINDS.items():
            if options.only in (None, kind):
                number = options.inputs * (100 if options.only else share) // 100
                numbers = range(options.start, options.start + number)
                report.add(run_kind(reader, kind, options.seed, numbers, options.seconds))
    save(options, report)


def run_kind(
    reader: Reader, kind: str, seed: int, numbers: range, seconds: float
) -> dict[str, float | int | str | None]:
    """Read the inputs of a kind; returns the row of the table."""
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in numbers:
        began = time.monotonic()
        answer = reader.read(kind, seed, number, seconds)
        slowest = max(slowest, time.monotonic() - began)
        outcomes[answer.outcome] += 1
        if answer.outcome in FAULTS:
            sys.stderr.write(f"{kind} {number}: {answer.outcome}: {answer.text}\n")
    row: dict[str, float | int | str | None] = {"input": kind, "number": len(numbers)}
    row |= {name: outcomes[name] for name in ("accepted", "refused", *FAULTS)}
    return row | {"slowest s": slowest}


class Reader:
    """A child process that reads inputs; one that hangs or dies is replaced.

    Args:
        folder: For the files of inputs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def read(self, kind: str, seed: int, number: int, seconds: float) -> Answer:
        """Read one input, for so many seconds at most."""
        try:
            self._pipe.send((kind, seed, number))
            if self._pipe.poll(seconds):
                answer: Answer = self._pipe.recv()
                return answer
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self._start()
            return Answer("crash", f"exit code {code}")
        self.close()
        self._start()
        return Answer("hang", f"no answer for {seconds:g} s")

    def close(self) -> None:
        """Kill the child."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_SECONDS):
            raise TimeoutError("the child process does not start")
        self._pipe.recv()


def serve(pipe: Connection, folder: Path) -> None:
    """Read inputs for a parent, until its end of the pipe is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    pipe.send("ready")
    while True:
        try:
            kind, seed, number = pipe.recv()
        except EOFError:
            return
        with tempfile.TemporaryDirectory(dir=folder, prefix="input-") as own:
            pipe.send(answer_of(kind, seed, number, Path(own)))


def answer_of(kind: str, seed: int, number: int, folder: Path) -> Answer:
    """Make and read one input in this process."""
    random = np.random.default_rng([seed, list(KINDS).index(kind), number])
    try:
        KINDS[kind][1](random, folder)
    except VcnError as error:
        text = str(error)
        fine = len(text.splitlines()) == 1 and text.isprintable() and len(text) <= MAX_LINE
        return Answer("refused" if fine else "odd error", repr(text[:300]))
    except Exception as error:
        return Answer("traceback", repr(error)[:300])
    return Answer("accepted", "")


class _Served:
    """One file on a web server of this machine.

    Args:
        content: The file.
        length: What the server says of its size.
    """

    def __init__(self, content: bytes, length: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", length.encode().decode("latin-1"))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
