"""Adapt a model to one title (METHOD 2 and 3.1): crops in, what clustering needs of tracks out.

It knows no storage, no Ray and no clustering rule; the device is the encoder's.

    views    draw and encode the views of every crop (2.2), and rate the crop (3.1)
    split    split the tracks whose face changes to another person's (1.4)
    head     train the head on the frozen encoder, in rounds (2.1, 2.3, 2.6)
    match    match tracks between rounds (2.5)
    encoder  train the encoder's last blocks, or all of it, with the head (2.4)
    outputs  encode again and average over each track (4, closed form)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vcn_ray.core.cut import CutConfig
from vcn_ray.core.prior import FacePrior, recognisability
from vcn_ray.core.quality import QualityConfig, is_recognisable
from vcn_ray.core.split import find_parts, split_title
from vcn_ray.core.vectors import unit_rows
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.checkpoint import Checkpointer, fingerprint
from vcn_ray.learn.encoder import changed_tensors, repeatable
from vcn_ray.learn.heads import Student, fallback_student
from vcn_ray.learn.hooks import NO_HOOKS, Hooks, Timer
from vcn_ray.learn.outputs import CropCues, TrackMeans, no_outputs, track_outputs
from vcn_ray.learn.pairs import RatedTitle
from vcn_ray.learn.rounds import Rounds
from vcn_ray.learn.training import EpochRecord
from vcn_ray.learn.views import (
    MIRRORED,
    OUTPUT_VIEWS,
    PLAIN,
    EncodedViews,
    add_augmented,
    encode_views,
)
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import F32, I64, TitleCrops, TrackOutputs

TRAINING_STREAM = 1 << 32
"""Added to the seed for training, so that it does not draw the numbers that the views drew."""


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A title's adapted model and what it says of the title's tracks."""

    outputs: TrackOutputs
    title: TitleCrops  # whose tracks they are: with a track for each part of a split one
    tensors: dict[str, Tensor]  # on the CPU: "head.*", "centre", and "encoder.*" where it changed
    history: tuple[EpochRecord, ...]
    matches: tuple[I64, ...]  # (p, 2) pairs of tracks that each round was trained on beside tracks
    warnings: tuple[str, ...]  # "empty", "few_tracks", "nobody_returns", "collapsed" or
    # "encoder_collapsed"
    seconds: dict[str, float]  # by phase: views, head, match, encoder, outputs
    peak_bytes: int  # peak memory: of tensors on a GPU, else of the process since it started
    resumed_epochs: int = 0  # epochs of the history that come from a checkpoint


def adapt(  # noqa: PLR0913 - the title, the networks, and what is known of both
    title: TitleCrops,
    encoder: Backbone,
    config: AdaptConfig,
    cut: CutConfig,
    *,
    seed: int,
    prior: FacePrior | None = None,
    hooks: Hooks = NO_HOOKS,
) -> Adapted:
    """Adapt to one title by self-distillation (METHOD 2) and describe its tracks.

    The same title, encoder, device, settings and seed give the same bits, whether the training was
    killed and resumed or not. The encoder and torch's global state stay as they are.

    Args:
        title: Crops and their tracks.
        encoder: In eval mode; everything is computed on its device.
        config: One setting for every title.
        cut: How the matcher "partition" cuts a title: as the final clustering does.
        seed: Of all random numbers.
        prior: Of the pack; None: only the title itself is known.
        hooks: Listeners of progress, the store of checkpoints, and the processes that train
            together, each of which calls this. A checkpoint of another title, encoder, setting or
            seed is not used.
    """
    if not title.tracks:
        nothing = no_outputs(config.outputs, encoder.dim, config.temperatures)
        timer = Timer(None, next(encoder.parameters()).device)
        return Adapted(nothing, title, {}, (), (), ("empty",), {}, timer.peak_bytes())
    if prior and config.matcher == "partition" and title.tracks < config.min_tracks:
        config = replace(config, encoder="frozen")  # nothing is trained: keep no activations
    # A title that is not trained on needs no augmented views.
    encoded = encode_views(title, encoder, config, seed=seed, augmented=False, hooks=hooks)
    return adapt_encoded(encoded, config, cut, seed=seed, prior=prior, hooks=hooks)


def adapt_encoded(
    encoded: EncodedViews,
    config: AdaptConfig,
    cut: CutConfig,
    *,
    seed: int,
    prior: FacePrior | None = None,
    hooks: Hooks = NO_HOOKS,
) -> Adapted:
    """Adapt to a title whose views are encoded; several trainings can use one encoding.

    Args:
        encoded: Of the same config and seed.
        config: As in `adapt`.
        cut: As in `adapt`.
        seed: As in `adapt`.
        prior: As in `adapt`.
        hooks: As in `adapt`.
    """
    title, encoder = encoded.title, encoded.encoder
    device = next(encoder.parameters()).device
    timer = Timer(hooks.progress, device)
    timer.add("views", encoded.seconds)
    ranks = hooks.ranks_for(len(title.crops))
    checkpointer = None
    if hooks.checkpoints:
        own = partial(fingerprint, title, encoder, config, cut, prior, seed)
        checkpointer = Checkpointer(hooks.checkpoints, own, ranks)
    generator = torch.Generator().manual_seed(seed + TRAINING_STREAM)
    with repeatable(device):
        cues = rate_crops(encoded, prior)
        split = split_tracks(encoded, cues, prior) if prior and config.split_tracks else title
        rated = rate_tracks(split, cues, prior)
        rounds = Rounds(encoded, rated, config, cut, generator, timer, checkpointer, ranks)
        return _describe(rounds, _train(rounds))


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """The state at the end of training."""

    student: Student
    encoder: Backbone  # the pretrained one where it was not trained
    warnings: tuple[str, ...] = ()


