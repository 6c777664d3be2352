"""Who of a catalog looks most like a face: everybody is compared, so nobody is missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy import special

from vcn_ray.config import RunConfig, with_pack
from vcn_ray.core.linking import find_nearest
from vcn_ray.core.mixture import Mixture
from vcn_ray.core.strangers import I8, Faces, Levels, exact_codes
from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import PackError, UsageError
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.accuracy import with_border
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack, resolve_pack
from vcn_ray.records import F32, I64, U8, Detections
from vcn_ray.registry.persons import PersonOfTitle
from vcn_ray.registry.stored import StoredRegistry
from vcn_ray.rows.spans import Span

MORE = 8
"""Times as many people of titles are looked at as catalog people are wanted."""


LIKELY = 0.5
"""Probability below which nobody is likely the person in question."""


@dataclass(frozen=True, slots=True)
class Match:
    """A person of the catalog who may be the one in question."""

    catalog_id: str
    name: str | None
    title_id: str  # in which the likest face is
    person_id: str  # there
    cosine: float
    probability: float  # that it is the same person, by the likest face


Spans = tuple[Span, ...]
"""Video, start and end in seconds of each time that somebody is seen, in order."""

Missing = Literal["unread", "deleted", "changed"]
"""Why times are not known: the person is in many titles; the output does not hold the title any
more; or it, or who is who in it, is not as it was when the registry was built."""


@dataclass(frozen=True, slots=True)
class FoundTitle:
    """A title in which a found person is seen.

    Attributes:
        title_id: Its id below the output.
        title: Its name.
        person_id: The person there.
        screen_seconds: On screen in it.
        spans: When, with gaps of at most a second joined; None: not known.
        missing: Why not; None: it is.
        reference: What commands accept for the person: `TITLE:p003`.
    """

    title_id: str
    title: str
    person_id: str
    screen_seconds: float
    spans: Spans | None
    missing: Missing | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """A person of the catalog who may be the one in question.

    Attributes:
        catalog_id: Of the person.
        name: None: not named.
        probability: That it is the same person.
        cosine: Of the two faces.
        face: The best face, JPEG; None: not kept.
        titles: Where the person is seen, most screen time first.
    """

    catalog_id: str
    name: str | None
    probability: float
    cosine: float
    face: bytes | None
    titles: tuple[FoundTitle, ...]


class FaceSearch:
    """Searches a registry; it is read once for any number of searches.

    Args:
        registry: The registry.

    Raises:
        UsageError: It holds no face.
    """

    def __init__(self, registry: StoredRegistry) -> None:
        table = registry.faces
        kept = table.filter(pc.is_valid(table.column("stranger_sd")))
        if not kept.num_rows:
            raise UsageError(
                "the registry holds no face to compare: its titles keep no embeddings, so index "
                "them with retention.embeddings_days unset"
            )
        self.encoder = str(registry.manifest["encoder"])
        self._places = kept.select(["title_id", "person_id"])
        self._members = registry.members
        self._people = registry.people.select(["catalog_id", "name"])
        self._faces = Faces(packed_codes(kept.column("codes")), np.arange(kept.num_rows))
        self._levels = Levels(
            kept.column("stranger_mean").to_numpy(), kept.column("stranger_sd").to_numpy()
        )
        self._mixture = Mixture(**registry.manifest["mixture"])
        self._each_once = rows_with_each_once(self._places, self._members)

    def like(self, face: I8, limit: int) -> list[Match]:
        """The people who look most like a face, the likeliest first.

        Args:
            face: (d,) codes of the registry's encoder.
            limit: How many to find, at most.

        Raises:
            UsageError: The face is of another encoder.
        """
        if len(face) != self._faces.codes.shape[1]:
            raise UsageError(
                f"the registry compares embeddings of {self._faces.codes.shape[1]} numbers, and "
                f"this face has {len(face)}: use the pack that the titles were indexed with"
            )
        wanted = MORE * limit
        while len(matches := self._nearest(face, wanted)) < limit and wanted < len(self._places):
            wanted *= MORE  # somebody in many titles takes all places
        return matches[:limit]

    def _nearest(self, face: I8, wanted: int) -> list[Match]:
        """The catalog people of the likest so many people of titles."""
        found = find_nearest(
            face, self._faces, self._levels, self._mixture, self._each_once, wanted
        )
        near = self._places.take(pa.array(found.row)).to_pylist()
        catalog = self._catalog_of(near)
        matches: dict[str, Match] = {}
        for place, cosine, odds in zip(near, found.cosine, found.log_odds, strict=True):
            who = catalog[place["title_id"], place["person_id"]]
            sure = float(special.expit(odds))
            name = self._name_of(who)
            matches.setdefault(who, Match(who, name, **place, cosine=cosine, probability=sure))
        return list(matches.values())

    def codes_of(self, members: Sequence[PersonOfTitle]) -> tuple[I8, PersonOfTitle]:
        """The codes (d,) of the first of some people of titles who has any, and who that is.

        Raises:
            UsageError: The registry has no face of them.
        """
        titles = pa.array([member.title_id for member in members], pa.string())
        near = np.flatnonzero(pc.is_in(self._places["title_id"], titles).to_numpy())
        row = {
            PersonOfTitle(**place): int(number)
            for place, number in zip(self._places.take(near).to_pylist(), near, strict=True)
        }
        for member in members:
            if member in row:
                codes: I8 = self._faces.codes[row[member]]
                return codes, member
        first = members[0]
        raise UsageError(f"the registry has no face of {first.person_id} of {first.title_id}")

    def _catalog_of(self, places: list[dict[str, str]]) -> dict[tuple[str, str], str]:
        """Catalog ids of people of titles."""
        titles = pa.array({place["title_id"] for place in places}, pa.string())
        some = self._members.filter(pc.is_in(self._members.column("title_id"), titles))
        columns = (some[name].to_pylist() for name in ("title_id", "person_id", "catalog_id"))
        return {(title, person): who for title, person, who in zip(*columns, strict=True)}

    def _name_of(self, catalog_id: str) -> str | None:
        row = pc.index(self._people.column("catalog_id"), catalog_id).as_py()
        name: str | None = self._people.column("name")[row].as_py()
        return name


def rows_with_each_once(places: pa.Table, members: pa.Table) -> I64:
    """Rows of places (title_id, person_id): one of each person of the catalog who has any."""
    where = pc.index_in(_keys(members), value_set=_keys(places))
    who = members.column("catalog_id").filter(pc.is_valid(where))
    first = np.unique(who.to_numpy(), return_index=True)[1]
    rows: I64 = pc.drop_null(where).to_numpy()[first].astype(np.int64)
    return rows


def _keys(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table.column("title_id"), table.column("person_id"), ":")


def packed_codes(column: pa.ChunkedArray) -> I8:
    """Codes (n, d) of a column without nulls."""
    values = column.combine_chunks()
    data = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    length = len(data[0].as_py())
    joined = np.frombuffer(b"".join(data.to_pylist()), np.int8)
    codes: I8 = joined.reshape(-1, length)
    return codes


def open_search_pack(name: str, encoder: str, config: RunConfig) -> FacePack:
    """Load the pack whose encoder a registry compares.

    Args:
        name: Of the pack, a folder or an S3 prefix.
        encoder: Hash of the encoder.
        config: How packs are found.

    Raises:
        UsageError: It has another encoder, or is not there.
    """
    try:
        pack = open_pack(with_pack(config, resolve_pack(name, config.s3)))
    except PackError as error:
        raise UsageError(f"{error}: name the pack of the titles by --pack") from error
    if pack.encoder_hash != encoder:
        raise UsageError(
            f"the registry was built with another encoder than that of pack {pack.name}: name the "
            "pack that the titles were indexed with by --pack"
        )
    return pack


@dataclass(frozen=True, slots=True, eq=False)
class PhotoFace:
    """A face of a photograph."""

    box: F32  # (4,) pixels of the photograph
    crop: U8  # (p, p, 3) aligned
    codes: I8  # (d,)


def faces_of_photo(picture: U8, pack: FacePack) -> list[PhotoFace]:
    """Find the faces of a photograph, the largest first.

    Args:
        picture: (h, w, 3) uint8 RGB, upright.
        pack: Detector, aligner and encoder.
    """
    (found,) = pack.detector.detect(picture[None])
    width = 0.0
    if not len(found):  # a face that fills the picture is found within a border
        bordered = with_border(picture)
        width = (bordered.shape[0] - picture.shape[0]) / 2
        (found,) = pack.detector.detect(bordered[None])
        picture = bordered
    if not len(found):
        return []
    found = found[np.argsort(-_areas(found), kind="stable")]
    crops = pack.aligner.align(picture, found)
    codes = exact_codes(embed_both(crops, pack.load_encoder()))
    return [
        PhotoFace((box - width).astype(np.float32), crop, code)
        for box, crop, code in zip(found.boxes, crops, codes, strict=True)
    ]


def _areas(found: Detections) -> F32:
    sides: F32 = found.boxes[:, 2:] - found.boxes[:, :2]
    areas: F32 = sides.prod(axis=1)
    return areas


def embed_both(crops: U8, encoder: Backbone) -> F32:
    """Unit embeddings (n, d) of crops (n, p, p, 3), each the mean with its mirror image."""
    both = [encoder.embed(torch.from_numpy(part.copy())) for part in (crops, crops[:, :, ::-1])]
    plain, mirrored = (np.asarray(part, np.float32) for part in both)
    unit: F32 = unit_rows(plain + mirrored).astype(np.float32)
    return unit
