"""How do packs compare: do they find faces, do they tell people apart, and how fast?

    python -m benchmarks.method.packs --packs DIR --faces FACES [--pack NAME ...]

DIR is a folder that `scripts/test_packs DIR` wrote, FACES a folder with a sub-folder of pictures
for each person, as for `vcn packs check --faces`. Without --pack, dlib and all packs of DIR are
measured. Each pack runs in a process of its own, on one thread.

How to read a row: recall is the fraction of pictures in which a face is found; TAR at FAR 1e-2 is
the fraction of pairs of one person that are more alike than all but 1 % of the pairs of two people.
Frames and faces are per second of CPU, the best of several turns, so other load changes them less:
frames of 960 x 664 with six faces, one by one, and 32 aligned faces at once. Memory is the peak of
resident memory with Python and its libraries; the row "nothing" shows these alone. "seconds" are
wall-clock seconds for all pictures.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import torch

from benchmarks.command import make_parser, read_options, save
from benchmarks.machine import peak_resident
from benchmarks.report import Cell, Report, say
from vcn_ray.io.video import DecodeConfig
from vcn_ray.packs.accuracy import check_faces
from vcn_ray.packs.check import measure_speed
from vcn_ray.packs.embedded import BUILT_IN_NAMES
from vcn_ray.packs.load import describe_pack, load_pack

COLUMNS = {
    "pack": "",
    "pictures": "",
    "recall": ".4f",
    "TAR at FAR 1e-2": ".4f",
    "TAR at FAR 1e-3": ".4f",
    "frames/CPU s": ".1f",
    "faces/CPU s": ".1f",
    "peak MiB": ".0f",
    "MB": ".1f",
    "seconds": ".0f",
    "licence": "",
}
TURNS = 7
NOTHING = "nothing"


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--packs", type=Path, required=True, metavar="DIR")
    parser.add_argument("--faces", type=Path, required=True, metavar="FACES")
    parser.add_argument("--pack", action="append", metavar="NAME", help="one pack; may be repeated")
    options = read_options(parser, argv)
    names = options.pack or [
        *BUILT_IN_NAMES,
        *sorted(p.name for p in options.packs.iterdir() if p.is_dir()),
    ]
    report = Report(COLUMNS)
    for name in (NOTHING, *names):
        report.add(measure_alone(name, options.packs, options.faces))
    save(options, report)


def measure_alone(name: str, packs: Path, faces: Path) -> dict[str, Cell]:
    """Measure a row in a process of its own."""
    say(f"{name} ...")
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as process:
        return process.submit(measure, name, packs, faces).result()


def measure(name: str, packs: Path, faces: Path) -> dict[str, Cell]:
    """The row of a pack, or of a process that loads no pack."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if name == NOTHING:
        return {"pack": name, "peak MiB": peak_resident()}
    place = name if name in BUILT_IN_NAMES else str(packs / name)
    info = describe_pack(place)
    long_side = DecodeConfig().long_side_pixels
    speed = measure_speed(load_pack(place), long_side, time.process_time, TURNS)
    began = time.perf_counter()
    check = check_faces(place, faces, long_side)
    loose, strict = check.accepted
    return {
        "pack": name,
        "pictures": check.pictures,
        "recall": check.recall,
        "TAR at FAR 1e-2": loose,
        "TAR at FAR 1e-3": strict,
        "frames/CPU s": speed.frames,
        "faces/CPU s": speed.faces,
        "peak MiB": peak_resident(),
        "MB": (info.detector_bytes + info.encoder_bytes) / 1e6,
        "seconds": time.perf_counter() - began,
        "licence": info.licence,
    }


if __name__ == "__main__":
    main()
