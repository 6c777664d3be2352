"""How well tracks of film-like titles are told apart, against baselines; labels only score.

    python benchmarks/film_tracks.py FILE.npz ... --pack DIR [--profile NAME ...] [--json OUT]

FILE.npz holds crops (m, p, p, 3) uint8 RGB, track (m,), frame (m,), label (k,). Printed for each
film and on average: WCP, PCR, NMI, B-cubed P R F, share of unknown tracks, seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from baselines import finch, hac, hac_oracle, hdbscan, letter_by_cosine

from vcn_ray.core.cluster import ClusterConfig, cluster_tracks
from vcn_ray.core.metrics import ClusterScores, evaluate_clustering
from vcn_ray.core.quality import QualityConfig, low_outliers
from vcn_ray.core.track import co_occurring
from vcn_ray.core.vectors import unit_rows
from vcn_ray.learn.finetune import EncodedViews, adapt, encode_views
from vcn_ray.learn.settings import FinetuneConfig, TitleCrops
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.packs import load_pack
from vcn_ray.records import F64, I64


@dataclass(frozen=True)
class Profile:
    """A way to run the method."""

    finetune: FinetuneConfig
    cluster: ClusterConfig


DEFAULT = FinetuneConfig()
PROFILES = {
    "head only": Profile(replace(DEFAULT, tail_epochs=0), ClusterConfig()),
    "paper": Profile(replace(DEFAULT, matcher="gaussian"), ClusterConfig(rule="paper")),
    "default": Profile(DEFAULT, ClusterConfig()),
}


@dataclass(frozen=True)
class Row:
    """One method on one film."""

    film: str
    method: str
    scores: ClusterScores
    seconds: float
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("films", nargs="+", type=Path)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--profile", action="append", choices=list(PROFILES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    pack = load_pack(options.pack, options.threads)
    torch.set_num_threads(options.threads)
    encoder = pack.load_encoder().to("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[Row] = []
    for film in options.films:
        for row in run_film(film, encoder, options.profile or list(PROFILES), options.seed):
            rows.append(row)
            show(row)
    for method in dict.fromkeys(row.method for row in rows):
        show(mean_row([row for row in rows if row.method == method]))
    if options.json:
        listed = [{**row.__dict__, "scores": row.scores._asdict()} for row in rows]
        options.json.write_text(json.dumps(listed, indent=1))


def run_film(path: Path, encoder: Backbone, profiles: list[str], seed: int) -> Iterator[Row]:
    """All methods on one film."""
    data = np.load(path)
    track, truth = data["track"].astype(np.int64), data["label"].astype(np.int64)
    cannot_link = co_occurring(data["frame"].astype(np.int64), track)
    title = TitleCrops(data["crops"], track, cannot_link)
    began = time.monotonic()
    encoded = encode_views(title, encoder, DEFAULT, seed=seed)
    encoding = time.monotonic() - began
    yield from run_baselines(path.stem, encoded, track, truth)
    for name in profiles:
        began = time.monotonic()
        profile = PROFILES[name]
        adapted = adapt(title, encoder, profile.finetune, seed=seed, encoded=encoded)
        valid = ~low_outliers(adapted.outputs.quality, QualityConfig())
        result = cluster_tracks(adapted.outputs, valid, cannot_link, profile.cluster)
        seconds = encoding + time.monotonic() - began
        scores = evaluate_clustering(truth, result.label)
        yield Row(path.stem, name, scores, seconds, " ".join(adapted.warnings + result.warnings))


def run_baselines(film: str, encoded: EncodedViews, track: I64, truth: I64) -> Iterator[Row]:
    """Clusterings of the untuned embeddings."""
    crops = encoded.untuned.embeddings[0].cpu().numpy().astype(np.float64)
    means: F64 = unit_rows(np.stack([crops[track == t].mean(axis=0) for t in range(len(truth))]))
    cut, best = hac_oracle(means, truth)
    yield Row(film, "HAC, oracle cut", best, 0.0, f"at {cut:.2f}")
    methods: dict[str, Callable[[], I64]] = {
        "HAC at 0.6": lambda: hac(means),
        "HDBSCAN": lambda: hdbscan(means),
        "FINCH": lambda: finch(means),
        "METHOD 4, untuned cosine": lambda: letter_by_cosine(crops, track),
    }
    for name, run in methods.items():
        began = time.monotonic()
        label = run()
        yield Row(film, name, evaluate_clustering(truth, label), time.monotonic() - began)


def mean_row(rows: list[Row]) -> Row:
    """The mean over films."""
    mean = [float(np.mean(values)) for values in zip(*(row.scores for row in rows), strict=True)]
    return Row(
        "mean", rows[0].method, ClusterScores(*mean), float(np.mean([r.seconds for r in rows]))
    )


def show(row: Row) -> None:
    """One line of the table."""
    s = row.scores
    sys.stdout.write(
        f"| {row.film} | {row.method} | {s.wcp:.3f} | {s.pcr:.2f} | {s.nmi:.3f} | "
        f"{s.bcubed_precision:.3f} {s.bcubed_recall:.3f} {s.bcubed_f:.3f} | "
        f"{s.unknown_share:.1%} | {row.seconds:.0f} | {row.note} |\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
