"""Is a fault between us and S3 ever taken for a fault of a video, or committed as data?

    python -m benchmarks.system.wire VIDEO ... --pack DIR [--seed 0]

A moto server stands behind a proxy on loopback. Videos over 3 MiB are indexed from S3 to S3 once
undisturbed. Then, for each fault mode, they are indexed into an empty prefix while the proxy spoils
the first and a third of all answers that the mode is about, and at most forty; after that, once
more without faults.

How to read a row: `spoiled` counts the answers or requests that were altered. `first` is what the
first run said: done, failed (and by which reasons), or refused (it ended with a message). `wrong`
counts the tables and models that the first run committed, that differ from those of the undisturbed
run, and that no check of ours notices: it must be 0. `after` says whether all tables and models are
byte for byte those of the undisturbed run after the second run.

Needs moto: `pip install -e '.[test]'`.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import vcn_ray.io.retry
from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from benchmarks.system.damage import SETTINGS
from tests.helpers.s3_server import KEYS, Answer, Request, S3Server, running_server
from tests.helpers.videos import encode, read_frames
from vcn_ray.api import IndexedCatalog, index
from vcn_ray.config import RunConfig, load_config
from vcn_ray.errors import DamagedError, VcnError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.verify import verify_output

MIN_BYTES = 3 << 20
MAX_SPOILED = 40
FRACTION = 1 / 3
COLUMNS = {"mode": "", "spoiled": "d", "first": "", "wrong": "d", "after": ""}

Spoil = Callable[[Request, Answer], Answer]


def of_videos(request: Request) -> bool:
    """A ranged GET of a video."""
    return request.method == "GET" and request.bucket == "films" and request.key.endswith(".mp4")


def of_results(request: Request) -> bool:
    """A GET of anything that was stored."""
    return request.method == "GET" and request.bucket == "results" and bool(request.key)


def of_tables(request: Request) -> bool:
    """A GET of a table or model."""
    return of_results(request) and request.key.endswith((".parquet", ".safetensors"))


def of_json(request: Request) -> bool:
    """A GET of a manifest, marker or pointer."""
    return of_results(request) and request.key.endswith(".json")


def of_heads(request: Request) -> bool:
    """A HEAD of anything."""
    return request.method == "HEAD" and bool(request.key)


def of_lists(request: Request) -> bool:
    """A listing."""
    return request.lists


def of_catalog(request: Request) -> bool:
    """A GET of the list of videos."""
    return request.method == "GET" and request.key.endswith(".csv")


def of_puts(request: Request) -> bool:
    """A write of a table, a model, a manifest or a marker."""
    return request.method == "PUT" and request.bucket == "results"


def header(name: str, value: str | None) -> Spoil:
    """Set a header, or leave it out."""

    def spoil(request: Request, answer: Answer) -> Answer:
        kept = {n: v for n, v in answer.headers.items() if n.lower() != name.lower()}
        return replace(answer, headers=kept | ({} if value is None else {name: value}))

    return spoil


def status(code: int, content: bytes = b"") -> Spoil:
    """Answer with a status and no more than that."""
    return lambda request, answer: replace(answer, status=code, headers={}, content=content)


def body(change: Callable[[bytes], bytes]) -> Spoil:
    """Change the body; the length that is announced is that of the changed one."""
    return lambda request, answer: replace(answer, content=change(answer.content))


def half(data: bytes) -> bytes:
    """The first half."""
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """With 64 bytes in the middle inverted."""
    middle = len(data) // 2
    return data[:middle] + bytes(255 - b for b in data[middle : middle + 64]) + data[middle + 64 :]


def ranged(change: Callable[[int, int, int], str]) -> Spoil:
    """Change the header that says which range came: first byte, last byte, size of the object."""

    def spoil(request: Request, answer: Answer) -> Answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("content-range", ""))
        if found is None:
            return answer
        first, last, size = map(int, found.groups())
        return header("Content-Range", change(first, last, size))(request, answer)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    """One change after the other."""

    def spoil(request: Request, answer: Answer) -> Answer:
        for each in spoils:
            answer = each(request, answer)
        return answer

    return spoil


def announced(change: Callable[[int], int]) -> Spoil:
    """Announce another length than the body has, and close the connection after it."""

    def spoil(request: Request, answer: Answer) -> Answer:
        length = str(max(0, change(len(answer.content))))
        return replace(answer, headers=answer.headers | {"Content-Length": length}, close=True)

    return spoil


def zipped(request: Request, answer: Answer) -> Answer:
    """Compress the body, as some proxies do."""
    content = gzip.compress(answer.content)
    return replace(answer, headers=answer.headers | {"Content-Encoding": "gzip"}, content=content)


def late(request: Request, answer: Answer) -> Answer:
    """Answer after a moment."""
    return replace(answer, seconds=0.5)


PAGE = b"<html><h1>Sign in to the network</h1></html>"
SHORT = body(half)

ANSWERS: dict[str, tuple[Callable[[Request], bool], Spoil]] = {
    "range: half of it, lengths honest": (of_videos, SHORT),
    "range: half of it, range honest": (
        of_videos,
        both(SHORT, ranged(lambda a, b, n: f"bytes {a}-{a + (b - a + 1) // 2 - 1}/{n}")),
    ),
    "range: half of it, object said to end there": (
        of_videos,
        both(
            SHORT,
            ranged(lambda a, b, n: f"bytes {a}-{a + (b - a + 1) // 2 - 1}/{a + (b - a + 1) // 2}"),
        ),
    ),
    "range: one byte less": (of_videos, body(lambda data: data[:-1])),
    "range: no byte": (of_videos, body(lambda data: b"")),
    "range: more than asked": (of_videos, body(lambda data: data + data[:100])),
    "range: object said to be longer": (
        of_videos,
        ranged(lambda a, b, n: f"bytes {a}-{b}/{2 * n}"),
    ),
    "range: of another place": (
        of_videos,
        ranged(lambda a, b, n: f"bytes {a + 1000}-{b + 1000}/{n + 1000}"),
    ),
    "range: no Content-Range": (of_videos, header("Content-Range", None)),
    "range: Content-Range of nonsense": (of_videos, header("Content-Range", "bytes ?-?/?")),
    "range: whole object, status 200": (
        of_videos,
        both(header("Content-Range", None), lambda _, a: replace(a, status=200)),
    ),
    "range: refused as past the end": (
        of_videos,
        status(416, b"<Error><Code>InvalidRange</Code><Message>no</Message></Error>"),
    ),
    "range: another ETag": (of_videos, header("ETag", '"0123456789abcdef0123456789abcdef"')),
    "range: no ETag": (of_videos, header("ETag", None)),
    "range: bytes altered, lengths honest": (of_videos, body(flipped)),
    "range: cut off": (of_videos, both(SHORT, announced(lambda n: 2 * n))),
    "range: length of letters": (of_videos, header("Content-Length", "abc")),
    "range: compressed": (of_videos, zipped),
    "range: a page for people": (of_videos, status(200, PAGE)),
    "range: not found": (
        of_videos,
        status(404, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"),
    ),
    "range: forbidden": (
        of_videos,
        status(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
    ),
    "range: replaced": (
        of_videos,
        status(412, b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>"),
    ),
    "range: error 500": (of_videos, status(500)),
    "range: error 503": (of_videos, status(503)),
    "range: late": (of_videos, late),
    "head: no ETag": (of_heads, header("ETag", None)),
    "head: another length": (of_heads, header("Content-Length", "1000")),
    "head: not found": (of_heads, status(404)),
    "head: error 503": (of_heads, status(503)),
    "list: half of it": (of_lists, SHORT),
    "list: no byte": (of_lists, body(lambda data: b"")),
    "list: a page for people": (of_lists, status(200, PAGE)),
    "list: no ETags": (
        of_lists,
        body(lambda data: re.sub(rb"<ETag>.*?</ETag>", b"", data)),
    ),
    "list: goes on, without a token": (
        of_lists,
        body(
            lambda data: data.replace(
                b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true</IsTruncated>"
            )
        ),
    ),
    "list: other sizes": (
        of_lists,
        body(lambda data: re.sub(rb"<Size>\d+</Size>", b"<Size>7</Size>", data)),
    ),
    "catalog: half of it, lengths honest": (of_catalog, SHORT),
    "catalog: no byte": (of_catalog, body(lambda data: b"")),
    "table: half of it, lengths honest": (of_tables, SHORT),
    "table: no byte": (of_tables, body(lambda data: b"")),
    "table: bytes altered": (of_tables, body(flipped)),
    "table: cut off": (of_tables, both(SHORT, announced(lambda n: 2 * n))),
    "table: a page for people": (of_tables, status(200, PAGE)),
    "JSON: half of it, lengths honest": (of_json, SHORT),
    "JSON: bytes altered": (of_json, body(flipped)),
    "JSON: another object": (of_json, body(lambda data: b"{}")),
    "JSON: not found": (
        of_json,
        status(404, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"),
    ),
    "JSON: error 500": (of_json, status(500)),
    "write: error 500 though it was stored": (of_puts, status(500)),
    "write: no ETag": (of_puts, header("ETag", None)),
}
"""What is done to an answer, and to which."""

REQUESTS: dict[str, Callable[[bytes], bytes | Answer]] = {
    "write: said to be stored, and is not": lambda data: Answer(200, {"ETag": '"0"'}, b""),
    "write: half of it is stored": half,
    "write: bytes altered": flipped,
}
"""What is done to a write before it is stored."""


@dataclass
class Fault:
    """Spoils the first and a random third of what a mode is about, up to a limit."""

    mode: str
    rng: np.random.Generator
    spoiled: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def start(self, server: S3Server) -> None:
        """Let the proxy spoil from now on."""
        if self.mode in ANSWERS:
            server.alter = self._alter
        else:
            server.intercept = self._intercept

    def _is_due(self) -> bool:
        chosen = not self.spoiled or bool(self.rng.random() < FRACTION)
        due = chosen and self.spoiled < MAX_SPOILED
        self.spoiled += due
        return due

    def _alter(self, request: Request, answer: Answer) -> Answer:
        about, spoil = ANSWERS[self.mode]
        if not about(request) or answer.status >= 300 or not self._is_due():
            return answer
        return spoil(request, answer)

    def _intercept(self, request: Request, data: bytes) -> bytes | Answer:
        if not of_puts(request) or not self._is_due():
            return data
        return REQUESTS[self.mode](data)


def committed_in(storage: Storage) -> dict[str, str]:
    """Hash of each table and model whose folder is committed, by path."""
    found = {}
    for top in ("videos", "titles"):
        for subject in storage.names(top):
            for name in storage.names(f"{top}/{subject}"):
                folder = f"{top}/{subject}/{name}"
                if MANIFEST in storage.entries(folder):
                    for file in storage.entries(folder):
                        if file.endswith((".parquet", ".safetensors")):
                            found[f"{folder}/{file}"] = _hash(f"{folder}/{file}", storage)
    return found


def _hash(path: str, storage: Storage) -> str:
    try:
        return hashlib.sha256(storage.read_bytes(path)).hexdigest()
    except DamagedError:
        return "damaged"


def unnoticed(storage: Storage, whole: dict[str, str]) -> list[str]:
    """Committed tables and models that are wrong, and that no check notices."""
    *_, known = verify_output(storage)
    return [
        path
        for path, content in committed_in(storage).items()
        if whole.get(path) != content and path not in known.damage and _listed(path, storage)
    ]


def _listed(path: str, storage: Storage) -> bool:
    folder, _, name = path.rpartition("/")
    try:
        return name in CommittedFolder.open(storage, folder).files
    except VcnError:
        return False


def attempt(config: RunConfig, output: str) -> str:
    """Index the videos; returns what came of it."""
    try:
        done: IndexedCatalog = index("s3://films/catalog.csv", output, local=True, config=config)
    except VcnError as error:
        return f"refused: {type(error).__name__}"
    reasons = Counter(failure.reason for failure in done.failures)
    return ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())) or "done"


def try_mode(
    server: S3Server, config: RunConfig, mode: str, seed: int, whole: dict[str, str]
) -> dict[str, Cell]:
    """Index once with faults and once without."""
    prefix = hashlib.sha256(mode.encode()).hexdigest()[:12]
    output, fault = f"s3://results/{prefix}", Fault(mode, np.random.default_rng(seed))
    fault.start(server)
    first = attempt(config, output)
    server.calm()
    storage = Storage.open(output, config.s3)
    wrong = unnoticed(storage, whole)
    again = attempt(config, output)
    found = committed_in(storage)
    differ = [path for path in whole if found.get(path) != whole[path]]
    after = "equal" if found == whole else f"{len(differ)} of {len(whole)} differ"
    if again != "done":
        after = f"{after}, {again}"
    return {
        "mode": mode,
        "spoiled": fault.spoiled,
        "first": first,
        "wrong": len(wrong),
        "after": after,
    }


def large_video(source: str, target: Path) -> Path:
    """A video of the same frames with more than 3 MiB."""
    encode(target, read_frames(Path(source)), options={"crf": "2", "g": "25"})
    if target.stat().st_size < MIN_BYTES:
        raise SystemExit(f"{source} gives only {target.stat().st_size} bytes: name a longer one")
    return target


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    add_pack(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of what is spoiled")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="modes that begin with a word")
    options = read_options(parser, argv)
    modes = [
        mode
        for mode in (*ANSWERS, *REQUESTS)
        if not options.only or mode.startswith(tuple(options.only))
    ]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    vcn_ray.io.retry.FIRST_WAIT_SECONDS = 0.02  # a benchmark need not be patient
    report = Report(COLUMNS)
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        client = server.client
        for bucket in ("films", "results"):
            client.create_bucket(Bucket=bucket)
        lines = ["uri"]
        for number, source in enumerate(options.videos):
            video = large_video(source, Path(folder, f"{number}.mp4"))
            client.upload_file(str(video), "films", video.name)
            lines.append(video.name)
        client.put_object(Bucket="films", Key="catalog.csv", Body="\n".join(lines).encode())
        reach = {"s3.endpoint": server.url, "s3.region": "us-east-1", "pack": options.pack}
        config = load_config(None, SETTINGS | reach)
        attempt(config, "s3://results/whole")
        whole = committed_in(Storage.open("s3://results/whole", config.s3))
        say(f"undisturbed: {len(whole)} tables and models")
        for number, mode in enumerate(modes):
            report.add(try_mode(server, config, mode, options.seed + number, whole))
    save(options, report)
    bad = [row for row in report.rows if row["after"] != "equal" or row["wrong"]]
    idle = [row["mode"] for row in report.rows if not row["spoiled"]]
    say(f"{len(report.rows) - len(bad)} of {len(report.rows)} modes end correctly; idle: {idle}")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
