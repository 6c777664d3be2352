"""The state of an adaptation as bytes, from which another process resumes to the same bits.

Tensors are safetensors, and all other numbers JSON in its metadata: nothing that is read can run
code. It does not know where the bytes are stored, nor how training resumes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vcn_ray.core.cut import CutConfig
from vcn_ray.core.prior import FacePrior
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.hooks import ALONE, Checkpoints, Ranks
from vcn_ray.learn.pairs import Matches
from vcn_ray.learn.training import EpochRecord
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import TitleCrops

FORMAT = "2"
"""Version of the content; raise it when a checkpoint of older code would be read wrongly."""

log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """Everything that training changes, after an epoch; views are drawn and encoded again."""

    history: list[EpochRecord]
    matches: list[Matches]  # one for each round that has started
    seconds: dict[str, float]  # spent in each phase so far
    generator: Tensor  # (n,) uint8 state
    learners: dict[str, dict[str, Tensor]]  # by phase: students, teachers, moments, centres


class Checkpointer:
    """Saves the state of one adaptation at intervals.

    Args:
        checkpoints: Where the state is stored.
        fingerprint: Returns the fingerprint of the adaptation; called only when it is needed, so
            that a short training does not pay for it.
        ranks: The processes that train together: the first saves, and all resume from what it
            loads.
    """

    def __init__(
        self, checkpoints: Checkpoints, fingerprint: Callable[[], str], ranks: Ranks = ALONE
    ) -> None:
        self._checkpoints = checkpoints
        self._ranks = ranks
        self._fingerprint = cache(fingerprint)
        self._last = time.monotonic()

    def load(self) -> Checkpoint | None:
        """Return the last state, if there is one and it belongs to this adaptation."""
        data = self._ranks.agree(self._checkpoints.load() if self._ranks.number == 0 else None)
        return None if data is None else unpack(data, self._fingerprint())

    def is_due(self) -> bool:
        """Decide whether enough time has passed since the last state, and this rank saves."""
        waited = time.monotonic() - self._last >= self._checkpoints.seconds
        return waited and self._ranks.number == 0

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the stored state."""
        self._checkpoints.save(pack(checkpoint, self._fingerprint()))
        self._last = time.monotonic()


def fingerprint(
    title: TitleCrops,
    encoder: Backbone,
    config: AdaptConfig,
    cut: CutConfig,
    prior: FacePrior | None,
    seed: int,
) -> str:
    """Return a hash of everything that the bits of an adaptation depend on."""
    device = next(encoder.parameters()).device.type
    settings = (asdict(config), asdict(cut), asdict(prior) if prior else None)
    facts = [FORMAT, torch.__version__, device, type(encoder).__name__, *settings, seed]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    known = [np.zeros(0) if part is None else part for part in (title.score, title.frame)]
    known += title.constraints
    for array in (title.crops, title.track, title.cannot_link, *known):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)  # without a copy: crops may fill gigabytes
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pack(checkpoint: Checkpoint, fingerprint: str) -> bytes:
    """Write a checkpoint as safetensors bytes."""
    tensors = {"generator": checkpoint.generator}
    for phase, learner in checkpoint.learners.items():
        tensors |= {f"learner/{phase}/{name}": tensor for name, tensor in learner.items()}
    for number, matches in enumerate(checkpoint.matches):
        tensors[f"matches/{number}/pairs"] = torch.from_numpy(matches.pairs).contiguous()
        if matches.groups is not None:
            tensors[f"matches/{number}/groups"] = torch.from_numpy(matches.groups).contiguous()
    numbers = {
        "history": [asdict(epoch) for epoch in checkpoint.history],
        "rounds": len(checkpoint.matches),
        "seconds": checkpoint.seconds,
    }
    state = json.dumps(numbers)
    metadata = {"fingerprint": fingerprint, "state": state, "sha256": _digest(tensors, state)}
    return bytes(save(tensors, metadata))


def unpack(data: bytes, fingerprint: str) -> Checkpoint | None:
    """Read the bytes of `pack`, equal to the bit.

    Returns:
        The checkpoint; None, after a warning in the log, where the bytes cannot be read or belong
        to another adaptation.
    """
    try:
        tensors: dict[str, Tensor] = load(data)
        metadata = _metadata(data)
        if metadata["fingerprint"] != fingerprint:
            log.warning("a checkpoint belongs to another adaptation, training starts from scratch")
            return None
        if metadata["sha256"] != _digest(tensors, metadata["state"]):
            log.warning("a checkpoint is damaged, training starts from scratch")
            return None
        numbers: dict[str, Any] = json.loads(metadata["state"])
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        log.warning("a checkpoint cannot be read, training starts from scratch: %s", error)
        return None
    learners: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("learner/"):
            _, phase, part = name.split("/")
            learners.setdefault(phase, {})[part] = tensor
    return Checkpoint(
        history=[EpochRecord(**epoch) for epoch in numbers["history"]],
        matches=[_matches(tensors, number) for number in range(numbers["rounds"])],
        seconds=numbers["seconds"],
        generator=tensors["generator"],
        learners=learners,
    )


def _digest(tensors: dict[str, Tensor], state: str) -> str:
    """Return a hash of everything that a checkpoint holds."""
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _metadata(data: bytes) -> dict[str, str]:
    """Read what `safetensors.torch.load` leaves out: JSON behind its length, which has 8 bytes."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata


def _matches(tensors: dict[str, Tensor], number: int) -> Matches:
    groups = tensors.get(f"matches/{number}/groups")
    pairs = tensors[f"matches/{number}/pairs"].numpy()
    return Matches(pairs, None if groups is None else groups.numpy())
