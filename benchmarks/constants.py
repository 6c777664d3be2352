"""What does each constant of the method do? Each is halved and doubled, all others as they are.

    python benchmarks/constants.py FILE.npz ... --pack DIR --cache CACHE [--group cut] [--only NAME]

The constants are all numbers among the settings of the adaptation, the cut and the quality, found
by looking through the settings, so that a new one cannot be forgotten. Shares and momenta near one
are varied by their distance to it: a momentum of 0.996 becomes 0.998 and 0.992. Whole numbers are
rounded. Values that the settings refuse are shown as such, and so is what makes no difference in
this profile. Numbers in the code that no setting can change are listed at the end, on the terminal.

How to read a row: NMI is the mean over the films, drop is how much less that is than under the
unchanged settings (first row; a minus is a gain). Differences under about 0.005 are noise: see the
spread that robustness.py --seeds shows. worst is the largest drop on one film.

The groups take very different times. "cut" and "quality" use one adaptation of each film, seconds
in all; "train" and "encoder" train anew on the same encoded views, minutes; "augment" encodes anew,
an hour. With --cache each adaptation is made once, whoever asks for it, and a run that was cut off
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from adapting import adapt_film
from encoding import EncodedFilm, encode_film
from films import Film, load_film
from running import Bench, make_parser, open_bench, say
from scoring import Cell, Report, cluster_film
from settings_table import (
    GROUPS,
    NO_CONSTANTS,
    Constant,
    changed,
    find_constants,
    fixed_numbers,
    unused_because,
)

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
    """Scores of settings on all films; each film's views and usual adaptation are made once.

    Args:
        films: What to measure on.
        bench: What to run with.
        usual: The unchanged settings.
    """

    def __init__(self, films: list[Film], bench: Bench, usual: RunConfig) -> None:
        self.usual = usual
        self._films = films
        self._bench = bench
        self._encoded: dict[str, EncodedFilm] = {}
        self._adapted: dict[str, TrackOutputs] = {}

    def scores(self, config: RunConfig) -> list[ClusterScores]:
        """Of each film."""
        return [self._score(film, config) for film in self._films]

    def _score(self, film: Film, config: RunConfig) -> ClusterScores:
        outputs = self._outputs(film, config.finetune)
        label = cluster_film(outputs, film.title.cannot_link, config).label
        return evaluate_clustering(film.truth, label)

    def _outputs(self, film: Film, config: AdaptConfig) -> TrackOutputs:
        usual = self.usual.finetune
        if config == usual and film.name in self._adapted:
            return self._adapted[film.name]
        same_views = (config.augment, config.augmented_views) == (
            usual.augment,
            usual.augmented_views,
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
        # Hundreds of megabytes that nobody will ask for again are not kept.
        return encode_film(film, self._bench, config, keep=False)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, one_profile=True)
    parser.add_argument("--group", action="append", choices=list(dict.fromkeys(GROUPS.values())))
    parser.add_argument("--only", action="append", metavar="NAME", help="as finetune.augment.shift")
    options = parser.parse_args(argv)
    bench = open_bench(options)
    usual = bench.profile(options.profile)
    chosen = [
        constant
        for constant in find_constants(usual)
        if (not options.group or constant.group in options.group)
        and (not options.only or constant.name in options.only)
    ]
    if not chosen:
        parser.error("no constant has this name in this group")
    runs = Runs([load_film(path) for path in options.films], bench, usual)
    report = Report(COLUMNS)
    for row in measure(runs, chosen):
        report.add(row)
    report.save(options.json)
    for name, reason in NO_CONSTANTS.items():
        say(f"no constant of the method: {name} ({reason})")
    for name, written in fixed_numbers().items():
        say(f"not among the settings, not varied: {name} = {written}")


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
