"""METHOD 2 and 3.1 for one title: crops in, what clustering needs of tracks out.

It knows no storage, no Ray and no clustering rule; the device is the encoder's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vcn_ray.learn.checkpoint import Keeper, fingerprint
from vcn_ray.learn.encoder_head import changed_tensors
from vcn_ray.learn.fallback import fallback_student
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.outputs import Student, no_outputs, track_outputs
from vcn_ray.learn.passes import draw_masks, quality_of_crops
from vcn_ray.learn.ranks import ALONE, Ranks
from vcn_ray.learn.rounds import OUTPUT_VIEWS, TAIL_VIEWS, Rounds
from vcn_ray.learn.settings import (
    NO_HOOKS,
    EpochRecord,
    FinetuneConfig,
    Hooks,
    Progress,
    TitleCrops,
)
from vcn_ray.learn.views import CropViews, Encoded
from vcn_ray.learn.watch import Watch
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import I64, TrackOutputs


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A title's adapted model and what it says of the title's tracks."""

    outputs: TrackOutputs
    tensors: dict[str, Tensor]  # on the CPU: "head.*", "centre", and "encoder.*" where it changed
    history: tuple[EpochRecord, ...]
    matches: tuple[I64, ...]  # (p, 2) pairs of tracks that each round was trained on beside tracks
    warnings: tuple[str, ...]  # "empty", "collapsed", "encoder_collapsed"
    seconds: dict[str, float]  # by step: views, head, match, encoder, outputs, quality
    peak_bytes: int  # most memory: of a GPU, what tensors took; else what the process ever took
    resumed_epochs: int = 0  # of the history, read from a checkpoint and not trained again


TRAINING_STREAM = 1 << 32
"""Added to the seed for training, so that it does not draw the numbers that views were made of."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedViews:
    """All views of a title's crops through the encoder as it is: most of a short title's work."""

    views: CropViews
    untuned: Encoded
    seconds: float


def encode_views(
    title: TitleCrops,
    encoder: Backbone,
    config: FinetuneConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> EncodedViews:
    """Draw the views of METHOD 2.2 and encode them; they depend on no training setting.

    Args:
        title: Crops and their tracks; one track at least.
        encoder: In eval mode; where it lies is where everything is computed.
        config: How crops are changed, how many views, and what of the encoder is trained.
        seed: Of the changes.
        progress: As in `adapt`.
        ranks: Who encodes them together.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(encoder.parameters()).device
    watch = Watch(progress, device)
    with _repeatable(device), watch.step("views"):
        views = CropViews(
            title.crops, encoder, config.augment, config.augmented_views, generator, ranks
        )
        if config.encoder == "tail":
            views.reserve(TAIL_VIEWS, config.cache_bytes)
        untuned = views.encode(encoder, range(views.count), partial(watch.tell, "views"))
    return EncodedViews(views, untuned, watch.seconds["views"])


def adapt(
    title: TitleCrops,
    encoder: Backbone,
    config: FinetuneConfig,
    seed: int,
    hooks: Hooks = NO_HOOKS,
    encoded: EncodedViews | None = None,
) -> Adapted:
    """Fine-tune to one title by self-distillation (METHOD 2) and describe its tracks.

    The same title, encoder, device, config and seed give the same bits, gone on with after a kill
    or not. The encoder is left as it was, and so is torch's global state.

    Args:
        title: Crops and their tracks.
        encoder: In eval mode; where it lies is where everything is computed.
        config: One setting for every title.
        seed: Of all that is drawn.
        hooks: Who hears of progress, called after each batch with the step and the share of it
            that is done; and what keeps checkpoints. One of another title, encoder, config or seed
            is not used. Of several processes that train together, each calls this.
        encoded: Of the same title, encoder and seed, to try several trainings on one encoding.
    """
    device = next(encoder.parameters()).device
    watch = Watch(hooks.progress, device)
    ranks = hooks.ranks if len(title.crops) >= hooks.ranks.count else ALONE
    if not title.tracks:
        temperatures = Temperatures(config.teacher_temperature, config.student_temperature)
        nothing = no_outputs(config.outputs, encoder.dim, temperatures)
        return Adapted(nothing, {}, (), (), ("empty",), {}, watch.peak_bytes())
    encoded = encoded or encode_views(
        title, encoder, config, seed=seed, progress=hooks.progress, ranks=ranks
    )
    watch.add("views", encoded.seconds)
    keeper = None
    if hooks.checkpoints:
        told = partial(fingerprint, title, encoder, config, seed)
        keeper = Keeper(hooks.checkpoints, told, ranks)
    generator = torch.Generator().manual_seed(seed + TRAINING_STREAM)
    with _repeatable(device):
        rounds = Rounds(
            title,
            encoded.views,
            encoded.untuned,
            config,
            generator,
            watch,
            keeper,
            ranks=ranks,
        )
        trained = _train(rounds, encoder)
        return _describe(rounds, encoder, trained)


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """Where training ended."""

    student: Student
    encoder: Backbone  # the one given where it was not trained
    warnings: tuple[str, ...] = ()


