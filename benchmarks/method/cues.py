"""Which cues tell the tracks that nobody can identify from those of people, on real clips?

    python -m benchmarks.method.cues CLIPS_DIR --labels DIR [--packs P,...] [--out OUT]

CLIPS_DIR, DIR and OUT are those of benchmarks/method/real.py, whose outputs are reused. A track is
"junk" if its label is "?" (a face that nobody can identify) or "-" (no face), and good if it has a
name; the others have no label and are left out.

How to read a row: AUC is the probability that a good track has more of the cue than junk; 0.5 is
no better than chance. "lost" is the fraction of good tracks that go where 80 % of the junk does.
The rows that name several cues rate tracks by their logistic regression, which is fitted on the
other clips each time, and pool the rates of all clips.

The cues are means over the crops of a track, by the pretrained encoder. "stability" is that under
dropout (SER-FIQ), "length" that of the embedding, "distance from ruined" the cosine distance from
the mean of all crops of the clip once they are shrunk to a few pixels (after Deng et al., WACV
2023), "frontality" the pose by the landmarks, "agreement" the mean cosine of two crops of a track.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.command import make_parser, read_options, save
from benchmarks.method.real import IndexedClip, find_clips, index_clips, open_run
from benchmarks.report import Cell, Report, say
from vcn_ray.core.prior import FacePrior, recognisability
from vcn_ray.core.quality import track_quality
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.evaluation.labels import NO_FACE, is_person, read_truth
from vcn_ray.io.tables import column_array
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.calibrate import embed_and_rate
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F64, I64, U8, Mask
from vcn_ray.rows.title_rows import decode_crops, gather_tracks

RUINED_PIXELS = (4, 5, 6, 7)
RUINED_NOISE = 6.0  # standard deviation, of 255
DROPPED_JUNK = 0.8
SINGLE = (
    "score",
    "stability",
    "length",
    "recognisability",
    "distance from ruined",
    "frontality",
    "sharpness",
    "height",
    "faces",
    "agreement",
)
TODAY = ("score", "recognisability")
COMBINED = (
    TODAY,
    (*TODAY, "distance from ruined"),
    (*TODAY, "frontality"),
    (*TODAY, "faces"),
    (*TODAY, "agreement"),
    (*TODAY, "distance from ruined", "frontality", "faces", "agreement"),
)
COLUMNS = {"pack": "", "cues": "", "good": "", "junk": "", "AUC": ".3f", "lost": ".2f"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument("--packs", default=DEFAULT_PACK, metavar="P,...", help="with a prior")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep outputs here and reuse them")
    parser.set_defaults(set=[], config=None, cut=None)
    options = read_options(parser, argv)
    truth = read_truth([options.labels])
    clips = find_clips(options.clips, truth)
    if not clips:
        parser.error(f"{options.clips} holds none of {', '.join(sorted(truth.labels))}")
    report = Report(COLUMNS)
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.packs.split(","):
            run = open_run(name, options, options.out or Path(scratch))
            prior = load_pack(name).prior
            if prior is None:
                parser.error(f"{name} has no prior, so tracks have no recognisability")
            cues = []
            for clip in index_clips(clips, truth, run):
                say(f"{name}: cues of {clip.name} ...")
                cues.append((track_cues(clip, run.encoder, prior), *labels_of(clip)))
            for row in rows_of(cues):
                report.add({"pack": Path(name).name, **row})
    save(options, report)


def labels_of(clip: IndexedClip) -> tuple[Mask, Mask]:
    """Which tracks are good, and which junk: two (k,) masks."""
    tracks = clip.matched.tracks
    named = np.array([is_person(track.identity) for track in tracks], np.bool_)
    labelled = [track.matched or track.identity == NO_FACE for track in tracks]
    return named, np.array(labelled, np.bool_) & ~named


def track_cues(clip: IndexedClip, encoder: Backbone, prior: FacePrior) -> dict[str, F64]:
    """The cues of a clip's k tracks, each (k,)."""
    faces = gather_tracks([clip.title.tracks], [clip.title.crops])
    crops = decode_crops(faces)
    tracks = crops.tracks
    embeddings, stability = embed_and_rate(encoder, crops.crops)
    ruined, _ = embed_and_rate(encoder, ruin(crops.crops, np.random.default_rng(0)))
    unit = unit_rows(embeddings.astype(np.float64))
    centre = unit_rows(unit_rows(ruined.astype(np.float64)).mean(axis=0)[None])[0]
    length = np.linalg.norm(embeddings, axis=1).astype(np.float64)
    score = crops.score if crops.score is not None else np.full(len(unit), np.nan, np.float32)

    def of_crops(values: F64) -> F64:
        return track_quality(values, crops.track, tracks).astype(np.float64)

    def of_faces(values: F64) -> F64:
        return track_quality(values, faces.owner, tracks).astype(np.float64)

    score_of, sharpness, frontality, top, bottom = (
        column_array(faces.faces, name)
        for name in ("score", "sharpness", "frontality", "y0_pixels", "y1_pixels")
    )
    return {
        "score": of_faces(score_of),
        "stability": of_crops(stability.astype(np.float64)),
        "length": of_crops(length),
        "recognisability": of_crops(recognisability(prior, score, length, stability)),
        "distance from ruined": of_crops(1 - unit @ centre),
        "frontality": of_faces(frontality),
        "sharpness": of_faces(sharpness),
        "height": of_faces(bottom - top),
        "faces": np.bincount(faces.owner, minlength=tracks).astype(np.float64),
        "agreement": agreement(unit, crops.track, tracks),
    }


