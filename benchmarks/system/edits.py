"""Do edits survive reviewers who work at once, and processes that are killed?

    python -m benchmarks.system.edits [--edits N] [--kills N]

Two processes append edits to one title at once, in a folder and on an S3 server of this machine;
then a process that appends edits is killed with SIGKILL at a random moment, many times. "lost" are
edits that a process has written and that are not there; "damaged" are objects that are
not what was written; "left" are temporary files, which no listing of edits shows; "orders" are
the different orders that three readers see.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report
from vcn_ray.edits.record import Edit, now
from vcn_ray.edits.store import EditLog, edits_folder
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage

TITLE = "film-0123456789ab"
COLUMNS = {
    "what": "",
    "where": "",
    "edits": "d",
    "lost": "d",
    "damaged": "d",
    "left": "d",
    "orders": "d",
}


def append(output: str, s3: S3Config, who: str, count: int, told: str) -> None:
    """Append edits, and note in a file of this machine each that was written."""
    log = EditLog(Storage.open(output, s3), TITLE)
    with open(told, "ab", buffering=0) as file:
        for number in range(count):
            edit = log.append(Edit("name", who, now(), name=f"{who} {number}"))
            file.write(f"{edit.file_name}\n".encode())


def check(output: str, s3: S3Config, told: Path) -> dict[str, Cell]:
    """What is there of what the processes have written."""
    storage = Storage.open(output, s3)
    log = EditLog(storage, TITLE)
    orders = {tuple(edit.edit_id for edit in EditLog(storage, TITLE).read()) for _ in range(3)}
    there = {edit.file_name for edit in log.read()}
    wanted = {name for file in told.iterdir() for name in file.read_text().split()}
    names = storage.names(edits_folder(TITLE))
    return {
        "edits": len(there),
        "lost": len(wanted - there),
        "damaged": len(log.damaged),
        "left": sum(name not in there for name in names),
        "orders": len(orders),
    }


def at_once(output: str, s3: S3Config, count: int, told: Path) -> dict[str, Cell]:
    """Two processes that append at once."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=append, args=(output, s3, who, count // 2, str(told / who)))
        for who in ("ann", "bob")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return check(output, s3, told)


def killed(output: str, s3: S3Config, kills: int, told: Path) -> dict[str, Cell]:
    """A process that is killed while it appends, again and again."""
    context, rng = multiprocessing.get_context("fork"), random.Random(0)
    for number in range(kills):
        words = (output, s3, f"w{number}", 1_000_000, str(told / f"w{number}"))
        worker = context.Process(target=append, args=words)
        worker.start()
        time.sleep(rng.uniform(0.05, 0.4))
        if worker.pid:
            os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    return check(output, s3, told)


@contextmanager
def s3_server() -> Iterator[S3Config]:
    """An S3 server on loopback, with a bucket `edits`."""
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "for this process"}
    os.environ.update(keys | {"AWS_EC2_METADATA_DISABLED": "true"})
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(
            Bucket="edits"
        )
        yield S3Config(endpoint=endpoint, region="us-east-1")
    finally:
        server.stop()


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="20 edits, 3 kills")
    options = read_options(parser, argv)
    count, kills = (20, 3) if options.quick else (options.edits, options.kills)
    report = Report(COLUMNS)
    with TemporaryDirectory() as place, s3_server() as s3:
        tests = [
            ("two processes at once", "folder", at_once, f"{place}/one", count),
            ("two processes at once", "S3", at_once, "s3://edits/one", count),
            (f"killed {kills} times", "folder", killed, f"{place}/two", kills),
        ]
        for number, (what, where, test, output, size) in enumerate(tests):
            told = Path(place) / f"told-{number}"
            told.mkdir()
            report.add({"what": what, "where": where} | test(output, s3, size, told))
    save(options, report)


if __name__ == "__main__":
    main()