def _train(rounds: Rounds, encoder: Backbone) -> _Trained:
    """Head, then encoder; what collapses is left out (METHOD 2.8)."""
    config = rounds.config
    if rounds.title.tracks < 2:  # nothing to tell apart: one look has no spread to lose
        return _Trained(_untrained(rounds), encoder)
    student = rounds.train_head()
    if student is None:
        return _Trained(_untrained(rounds), encoder, ("collapsed",))
    if config.encoder == "frozen":
        return _Trained(student, encoder)
    tuned = rounds.train_encoder(student, encoder, config.encoder)
    if tuned is None:
        return _Trained(student, encoder, ("encoder_collapsed",))
    return _Trained(*tuned)


def _untrained(rounds: Rounds) -> Student:
    """A student that keeps the geometry of the encoder as it is."""
    config = rounds.config
    temperatures = Temperatures(config.teacher_temperature, config.student_temperature)
    plain = rounds.untuned.embeddings[0]
    return fallback_student(plain, config.outputs, temperatures, rounds.generator)


def _describe(rounds: Rounds, encoder: Backbone, trained: _Trained) -> Adapted:
    """The trained state as records and tensors."""
    config, title, watch = rounds.config, rounds.title, rounds.watch
    with watch.step("outputs"):
        tuned = _encode_tuned(rounds, encoder, trained.encoder)
    with watch.step("quality"):
        features = tuned.features
        masks = draw_masks(
            config.quality_passes, features.shape[1], config.quality_dropout, rounds.generator
        )
        heard = partial(watch.tell, "quality")
        quality = quality_of_crops(trained.encoder, features, masks, heard)
    with watch.step("outputs"):
        crops = rounds.crops(tuned.embeddings)
        outputs = track_outputs(trained.student, crops, quality, title.track)
    return Adapted(
        outputs=outputs,
        tensors=_tensors(encoder, trained),
        history=tuple(rounds.history),
        matches=tuple(matches.pairs for matches in rounds.matches),
        warnings=trained.warnings,
        seconds=watch.seconds,
        peak_bytes=watch.peak_bytes(),
        resumed_epochs=rounds.resumed_epochs,
    )


def _encode_tuned(rounds: Rounds, encoder: Backbone, tuned: Backbone) -> Encoded:
    """OUTPUT_VIEWS of all crops by the encoder as it was trained."""
    untuned, views = rounds.untuned, rounds.views
    if tuned is encoder:
        return Encoded(untuned.features, untuned.embeddings[list(OUTPUT_VIEWS)])
    if rounds.config.encoder == "all":
        views = views.with_encoder(tuned)
    return views.encode(tuned, OUTPUT_VIEWS, partial(rounds.watch.tell, "outputs"))


def _tensors(encoder: Backbone, trained: _Trained) -> dict[str, Tensor]:
    """What is kept of the trained state, on the CPU."""
    tensors = {
        f"head.{name}": tensor.detach().cpu().clone()
        for name, tensor in trained.student.head.state_dict().items()
    }
    tensors["centre"] = trained.student.centre.cpu().clone()
    for name, tensor in changed_tensors(trained.encoder, encoder).items():
        tensors[f"encoder.{name}"] = tensor
    return tensors


def _repeatable(device: torch.device) -> AbstractContextManager[None]:
    """On a GPU: only kernels that add in one order, for as long as this lasts."""
    cudnn = torch.backends.cudnn
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, deterministic=True, benchmark=False, allow_tf32=cudnn.allow_tf32
    )
    return flags
