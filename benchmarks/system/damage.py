"""Is every damage of a stored file noticed, and does a repair give the rows of an undisturbed run?

    python -m benchmarks.system.damage VIDEO VIDEO --pack DIR [--damages 200] [--seed 0]

The videos are indexed once, without Ray, and a report is written. Then one file after another is
damaged at random: bytes are flipped, the file is cut, emptied or deleted, or it changes places with
another file. Each kind of file of an output has its turn. After each damage, `vcn verify` must name
the file. Then the same `vcn index` runs again, and after it `vcn verify --repair`, which must leave
nothing damaged. At the end all tables and models must be byte for byte those of the undisturbed
run.

How to read a row: `damages` counts those of a kind of file, `named` those that verify names, and
`by index` those that the plain run finds and mends by itself; `by repair` are the rest. `wrong`
counts the damages after which anything differs or is damaged still.

A plain run compares what a finished title's pages and results are made of. It does not look at
detections and adapted models, which a user may delete once a title is finished, nor at records of
runs and at pages.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.report import Report, say
from benchmarks.system.chaos import files_of
from vcn_ray.api import index, verify
from vcn_ray.config import RunConfig, load_config
from vcn_ray.io.storage import Storage
from vcn_ray.report.pages import write_reports
from vcn_ray.run.verify import verify_output

SETTINGS = {
    "detect.segment_seconds": "1",
    "detect.analysis_fps": "5",
    "adapt.encoder": "tail",
    "adapt.rounds": "1",
    "adapt.epochs": "1",
    "adapt.encoder_epochs": "1",
    "adapt.augmented_views": "2",
    "adapt.quality_passes": "4",
    "adapt.min_tracks": "1",
    "track.sample_seconds": "0.2",
}
"""Settings under which a title of seconds is done soon, and every kind of file is written."""

COLUMNS = {
    "file": "",
    "flip": "",
    "cut": "",
    "empty": "",
    "delete": "",
    "swap": "",
    "damages": "",
    "named": "",
    "by index": "",
    "by repair": "",
    "wrong": "",
}

KINDS = (
    "videos/*/detect-*/seg-*.parquet",
    "videos/*/detect-*/frames-*.parquet",
    "videos/*/detect-*/seg-*.json",
    "videos/*/detect-*/manifest.json",
    "videos/*/track-*/*.parquet",
    "videos/*/track-*/manifest.json",
    "titles/*/adapt-*/*.safetensors",
    "titles/*/adapt-*/manifest.json",
    "titles/*/cluster-*/*.parquet",
    "titles/*/cluster-*/model.safetensors",
    "titles/*/cluster-*/result.json",
    "titles/*/cluster-*/manifest.json",
    "titles/*/latest.json",
    "titles/*/report.html",
    "index.html",
    "pages.json",
    "runs/*/run.json",
    "runs/*/*.parquet",
)
"""Every kind of file of a local output."""


def flip(path: Path, rng: np.random.Generator) -> None:
    """Change up to 512 bytes at a random place."""
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    start = int(rng.integers(len(data)))
    part = data[start : start + int(rng.choice([1, 16, 512]))]
    part ^= rng.integers(1, 256, len(part), dtype=np.uint8)
    path.write_bytes(data.tobytes())


def cut(path: Path, rng: np.random.Generator) -> None:
    """Keep a random part from the beginning, but not all."""
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(1, len(data)))])


def empty(path: Path, rng: np.random.Generator) -> None:
    """Keep no byte."""
    path.write_bytes(b"")


def delete(path: Path, rng: np.random.Generator) -> None:
    """Remove the file."""
    path.unlink()


def swap(path: Path, other: Path) -> None:
    """Let two files change places, as a mistake of a person does: their time stamps stay."""
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


DAMAGES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "flip": flip,
    "cut": cut,
    "empty": empty,
    "delete": delete,
}
WAYS = (*DAMAGES, "swap")


@dataclass(frozen=True)
class Output:
    """An output, and how it is made."""

    videos: list[str]
    folder: Path
    config: RunConfig

    def index(self) -> None:
        """Run the same command again."""
        index(list(self.videos), self.folder, local=True, config=self.config)

    def damaged(self) -> set[str]:
        """Paths that verify names."""
        *_, found = verify_output(Storage.open(str(self.folder)))
        return set(found.damage)


def damage_one(
    output: Output, kind: str, way: str, rng: np.random.Generator
) -> tuple[str, set[str]]:
    """Damage a file of a kind.

    Returns:
        The way, which is another one where there is nothing to swap with; the damaged files.
    """
    files = sorted(output.folder.glob(kind))
    path = files[int(rng.integers(len(files)))]
    if way != "swap":
        DAMAGES[way](path, rng)
        return way, {str(path.relative_to(output.folder))}
    others = [p for p in files if p.read_bytes() != path.read_bytes()]
    if not others:  # as of one page: with a file of another kind
        others = [p for p in sorted(output.folder.glob("titles/*/cluster-*/*.parquet"))]
    other = others[int(rng.integers(len(others)))]
    swap(path, other)
    return way, {str(p.relative_to(output.folder)) for p in (path, other)}


def try_one(
    output: Output, kind: str, way: str, rng: np.random.Generator, whole: dict[str, str]
) -> Counter[str]:
    """Damage one file, repair it, and count what came of it."""
    way, hurt = damage_one(output, kind, way, rng)
    named = hurt & output.damaged()
    output.index()
    left = hurt & output.damaged()
    done = verify(output.folder, repair=True, local=True, config=output.config)
    sound = not output.damaged() and not done.left and files_of(output.folder) == whole
    if not sound or not named:
        say(f"{way} of {sorted(hurt)}: named {sorted(named)}, left {done.left}")
    return Counter(
        {
            way: 1,
            "damages": 1,
            "named": int(named == hurt),
            "by index": int(not left),
            "by repair": int(bool(left) and sound),
            "wrong": int(not sound),
        }
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    add_pack(parser)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random damages")
    options = read_options(parser, argv)
    rng = np.random.default_rng(options.seed)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(None, SETTINGS | {"pack": options.pack})
        output = Output(options.videos, Path(folder, "output"), config)
        output.index()
        write_reports(Storage.open(str(output.folder)))
        whole = files_of(output.folder)
        say(f"undisturbed: {len(whole)} tables and models")
        for number in range(options.damages):
            kind = KINDS[number % len(KINDS)]
            way = WAYS[int(rng.integers(len(WAYS)))]
            came = try_one(output, kind, way, rng, whole)
            counts[kind] += came
            say(f"{number + 1} of {options.damages}: {way} of {kind}")
            if came["wrong"]:
                shutil.rmtree(output.folder)
                output.index()
                write_reports(Storage.open(str(output.folder)))
    report = Report(COLUMNS)
    for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        report.add({"file": kind, **{name: str(count[name]) for name in COLUMNS if name != "file"}})
    save(options, report)
    total = sum(counts.values(), Counter())
    raise SystemExit(0 if total["named"] == total["damages"] and not total["wrong"] else 1)


if __name__ == "__main__":
    main()
