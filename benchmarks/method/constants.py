"""How sensitive is the method to its constants? Each is halved and doubled, one at a time.

    python -m benchmarks.method.constants FILE.npz ... --pack DIR --cache CACHE [--group cut]

The constants are all numbers in the settings of the adaptation, the cut and the quality. They are
read from the settings classes, so a new one cannot be forgotten. Fractions and momenta near one are
varied by their distance to it: a momentum of 0.996 becomes 0.998 and 0.992. Whole numbers are
rounded. The note says where the settings refuse a value, and where a value changes nothing in this
profile. Numbers in the code that no setting can change are listed at the end, on standard error.

How to read a row: NMI is the mean over the films, drop is the NMI under the unchanged settings
(first row) less that; a negative drop is a gain. Differences under about 0.005 are noise: compare
the standard deviation in `robustness --seeds`. worst is the largest drop on one film.

The groups take very different times. "cut" and "quality" use one adaptation of each film, seconds
in all; "train" and "encoder" train again on the same encoded views, minutes; "augment" encodes
again, an hour. With --cache each adaptation is computed once for all scripts, and a run that was
interrupted resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from benchmarks.command import read_options, save
from benchmarks.method.adapting import adapt_film
from benchmarks.method.encoding import EncodedFilm, encode_film
from benchmarks.method.films import Film, load_film
from benchmarks.method.running import Bench, film_parser, open_bench
from benchmarks.method.scoring import cluster_film
from benchmarks.method.settings_table import (
    GROUPS,
    NO_CONSTANTS,
    Constant,
    changed,
    find_constants,
    fixed_numbers,
    unused_because,
)
from benchmarks.report import Cell, Report, say
from vcn_ray.config import RunConfig
from vcn_ray.core.metrics import ClusterScores, evaluate_clustering
from vcn_ray.errors import ConfigError
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.records import TrackOutputs

COLUMNS = {
    "group": "",
    "constant": "",
    "value": "",
    "change": "",
    "becomes": "",
    "NMI": ".4f",
    "drop": "+.4f",
    "worst": "+.4f",
    "PCR": ".2f",
    "unknown": ".1%",
    "note": "",
}


class Runs:
    """Scores of settings on all films; the usual settings encode and adapt each film only once.

    Args:
        films: The films to measure on.
        bench: The encoder, seed and cache to run with.
        usual: The unchanged settings.
    """

    def __init__(self, films: list[Film], bench: Bench, usual: RunConfig) -> None:
        self.usual = usual
        self._films = films
        self._bench = bench
        self._encoded: dict[str, EncodedFilm] = {}
        self._adapted: dict[str, TrackOutputs] = {}

    def scores(self, config: RunConfig) -> list[ClusterScores]:
        """The scores of each film."""
        return [self._score(film, config) for film in self._films]

    def _score(self, film: Film, config: RunConfig) -> ClusterScores:
        outputs = self._outputs(film, config.adapt)
        label = cluster_film(outputs, film.title.cannot_link, config, prior=self._bench.prior).label
        return evaluate_clustering(film.truth, label)

    def _outputs(self, film: Film, config: AdaptConfig) -> TrackOutputs:
        usual = self.usual.adapt
        if config == usual and film.name in self._adapted:
            return self._adapted[film.name]
        same_views = all(
            getattr(config, name) == getattr(usual, name)
            for name in ("augment", "augmented_views", "trained_crops")
        )
        encode = partial(self._usual_views if same_views else self._other_views, film, config)
        outputs = adapt_film(film, self._bench, config, encode=encode).adapted.outputs
        if config == usual:
            self._adapted[film.name] = outputs
        return outputs

    def _usual_views(self, film: Film, config: AdaptConfig) -> EncodedFilm:
        if film.name not in self._encoded:
            self._encoded[film.name] = encode_film(film, self._bench, config)
        return self._encoded[film.name]

    def _other_views(self, film: Film, config: AdaptConfig) -> EncodedFilm:
        # Not cached: no other run needs these hundreds of megabytes.
        return encode_film(film, self._bench, config, keep=False)


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__, one_profile=True)
    parser.add_argument("--group", action="append", choices=list(dict.fromkeys(GROUPS.values())))
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a setting with its section"
    )
    options = read_options(parser, argv)
    bench = open_bench(options)
    usual = bench.profile(options.profile)
    chosen = [
        constant
        for constant in find_constants(usual)
        if (not options.group or constant.group in options.group)
        and (not options.only or constant.name in options.only)
    ]
    if not chosen:
        parser.error("no constant has this name in this group: see --help for the groups")
    runs = Runs([load_film(path) for path in options.films], bench, usual)
    report = Report(COLUMNS)
    for row in measure(runs, chosen):
        report.add(row)
    save(options, report)
    for name, reason in NO_CONSTANTS.items():
        say(f"not a constant of the method: {name} ({reason})")
    for name, written in fixed_numbers().items():
        say(f"not a setting, so not varied: {name} = {written}")


def measure(runs: Runs, chosen: list[Constant]) -> Iterator[dict[str, Cell]]:
    """The unchanged settings, then each constant halved and doubled."""
    before = runs.scores(runs.usual)
    yield {"group": "-", "constant": "none", **_cells(before, before)}
    for constant in chosen:
        for words, value in constant.variants():
            row: dict[str, Cell] = {
                "group": constant.group,
                "constant": constant.name,
                "value": f"{constant.value:g}",
                "change": words,
                "becomes": f"{value:g}",
            }
            reason = unused_because(runs.usual, constant.name)
            if reason is None:
                try:
                    config = changed(runs.usual, constant.name, value)
                except ConfigError as error:
                    reason = f"refused: {str(error).partition(': ')[2]}"
                else:
                    say(f"{constant.name} = {value:g}")
                    row |= _cells(runs.scores(config), before)
            yield {**row, "note": reason or ""}


def _cells(scores: list[ClusterScores], before: list[ClusterScores]) -> dict[str, Cell]:
    drops = [old.nmi - new.nmi for old, new in zip(before, scores, strict=True)]
    return {
        "NMI": float(np.mean([s.nmi for s in scores])),
        "drop": float(np.mean(drops)),
        "worst": max(drops),
        "PCR": float(np.mean([s.pcr for s in scores])),
        "unknown": float(np.mean([s.unknown_fraction for s in scores])),
    }


if __name__ == "__main__":
    main()
