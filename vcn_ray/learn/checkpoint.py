"""Where a fine-tuning stands, as bytes from which another process goes on to the same bits.

Tensors are safetensors, all other numbers JSON in its metadata: nothing that is read can run code.
It does not know where the bytes are kept, nor how training goes on from them.
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

from vcn_ray.learn.matching import Matches
from vcn_ray.learn.ranks import ALONE, Ranks
from vcn_ray.learn.settings import Checkpoints, EpochRecord, FinetuneConfig, TitleCrops
from vcn_ray.models.backbones import Backbone

FORMAT = "1"
"""Raised when a checkpoint of older code would be read wrongly."""

log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """All that training changes, after an epoch; views are drawn and encoded again."""

    history: list[EpochRecord]
    matches: list[Matches]  # one for each round begun
    seconds: dict[str, float]  # spent in each step so far
    generator: Tensor  # (n,) uint8 state
    learners: dict[str, dict[str, Tensor]]  # by stage: students, teachers, moments, centres


class Keeper:
    """Saves the state of one fine-tuning now and then.

    Args:
        checkpoints: Where to.
        fingerprint: Gives that of all that the result depends on; asked only when it is needed,
            so that a short training does not pay for it.
        ranks: Who trains together: the first saves, and all go on from what it finds.
    """

    def __init__(
        self, checkpoints: Checkpoints, fingerprint: Callable[[], str], ranks: Ranks = ALONE
    ) -> None:
        self._checkpoints = checkpoints
        self._ranks = ranks
        self._fingerprint = cache(fingerprint)
        self._last = time.monotonic()

    def load(self) -> Checkpoint | None:
        """The last state, if there is one and it is this fine-tuning's."""
        data = self._ranks.agree(self._checkpoints.load() if self._ranks.number == 0 else None)
        return None if data is None else unpack(data, self._fingerprint())

    def is_due(self) -> bool:
        """Whether training has gone on for long enough since the last time."""
        waited = time.monotonic() - self._last >= self._checkpoints.seconds
        return waited and self._ranks.number == 0

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace what was saved."""
        self._checkpoints.save(pack(checkpoint, self._fingerprint()))
        self._last = time.monotonic()


def fingerprint(title: TitleCrops, encoder: Backbone, config: FinetuneConfig, seed: int) -> str:
    """Hash of all that a fine-tuning's bits depend on."""
    device = next(encoder.parameters()).device.type
    told = [FORMAT, torch.__version__, device, type(encoder).__name__, asdict(config), seed]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for array in (title.crops, title.track, title.cannot_link):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)  # without a copy: crops may fill gigabytes
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pack(checkpoint: Checkpoint, fingerprint: str) -> bytes:
    """A checkpoint as safetensors bytes."""
    tensors = {"generator": checkpoint.generator}
    for stage, state in checkpoint.learners.items():
        tensors |= {f"learner/{stage}/{name}": tensor for name, tensor in state.items()}
    for number, matches in enumerate(checkpoint.matches):
        tensors[f"matches/{number}/pairs"] = torch.from_numpy(matches.pairs).contiguous()
        if matches.groups is not None:
            tensors[f"matches/{number}/groups"] = torch.from_numpy(matches.groups).contiguous()
    told = {
        "history": [asdict(epoch) for epoch in checkpoint.history],
        "rounds": len(checkpoint.matches),
        "seconds": checkpoint.seconds,
    }
    return bytes(save(tensors, {"fingerprint": fingerprint, "state": json.dumps(told)}))


def unpack(data: bytes, fingerprint: str) -> Checkpoint | None:
    """The checkpoint of `pack`, equal to the bit; None, and a line in the log: it is of no use."""
    try:
        tensors: dict[str, Tensor] = load(data)
        metadata = _metadata(data)
        if metadata["fingerprint"] != fingerprint:
            log.warning("a checkpoint is of another fine-tuning; training starts anew")
            return None
        told: dict[str, Any] = json.loads(metadata["state"])
    except (SafetensorError, ValueError, KeyError) as error:
        log.warning("a checkpoint cannot be read, training starts anew: %s", error)
        return None
    learners: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("learner/"):
            _, stage, part = name.split("/")
            learners.setdefault(stage, {})[part] = tensor
    return Checkpoint(
        history=[EpochRecord(**epoch) for epoch in told["history"]],
        matches=[_matches(tensors, number) for number in range(told["rounds"])],
        seconds=told["seconds"],
        generator=tensors["generator"],
        learners=learners,
    )


def _metadata(data: bytes) -> dict[str, str]:
    """What `safetensors.torch.load` leaves out: the header is JSON after its length of 8 bytes."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata


def _matches(tensors: dict[str, Tensor], number: int) -> Matches:
    groups = tensors.get(f"matches/{number}/groups")
    pairs = tensors[f"matches/{number}/pairs"].numpy()
    return Matches(pairs, None if groups is None else groups.numpy())
