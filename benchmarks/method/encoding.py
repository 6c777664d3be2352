"""A film's views through the pretrained encoder, cached on disk between runs.

Cached views have the same bits as computed ones, so training on either gives the same model. Their
seconds are those measured when they were computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.method.cache import code_digest, digest, load, store
from benchmarks.method.films import Film
from benchmarks.method.running import Bench
from benchmarks.report import say
from vcn_ray.core.track import thin_crops
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.hooks import Hooks
from vcn_ray.learn.views import (
    CACHE_TYPE,
    TAIL_VIEWS,
    CropViews,
    EncodedCrops,
    EncodedViews,
    encode_views,
)
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import TitleCrops

AT_ONCE = 256
"""Crops whose activations are read in one batch."""


class StoredViews(CropViews):
    """Views that an earlier run encoded; their first activations come from a file.

    Args:
        title: Its crops, and their tracks.
        encoder: As for CropViews.
        config: Sets the augmentations, the number of views and that of trained crops.
        seed: Seed of the augmentations.
    """

    def __init__(
        self, title: TitleCrops, encoder: Backbone, config: AdaptConfig, seed: int
    ) -> None:
        super().__init__(
            title.crops,
            encoder,
            config.augment,
            config.augmented_views,
            torch.Generator().manual_seed(seed),
            trained=thin_crops(title.track, config.trained_crops),
        )

    def restore(self, activations: Tensor) -> None:
        """Use these activations (v, r, ...) as those of the first v views."""
        self._kept = activations.to(self.device)
        self._filled, self._seen = len(activations), self.count


@dataclass(frozen=True, eq=False)
class EncodedFilm:
    """The result of encode_film."""

    views: EncodedViews  # with the seconds measured when they were computed
    kept: int  # views with cached activations, on which the encoder's tail trains


def encoding_key(film: Film, bench: Bench, config: AdaptConfig) -> str:
    """Hash of everything that the encoded views depend on."""
    code = code_digest("vcn_ray.learn.views", type(bench.encoder).__module__)
    how = (inspect.getsource(encode_views), torch.__version__, torch.get_num_threads())
    settings = (astuple(config.augment), config.augmented_views, bench.seed, bench.machine)
    trained = thin_crops(film.title.track, config.trained_crops)
    rating = (config.quality_passes, config.quality_dropout)
    return digest(film.content, bench.encoder_hash, code, how, settings, rating, len(trained))


def encode_film(film: Film, bench: Bench, config: AdaptConfig, keep: bool = True) -> EncodedFilm:
    """Read all views from the cache, or encode them; with `keep` they go into the cache."""
    if bench.cache is None or not keep:
        return _encode(film, bench, config)
    key = encoding_key(film, bench, config)
    places = (bench.cache / f"views-{key}.npz", bench.cache / f"kept-{key}.npz")
    found = _read(film, bench, config, places)
    if found is None:
        found = _encode(film, bench, config)
        _write(found, places)
    else:
        say(f"{film.name}: encoded earlier, in {found.views.seconds:.0f} s")
    return found


def reporter(name: str) -> Callable[[str, float], None]:
    """A progress callback that prints each tenth of a step once."""
    last: dict[str, int] = {}

    def report(step: str, progress: float) -> None:
        tenth = int(progress * 10)
        if tenth > last.get(step, 0):
            last[step] = tenth
            say(f"{name}: {step} {tenth}0%")

    return report


def _encode(film: Film, bench: Bench, config: AdaptConfig) -> EncodedFilm:
    hooks = Hooks(reporter(film.name))
    views = encode_views(film.title, bench.encoder, config, seed=bench.seed, hooks=hooks)
    return EncodedFilm(views, views.views.kept)


def _write(encoded: EncodedFilm, places: tuple[Path, Path]) -> None:
    arrays = {name: part.cpu().numpy() for name, part in encoded.views.pretrained._asdict().items()}
    store(places[0], arrays, {"seconds": encoded.views.seconds})
    if encoded.kept:
        views = encoded.views.views
        parts = torch.split(views.trained, AT_ONCE)
        kept = [
            torch.cat([_activations(views, rows, n) for rows in parts]) for n in range(encoded.kept)
        ]
        store(places[1], {"activations": torch.stack(kept).numpy()}, {})


def _activations(views: CropViews, rows: Tensor, view: int) -> Tensor:
    # The cache has this type, so the way to float32 and back loses nothing.
    return views.activations(rows, torch.full_like(rows, view)).to(CACHE_TYPE).cpu()


def _read(
    film: Film, bench: Bench, config: AdaptConfig, places: tuple[Path, Path]
) -> EncodedFilm | None:
    found = load(places[0])
    if found is None:
        return None
    views = StoredViews(film.title, bench.encoder, config, bench.seed)
    if config.encoder == "tail":
        activations = torch.zeros(0, dtype=CACHE_TYPE)
        if kept := views.reserve(TAIL_VIEWS, config.cache_bytes):
            stored = load(places[1])
            if stored is None or len(stored[0]["activations"]) < kept:
                return None
            activations = torch.from_numpy(stored[0]["activations"][:kept])
        views.restore(activations)
    arrays, facts = found
    pretrained = EncodedCrops(
        *(torch.from_numpy(arrays[name]).to(bench.device) for name in EncodedCrops._fields)
    )
    encoded = EncodedViews(film.title, bench.encoder, views, pretrained, facts["seconds"])
    return EncodedFilm(encoded, views.kept)
