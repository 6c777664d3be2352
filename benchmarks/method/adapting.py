"""A film's adapted model, cached on disk between runs, and its outputs for single crops."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.method.cache import code_digest, digest, load, store
from benchmarks.method.encoding import EncodedFilm, encode_film, encoding_key, reporter
from benchmarks.method.films import Film
from benchmarks.method.running import Bench
from benchmarks.report import say
from vcn_ray.core.cut import CutConfig
from vcn_ray.io.tables import outputs_as_arrays, outputs_of_arrays
from vcn_ray.learn.adapt import Adapted, adapt_encoded
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.heads import Head, Projection, Student
from vcn_ray.learn.hooks import Hooks
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.training import EpochRecord
from vcn_ray.learn.views import FIRST_AUGMENTED, PLAIN
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import F64

CUT = CutConfig()
"""How tracks are matched between rounds, the same in every comparison."""


@dataclass(frozen=True, eq=False)
class AdaptedFilm:
    """The result of adapt_film."""

    adapted: Adapted  # with the seconds and memory measured when it was adapted
    kept: int  # views with cached activations, on which the encoder's tail trained

    @property
    def encode_seconds(self) -> float:
        """Seconds for all views through the pretrained encoder."""
        return self.adapted.seconds["views"]

    @property
    def train_seconds(self) -> float:
        """Seconds for the rest: training, matching, outputs."""
        return sum(self.adapted.seconds.values()) - self.encode_seconds


CROP_VIEWS = (PLAIN, FIRST_AUGMENTED, FIRST_AUGMENTED + 1)


class CropOutputs(NamedTuple):
    """The adapted model's outputs for the plain view and two augmented views of each crop."""

    embeddings: F64  # (3, m, d) unit
    outputs: F64  # (3, m, K) of the head


def adapt_film(
    film: Film,
    bench: Bench,
    config: AdaptConfig,
    seed: int | None = None,
    encode: Callable[[], EncodedFilm] | None = None,
) -> AdaptedFilm:
    """Read a film's adapted model from the cache, or adapt it.

    No track is split, because labels are of tracks: benchmarks/method/splits.py measures splits.

    Args:
        film: Its labels are not used.
        bench: Its seed is that of the views.
        config: All settings of the adaptation.
        seed: Seed of the training; by default that of the views.
        encode: Gives the encoded views; by default encode_film does.
    """
    seed = bench.seed if seed is None else seed
    config = replace(config, split_tracks=False)
    place = adapted_place(film, bench, config, seed)
    found = _read(place, film) if place else None
    if found:
        say(f"{film.name}: adapted earlier, in {found.train_seconds:.0f} s")
        return found
    encoded = encode() if encode else encode_film(film, bench, config)
    hooks = Hooks(reporter(film.name))
    adapted = adapt_encoded(encoded.views, config, CUT, seed=seed, prior=bench.prior, hooks=hooks)
    result = AdaptedFilm(adapted, encoded.kept)
    if place:
        _write(place, result)
    return result


def adapted_place(film: Film, bench: Bench, config: AdaptConfig, seed: int) -> Path | None:
    """The file of an adaptation, named by a hash of its inputs; None without a cache."""
    if bench.cache is None:
        return None
    code = code_digest(adapt_encoded.__module__, type(bench.encoder).__module__)
    how = (repr(config), repr(CUT), repr(bench.prior), seed)
    key = digest(encoding_key(film, bench, config), code, *how)
    return bench.cache / f"adapted-{key}.npz"


def crop_outputs(film: Film, bench: Bench, config: AdaptConfig, adapted: Adapted) -> CropOutputs:
    """Run an adapted model on each crop of a film, which need not be the film it was adapted to.

    Args:
        film: A film with crops of the same size.
        bench: As for the adaptation.
        config: As for the adaptation.
        adapted: The model.
    """
    tuned, student = load_model(bench.encoder, adapted)
    encoded = encode_film(film, bench, config).views
    embeddings = encoded.pretrained.embeddings[list(CROP_VIEWS)]
    if tuned is not bench.encoder:
        views = encoded.views
        views = views.with_encoder(tuned) if config.encoder == "all" else views
        embeddings = views.encode(tuned, CROP_VIEWS, lambda progress: None).embeddings
    outputs = np.stack([student.outputs(view) for view in embeddings])
    return CropOutputs(embeddings.cpu().numpy().astype(np.float64), outputs.astype(np.float64))


def load_model(encoder: Backbone, adapted: Adapted) -> tuple[Backbone, Student]:
    """The adapted encoder and student; an encoder that was not trained is returned as it is."""
    parts: dict[str, dict[str, torch.Tensor]] = {"encoder": {}, "head": {}}
    for name, tensor in adapted.tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    if parts["encoder"]:
        encoder = copy.deepcopy(encoder)
        encoder.load_state_dict(parts["encoder"], strict=False)
    outputs, generator = adapted.outputs, torch.Generator()
    count = len(outputs.centre)
    head = (
        Head(torch.zeros(encoder.dim), count, generator)
        if "mean" in parts["head"]
        else Projection(encoder.dim, count, generator)
    )
    head.load_state_dict(parts["head"])
    device = next(encoder.parameters()).device
    temperatures = Temperatures(outputs.teacher_temperature, outputs.student_temperature)
    centre = adapted.tensors["centre"].to(device)
    return encoder, Student(head.to(device).requires_grad_(False), centre, temperatures)


def _write(place: Path, film: AdaptedFilm) -> None:
    adapted = film.adapted
    arrays = {f"tensors.{name}": tensor.numpy() for name, tensor in adapted.tensors.items()}
    arrays |= {f"matches.{n:03d}": pairs for n, pairs in enumerate(adapted.matches)}
    known = outputs_as_arrays(adapted.outputs)
    arrays |= {f"outputs.{name}": array for name, array in known.items()}
    facts = {
        "history": [asdict(record) for record in adapted.history],
        "warnings": adapted.warnings,
        "seconds": adapted.seconds,
        "peak_bytes": adapted.peak_bytes,
        "kept": film.kept,
    }
    store(place, arrays, facts)


def _read(place: Path, film: Film) -> AdaptedFilm | None:
    stored = load(place)
    if stored is None:
        return None
    arrays, facts = stored
    parts: dict[str, dict[str, Any]] = {"tensors": {}, "matches": {}, "outputs": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = array
    adapted = Adapted(
        outputs=outputs_of_arrays(parts["outputs"]),
        title=film.title,
        tensors={name: torch.from_numpy(array) for name, array in parts["tensors"].items()},
        history=tuple(EpochRecord(**record) for record in facts["history"]),
        matches=tuple(parts["matches"].values()),
        warnings=tuple(facts["warnings"]),
        seconds=facts["seconds"],
        peak_bytes=facts["peak_bytes"],
    )
    return AdaptedFilm(adapted, facts["kept"])