def _train(rounds: Rounds) -> _Trained:
    """Train the head, then the encoder, and discard what collapses (METHOD 2.8)."""
    config, encoder = rounds.config, rounds.encoded.encoder
    if rounds.title.core.sum() < 2:  # nobody to tell apart: one face has no variance to lose
        return _Trained(_fallback(rounds), encoder)
    if rounds.title.prior and config.matcher == "partition" and not rounds.history:
        untrained = _fallback(rounds)
        # As many tracks as before they were split, or activations that `adapt` did not keep might
        # be missing.
        if min(rounds.title.core.sum(), rounds.encoded.title.tracks) < config.min_tracks:
            return _Trained(untrained, encoder, ("few_tracks",))
        if rounds.match(untrained).all_apart():  # nobody comes back: there is nothing to learn
            return _Trained(untrained, encoder, ("nobody_returns",))
    rounds.encoded = add_augmented(rounds.encoded, rounds.timer)
    student = rounds.train_head()
    if student is None:
        return _Trained(_fallback(rounds), encoder, ("collapsed",))
    if config.encoder == "frozen":
        return _Trained(student, encoder)
    adapted = rounds.train_encoder(student, encoder, config.encoder)
    if adapted is None:
        return _Trained(student, encoder, ("encoder_collapsed",))
    return _Trained(*adapted)


def rate_crops(encoded: EncodedViews, prior: FacePrior | None) -> CropCues:
    """Rate crops by the pretrained encoder, before anything is trained (METHOD 3.1)."""
    title, crops = encoded.title, encoded.pretrained
    score = np.full(len(title.crops), np.nan, np.float32) if title.score is None else title.score
    quality = crops.stability.cpu().numpy()
    if prior is None:
        return CropCues(score, quality, np.ones(len(title.crops), np.float32))
    lengths = crops.lengths.cpu().numpy()
    readable = recognisability(prior, score, lengths, quality).astype(np.float32)
    return CropCues(score, quality, readable)


def split_tracks(encoded: EncodedViews, cues: CropCues, prior: FacePrior) -> TitleCrops:
    """Make a track of each part of a track that shows another person, by the pretrained encoder."""
    track, readable = encoded.title.track, cues.recognisability
    return split_title(encoded.title, find_parts(crop_embeddings(encoded), track, readable, prior))


def crop_embeddings(encoded: EncodedViews) -> F32:
    """Return the pretrained embeddings (m, d) of crops and their mirror images, averaged, unit."""
    both = [encoded.pretrained.embeddings[view].cpu().numpy() for view in (PLAIN, MIRRORED)]
    return unit_rows(both[0] + both[1]).astype(np.float32)


def rate_tracks(title: TitleCrops, cues: CropCues, prior: FacePrior | None) -> RatedTitle:
    """Say which tracks are trained on: all faces, where the pack has no prior (METHOD 3.2)."""
    trained = np.ones(title.tracks, np.bool_)
    trained[title.constraints.no_face] = False
    if prior is None:
        return RatedTitle(title, cues, trained, None)
    means = TrackMeans(title.track, cues.recognisability)
    score, readable = means.of(cues.score), means.of(cues.recognisability)
    face, clear = is_recognisable(score, readable, QualityConfig(), prior)
    return RatedTitle(title, cues, face & clear & trained, prior)


def _fallback(rounds: Rounds) -> Student:
    """Return a student that keeps the geometry of the pretrained encoder."""
    config, plain = rounds.config, rounds.encoded.pretrained.embeddings[PLAIN]
    return fallback_student(plain, config.outputs, config.temperatures, rounds.generator)


def _describe(rounds: Rounds, trained: _Trained) -> Adapted:
    """Turn the trained state into records and tensors."""
    timer = rounds.timer
    with timer.phase("outputs"):
        crops = rounds.crops(_encode_adapted(rounds, trained.encoder))
        title = rounds.title.crops
        outputs = track_outputs(trained.student, crops, rounds.title.cues, title.track)
    return Adapted(
        outputs=outputs,
        title=title,
        tensors=_tensors(rounds.encoded.encoder, trained),
        history=tuple(rounds.history),
        matches=tuple(matches.pairs for matches in rounds.matches),
        warnings=trained.warnings,
        seconds=timer.seconds,
        peak_bytes=max(rounds.encoded.peak_bytes, timer.peak_bytes()),
        resumed_epochs=rounds.resumed_epochs,
    )


def _encode_adapted(rounds: Rounds, encoder: Backbone) -> Tensor:
    """Embed OUTPUT_VIEWS of all crops by the encoder at the end of training, (2, m, d)."""
    encoded, views = rounds.encoded, rounds.encoded.views
    if encoder is encoded.encoder:
        return encoded.pretrained.embeddings[list(OUTPUT_VIEWS)]
    if rounds.config.encoder == "all":
        views = views.with_encoder(encoder)
    return views.encode(encoder, OUTPUT_VIEWS, partial(rounds.timer.report, "outputs")).embeddings


def _tensors(pretrained: Backbone, trained: _Trained) -> dict[str, Tensor]:
    """Return the tensors of the trained state that are kept, on the CPU."""
    tensors = {
        f"head.{name}": tensor.detach().cpu().clone()
        for name, tensor in trained.student.head.state_dict().items()
    }
    tensors["centre"] = trained.student.centre.cpu().clone()
    for name, tensor in changed_tensors(trained.encoder, pretrained).items():
        tensors[f"encoder.{name}"] = tensor
    return tensors
