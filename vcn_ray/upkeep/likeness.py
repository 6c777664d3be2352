"""Which faces and tracks of nobody look like an erased person, by the pretrained encoder.

A short appearance makes no track, and a poor one belongs to nobody. Such a face is the person's if
their tracks are the nearest of all the title's people, and near enough for it to be no stranger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vcn_ray.config import RunConfig, with_pack
from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import StorageError, UsageError
from vcn_ray.io.tables import decode_image
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.find import open_pack, resolve_pack
from vcn_ray.records import F32, Mask
from vcn_ray.registry.search import embed_both
from vcn_ray.rows.result_rows import CLUSTERED
from vcn_ray.run.stored import StoredTitle
from vcn_ray.run.summary import used_pack

MIN_SDS = 2.0  # above the mean cosine of strangers
MIN_COSINE = 0.35  # where the pack has no prior


@dataclass(frozen=True, slots=True)
class FaceEncoder:
    """The pretrained encoder that a title was made with."""

    encoder: Backbone
    prior: FacePrior | None


FindEncoder = Callable[[StoredTitle], FaceEncoder | None]
"""The encoder of a title; None where this machine lacks it."""


def find_encoder(config: RunConfig, pack: str | None, title: StoredTitle) -> FaceEncoder | None:
    """The encoder of a title's pack.

    Args:
        config: Where packs are found.
        pack: A name, a folder or an S3 prefix; None: what the title was indexed with.
        title: The title.

    Returns:
        None where the pack is not on this machine, or is another one.
    """
    try:
        used = pack or used_pack(title.summary)
        found = open_pack(with_pack(config, resolve_pack(used, config.s3)))
    except (UsageError, StorageError):
        return None
    if found.encoder_hash != title.summary["pack"]["encoder_hash"]:
        return None
    return FaceEncoder(found.load_encoder(), found.prior)


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """Compares faces with the people of a title."""

    tracks: F32  # (k, d) unit embeddings of the tracks of people
    mine: Mask  # (k,) those of the erased
    min_cosine: float
    encoder: Backbone | None

    def of(self, embeddings: F32) -> Mask:
        """The rows (n,) of unit embeddings (n, d) that are nearest to the erased."""
        cosine = embeddings @ self.tracks.T
        best = cosine.argmax(axis=1)
        result: Mask = self.mine[best] & (cosine.max(axis=1) >= self.min_cosine)
        return result

    def of_pictures(self, pictures: Sequence[bytes]) -> Mask:
        """The aligned crops (n,), as JPEG, that show the erased."""
        if self.encoder is None or not pictures:
            return np.zeros(len(pictures), np.bool_)
        crops = np.stack([decode_image(data) for data in pictures])
        return self.of(embed_both(crops, self.encoder))


def likeness_of(
    title: StoredTitle, embeddings: F32, people: Sequence[str], found: FaceEncoder | None
) -> Likeness:
    """What compares faces with some people of a title.

    Args:
        title: The title.
        embeddings: (k, d) of its tracks.
        people: Ids of the erased.
        found: The encoder; None: only embeddings can be compared.
    """
    status = np.array(title.tracks.column("status").to_pylist(), object)
    person = np.array(title.tracks.column("person_id").to_pylist(), object)
    known = status == CLUSTERED
    prior = found.prior if found else None
    return Likeness(
        tracks=embeddings[known],
        mine=np.isin(person[known].astype(str), list(people)),
        min_cosine=1 - prior.distance_at(MIN_SDS) if prior else MIN_COSINE,
        encoder=found.encoder if found else None,
    )
