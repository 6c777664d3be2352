"""METHOD 2 and 3.1 for one title: crops in, what clustering needs of tracks out.

It knows no storage, no Ray and no clustering rule; the device is the encoder's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vcn_ray.learn.encoder_tail import changed_tensors
from vcn_ray.learn.fallback import fallback_student
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.outputs import Student, no_outputs, track_outputs
from vcn_ray.learn.passes import draw_masks, quality_of_crops
from vcn_ray.learn.rounds import OUTPUT_VIEWS, TAIL_VIEWS, Rounds
from vcn_ray.learn.settings import EpochRecord, FinetuneConfig, Progress, TitleCrops
from vcn_ray.learn.views import CropViews, Encoded
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import TrackOutputs


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A title's adapted model and what it says of the title's tracks."""

    outputs: TrackOutputs
    tensors: dict[str, Tensor]  # on the CPU: "head.*", "centre", and "encoder.*" where it changed
    history: tuple[EpochRecord, ...]
    warnings: tuple[str, ...]  # "empty", "collapsed", "tail_collapsed"


TRAINING_STREAM = 1 << 32
"""Added to the seed for training, so that it does not draw the numbers that views were made of."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedViews:
    """All views of a title's crops through the encoder as it is: most of a short title's work."""

    views: CropViews
    untuned: Encoded


def encode_views(
    title: TitleCrops,
    encoder: Backbone,
    config: FinetuneConfig,
    *,
    seed: int,
    progress: Progress | None = None,
) -> EncodedViews:
    """Draw the views of METHOD 2.2 and encode them; they depend on no training setting.

    Args:
        title: Crops and their tracks; one track at least.
        encoder: In eval mode; where it lies is where everything is computed.
        config: How crops are changed, how many views, and whether the tail will be trained.
        seed: Of the changes.
        progress: As in `adapt`.
    """
    generator = torch.Generator().manual_seed(seed)
    with _repeatable(next(encoder.parameters()).device):
        views = CropViews(title.crops, encoder, config.augment, config.augmented_views, generator)
        if config.tail_epochs:
            views.reserve(TAIL_VIEWS, config.cache_bytes)
        heard = partial(progress or _unheard, "views")
        return EncodedViews(views, views.encode(encoder, range(views.count), heard))


def adapt(
    title: TitleCrops,
    encoder: Backbone,
    config: FinetuneConfig,
    seed: int,
    progress: Progress | None = None,
    encoded: EncodedViews | None = None,
) -> Adapted:
    """Fine-tune to one title by self-distillation (METHOD 2) and describe its tracks.

    The same title, encoder, device, config and seed give the same bits. The encoder is left as it
    was, and so is torch's global state.

    Args:
        title: Crops and their tracks.
        encoder: In eval mode; where it lies is where everything is computed.
        config: One setting for every title.
        seed: Of all that is drawn.
        progress: Called after each batch with the step and the share of it that is done.
        encoded: Of the same title, encoder and seed, to try several trainings on one encoding.
    """
    progress = progress or _unheard
    temperatures = Temperatures(config.teacher_temperature, config.student_temperature)
    if not title.tracks:
        return Adapted(no_outputs(config.outputs, encoder.dim, temperatures), {}, (), ("empty",))
    encoded = encoded or encode_views(title, encoder, config, seed=seed, progress=progress)
    generator = torch.Generator().manual_seed(seed + TRAINING_STREAM)
    with _repeatable(next(encoder.parameters()).device):
        rounds = Rounds(title, encoded.views, encoded.untuned, config, generator, progress)
        trained = _train(rounds, encoder)
        return _describe(rounds, encoder, trained)


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """Where training ended."""

    student: Student
    encoder: Backbone  # the one given where the tail was not trained
    warnings: tuple[str, ...] = ()


def _train(rounds: Rounds, encoder: Backbone) -> _Trained:
    """Head, then tail; what collapses is left out (METHOD 2.8)."""
    config = rounds.config
    if rounds.title.tracks < 2:  # nothing to tell apart: one look has no spread to lose
        return _Trained(_untrained(rounds), encoder)
    student = rounds.train_head()
    if student is None:
        return _Trained(_untrained(rounds), encoder, ("collapsed",))
    if not config.tail_epochs:
        return _Trained(student, encoder)
    tuned = rounds.train_tail(student, encoder)
    if tuned is None:
        return _Trained(student, encoder, ("tail_collapsed",))
    return _Trained(*tuned)


def _untrained(rounds: Rounds) -> Student:
    """A student that keeps the geometry of the encoder as it is."""
    config = rounds.config
    temperatures = Temperatures(config.teacher_temperature, config.student_temperature)
    plain = rounds.untuned.embeddings[0]
    return fallback_student(plain, config.outputs, temperatures, rounds.generator)


def _describe(rounds: Rounds, encoder: Backbone, trained: _Trained) -> Adapted:
    """The trained state as records and tensors."""
    config, title = rounds.config, rounds.title
    untuned = rounds.untuned
    if trained.encoder is encoder:
        tuned = Encoded(untuned.features, untuned.embeddings[list(OUTPUT_VIEWS)])
    else:
        heard = partial(rounds.progress, "outputs")
        tuned = rounds.views.encode(trained.encoder, OUTPUT_VIEWS, heard)
    masks = draw_masks(
        config.quality_passes, untuned.features.shape[1], config.quality_dropout, rounds.generator
    )
    heard = partial(rounds.progress, "quality")
    quality = quality_of_crops(trained.encoder, tuned.features, masks, heard)
    crops = rounds.crops(tuned.embeddings)
    tensors = {
        f"head.{name}": tensor.detach().cpu().clone()
        for name, tensor in trained.student.head.state_dict().items()
    }
    tensors["centre"] = trained.student.centre.cpu().clone()
    for name, tensor in changed_tensors(trained.encoder, encoder).items():
        tensors[f"encoder.{name}"] = tensor
    return Adapted(
        outputs=track_outputs(trained.student, crops, quality, title.track),
        tensors=tensors,
        history=tuple(rounds.history),
        warnings=trained.warnings,
    )


def _repeatable(device: torch.device) -> AbstractContextManager[None]:
    """On a GPU: only kernels that add in one order, for as long as this lasts."""
    cudnn = torch.backends.cudnn
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, deterministic=True, benchmark=False, allow_tf32=cudnn.allow_tf32
    )
    return flags


def _unheard(step: str, share: float) -> None:
    """Progress that nobody asked for."""