def agreement(unit: F64, track: I64, tracks: int) -> F64:
    """The mean cosine (k,) of two crops of a track; of a track with one crop, 1."""
    count = np.bincount(track, minlength=tracks)
    sums = group_sums(unit, track, tracks)
    pairs = np.maximum(count * (count - 1), 1)
    result: F64 = np.where(count > 1, (np.square(sums).sum(axis=1) - count) / pairs, 1.0)
    return result


def ruin(crops: U8, generator: np.random.Generator) -> U8:
    """Crops (m, p, p, 3) shrunk to a few pixels and enlarged again, with noise."""
    result = np.empty_like(crops)
    for number, crop in enumerate(crops):
        pixels = int(generator.choice(RUINED_PIXELS))
        small = cv2.resize(crop, (pixels, pixels), interpolation=cv2.INTER_AREA)
        size = (crop.shape[1], crop.shape[0])
        large = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noisy = large + generator.normal(0, RUINED_NOISE, large.shape)
        result[number] = np.clip(noisy, 0, 255).astype(np.uint8)
    return result


def rows_of(clips: Sequence[tuple[Mapping[str, F64], Mask, Mask]]) -> Iterator[dict[str, Cell]]:
    """The rows of a pack.

    Args:
        clips: Cues, good tracks and junk of each clip.
    """
    names = list(clips[0][0])
    tables = [np.stack([cues[name] for name in names], axis=1) for cues, _, _ in clips]
    kept = [good | junk for _, good, junk in clips]
    table = np.concatenate([rows[mask] for rows, mask in zip(tables, kept, strict=True)])
    good = np.concatenate([good[mask] for (_, good, _), mask in zip(clips, kept, strict=True)])
    clip = np.repeat(np.arange(len(clips)), [int(mask.sum()) for mask in kept])
    for cue in SINGLE:
        yield _row(cue, table[:, names.index(cue)], good)
    for cues in COMBINED:
        chosen = table[:, [names.index(cue) for cue in cues]]
        yield _row(" + ".join(cues), fitted_on_others(chosen, good, clip), good)


def fitted_on_others(table: F64, good: Mask, clip: I64) -> F64:
    """Rate the tracks of each clip by what a logistic regression learns from the other clips.

    Args:
        table: (n, c) cues.
        good: (n,) what to learn.
        clip: (n,) the clip of each track.

    Returns:
        (n,) log odds of being good.
    """
    result = np.empty(len(table))
    for number in np.unique(clip):
        mine = clip == number
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        model.fit(table[~mine], good[~mine])
        result[mine] = model.decision_function(table[mine])
    return result


def _row(cues: str, rate: F64, good: Mask) -> dict[str, Cell]:
    limit = float(np.quantile(rate[~good], DROPPED_JUNK))
    return {
        "cues": cues,
        "good": int(good.sum()),
        "junk": int((~good).sum()),
        "AUC": float(roc_auc_score(good, rate)),
        "lost": float((rate[good] <= limit).mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
