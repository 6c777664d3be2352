"""Tracks with embeddings and labels, whatever they come from: hard titles, films or real clips.

Embeddings are those of the pretrained encoder, of each crop and of its mirror image, cached under a
hash of crops and encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.method.cache import code_digest, digest, load, store
from benchmarks.method.films import Film, thin_crops
from benchmarks.method.hard_tracks import HardTitle
from benchmarks.method.real import IndexedClip
from vcn_ray.core.vectors import group_sums
from vcn_ray.evaluation.output import MatchedTitle
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.io.tables import column_array
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import F32, F64, U8, TitleCrops
from vcn_ray.rows.title_rows import decode_crops, gather_tracks

AT_ONCE = 16  # crops in one pass, the fastest number on a CPU
FILM_CROPS = 4
"""Crops of a track that are embedded in a rendered film, whose tracks have ten."""


@dataclass(frozen=True, eq=False)
class TrackSet:
    """The k tracks of a title, with m crops."""

    labels: MatchedTitle  # of a result that says nothing
    title: TitleCrops
    plain: F32  # (m, d) as the encoder gives them, of any length
    mirrored: F32  # (m, d)
    scores: F32  # (m,) the detector's
    track_scores: F64  # (k,) its mean over the faces of a track


@dataclass(frozen=True)
class Embedder:
    """A pack's pretrained encoder, and where its embeddings are kept."""

    encoder: Backbone
    encoder_hash: str
    cache: Path | None

    def embed(self, crops: U8) -> tuple[F32, F32]:
        """Embed crops (m, p, p, 3) and their mirror images: two arrays (m, d), not normalised."""
        place = self._place(crops)
        stored = load(place) if place else None
        if stored:
            return stored[0]["plain"], stored[0]["mirrored"]
        trunk = self.encoder.frozen_trunk()
        parts: list[list[torch.Tensor]] = [[], []]
        with torch.inference_mode():
            for some in torch.split(torch.from_numpy(crops), AT_ONCE):
                for part, images in zip(parts, (some, some.flip(2)), strict=True):
                    features = self.encoder.tail(trunk(self.encoder.prepare(images)))
                    part.append(self.encoder.project(features))
        plain, mirrored = (torch.cat(part).numpy() for part in parts)
        if place:
            store(place, {"plain": plain, "mirrored": mirrored}, {})
        return plain, mirrored

    def _place(self, crops: U8) -> Path | None:
        if self.cache is None:
            return None
        code = code_digest(type(self.encoder).__module__)
        content = digest(crops.shape, crops.tobytes())
        return self.cache / f"embeddings-{digest(content, self.encoder_hash, code)}.npz"


def of_hard_title(title: HardTitle, embedder: Embedder) -> TrackSet:
    """The tracks of a hard title."""
    labels = title.match([None] * len(title.identity))
    return TrackSet(
        labels, title.title, *embedder.embed(title.title.crops), title.scores, title.track_scores
    )


def of_film(film: Film, embedder: Embedder) -> TrackSet:
    """The tracks of a rendered film, with a few crops each; it has no detector: scores are 1."""
    thin = thin_crops(film, FILM_CROPS).title
    tracks = [
        MatchedTrack(str(n), f"id{person}", None, 1.0, True)
        for n, person in enumerate(film.truth.tolist())
    ]
    scores = np.ones(len(thin.track), np.float32)
    labels = matched(film.name, tracks)
    return TrackSet(labels, thin, *embedder.embed(thin.crops), scores, np.ones(thin.tracks))


def of_clip(clip: IndexedClip, embedder: Embedder) -> TrackSet:
    """The tracks of a labelled clip."""
    faces = gather_tracks([clip.title.tracks], [clip.title.crops])
    crops = decode_crops(faces)
    sampled: Any = faces.faces.column("image").is_valid().to_numpy()
    scores = column_array(faces.faces, "score")
    count = np.bincount(faces.owner, minlength=crops.tracks)
    means = group_sums(scores, faces.owner, crops.tracks) / count
    embeddings = embedder.embed(crops.crops)
    labels = matched(clip.name, [t._replace(person=None) for t in clip.matched.tracks])
    labels.there.update(clip.matched.there)
    chosen = scores[np.flatnonzero(sampled)].astype(np.float32)
    return TrackSet(labels, crops, *embeddings, chosen, means)


def matched(name: str, tracks: Sequence[MatchedTrack]) -> MatchedTitle:
    """A title of tracks alone, without boxes; everybody with a track is there."""
    none = np.zeros(0, np.bool_)
    there = {track.identity for track in tracks if track.identity not in "?-"}
    boxes = np.zeros((0, 4), np.float32)
    return MatchedTitle(name, tuple(tracks), there, boxes, none, none, cuts=None)
